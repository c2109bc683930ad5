package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// TestSpooledEventsReachTheSessionOfTheirReceipt checks that events which were
// acknowledged while a session was active belong to it, even if it has ended and
// another session is active when they are stored.
func TestSpooledEventsReachTheSessionOfTheirReceipt(t *testing.T) {
	t.Parallel()
	server, url := startPostgres(t)
	agent := newTestAgent(t)
	env := func(name string) map[string]string {
		return map[string]string{"DATABASE_URL": url, "DATA_DIR": filepath.Join(t.TempDir(), name), "AGENT_SERVICE_URL": agent.URL}
	}
	first, other := env("first"), startBackend(t, env("other"))
	p := command(t, first)
	p.start(t)
	b := &backend{t: t, url: p.url}

	a := b.startSession()
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	for n := range 3 { // without a session, as forwarders send them
		if a := b.send("POST", "/api/events", fmt.Sprintf(`{"event_type":"x","source":"%d"}`, n)); a.status != http.StatusAccepted {
			t.Fatalf("event %d got %d %s", n, a.status, a.body)
		}
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait() //nolint:errcheck // the error says that it was killed
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitForConnections(t, other)
	if a := other.send("POST", "/api/monitor/stop", `{"sessionId":"`+a+`"}`); a.status != http.StatusOK {
		t.Fatalf("stop: %d %s", a.status, a.body)
	}
	next := other.startSession()

	again := startBackend(t, first)
	waitForDrain(t, again)
	if inA, inB := len(again.export(a)), len(again.export(next)); inA != 3 || inB != 0 {
		t.Errorf("the session of their receipt has %d of 3 events, the one after it %d", inA, inB)
	}
	// New events belong to the session that is active now.
	for _, b := range []*backend{again, other} {
		if a := b.send("POST", "/api/events", `{"event_type":"x","source":"now"}`); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if inB := len(again.export(next)); inB != 2 {
		t.Errorf("the active session has %d of 2 events", inB)
	}
}

// waitForConnections waits until the backend has no connection to a stopped PostgreSQL:
// more concurrent reads than it has connections succeed.
func waitForConnections(t *testing.T, b *backend) {
	t.Helper()
	wait.For(t, "connections to the new server", func() bool {
		var failed atomic.Bool
		var reading sync.WaitGroup
		for range 40 { // more than it has connections
			reading.Go(func() {
				if a, err := b.trySend("GET", "/api/sessions", ""); err != nil || a.status != http.StatusOK {
					failed.Store(true)
				}
			})
		}
		reading.Wait()
		return !failed.Load()
	})
}
