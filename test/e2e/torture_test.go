//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/test/dbtest"
	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// TestKilledBackendLosesNothing checks that kill -9 at any moment loses nothing that
// was acknowledged.
func TestKilledBackendLosesNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"] = t.TempDir(), "0s"
		var loads []*load
		for round := range rounds(t, 3) {
			p := command(t, env)
			p.start(t)
			l := startLoad(p.url, round, 20)
			l.waitFor(t, 20+rand.IntN(200))
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			p.Wait() //nolint:errcheck // the error says that it was killed
			loads = append(loads, l.end())
		}
		wantStored(t, startBackend(t, env), loads...)
	})
}

// TestStopUnderLoadCutsNothing checks that, in a stop under load, each request is
// answered or was never accepted.
func TestStopUnderLoadCutsNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		p := command(t, env)
		p.start(t)
		l := startLoad(p.url, 0, 20)
		l.waitFor(t, 100)
		endWith(t, p, syscall.SIGTERM)
		l.end()
		for _, err := range l.cut {
			// The kernel accepted this connection for the closing listener. The program
			// never had it.
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Error("a request was cut: ", err)
			}
		}
		delete(l.failed, 0) // refused connections
		if len(l.failed) > 0 {
			t.Errorf("answers other than 200: %v", l.failed)
		}
		wantStored(t, startBackend(t, env), l)
	})
}

// TestPostgresCrashLosesNothing checks that a PostgreSQL crash under load loses nothing
// that was acknowledged. Meanwhile /readyz reports the database as away and events are
// accepted, and the backend uses the database again when it is back.
func TestPostgresCrashLosesNothing(t *testing.T) {
	server, url := startPostgres(t)
	b := startBackend(t, map[string]string{"DATABASE_URL": url})
	var loads []*load
	for round := range rounds(t, 2) {
		l := startLoad(b.url, round, 20)
		l.waitFor(t, 100+rand.IntN(200))
		if err := server.Stop(pgtest.Immediate); err != nil {
			t.Fatal(err)
		}
		wait.For(t, "/readyz that says no", func() bool { return b.send("GET", "/readyz", "").status == http.StatusServiceUnavailable })
		l.waitFor(t, 100) // the spool accepts them
		if a := b.send("GET", "/readyz", ""); !bytes.Contains(a.body, []byte("events wait on this machine's disk")) {
			t.Errorf("/readyz does not tell of the spool: %s", a.body)
		}
		if a := b.send("GET", "/api/events/export", ""); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("a read meanwhile got %d %s", a.status, a.body)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait.For(t, "/readyz that says yes", func() bool { return b.send("GET", "/readyz", "").status == http.StatusOK })
		l.waitFor(t, 50)
		loads = append(loads, l.end())
		if delete(l.failed, http.StatusTooManyRequests); len(l.failed) > 0 || len(l.cut) > 0 || l.spooled == 0 {
			t.Errorf("while it was away %d requests were answered 202, others %v, %v, want 202 or 429 only", l.spooled, l.failed, l.cut)
		}
	}
	wantStored(t, b, loads...)
	metrics := string(b.send("GET", "/metrics", "").body)
	for _, line := range []string{"ospulse_spool_events 0", "ospulse_spool_bytes 0", "ospulse_events_rejected_total 0"} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("the metrics do not say %q", line)
		}
	}
}

// TestKilledWhileDrainingLosesNothing checks that a backend which is killed while it
// drains its spool stores every spooled event once.
func TestKilledWhileDrainingLosesNothing(t *testing.T) {
	server, url := startPostgres(t)
	env := map[string]string{"DATABASE_URL": url, "DATA_DIR": t.TempDir()}
	var loads []*load
	for round := range rounds(t, 3) {
		p := command(t, env)
		p.start(t)
		l := startLoad(p.url, round, 20)
		l.waitFor(t, 50)
		if err := server.Stop(pgtest.Immediate); err != nil {
			t.Fatal(err)
		}
		l.waitFor(t, 500+rand.IntN(2000))
		l.end()
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		select { // a drain takes a part of this time
		case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
		case <-t.Context().Done():
		}
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.Wait() //nolint:errcheck // the error says that it was killed
		if l.spooled == 0 {
			t.Error("nothing was spooled")
		}
		loads = append(loads, l)
	}
	wantStored(t, startBackend(t, env), loads...)
}

