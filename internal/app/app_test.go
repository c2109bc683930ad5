package app

import (
	"net"
	"testing"
)

func TestDashboardURL(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"127.0.0.1": "http://localhost:3003/", "::1": "http://localhost:3003/", "0.0.0.0": "http://localhost:3003/", "::": "http://localhost:3003/",
		"127.0.0.2": "http://127.0.0.2:3003/", "10.1.2.3": "http://10.1.2.3:3003/", "fd00::1": "http://[fd00::1]:3003/",
	} {
		if got := dashboardURL("http", &net.TCPAddr{IP: net.ParseIP(ip), Port: 3003}); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}
