package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"ospulse/internal/durable"
	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// durability returns the durability in its three places: /readyz, /api/health and the
// session "unassigned".
func (b *backend) durability() (readyz, health, session string) {
	b.t.Helper()
	var r, h struct{ Durability string }
	var s struct{ Completeness struct{ Durability string } }
	a := b.send("GET", "/readyz", "")
	b.decode(a, a.status, &r)
	b.decode(b.send("GET", "/api/health", ""), http.StatusOK, &h)
	b.decode(b.send("GET", "/api/sessions/unassigned", ""), http.StatusOK, &s)
	return r.Durability, h.Durability, s.Completeness.Durability
}

func wantDurability(t *testing.T, b *backend, now, session string) {
	t.Helper()
	if r, h, s := b.durability(); r != now || h != now || s != session {
		t.Errorf("readyz says %q and health %q, want %q; the session says %q, want %q", r, h, now, s, session)
	}
}

// startDurablePostgres starts a server that syncs unless settings change that.
func startDurablePostgres(t *testing.T, settings map[string]string) (server *pgtest.Server, url string) {
	t.Helper()
	return startPostgresWith(t, pgtest.Options{Durable: true, Settings: settings})
}

// onPostgres runs statements, each in its own transaction.
func onPostgres(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (b *backend) postEvent(status int) {
	b.t.Helper()
	if a := b.send("POST", "/api/events", `{"event_type":"x"}`); a.status != status {
		b.t.Errorf("an event got %d %s, want %d", a.status, a.body, status)
	}
}

// TestDurabilityOfSQLite checks that the embedded database syncs and that only its
// folder can make it weak.
func TestDurabilityOfSQLite(t *testing.T) {
	t.Parallel()
	dirs := map[string]string{"temporary folder": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "ospulse-test-"); err == nil { // in memory, where this folder exists
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		dirs["shared memory"] = dir
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			want, check := "disk", "ok"
			if why := durable.Weakness(dir); why != "" { // on some machines both are
				want = "weak: the data folder " + why
				check = want
			}
			b := startBackend(t, map[string]string{"DATABASE_ALLOW_WEAK": "", "DATA_DIR": filepath.Join(dir, "data")})
			b.postEvent(http.StatusOK)
			wantDurability(t, b, want, want)
			var ready struct{ Checks map[string]string }
			if b.decode(b.send("GET", "/readyz", ""), http.StatusOK, &ready); ready.Checks["durability"] != check {
				t.Errorf("/readyz says %v", ready.Checks)
			}
			b.stop()
		})
	}
}

// TestDurabilityOfASpoolInMemory checks that a spool in memory is reported although
// PostgreSQL syncs.
func TestDurabilityOfASpoolInMemory(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/dev/shm", "ospulse-test-")
	if err != nil { // this machine has no such folder
		dir = t.TempDir()
	}
	_, url := startDurablePostgres(t, nil)
	check := "ok"
	if why := durable.Weakness(dir); why != "" {
		check = "weak: the spool " + why
	}
	b := startBackend(t, map[string]string{"DATABASE_ALLOW_WEAK": "", "DATABASE_URL": url, "DATA_DIR": dir})
	t.Cleanup(func() {
		b.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	wantDurability(t, b, "disk", "disk")
	var ready struct{ Checks map[string]string }
	if b.decode(b.send("GET", "/readyz", ""), http.StatusOK, &ready); ready.Checks["durability"] != check {
		t.Errorf("/readyz says %v, want %s", ready.Checks, check)
	}
}

// TestFsyncOffIsRefusedUnlessAllowed checks that a server which does not sync is
// refused, or, if it is allowed, that its sessions are marked permanently.
func TestFsyncOffIsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	server, url := startDurablePostgres(t, nil)
	reload := func(fsync string) {
		onPostgres(t, url, "ALTER SYSTEM SET fsync = "+fsync, "SELECT pg_reload_conf()")
		wait.For(t, "fsync = "+fsync, func() bool {
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			var now string
			return conn.QueryRow(t.Context(), "SHOW fsync").Scan(&now) == nil && now == fsync
		})
	}
	env := map[string]string{"DATABASE_URL": url, "DATABASE_ALLOW_WEAK": "", "DATA_DIR": t.TempDir()}
	b := startBackend(t, env)
	wantDurability(t, b, "disk", "disk")
	b.postEvent(http.StatusOK)

	// The server becomes weak while the backend runs: new events are kept in the
	// backend's spool, and none is acknowledged as stored.
	reload("off")
	wait.For(t, "events that are spooled", func() bool {
		return b.send("POST", "/api/events", `{"event_type":"x"}`).status == http.StatusAccepted
	})
	if a := b.send("GET", "/readyz", ""); a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "DATABASE_ALLOW_WEAK") {
		t.Errorf("/readyz says %d %s", a.status, a.body)
	}
	wantError(t, b.upload(`form-data; name="file"; filename="a"`, "MZ"), http.StatusServiceUnavailable, "unavailable", "database")
	wantDurability(t, b, "weak: fsync is off", "disk")
	reload("on")
	waitForDrain(t, b)
	b.postEvent(http.StatusOK)
	wantDurability(t, b, "disk", "disk")
	b.stop()

	reload("off")
	p := command(t, map[string]string{"DATABASE_URL": url, "DATABASE_ALLOW_WEAK": "false", "DATABASE_WAIT": "10m", "DATA_DIR": t.TempDir()})
	if err := p.Run(); err == nil || !strings.Contains(p.stderr.String(), "fsync = off") || !strings.Contains(p.stderr.String(), "DATABASE_ALLOW_WEAK=true") ||
		strings.Count(p.stderr.String(), "\n") != 1 {
		t.Errorf("it ended with %v: %s", err, p.stderr.String())
	}
	if _, ok := p.ProcessState.Sys().(interface{ Exited() bool }); !ok || p.ProcessState.ExitCode() != 1 {
		t.Errorf("the exit code is %d", p.ProcessState.ExitCode())
	}

	env["DATABASE_ALLOW_WEAK"] = "true"
	b = startBackend(t, env)
	wantDurability(t, b, "weak: fsync is off", "disk")
	b.postEvent(http.StatusOK)
	wantDurability(t, b, "weak: fsync is off", "weak: fsync is off")
	var ready struct{ Checks map[string]string }
	if b.decode(b.send("GET", "/readyz", ""), http.StatusOK, &ready); ready.Checks["durability"] != "weak: fsync is off" {
		t.Errorf("/readyz says %v", ready.Checks)
	}

	reload("on")
	wait.For(t, "durability", func() bool { now, _, _ := b.durability(); return now == "disk" })
	b.postEvent(http.StatusOK)
	wantDurability(t, b, "disk", "weak: fsync is off")
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
}

