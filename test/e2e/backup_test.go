package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/app"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
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
					case <-time.After(50 * time.Millisecond): // so that the events remain few
					}
					var events []string
					for i := range 1 + n%40 {
						events = append(events, fmt.Sprintf(`{"event_type":"x","source":"client %d","timestamp":"2026-01-02T03:04:05.%06d+01:00","data":%s}`, client, n*41+i, oddData[(n+i)%len(oddData)]))
					}
					a, err := b.trySend("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(events, ",")+"]")
					if err != nil || a.status != http.StatusOK && a.status != http.StatusAccepted {
						t.Errorf("%v %d %.200s", err, a.status, a.body)
						return
					}
					stored.Add(int64(len(events)))
				}
			})
		}
		dir := t.TempDir()
		var files []string
		for n := range rounds(t, 5) {
			before := stored.Load()
			wait.For(t, "more events", func() bool { return t.Failed() || stored.Load() > before+200 })
			path := filepath.Join(dir, fmt.Sprintf("%d.backup", n))
			mustRun(t, env, "backup", path)
			files = append(files, path)
		}
		close(stop)
		clients.Wait()
		waitForDrain(t, b)
		want := map[string][]byte{}
		for _, id := range sessions {
			want[id] = b.exportAs(t, id, "format=ndjson").body
		}
		targets := []map[string]string{{"DATA_DIR": t.TempDir()}, {"DATA_DIR": t.TempDir(), "DATABASE_URL": dbtest.Postgres(t).URL}}
		for n, path := range files {
			out := mustRun(t, map[string]string{}, "restore", "--verify", path)
			if !strings.HasPrefix(out, "the backup is complete: 4 sessions") || strings.Contains(out, "warning") {
				t.Error(out)
			}
			// Each database gets several backups. TestBackupOfSealedSessions restores the
			// same one into both.
			wantRestored(t, targets[n%len(targets)], path, want)
		}
	})
}

// wantRestored restores a backup and compares its sessions with exports of the original
// that may have later events too.
func wantRestored(t *testing.T, env map[string]string, path string, want map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(env["DATA_DIR"], "files")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, env, "restore", "--replace", path)
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

// TestBackupCommand checks what the subcommands refuse, and what remains after a failure.
func TestBackupCommand(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.backup")
	wantRefusal := func(env map[string]string, words string, args ...string) {
		t.Helper()
		if out, err := runProgram(t, env, args...); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v and %q, want %q", args, err, out, words)
		}
	}
	wantRefusal(env, "there is no database", "backup", path)
	if found, err := os.ReadDir(filepath.Dir(env["DATA_DIR"])); err != nil || len(found) > 0 {
		t.Errorf("a backup of nothing made %v, %v", found, err)
	}
	b := startBackend(t, env)
	b.createSession("a.exe", "MZ")
	out := mustRun(t, env, "backup", path)
	if want := "backed up 2 sessions, 0 events and 1 target files of "; !strings.HasPrefix(out, want) {
		t.Errorf("got %q, want %q", out, want)
	}
	wantRefusal(env, "--force", "backup", path)
	mustRun(t, env, "backup", path, "--force")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	piped := filepath.Join(dir, "piped")
	if err := os.WriteFile(piped, []byte(mustRun(t, env, "backup", "-")), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, nil, "restore", piped, "--verify")
	if list, err := exec.CommandContext(t.Context(), "tar", "--zstd", "-tf", path).CombinedOutput(); err != nil || !bytes.HasPrefix(list, []byte("backup.json\nfiles/")) || !bytes.HasSuffix(list, []byte("\ncontents.json\n")) {
		t.Errorf("tar lists %s, %v", list, err)
	}
	wantRefusal(env, "another program uses the database", "restore", path)
	b.stop()
	wantRefusal(env, "--replace", "restore", path)

	elsewhere := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "new")}
	damaged := filepath.Join(dir, "damaged")
	file[len(file)/2] ^= 1
	if err := os.WriteFile(damaged, file, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefusal(elsewhere, "damaged", "restore", damaged)
	wantRefusal(elsewhere, "damaged", "restore", "--verify", damaged)
	wantRefusal(elsewhere, "no such file", "restore", path+".none")
	for _, args := range [][]string{{"backup"}, {"restore"}, {"backup", "a", "b"}, {"restore", "--what", "x"}} {
		wantRefusal(elsewhere, "--help", args...)
	}
	for _, name := range []string{"backup", "restore"} {
		if out := mustRun(t, elsewhere, name, "--help"); !strings.Contains(out, "Usage: ospulse-backend "+name) {
			t.Error(out)
		}
	}
	if _, err := os.Stat(elsewhere["DATA_DIR"]); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused restore made a data folder: ", err)
	}
	if parts, err := filepath.Glob(filepath.Join(dir, "*.part")); err != nil || len(parts) > 0 {
		t.Errorf("%v remain, %v", parts, err)
	}
}

