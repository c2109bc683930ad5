package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"ospulse/internal/database"
	"ospulse/test/pgtest"
	"ospulse/test/testbed"
)

// The databases, as database.DB names them.
const (
	sqlite   = "sqlite"
	postgres = "postgres"
)

// lab is shared by all measurements: a temporary folder and the programs that run in it.
type lab struct {
	time     time.Duration // of one measurement
	sizes    sizes
	progress io.Writer
	dir      string
	bodies   *bodies
	binary   string // the backend
	agent    *localServer
	bare     *testbed.Process
	server   *pgtest.Server // nil until a measurement needs it
	stores   int            // so far
	archives map[archiveKey]*archive
	notes    map[string][]string // by database: further lines of the report

	programs, flows func() (*corpus, error) // the recorded events
	victoria        victoria
	previous        string // path of an older backend; "" if it does not take part
}

// openLab builds the backend and starts what every measurement needs.
func openLab(ctx context.Context, o options, progress io.Writer) (l *lab, err error) {
	l = &lab{time: o.time, sizes: o.sizes, previous: o.previous, progress: progress, archives: map[archiveKey]*archive{}, notes: map[string][]string{}}
	l.programs = sync.OnceValues(func() (*corpus, error) { return newCorpus(time.Now(), programs...) })
	l.flows = sync.OnceValues(func() (*corpus, error) { return newCorpus(time.Now(), httpFlows) })
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.dir, err = os.MkdirTemp("", "ospulse-bench-"); err != nil {
		return l, err
	}
	if l.bodies, err = newBodies(); err != nil {
		return l, fmt.Errorf("make the events: %w", err)
	}
	if l.agent, err = startAgent(ctx); err != nil {
		return l, fmt.Errorf("start the agent: %w", err)
	}
	l.say("building the backend")
	if l.binary, err = testbed.Build(ctx, l.dir, "ospulse-backend", "ospulse"); err != nil {
		return l, err
	}
	self, err := os.Executable()
	if err != nil {
		return l, err
	}
	if l.bare, err = testbed.Start(ctx, l.dir, []string{bareVariable + "=1"}, self); err != nil {
		return l, err
	}
	if o.victoria && l.needsVictoria(o) {
		l.buildVictoria(ctx)
	}
	return l, nil
}

// close ends everything and removes the folder.
func (l *lab) close() error {
	errs := []error{l.removeArchives()}
	if l.bare != nil {
		errs = append(errs, l.bare.Stop())
	}
	if l.agent != nil {
		errs = append(errs, l.agent.close())
	}
	if l.server != nil {
		errs = append(errs, l.server.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// say reports progress.
func (l *lab) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l.progress, format+"\n", args...)
}

// store is an empty database, and a folder, for one measurement.
type store struct {
	dir     string
	options database.Options
	remove  func() error
}

func (l *lab) newStore(ctx context.Context, dialect string) (store, error) {
	l.stores++
	name := fmt.Sprintf("bench_%d", l.stores)
	s := store{dir: filepath.Join(l.dir, name), options: database.Options{PoolSize: 16, Log: slog.New(slog.DiscardHandler)}}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return s, err
	}
	if dialect == sqlite {
		s.options.Path = filepath.Join(s.dir, "ospulse.db") // where the backend has it
		s.remove = func() error { return os.RemoveAll(s.dir) }
		return s, nil
	}
	if l.server == nil {
		var err error
		if l.server, err = pgtest.Start(ctx, pgtest.Options{Durable: true}); err != nil {
			return s, err
		}
	}
	if err := l.server.CreateDatabase(ctx, name); err != nil {
		return s, err
	}
	s.options.URL = l.server.URL(name)
	s.remove = func() error {
		return errors.Join(l.dropDatabase(context.WithoutCancel(ctx), name), os.RemoveAll(s.dir))
	}
	return s, nil
}

// withStore calls fn with an empty database, and then removes the database.
func (l *lab) withStore(ctx context.Context, dialect string, fn func(store) error) (err error) {
	s, err := l.newStore(ctx, dialect)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	return fn(s)
}

// dropDatabase drops a database. PostgreSQL runs a checkpoint for it, so pending writes
// do not slow the next measurement.
func (l *lab) dropDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, l.server.URL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP DATABASE "+pgx.Identifier{name}.Sanitize())
	return errors.Join(err, conn.Close(ctx))
}