// TestFullSpool checks that a full spool is a 503, and that spooled events are stored
// later.
func TestFullSpool(t *testing.T) {
	server, url := startPostgres(t)
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "SPOOL_MAX_MB": "1"})
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	event := `{"event_type":"x","source":"%d","data":"` + strings.Repeat("x", 100_000) + `"}`
	spooled := 0
	for n := range 20 {
		switch a := b.send("POST", "/api/events", fmt.Sprintf(event, n)); a.status {
		case http.StatusAccepted:
			if spooled++; string(a.body) != `{"status":"spooled"}`+"\n" {
				t.Errorf("a spooled event is answered %s", a.body)
			}
		default:
			if wantError(t, a, http.StatusServiceUnavailable, "unavailable", "full"); a.header.Get("Retry-After") == "" {
				t.Error("it does not say when to try again")
			}
		}
	}
	if spooled < 5 || spooled > 10 {
		t.Errorf("a spool of 1 MB took %d events of 100 KB", spooled)
	}
	a := b.send("POST", "/api/events/batch", `[{"event_type":"x","source":"last"},{"event_type":5}]`)
	if a.status != http.StatusAccepted || !bytes.Contains(a.body, []byte(`"spooled":1`)) || !bytes.Contains(a.body, []byte(`"errors":[{"index":1`)) {
		t.Errorf("a batch is answered %d %s", a.status, a.body)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitForDrain(t, b)
	events := b.export("")
	if len(events) != spooled+1 {
		t.Fatalf("%d events are stored, want %d", len(events), spooled+1)
	}
	for i, e := range events {
		if want := fmt.Sprint(i); e.Seq != int64(i+1) || e.Source != want && i < spooled || i == spooled && e.Source != "last" {
			t.Errorf("event %d is %s with seq %d: not in the order in which they came", i, e.Source, e.Seq)
		}
	}
	if a := b.send("POST", "/api/events", `{"event_type":"x"}`); a.status != http.StatusOK {
		t.Errorf("after that: %d %s", a.status, a.body)
	}
}

