//go:build linux

package main

import (
	"net"
	"testing"

	"ospulse/agent/internal/config"
)

// listensAt is a listener of which only the address is used.
type listensAt struct{ net.Listener }

func (listensAt) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 7001} }

func TestListenURL(t *testing.T) {
	machine := agentName(config.Config{})
	for host, want := range map[string]string{
		"127.0.0.1": "http://127.0.0.1:7001", "localhost": "http://localhost:7001", "::1": "http://[::1]:7001",
		"0.0.0.0": "http://" + machine + ":7001", "::": "http://" + machine + ":7001", "192.0.2.7": "http://192.0.2.7:7001",
	} {
		if got := listenURL(config.Config{Host: host, Name: "another name"}, listensAt{}); got != want {
			t.Errorf("at %s, the URL is %s, want %s", host, got, want)
		}
	}
	if got := listenURL(config.Config{Host: "127.0.0.1"}, nil); got != "" {
		t.Errorf("the URL of an agent that listens nowhere is %s", got)
	}
}