// TestWeakPostgres checks that every setting with which a server loses commits is
// reported, also if it is set for one role or database only.
func TestWeakPostgres(t *testing.T) {
	t.Parallel()
	_, url := startDurablePostgres(t, map[string]string{"full_page_writes": "off", "data_sync_retry": "on"})
	onPostgres(t, url, "ALTER ROLE postgres SET synchronous_commit = off", "ALTER DATABASE ospulse SET synchronous_commit = off")
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "DATABASE_ALLOW_WEAK": ""})
	wantDurability(t, b, "weak: full_page_writes is off", "weak: full_page_writes is off")

	onPostgres(t, url, `CREATE TABLE seen (what text, level text)`,
		`CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NULL; END $$`,
		`CREATE TRIGGER see AFTER INSERT OR UPDATE ON events EXECUTE FUNCTION see()`, `CREATE TRIGGER see AFTER INSERT OR UPDATE ON sessions EXECUTE FUNCTION see()`)
	b.postEvent(http.StatusOK) // appends
	id := b.createSession("a.exe", "MZ")["sessionId"].(string)
	if a := b.send("PATCH", "/api/sessions/"+id, `{"name":"x"}`); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.send("GET", "/api/events/unsent?sessionId=unassigned", "") // claims
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var events, sessions, weak int
	err = conn.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE what = 'events'), count(*) FILTER (WHERE what = 'sessions'), count(*) FILTER (WHERE level <> 'on') FROM seen").Scan(&events, &sessions, &weak)
	if err != nil || events < 1 || sessions < 3 || weak > 0 {
		t.Errorf("%d writes of events and %d of sessions were seen, %d with a weak synchronous_commit, %v", events, sessions, weak, err)
	}

	onPostgres(t, url, "ALTER SYSTEM RESET full_page_writes") // the command line has precedence
	_, other := startDurablePostgres(t, map[string]string{"data_sync_retry": "on"})
	b = startBackend(t, map[string]string{"DATABASE_URL": other, "DATABASE_ALLOW_WEAK": ""})
	wantDurability(t, b, "weak: data_sync_retry is on", "weak: data_sync_retry is on")
}

// TestUnloggedTableIsWeak checks an unlogged table, which a crash empties.
func TestUnloggedTableIsWeak(t *testing.T) {
	t.Parallel()
	_, url := startDurablePostgres(t, nil)
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "DATABASE_ALLOW_WEAK": ""})
	b.postEvent(http.StatusOK)
	wantDurability(t, b, "disk", "disk")
	onPostgres(t, url, "ALTER TABLE events SET UNLOGGED")
	wantDurability(t, b, "weak: table events is unlogged", "disk")
	b.postEvent(http.StatusOK)
	onPostgres(t, url, "ALTER TABLE events SET LOGGED")
	wantDurability(t, b, "disk", "weak: table events is unlogged")
}

// TestReplicatedDurability checks that "replicated" is reported only if commits wait
// for a standby. pg_receivewal is the smallest standby.
func TestReplicatedDurability(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]string{"local": "disk", "remote_write": "replicated", "on": "replicated"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			_, url := startDurablePostgres(t, nil)
			bin, err := pgtest.BinDir()
			if err != nil {
				t.Fatal(err)
			}
			// With --synchronous it confirms at once. It ends with the test.
			standby := exec.CommandContext(t.Context(), bin+"/pg_receivewal", "-D", t.TempDir(), "--synchronous", "-d", url+"&application_name=standby")
			if err := standby.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				standby.Process.Kill() //nolint:errcheck // it may have ended
				standby.Wait()         //nolint:errcheck // it was killed
			})
			onPostgres(t, url, "ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
			b := startBackend(t, map[string]string{"DATABASE_URL": url, "DATABASE_ALLOW_WEAK": "", "DATABASE_SYNC": level})
			b.postEvent(http.StatusOK)
			wantDurability(t, b, want, want)
			if want == "replicated" {
				// Without its standbys, a commit is only on the local disk, and the
				// session keeps that mark.
				onPostgres(t, url, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
				wait.For(t, "durability", func() bool { now, _, _ := b.durability(); return now == "disk" })
				b.postEvent(http.StatusOK)
				wantDurability(t, b, "disk", "disk")
			}
		})
	}
}
