package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// fillSession posts n events to a session, as an agent does.
func fillSession(t testing.TB, b *backend, id string, n int) {
	t.Helper()
	var body bytes.Buffer
	for done := 0; done < n; {
		body.Reset()
		for range min(n-done, 5000) {
			fmt.Fprintf(&body, `{"event_type":"file_operation","timestamp":"2026-11-22T18:57:39.%06dZ","source":"os-pulse-controller","data":{"handle":"0x1b4","filePath":"C:\\Windows\\System32\\file-%d.dll","bytesTransferred":4,"content":"92 B7 DC 01","timestamp":"2026-11-22T18:57:39.966Z","operation":"ReadFile","metadata":{"sessionId":"mws78o95-pb4w1knlzuc","processName":"cmd.exe","processId":102}}}`+"\n", done%1_000_000, done)
			done++
		}
		if a := b.send("POST", "/api/events/batch?sessionId="+id, body.String(), "Content-Type: application/x-ndjson"); a.status != http.StatusOK {
			t.Fatalf("%d %.1000s", a.status, a.body)
		}
	}
}

// multiplySession copies a session's events in the database until it has n. That is a
// hundred times as fast as posting them. It copies a row, which must not be sealed.
func multiplySession(t testing.TB, env map[string]string, id string, n int) {
	t.Helper()
	if env["SEAL_AFTER"] != "never" {
		t.Fatal("the row may be sealed: set SEAL_AFTER to never")
	}
	write := writePool(t, env)
	const columns = "event_type, timestamp, timestamp_source, source, data, pid, process_name, operation, target, is_sent, created_at, updated_at"
	for _, statement := range []string{
		fmt.Sprintf("INSERT INTO events (session_id, seq, %s) WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "+
			"SELECT session_id, i, %s FROM events, n WHERE session_id = '%s' AND seq = 1", columns, n, columns, id),
		fmt.Sprintf("UPDATE sessions SET event_count = %d WHERE id = '%s'", n, id),
	} {
		if _, err := write.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// writePool opens the database of a backend.
func writePool(t testing.TB, env map[string]string) *sql.DB {
	t.Helper()
	options := dbtest.SQLite(t)
	options.Path = filepath.Join(env["DATA_DIR"], "ospulse.db")
	if url := env["DATABASE_URL"]; url != "" {
		options.URL = url
	}
	pools, err := dbtest.Open(t, options).Pools()
	if err != nil {
		t.Fatal(err)
	}
	return pools["write"]
}

// waitForSegments waits until the worker has built the segments of the first n events of
// the only session that has any. It reads these events, which takes memory.
func waitForSegments(t testing.TB, env map[string]string, n int) {
	t.Helper()
	write := writePool(t, env)
	wait.For(t, "all segments", func() bool {
		var built int
		if err := write.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM segments").Scan(&built); err != nil {
			t.Fatal(err)
		}
		return built == n/models.SegmentEvents
	})
}

// BenchmarkExport measures the export of a session over HTTP on loopback, from the
// request to the last byte, and the growth of the heap. -benchtime 1000000x sets the
// number of events.
func BenchmarkExport(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		b.Run(database, func(b *testing.B) {
			env := map[string]string{"SEAL_AFTER": "never"}
			if database == "postgres" {
				env["DATABASE_URL"] = dbtest.Postgres(b).URL
			}
			env["AGENT_SERVICE_URL"] = newTestAgent(b).URL
			env["DATA_DIR"] = b.TempDir()
			server := startBackend(b, env)
			id := server.startSession()
			fillSession(b, server, id, 1)
			multiplySession(b, env, id, max(b.N, 2))
			for _, format := range []string{"ndjson", "csv", "ecs", "bundle"} {
				runtime.GC()
				var before runtime.MemStats
				runtime.ReadMemStats(&before)
				peak, stop := watchHeap()
				began := time.Now()
				size := server.discard(b, "/api/sessions/"+id+"/export?format="+format)
				took := time.Since(began)
				stop()
				b.ReportMetric(float64(b.N)/took.Seconds(), format+"-events/s")
				b.ReportMetric(float64(size)/took.Seconds()/1e6, format+"-MB/s")
				b.ReportMetric(float64(peak.Load()-before.HeapInuse)/(1<<20), format+"-heap-MB")
			}
		})
	}
}

// discard makes a request and returns the length of the answer.
func (b *backend) discard(t testing.TB, path string) int64 {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "identity")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil || response.StatusCode != http.StatusOK || response.Trailer.Get("X-Export-Status") != "complete" {
		t.Fatal(response.Status, response.Trailer, err)
	}
	return n
}

// watchHeap records the largest heap until it is stopped.
func watchHeap() (peak *atomic.Uint64, stop func()) {
	peak = new(atomic.Uint64)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapInuse))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return peak, func() { close(done); <-ended }
}
