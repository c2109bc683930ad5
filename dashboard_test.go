package main

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
)

// What is committed is served, and the log says where.
func TestDashboardIsServed(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	for _, path := range []string{"/", "/sessions/unassigned/events"} {
		a := b.send(http.MethodGet, path, "")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(string(a.body), "<title>OS-Pulse") {
			t.Errorf("%s: %d %.300s", path, a.status, a.body)
		}
	}
	wantError(t, b.send(http.MethodGet, "/assets/none.js", ""), http.StatusNotFound, "not_found", "/assets/none.js")

	var line struct{ Msg, URL, Dashboard string }
	for text := range strings.Lines(b.log.String()) {
		if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "listening" {
			break
		}
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(b.url, "http://"))
	if err != nil || line.Dashboard != "http://localhost:"+port+"/" {
		t.Errorf("the log says %+v (%v)", line, err)
	}
}

func TestDashboardURL(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"127.0.0.1": "http://localhost:3003/", "::1": "http://localhost:3003/", "0.0.0.0": "http://localhost:3003/", "::": "http://localhost:3003/",
		"127.0.0.2": "http://127.0.0.2:3003/", "10.1.2.3": "http://10.1.2.3:3003/", "fd00::1": "http://[fd00::1]:3003/",
	} {
		if got := dashboardURL(&net.TCPAddr{IP: net.ParseIP(ip), Port: 3003}); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}