// TestKeysWhileTheDatabaseIsAway checks that a repeated request with a key is stored
// once while the database is away, and that another acknowledged request with the same
// key is stored, too.
func TestKeysWhileTheDatabaseIsAway(t *testing.T) {
	server, url := startPostgres(t)
	b := startBackend(t, map[string]string{"DATABASE_URL": url})
	send := func(source string) answer {
		return b.send("POST", "/api/events/batch", `[{"event_type":"x","source":"`+source+`"}]`, "Idempotency-Key: k")
	}
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"a", "a", "b"} {
		if a := send(source); a.status != http.StatusAccepted {
			t.Errorf("%s got %d %s", source, a.status, a.body)
		}
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitForDrain(t, b)
	if a := send("a"); a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"first_seq":1,"last_seq":1`)) {
		t.Errorf("repeated once more: %d %s", a.status, a.body)
	}
	wantError(t, send("b"), http.StatusConflict, "conflict", "Idempotency-Key")
	var sources []string
	for _, e := range b.export("") {
		sources = append(sources, e.Source)
	}
	if fmt.Sprint(sources) != "[a b]" {
		t.Errorf("%v are stored, want a and b", sources)
	}
}

// TestFullDiskAsRoot checks that a full disk is a 503, corrupts nothing, and that
// ingest continues when there is space again.
func TestFullDiskAsRoot(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal("mount a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := startBackend(t, map[string]string{"DATA_DIR": dir})
	stored, spooled, full := 0, 0, 0
	filler := strings.Repeat("x", 50_000)
	for n := 0; full < 5 && n < 500; n++ {
		switch a := b.send("POST", "/api/events", fmt.Sprintf(`{"event_type":"x","source":"%d","data":"%s"}`, n, filler)); a.status {
		case http.StatusOK:
			stored++
		case http.StatusAccepted: // there was some space for the spool
			spooled++
		case http.StatusServiceUnavailable:
			full++
			if a.header.Get("Retry-After") == "" || !bytes.Contains(a.body, []byte(`"unavailable"`)) {
				t.Errorf("a full disk is answered %s", a.body)
			}
		default:
			t.Fatalf("a full disk is answered %d %s", a.status, a.body)
		}
	}
	if full < 5 || stored < 10 {
		t.Fatalf("%d stored and %d refused: the disk was not filled", stored, full)
	}
	if a := b.upload(`form-data; name="file"; filename="a"`, strings.Repeat("y", 3<<20)); a.status != http.StatusServiceUnavailable {
		t.Errorf("an upload to a full disk is answered %d %s", a.status, a.body)
	}
	if n := len(b.export("")); n < stored || n > stored+spooled {
		t.Errorf("%d events are read from the full disk, want %d", n, stored)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	waitForDrain(t, b)
	if a := b.send("POST", "/api/events", `{"event_type":"x"}`); a.status != http.StatusOK {
		t.Errorf("with room again: %d %s", a.status, a.body)
	}
	stored += spooled
	events := b.export("")
	if len(events) != stored+1 || events[stored].Seq != int64(stored+1) {
		t.Errorf("%d events are stored in the end, want %d", len(events), stored+1)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "files", "upload-*")); err != nil || len(left) > 0 {
		t.Errorf("the upload left %v, %v", left, err)
	}
	b.stop()
	db := dbtest.SQLite(t)
	db.Path = filepath.Join(dir, "ospulse.db")
	var verdict string
	if err := dbtest.Open(t, db).Read(t.Context()).Raw("PRAGMA integrity_check").Scan(&verdict).Error; err != nil || verdict != "ok" {
		t.Errorf("the database is %q, %v", verdict, err)
	}
}

// TestSlowClientsStopNobody checks that two thousand clients that send a byte per
// second do not block others.
func TestSlowClientsStopNobody(t *testing.T) {
	b := startBackend(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var slow sync.WaitGroup
	const clients = 2000
	connected := make(chan struct{}, clients)
	for range clients {
		slow.Go(func() {
			reader, writer := io.Pipe()
			go func() {
				io.WriteString(writer, `{"event_type"`) //nolint:errcheck // ends with the request
				connected <- struct{}{}
				ticker := time.NewTicker(time.Second)
				defer ticker.Stop()
				for ctx.Err() == nil {
					select {
					case <-ticker.C:
						io.WriteString(writer, " ") //nolint:errcheck // ends with the request
					case <-ctx.Done():
					}
				}
				writer.CloseWithError(context.Canceled)
			}()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/api/events", reader)
			if err != nil {
				t.Error(err)
				return
			}
			if response, err := http.DefaultClient.Do(request); err == nil {
				response.Body.Close()
			}
		})
	}
	for range clients {
		<-connected
	}
	for n := range 200 {
		var s struct{ Seq int }
		a := b.send("POST", "/api/events", `{"event_type":"x"}`)
		if err := json.Unmarshal(a.body, &s); err != nil || a.status != http.StatusOK || s.Seq != n+1 {
			t.Fatalf("event %d: %d %s", n+1, a.status, a.body)
		}
	}
	stop()
	slow.Wait()
}

// TestSessionExportThatBreaksOff checks that an export whose database fails in the
// middle cannot be mistaken for a complete one: the connection is reset, there is no
// trailer, and the last line has the reason.
func TestSessionExportThatBreaksOff(t *testing.T) {
	server, url := startPostgres(t)
	env := map[string]string{"DATABASE_URL": url, "AGENT_SERVICE_URL": newTestAgent(t).URL, "DATA_DIR": t.TempDir(), "SEAL_AFTER": "never"}
	b := startBackend(t, env)
	id := b.startSession()
	fillSession(t, b, id, 1)
	multiplySession(t, env, id, 60_000) // more than the buffers between hold
	for i, query := range []string{"format=ndjson", "format=json"} {
		if i > 0 {
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			wait.For(t, "/readyz that says yes", func() bool { return b.send("GET", "/readyz", "").status == http.StatusOK })
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/api/sessions/"+id+"/export?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept-Encoding", "identity")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body := bufio.NewReader(response.Body)
		if _, err := body.Peek(1); err != nil { // it has begun
			t.Fatal(err)
		}
		if err := server.Stop(pgtest.Immediate); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		response.Body.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) || response.Trailer.Get("X-Export-Status") != "" {
			t.Errorf("%s ends with %v and %v", query, err, response.Trailer)
		}
		if strings.HasPrefix(query, "format=ndjson") {
			lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
			var last struct{ Error, Code string }
			if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || last.Code != "unavailable" || last.Error == "" {
				t.Errorf("%v in the last line %.300s", err, lines[len(lines)-1])
			}
			if bytes.Count(text, []byte(`"code":"unavailable"`)) != 1 {
				t.Error("the last line is not the only one")
			}
		}
		if strings.HasPrefix(query, "format=json") && json.Valid(text) {
			t.Error("half an array looks whole")
		}
	}
}
