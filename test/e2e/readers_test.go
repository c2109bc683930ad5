package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// blocker blocks the backend's statements in PostgreSQL, as a slow disk or a
// maintenance job would.
type blocker struct {
	t  *testing.T
	db *sql.DB
}

func newBlocker(t *testing.T, url string) *blocker {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &blocker{t, db}
}

func (b *blocker) exec(statements ...string) {
	b.t.Helper()
	for _, statement := range statements {
		if _, err := b.db.ExecContext(b.t.Context(), statement); err != nil {
			b.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// readsOfEventsWait makes every query of the table events wait for hold's lock. Inserts
// continue.
func (b *blocker) readsOfEventsWait() {
	b.t.Helper()
	b.exec("ALTER TABLE events RENAME TO events_stored",
		"CREATE FUNCTION wait_here() RETURNS boolean LANGUAGE plpgsql VOLATILE AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(11); RETURN true; END'",
		"CREATE VIEW events AS SELECT * FROM events_stored WHERE wait_here()")
}

// hold runs statements that take locks and returns a function that releases them.
func (b *blocker) hold(t *testing.T, statements ...string) (letGo func()) {
	t.Helper()
	tx, err := b.db.BeginTx(context.Background(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	letGo = sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil {
			b.t.Error(err)
		}
	})
	t.Cleanup(letGo)
	for _, statement := range statements {
		if _, err := tx.ExecContext(b.t.Context(), statement); err != nil {
			b.t.Fatalf("%s: %v", statement, err)
		}
	}
	return letGo
}

// waiting returns the number of blocked statements.
func (b *blocker) waiting() (n int) {
	b.t.Helper()
	return b.waitingFor("")
}

// waitingFor is waiting for the statements that contain a text.
func (b *blocker) waitingFor(text string) (n int) {
	b.t.Helper()
	if err := b.db.QueryRowContext(b.t.Context(), "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND strpos(query, $1) > 0", text).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// TestBlockedReadersDoNotStopIngest checks that a new event is stored, not spooled,
// while more readers of any kind than there are connections are blocked.
func TestBlockedReadersDoNotStopIngest(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t).URL
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "DATABASE_POOL_SIZE": "4", "AGENT_SERVICE_URL": newTestAgent(t).URL})
	id := b.startSession()
	fillSession(t, b, id, 20)
	locks := newBlocker(t, url)
	locks.readsOfEventsWait()
	const events = "SELECT pg_advisory_xact_lock(11)"
	for _, tt := range []struct{ path, lock string }{
		{"/api/sessions/ID/histogram", events},
		{"/api/sessions/ID/histogram?from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z", "LOCK TABLE segments IN ACCESS EXCLUSIVE MODE"},
		{"/api/sessions/ID/facets?field=process", events},
		{"/api/sessions/ID/files", events},
		{"/api/sessions/ID/conversations", events},
		{"/api/sessions/ID/processes", "LOCK TABLE processes IN ACCESS EXCLUSIVE MODE"},
		{"/api/sessions/ID/events", events}, // not heavy by itself
		{"/api/sessions/ID/events?filter=Windows", events},
		{"/api/sessions/ID/events?count=true", events},
		{"/api/sessions/ID/events?fields=data.a", events},
		{"/api/sessions/ID", events},
		{"/api/sessions/ID/export?format=ndjson", events},
		{"/api/sessions/ID/export?format=bundle", events},
		{"/api/events/export?sessionId=ID", events},
		{"/api/events/export", events},
		{"/api/events/ID", events},
		{"/api/sessions/ID/stream?after=0", events},
	} {
		t.Run(tt.path, func(t *testing.T) {
			letGo := locks.hold(t, tt.lock)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var readers sync.WaitGroup
			for range 8 {
				readers.Go(func() {
					request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+strings.ReplaceAll(tt.path, "ID", id), http.NoBody)
					if err != nil {
						t.Error(err)
						return
					}
					if response, err := http.DefaultClient.Do(request); err == nil { // else it was stopped
						response.Body.Close()
					}
				})
			}
			wait.For(t, "a reader that is held up", func() bool { return locks.waiting() > 0 })
			for n := range 20 {
				if a := b.send("POST", "/api/events?sessionId="+id, `{"event_type":"x"}`); a.status != http.StatusOK {
					t.Fatalf("event %d is answered %d %s", n, a.status, a.body)
				}
			}
			if a := b.send("GET", "/readyz", ""); a.status != http.StatusOK {
				t.Errorf("/readyz says %d %s", a.status, a.body)
			}
			stop()
			letGo()
			readers.Wait()
			wait.For(t, "an end of the statements", func() bool { return locks.waiting() == 0 })
		})
	}
}

