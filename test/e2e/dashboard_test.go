package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestDashboardIsServed checks that the committed dashboard is served, and that the log
// has its address.
func TestDashboardIsServed(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	for _, path := range []string{"/", "/sessions/unassigned/events", "/api/docs"} {
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
