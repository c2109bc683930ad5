package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// start starts a server with a context that ends before the test does, so that every
// test checks that the server survives it.
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// query runs one statement and returns the first column of its first row, or "".
func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func TestServer(t *testing.T) {
	s := start(t, Options{Settings: map[string]string{"work_mem": "5MB"}})

	t.Run("tests get a server that does not sync", func(t *testing.T) {
		for setting, want := range map[string]string{
			"fsync":            "off",
			"full_page_writes": "off",
			"work_mem":         "5MB",
			"server_encoding":  "UTF8",
			"listen_addresses": "127.0.0.1",
		} {
			if got := query(t, s.URL("postgres"), "SHOW "+setting); got != want {
				t.Errorf("%s is %q, want %q", setting, got, want)
			}
		}
	})

	t.Run("databases are separate, and any name will do", func(t *testing.T) {
		for _, name := range []string{"plain", `odd "name" with / ? # % and ü`} {
			if err := s.CreateDatabase(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			if got := query(t, s.URL(name), "SELECT current_database()"); got != name {
				t.Errorf("the URL leads to %q, want %q", got, name)
			}
			query(t, s.URL(name), "CREATE TABLE mine (x int)")
		}
		if err := s.CreateDatabase(t.Context(), "plain"); err == nil {
			t.Error("a second database of the same name was created")
		}
	})

	for _, mode := range []StopMode{Fast, Immediate} {
		t.Run("a committed row outlives a stop: "+string(mode), func(t *testing.T) {
			db := "stop_" + string(mode)
			if err := s.CreateDatabase(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			url := s.URL(db)
			query(t, url, "CREATE TABLE t AS SELECT 'kept' AS x")
			for range 2 { // the second time it is not running
				if err := s.Stop(mode); err != nil {
					t.Fatal(err)
				}
			}
			if listens(t, s.Address()) {
				t.Fatal("the server still takes connections")
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := query(t, url, "SELECT x FROM t"); got != "kept" {
				t.Errorf("the row reads %q", got)
			}
		})
	}

	t.Run("a running server is restarted", func(t *testing.T) {
		const started = "SELECT pg_postmaster_start_time()::text"
		before := query(t, s.URL("postgres"), started)
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if query(t, s.URL("postgres"), started) == before {
			t.Error("it is the same server process")
		}
	})

	t.Run("a port that another holds is reported as that", func(t *testing.T) {
		if err := s.Stop(Fast); err != nil {
			t.Fatal(err)
		}
		var config net.ListenConfig
		l, err := config.Listen(t.Context(), "tcp4", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		err = s.Restart(t.Context())
		if !errors.Is(err, errPortTaken) {
			t.Errorf("got %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("an unknown stop mode is refused", func(t *testing.T) {
		if err := s.Stop("smart"); err == nil || !listens(t, s.Address()) {
			t.Errorf("error %v, still up: %v", err, listens(t, s.Address()))
		}
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	s := start(t, Options{Durable: true})
	if got := query(t, s.URL("postgres"), "SHOW fsync"); got != "on" {
		t.Errorf("a durable server has fsync %q", got)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if listens(t, s.Address()) {
		t.Error("the server still takes connections")
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestFailedStart(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		opts Options
		want string
	}{
		"says what the log says": {
			ctx:  t.Context(),
			opts: Options{Settings: map[string]string{"no_such_setting": "1"}},
			want: `unrecognized configuration parameter "no_such_setting"`,
		},
		"says that the context ended": {ctx: cancelled, want: context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			for dir := tmp; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755); err != nil { // for the user that runs PostgreSQL
					t.Fatal(err)
				}
			}
			t.Setenv("TMPDIR", tmp)
			s, err := Start(c.ctx, c.opts)
			if err == nil {
				t.Fatal(errors.Join(errors.New("it started"), s.Close()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error does not say %q: %v", c.want, err)
			}
			left, err := os.ReadDir(tmp)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func TestNewestBinDir(t *testing.T) {
	root := t.TempDir()
	install := func(version string, binaries ...string) string {
		dir := filepath.Join(root, version, "bin")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range binaries {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	old := install("9.6", "initdb", "postgres")
	newer := install("13", "initdb", "postgres")
	clientOnly := install("17", "psql")
	odd := install("latest", "initdb", "postgres")

	for name, c := range map[string]struct {
		dirs []string
		want string
	}{
		"numbers are compared as numbers": {[]string{newer, old}, newer},
		"a server is needed":              {[]string{old, newer, clientOnly}, newer},
		"a version is needed":             {[]string{odd}, ""},
		"nothing is installed":            {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newestBinDir(c.dirs); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// listens reports whether a TCP connection to address works.
func listens(t *testing.T, address string) bool {
	t.Helper()
	dialer := net.Dialer{Timeout: time.Minute}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	return true
}

// TestStandby checks a failover: the standby has the synchronous commits, and accepts
// writes once it is promoted.
func TestStandby(t *testing.T) {
	primary := start(t, Options{})
	standby := start(t, Options{Primary: primary})
	for _, sql := range []string{
		"ALTER SYSTEM SET synchronous_standby_names = '" + ApplicationName + "'", "SELECT pg_reload_conf()",
		"CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)",
	} {
		if err := primary.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := primary.Stop(Immediate); err != nil {
		t.Fatal(err)
	}
	if got := query(t, standby.URL("postgres"), "SELECT pg_is_in_recovery()::text"); got != "true" {
		t.Errorf("the standby is in recovery: %s", got)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query(t, standby.URL("postgres"), "INSERT INTO t VALUES (2) RETURNING (SELECT count(*) FROM t)::text"); got != "1" {
		t.Errorf("the promoted standby has %s rows", got)
	}
}