// TestRestoredInstallationCarriesOn checks the states of sessions after a restore: an
// active session goes on, a starting one has failed and is not started again, and
// repeated requests get their first answer.
func TestRestoredInstallationCarriesOn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		active := b.startSession()
		batch := func(b *backend) string {
			t.Helper()
			var a answer
			wait.For(t, "the receipt of a batch", func() bool { // 202 while a busy database is too slow
				a = b.send("POST", "/api/events/batch", `[{"event_type":"x","source":"x","data":1}]`, "Idempotency-Key: one")
				return a.status == http.StatusOK
			})
			return string(a.body)
		}
		first := batch(b)
		starting := b.createSession("other.exe", "MZ")["sessionId"].(string)
		exec := func(statement string) {
			t.Helper()
			if _, err := openDatabase(t, env).ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		b.stop()
		exec("UPDATE sessions SET start_requested = created_at, starting_since = created_at, start_id = 'a start' WHERE id = '" + starting + "'")
		path := filepath.Join(t.TempDir(), "x.backup")
		mustRun(t, env, "backup", path)
		calls := func() int {
			return len(agent.received("POST /api/start-monitor")) + len(agent.received("POST /api/stop-monitor"))
		}
		before := calls()
		eachTarget(t, func(t *testing.T, target map[string]string) {
			mustRun(t, target, "restore", path)
			target["AGENT_SERVICE_URL"] = agent.URL
			b := startBackend(t, target)
			var session struct {
				State      string
				EventCount int `json:"event_count"`
				StartError struct {
					MayHaveRun bool `json:"may_have_run"`
					Text       string
				} `json:"start_error"`
			}
			b.decode(b.send("GET", "/api/sessions/"+starting, ""), http.StatusOK, &session)
			if session.State != "failed" || !session.StartError.MayHaveRun || !strings.Contains(session.StartError.Text, "restored from a backup") {
				t.Errorf("the session that was starting: %+v", session)
			}
			if again := batch(b); again != first {
				t.Errorf("a repeated batch: %s, want %s", again, first)
			}
			if a := b.send("POST", "/api/events", `{"event_type":"x","source":"later"}`); a.status != http.StatusOK && a.status != http.StatusAccepted {
				t.Errorf("%d %s", a.status, a.body)
			}
			waitForDrain(t, b)
			b.decode(b.send("GET", "/api/sessions/"+active, ""), http.StatusOK, &session)
			if session.State != "active" || session.EventCount != 2 {
				t.Errorf("the session that was active: %+v", session)
			}
			b.stop()
		})
		if now := calls(); now != before {
			t.Errorf("the restored backends made %d calls to start or stop something", now-before)
		}
	})
}

// postRandom stores events that do not compress well.
func postRandom(t *testing.T, b *backend, n int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{})
	for ; n > 0; n -= 1000 {
		var lines strings.Builder
		for range min(n, 1000) {
			fmt.Fprintf(&lines, `{"event_type":"x","source":"x","data":"%016x%016x%016x%016x"}`+"\n", random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
		}
		if a := b.send("POST", "/api/events/batch", lines.String(), "Content-Type: application/x-ndjson"); a.status != http.StatusOK && a.status != http.StatusAccepted {
			t.Fatalf("%d %.300s", a.status, a.body)
		}
	}
}

// killWhen starts a program and kills it once a condition holds, unless it ends before.
func killWhen(t *testing.T, p *process, isSo func() bool) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { p.Wait(); close(ended) }() //nolint:errcheck // the error says that it was killed
	wait.For(t, "the moment to kill the program", func() bool {
		select {
		case <-ended:
			return true
		default:
			return isSo()
		}
	})
	p.Process.Kill() //nolint:errcheck // it may have ended
	<-ended
}

// TestBackupKilled checks that a killed backup leaves no FILE, or a complete one, and that
// a killed restore leaves an empty database, or a complete one.
func TestBackupKilled(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		const events = 10_000
		env["DATA_DIR"] = t.TempDir()
		env["SEAL_AFTER"] = "never" // the rows are counted
		b := startBackend(t, env)
		postRandom(t, b, events)
		waitForDrain(t, b)
		dir := t.TempDir()
		path := filepath.Join(dir, "x.backup")
		for n := range rounds(t, 2) {
			killWhen(t, command(t, env, "backup", "--force", path), func() bool {
				parts, err := filepath.Glob(path + ".*.part")
				if err != nil || len(parts) <= n {
					return false
				}
				return slices.ContainsFunc(parts, func(part string) bool { info, err := os.Stat(part); return err == nil && info.Size() >= int64(n)<<18 })
			})
			if _, err := os.Stat(path); err == nil {
				mustRun(t, nil, "restore", "--verify", path)
			}
		}
		mustRun(t, env, "backup", "--force", path)
		b.stop()
		eachTarget(t, func(t *testing.T, target map[string]string) {
			target["SEAL_AFTER"] = "never"
			for n := range rounds(t, 1) {
				isFilling := func() bool {
					info, err := os.Stat(filepath.Join(target["DATA_DIR"], "ospulse.db-wal"))
					return err == nil && info.Size() > int64(n+1)<<20
				}
				if target["DATABASE_URL"] != "" {
					db := openDatabase(t, target)
					isFilling = func() bool {
						var size int64
						err := db.QueryRowContext(context.Background(), "SELECT COALESCE(pg_relation_size(to_regclass('events')), 0)").Scan(&size)
						return err == nil && size > int64(n+1)<<18
					}
				}
				killWhen(t, command(t, target, "restore", "--replace", path), isFilling)
				if counted, stored := countEvents(t, target); counted != stored || stored != 0 && stored != events {
					t.Errorf("after a kill the sessions have %d events, and %d are stored", counted, stored)
				}
			}
			mustRun(t, target, "restore", "--replace", path)
			startBackend(t, target).stop()
			if counted, stored := countEvents(t, target); counted != events || stored != events {
				t.Errorf("%d events are stored, and the sessions have %d; want %d", stored, counted, events)
			}
		})
	})
}

