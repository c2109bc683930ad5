package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"ospulse/internal/app"
	"ospulse/test/pgtest"
)

// spoolCommand runs the subcommand and returns its output.
func spoolCommand(t *testing.T, env map[string]string, args ...string) (string, error) {
	t.Helper()
	settings := map[string]string{"DATABASE_ALLOW_WEAK": "true"}
	for name, value := range env {
		settings[name] = value
	}
	var out bytes.Buffer
	err := app.Run(t.Context(), append([]string{"spool"}, args...), func(name string) string { return settings[name] }, &out)
	return out.String(), err
}

// TestSpoolListExportRetry checks that events which the database refuses are listed and
// exported, and stored again once an operator has repaired the database.
func TestSpoolListExportRetry(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		db := openDatabase(t, env)
		exec := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		refuse, allow := "ALTER TABLE events ADD CONSTRAINT bad CHECK (source NOT LIKE 'bad%')", "ALTER TABLE events DROP CONSTRAINT bad"
		if env["DATABASE_URL"] == "" {
			refuse, allow = "CREATE TRIGGER bad BEFORE INSERT ON events WHEN NEW.source LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'bad'); END", "DROP TRIGGER bad"
		}
		exec(refuse)
		exec("ALTER TABLE processes RENAME TO gone")
		b.postSpooled("1", "bad 2", "3", "bad 4")
		exec("ALTER TABLE gone RENAME TO processes")
		b.wantSources("1", "os-pulse-backend", "3", "os-pulse-backend")
		if _, err := spoolCommand(t, env, "list"); err == nil || !strings.Contains(err.Error(), "a running backend has it") {
			t.Errorf("beside a running backend: %v", err)
		}
		b.stop()

		list, err := spoolCommand(t, env, "list")
		if lines := strings.Split(strings.TrimSpace(list), "\n"); err != nil || len(lines) != 2 || !strings.HasPrefix(lines[0], "1.1\t") ||
			!strings.Contains(lines[0], "session unassigned\t1 events\t\"x\"\ta rule of the database refuses the value") {
			t.Errorf("list: %v\n%s", err, list)
		}
		exported, err := spoolCommand(t, env, "export")
		if lines := strings.Split(strings.TrimSpace(exported), "\n"); err != nil || len(lines) != 2 {
			t.Errorf("export: %v\n%s", err, exported)
		} else {
			var e struct {
				Source string
				Data   struct{ PID int }
			}
			if err := json.Unmarshal([]byte(lines[1]), &e); err != nil || e.Source != "bad 4" || e.Data.PID != 7 {
				t.Errorf("export: %v %s", err, lines[1])
			}
		}

		exec(allow)
		if out, err := spoolCommand(t, env, "retry", "1.2", "7.7"); err == nil || !strings.Contains(err.Error(), "7.7") || !strings.HasPrefix(out, "1 events") {
			t.Errorf("retry: %v %s", err, out)
		}
		b = startBackend(t, env)
		b.wantSources("1", "os-pulse-backend", "3", "os-pulse-backend", "bad 4")
		if text := b.checks()["set_aside"]; !strings.HasPrefix(text, "1 acknowledged") {
			t.Errorf("after one was retried: %s", text)
		}
		b.stop()
		if out, err := spoolCommand(t, env, "retry"); err != nil || !strings.HasPrefix(out, "1 events") {
			t.Errorf("retry: %v %s", err, out)
		}
		b = startBackend(t, env)
		b.wantSources("1", "os-pulse-backend", "3", "os-pulse-backend", "bad 4", "bad 2")
		if text := b.checks()["set_aside"]; text != "ok" {
			t.Errorf("after all were retried: %s", text)
		}
	})
}

// TestSpoolDrain checks that another program stores the spool of an abandoned backend
// once, in order.
func TestSpoolDrain(t *testing.T) {
	t.Parallel()
	server, url := startPostgres(t)
	env := map[string]string{"DATABASE_URL": url, "DATA_DIR": t.TempDir()}
	dir := filepath.Join(env["DATA_DIR"], "spool")
	p := command(t, env)
	p.start(t)
	dead := &backend{t: t, url: p.url}
	if err := server.Stop(pgtest.Immediate); err != nil {
		t.Fatal(err)
	}
	var want []string
	for n := range 50 {
		want = append(want, fmt.Sprint(n))
	}
	dead.postSpooled(want...)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait() //nolint:errcheck // the error says that it was killed

	elsewhere := map[string]string{"DATABASE_URL": url, "DATA_DIR": t.TempDir()}
	for range 2 { // the second time the spool is empty
		if out, err := spoolCommand(t, elsewhere, "drain", dir); err != nil || !strings.Contains(out, "left=0") {
			t.Errorf("drain: %v\n%s", err, out)
		}
	}
	b := startBackend(t, elsewhere)
	b.wantSources(want...)
	again := startBackend(t, env) // it comes back after all
	if a := again.send("POST", "/api/events", `{"event_type":"x","source":"last"}`); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	again.wantSources(append(want, "last")...)
	if _, err := spoolCommand(t, elsewhere, "drain", dir); err == nil || !strings.Contains(err.Error(), "a running backend has it") {
		t.Errorf("beside its backend: %v", err)
	}
	if _, err := spoolCommand(t, elsewhere, "drain", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that is not there is drained")
	}
	for _, args := range [][]string{nil, {"what"}, {"drain"}, {"list", "x"}} {
		if _, err := spoolCommand(t, elsewhere, args...); err == nil || !strings.Contains(err.Error(), "spool --help") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if out, err := spoolCommand(t, elsewhere, "--help"); err != nil || !strings.Contains(out, "drain DIR") {
		t.Errorf("--help: %v %s", err, out)
	}
}
