//go:build linux

package main

import (
	"net"
	"testing"
)

func TestReachable(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv4zero, Port: 7001}
	for host, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:7001", "localhost": "localhost:7001", "::1": "[::1]:7001", "0.0.0.0": "vm:7001", "::": "vm:7001", "192.0.2.7": "192.0.2.7:7001",
	} {
		if got := reachable(host, "vm", at); got != want {
			t.Errorf("reachable(%s) is %s, want %s", host, got, want)
		}
	}
}