// TestBlockedReadersLeaveRoom checks that blocked heavy reads leave connections for
// lists, streams and the old dashboard's poll, and that further heavy reads wait, or retry
// if too many wait.
func TestBlockedReadersLeaveRoom(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t).URL
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "DATABASE_POOL_SIZE": "4", "AGENT_SERVICE_URL": newTestAgent(t).URL})
	id := b.startSession()
	const path = "/processes"
	// The start adds the agent's processes in a transaction that locks the session.
	wait.For(t, "the agent's processes", func() bool {
		return strings.Contains(string(b.send("GET", "/api/sessions/"+id+path, "").body), `"zsh"`)
	})
	locks := newBlocker(t, url)
	letGo := locks.hold(t, "LOCK TABLE processes IN ACCESS EXCLUSIVE MODE")
	answers := make(chan answer, 2+64+4) // as many run, wait, and are refused
	for range cap(answers) {
		go func() {
			a, err := b.trySend("GET", "/api/sessions/"+id+path, "")
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
	}
	for range 4 {
		if a := <-answers; a.header.Get("Retry-After") == "" {
			t.Errorf("a reader without room is answered %d %s", a.status, a.body)
		} else {
			wantError(t, a, http.StatusTooManyRequests, "overloaded", "READS_MAX")
		}
	}
	stream := b.stream("/api/sessions/" + id + "/stream?after=0")
	for n := range 5 {
		if a := b.send("POST", "/api/events?sessionId="+id, `{"event_type":"x"}`); a.status != http.StatusOK {
			t.Fatalf("event %d is answered %d %s", n, a.status, a.body)
		}
	}
	stream.want(t, "session")
	stream.wantSeqs(t, 1, 5)
	if polled := b.send("GET", "/api/events/"+id, ""); polled.status != http.StatusOK || strings.Count(string(polled.body), `"event_type"`) != 5 {
		t.Errorf("a poll is answered %d %s", polled.status, polled.body)
	}
	if listed := b.listEvents(id, ""); len(listed.Events) != 5 {
		t.Errorf("a list has %d events", len(listed.Events))
	}
	if shown := b.send("GET", "/api/sessions/"+id, ""); shown.status != http.StatusOK {
		t.Errorf("the session is answered %d %s", shown.status, shown.body)
	}
	letGo()
	for range cap(answers) - 4 {
		if a := <-answers; a.status != http.StatusOK {
			t.Errorf("a reader that waited is answered %d %s", a.status, a.body)
		}
	}
}

// TestReadThatTakesTooLong checks that a read which takes too long is cancelled and
// reports it.
func TestReadThatTakesTooLong(t *testing.T) {
	t.Parallel()
	url := dbtest.Postgres(t).URL
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "READ_TIMEOUT": "1s", "AGENT_SERVICE_URL": newTestAgent(t).URL})
	id := b.startSession()
	locks := newBlocker(t, url)
	locks.hold(t, "LOCK TABLE segments IN ACCESS EXCLUSIVE MODE")
	a := b.send("GET", "/api/sessions/"+id+"/histogram?from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z", "")
	if wantError(t, a, http.StatusServiceUnavailable, "unavailable", "READ_TIMEOUT"); a.header.Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
	// Statements of the backend's workers, which have no such limit, may still wait.
	wait.For(t, "an end of the statement in the database", func() bool { return locks.waitingFor("SELECT number, first_time") == 0 })
}

// TestHeavyReadersDoNotStopIngest checks that events are stored while many clients
// search and export a large session, on two processors or one. An event with a slow
// commit may be spooled, but is stored in the session while the readers continue.
func TestHeavyReadersDoNotStopIngest(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"], env["DATA_DIR"], env["SEAL_AFTER"] = newTestAgent(t).URL, filepath.Join(t.TempDir(), "data"), "never"
		b := startBackend(t, env)
		id := b.startSession()
		fillSession(t, b, id, 1)
		multiplySession(t, env, id, 10_000)
		ctx, stop := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		var mu sync.Mutex
		outcomes := map[string]int{}
		for i := range 12 {
			path := []string{"/events?filter=nowhere&count=true", "/histogram?filter=file", "/export?format=ndjson&filter=nowhere", "/files"}[i%4]
			readers.Go(func() {
				for ctx.Err() == nil {
					request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/api/sessions/"+id+path, http.NoBody)
					if err != nil {
						t.Error(err)
						return
					}
					response, err := http.DefaultClient.Do(request)
					if err != nil {
						return // the backend has stopped
					}
					response.Body.Close()
					mu.Lock()
					outcomes[fmt.Sprint(response.StatusCode)]++
					// A busy machine may need longer than the 10 s of one part of a
					// rollup.
					isSlowPart := path == "/files" && response.StatusCode == http.StatusServiceUnavailable
					if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusTooManyRequests && !isSlowPart {
						t.Errorf("%s is answered %d", path, response.StatusCode)
					}
					mu.Unlock()
				}
			})
		}
		var slowest time.Duration
		enough := func() bool { mu.Lock(); defer mu.Unlock(); return outcomes["200"] >= 8 }
		db := openDatabase(t, env)
		stored := func() (n int64) { // a query of the backend may be one read too many
			if err := db.QueryRowContext(t.Context(), "SELECT event_count FROM sessions WHERE id = '"+id+"'").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before, sent := stored(), int64(0)
		for ; sent < 100 || !enough(); sent++ {
			began := time.Now()
			if a := b.send("POST", "/api/events?sessionId="+id, `{"event_type":"x"}`); a.status != http.StatusOK && a.status != http.StatusAccepted {
				t.Fatalf("event %d is answered %d %s", sent, a.status, a.body)
			}
			slowest = max(slowest, time.Since(began))
		}
		wait.For(t, "all events are stored", func() bool { return stored() == before+sent })
		stop()
		readers.Wait()
		t.Logf("the slowest event took %s; readers: %v", slowest, outcomes)
	})
}
