package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ospulse/internal/app"
	"ospulse/test/dbtest"
)

// runProgram runs a subcommand of the program inside the test and returns its output.
func runProgram(t *testing.T, env map[string]string, args ...string) (string, error) {
	t.Helper()
	settings := map[string]string{"DATABASE_ALLOW_WEAK": "true"}
	maps.Copy(settings, env)
	var out bytes.Buffer
	err := app.Run(t.Context(), args, func(name string) string { return settings[name] }, &out)
	return out.String(), err
}

// mustRun is runProgram for what must succeed.
func mustRun(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	out, err := runProgram(t, env, args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

// eachTarget runs fn with the settings of a new installation on each database.
func eachTarget(t *testing.T, fn func(t *testing.T, env map[string]string)) {
	t.Helper()
	t.Run("to sqlite", func(t *testing.T) { fn(t, map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "new")}) })
	t.Run("to postgres", func(t *testing.T) {
		fn(t, map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "new"), "DATABASE_URL": dbtest.Postgres(t).URL})
	})
}

// oddData are payloads that one of the databases does not return as they were sent, or
// that a copy may damage.
var oddData = []string{ //nolint:gochecknoglobals // a constant
	`{"z":1, "a" : [1.50,2e3,-0,12345678901234567890], "z":2}`,
	`{"text":"\u0000 \ud800 ü 😀 \\ \" \/","deep":{"b":{},"a":[]}}`,
	`"only a text"`, `null`, `[]`, `{}`, `1.0`,
	`{"operation":"WriteFile","filePath":"/tmp/x","metadata":{"processName":"p","processId":7,"processStartTime":"2026-01-02T03:04:05.678901Z"}}`,
}

// TestBackupUnderLoad checks that backups which are taken while clients append restore
// into both databases, and that each session's export is a prefix of the original's, byte
// for byte.
func TestBackupUnderLoad(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		var sessions []string
		for n := range 3 {
			sessions = append(sessions, b.createSession(fmt.Sprintf("sample-%d.exe", n), strings.Repeat("MZ", 1+n*50_000))["sessionId"].(string))
		}
		sessions = append(sessions, "unassigned")
		stop := make(chan struct{})
		var stored atomic.Int64
		var clients sync.WaitGroup
		for client, id := range sessions {
			clients.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					var events []string
					for i := range 1 + n%40 {
						events = append(events, fmt.Sprintf(`{"event_type":"x","source":"client %d","timestamp":"2026-01-02T03:04:05.%06d+01:00","data":%s}`, client, n*41+i, oddData[(n+i)%len(oddData)]))
					}
					a, err := b.trySend("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(events, ",")+"]")
					if err != nil || a.status != http.StatusOK {
						t.Errorf("%v %d %.200s", err, a.status, a.body)
						return
					}
					stored.Add(int64(len(events)))
				}
			})
		}
		dir := t.TempDir()
		var files []string
		for n := range 5 {
			before := stored.Load()
			waitFor(t, "more events", func() bool { return t.Failed() || stored.Load() > before+200 })
			path := filepath.Join(dir, fmt.Sprintf("%d.backup", n))
			mustRun(t, env, "backup", path)
			files = append(files, path)
		}
		close(stop)
		clients.Wait()
		want := map[string][]byte{}
		for _, id := range sessions {
			want[id] = b.exportAs(t, id, "format=ndjson").body
		}
		for n, path := range files {
			out := mustRun(t, map[string]string{}, "restore", "--verify", path)
			if !strings.HasPrefix(out, "the backup is complete: 4 sessions") || strings.Contains(out, "warning") {
				t.Error(out)
			}
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				eachTarget(t, func(t *testing.T, env map[string]string) { wantRestored(t, env, path, want) })
			})
		}
	})
}

// wantRestored restores a backup and compares its sessions with exports of the original
// that may have later events too.
func wantRestored(t *testing.T, env map[string]string, path string, want map[string][]byte) {
	t.Helper()
	mustRun(t, env, "restore", path)
	b := startBackend(t, env)
	for id, original := range want {
		got := b.exportAs(t, id, "format=ndjson").body
		lines := bytes.Count(got, []byte("\n"))
		var session struct {
			EventCount   int `json:"event_count"`
			Completeness struct{ Complete bool }
		}
		b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &session)
		if !bytes.HasPrefix(original, got) || lines == 0 || lines != session.EventCount || !session.Completeness.Complete {
			t.Errorf("session %s: %d lines of %d events are no prefix of %d lines (complete: %v)", id, lines, session.EventCount, bytes.Count(original, []byte("\n")), session.Completeness.Complete)
		}
		if id == "unassigned" {
			continue
		}
		if a := b.send("GET", "/api/sessions/"+id+"/file", ""); a.status != http.StatusOK || len(a.body) == 0 {
			t.Errorf("the file of session %s: %d, %d bytes", id, a.status, len(a.body))
		}
	}
	b.stop()
}