// countEvents returns the number of events that the sessions have, and that are stored.
func countEvents(t *testing.T, env map[string]string) (counted, stored int) {
	t.Helper()
	db := openDatabase(t, env)
	defer db.Close()
	err := db.QueryRowContext(t.Context(), "SELECT (SELECT SUM(event_count) FROM sessions), (SELECT COUNT(*) FROM events)").Scan(&counted, &stored)
	if err != nil {
		t.Fatal(err)
	}
	return counted, stored
}

// TestBackupOfABucket checks that target files go from a bucket to a backup, from there to
// a folder, and back to another bucket; that a backup without the bucket fails; and that
// a file that the bucket does not have is named.
func TestBackupOfABucket(t *testing.T) {
	t.Parallel()
	from, to := startBucket(t, time.Now()), startBucket(t, time.Now())
	source := from.settings(map[string]string{"DATA_DIR": t.TempDir()})
	b := startBackend(t, source)
	content := strings.Repeat("MZ", 1<<17)
	id := b.createSession("a.exe", content)["sessionId"].(string)
	path, again := filepath.Join(t.TempDir(), "1.backup"), filepath.Join(t.TempDir(), "2.backup")
	from.isDown.Store(true)
	if _, err := runProgram(t, source, "backup", path); err == nil || !strings.Contains(err.Error(), "FILES_URL") {
		t.Error("without the bucket: ", err)
	}
	from.isDown.Store(false)
	mustRun(t, source, "backup", path)
	folder := map[string]string{"DATA_DIR": t.TempDir()}
	mustRun(t, folder, "restore", path)
	mustRun(t, folder, "backup", again)
	target := to.settings(map[string]string{"DATA_DIR": t.TempDir()})
	mustRun(t, target, "restore", again)
	if got, want := to.files(t), from.files(t); !strings.Contains(got, hashOf(content)) || !strings.Contains(want, got) {
		t.Errorf("the other bucket has %s, the first one %s", got, want)
	}
	b = startBackend(t, target)
	if a := b.send("GET", "/api/sessions/"+id+"/file?raw=true", ""); string(a.body) != content {
		t.Errorf("the file: %d, %d bytes", a.status, len(a.body))
	}
	b.stop()
	if err := os.RemoveAll(filepath.Join(folder["DATA_DIR"], "files")); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{mustRun(t, folder, "backup", "--force", again), mustRun(t, nil, "restore", "--verify", again)} {
		if !strings.Contains(out, "warning: the storage did not have the target file "+hashOf(content)) {
			t.Errorf("without the file: %s", out)
		}
	}
}

// TestBackupOfSealedSessions checks that sealed events are in a backup, are exported alike
// after a restore into either database, and become the same rows again.
func TestBackupOfSealedSessions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		const events = 5000
		for n := 0; n < events; n += 1000 {
			var lines strings.Builder
			for i := range 1000 {
				fmt.Fprintf(&lines, `{"event_type":"x","source":"x","data":%s}`+"\n", oddData[i%len(oddData)])
			}
			if a := b.send("POST", "/api/events/batch", lines.String(), "Content-Type: application/x-ndjson"); a.status != http.StatusOK && a.status != http.StatusAccepted {
				t.Fatalf("%d %.300s", a.status, a.body)
			}
		}
		waitForDrain(t, b)
		want := map[string][]byte{"unassigned": b.exportAs(t, "unassigned", "format=ndjson").body}
		mustRun(t, env, "seal", "unassigned")
		if _, stored := countEvents(t, env); stored >= events {
			t.Fatalf("%d rows: nothing is sealed", stored)
		}
		path := filepath.Join(t.TempDir(), "x.backup")
		if out := mustRun(t, env, "backup", path); !strings.Contains(out, " 5000 events ") || strings.Contains(out, "warning") {
			t.Error(out)
		}
		eachTarget(t, func(t *testing.T, target map[string]string) {
			wantRestored(t, target, path, want)
			mustRun(t, target, "unseal", "unassigned")
			if _, stored := countEvents(t, target); stored != events {
				t.Errorf("%d of %d events are rows", stored, events)
			}
			b := startBackend(t, target)
			if got := b.exportAs(t, "unassigned", "format=ndjson").body; !bytes.Equal(got, want["unassigned"]) {
				t.Error("the export differs after the segments were unsealed")
			}
			b.stop()
		})
	})
}
