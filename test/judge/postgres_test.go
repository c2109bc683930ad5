//go:build linux

package judge

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// The backends' role owns the database and is not a superuser, so that its privileges
// can be revoked.
const role, databaseName = "app", "ospulse"

// postgres is a PostgreSQL server, perhaps with a streaming standby.
type postgres struct {
	parent  string // folder
	servers [2]*pgtest.Server
	primary int
	standby bool // it has a standby
	sync    bool // commits wait for the standby

	proxies [][2]*proxy // to the servers, for each backend
}

// maxConnections is small, so that a test can use them all.
const maxConnections = 40

func settings() map[string]string {
	return map[string]string{
		"max_connections": fmt.Sprint(maxConnections), "shared_buffers": "32MB", "max_wal_size": "96MB", "min_wal_size": "32MB",
		"wal_keep_size": "64MB", "autovacuum_naptime": "5s",
		"wal_writer_delay": "10s", // keeps asynchronous commits in memory
	}
}

// startPostgres starts a server with fsync on, and its standby.
func startPostgres(t testing.TB, parent string, backends int, standby, sync bool) *postgres {
	t.Helper()
	p := &postgres{parent: parent, standby: standby, sync: sync}
	var err error
	if p.servers[0], err = pgtest.Start(t.Context(), pgtest.Options{Durable: true, Parent: parent, Settings: settings()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range p.servers {
			if s == nil {
				continue
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for _, sql := range []string{"CREATE ROLE " + role + " LOGIN", "CREATE DATABASE " + databaseName + " OWNER " + role} {
		if err := p.servers[0].Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for range backends {
		p.proxies = append(p.proxies, [2]*proxy{newProxy(t, p.servers[0].Address()), newProxy(t, "127.0.0.1:1")})
	}
	if standby {
		if err := p.addStandby(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// url returns the database URL of a backend.
func (p *postgres) url(backend int) string {
	hosts := p.proxies[backend][0].address()
	query := "sslmode=disable&connect_timeout=2"
	if p.standby {
		hosts += "," + p.proxies[backend][1].address()
		query += "&target_session_attrs=read-write"
	}
	return "postgres://" + role + "@" + hosts + "/" + databaseName + "?" + query
}

// serving returns the primary.
func (p *postgres) serving() *pgtest.Server { return p.servers[p.primary] }

// pid returns the process ID of the primary.
func (p *postgres) pid() (int, error) {
	_, port, err := net.SplitHostPort(p.serving().Address())
	if err != nil {
		return 0, err
	}
	names, err := filepath.Glob(filepath.Join(p.parent, "*", "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		if lines := strings.Split(string(text), "\n"); len(lines) > 3 && lines[3] == port {
			return strconv.Atoi(lines[0])
		}
	}
	return 0, fmt.Errorf("no server on port %s", port)
}

// connect connects as a superuser, bypassing the proxies.
func (p *postgres) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, p.serving().URL(databaseName))
}

// exec runs statements in the backends' database, as a superuser.
func (p *postgres) exec(ctx context.Context, statements ...string) error {
	conn, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// network sets the network of some backends, or of all.
func (p *postgres) network(state network, backends ...int) {
	for i, pair := range p.proxies {
		if len(backends) == 0 || slices.Contains(backends, i) {
			pair[0].set(state)
			pair[1].set(state)
		}
	}
}

// resetConnections resets every connection once.
func (p *postgres) resetConnections() {
	for _, pair := range p.proxies {
		pair[0].reset()
		pair[1].reset()
	}
}

// addStandby creates a standby of the primary in the other place, and returns once it
// is synchronous or streaming.
func (p *postgres) addStandby(ctx context.Context) error {
	place := 1 - p.primary
	if old := p.servers[place]; old != nil {
		if err := old.Close(); err != nil {
			return err
		}
	}
	s, err := pgtest.Start(ctx, pgtest.Options{Durable: true, Parent: p.parent, Settings: settings(), Primary: p.serving()})
	if err != nil {
		return err
	}
	p.servers[place] = s
	for _, pair := range p.proxies {
		pair[place].redirect(s.Address())
	}
	names := ""
	if p.sync {
		names = pgtest.ApplicationName
	}
	if err := p.exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	return p.awaitStandby(ctx)
}

// awaitStandby returns when the standby has everything that is committed.
func (p *postgres) awaitStandby(ctx context.Context) error {
	state := "async"
	if p.sync {
		state = "sync"
	}
	conn, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for deadline := time.Now().Add(wait.Patience); ; <-time.After(20 * time.Millisecond) {
		var ok bool
		err := conn.QueryRow(ctx, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1 AND flush_lsn >= pg_current_wal_lsn() - 100000", state).Scan(&ok)
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the standby does not stream:\n%s", p.servers[1-p.primary].LogTail())
		}
	}
}

// failover promotes the standby. The old primary is removed.
func (p *postgres) failover(ctx context.Context) error {
	if err := p.serving().Stop(pgtest.Immediate); err != nil {
		return err
	}
	p.primary = 1 - p.primary
	return p.serving().Promote(ctx)
}

// tables returns the names of the application's tables, to lock or revoke them.
func (p *postgres) tables() []string {
	return strings.Fields("events sessions writer_marks idempotency_keys")
}
