// Package dbtest opens fresh, migrated databases for tests, on SQLite and on a real
// PostgreSQL server.
//
// The server is that of TEST_DATABASE_URL, a role that may create databases. If that is
// unset, the package starts one from installed binaries for the test binary, whose
// TestMain must be dbtest.Main.
package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/stdlib"

	"ospulse/internal/database"
	"ospulse/test/pgtest"
)

// server is the PostgreSQL server of this test binary, started by the first test
// that needs it.
type server struct {
	once    sync.Once
	started *pgtest.Server // nil with TEST_DATABASE_URL
	url     func(name string) string
	err     error
}

var shared server //nolint:gochecknoglobals // one server per test binary, stopped by Main

// Main runs the tests and then stops the server: func TestMain(m *testing.M) {
// os.Exit(dbtest.Main(m)) }.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.started != nil {
		if err := shared.started.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			code = max(code, 1)
		}
	}
	return code
}

// Each runs fn as a subtest on each database. The test t runs beside other tests.
func Each(t *testing.T, fn func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Parallel()
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": SQLite, "postgres": Postgres} {
		t.Run(name, func(t *testing.T) { fn(t, Open(t, options(t))) })
	}
}

// Open opens and migrates a database, and closes it when the test ends.
func Open(t testing.TB, o database.Options) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error("close the database:", err)
		}
	})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// SQLite returns the options of a database file that does not exist yet.
func SQLite(t testing.TB) database.Options {
	return options(database.Options{Path: filepath.Join(t.TempDir(), "test.db")})
}

// Postgres returns the options of an empty database, which is dropped when the test
// ends.
func Postgres(t testing.TB) database.Options {
	t.Helper()
	shared.once.Do(shared.start)
	if shared.err != nil {
		t.Fatal("no PostgreSQL for the tests: ", shared.err)
	}
	name := "test_" + uuid.NewString()
	admin(t, `CREATE DATABASE "`+name+`"`)
	t.Cleanup(func() { admin(t, `DROP DATABASE "`+name+`" WITH (FORCE)`) })
	return options(database.Options{URL: shared.url(name)})
}

func options(o database.Options) database.Options {
	o.PoolSize = 16
	o.AllowWeak = true // pgtest's servers do not sync, for speed
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return o
}

func (s *server) start() {
	if given := os.Getenv("TEST_DATABASE_URL"); given != "" {
		base, err := url.Parse(given)
		if err != nil {
			s.err = fmt.Errorf("TEST_DATABASE_URL: %w", err)
			return
		}
		s.url = func(name string) string {
			u := *base
			if name != "" {
				u.Path = "/" + name
			}
			return u.String()
		}
		return
	}
	if s.started, s.err = pgtest.Start(context.Background(), pgtest.Options{}); s.err == nil {
		s.url = func(name string) string {
			if name == "" {
				name = "postgres"
			}
			return s.started.URL(name)
		}
	}
}

// admin runs a statement on the server's own database.
func admin(t testing.TB, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", shared.url(""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

var _ = stdlib.GetDefaultDriver // registers "pgx"
