// Command bench compares the backend with the limits of the machine: how fast a bare
// HTTP server decodes the requests, and how fast the database stores and reads the same
// rows without HTTP. A scenario and its limits run one right after the other, so their
// ratio is comparable between machines; absolute figures are not.
//
// scenario.go lists the scenarios. Each group has a file: ingest.go stores events,
// query.go and export.go read what archive.go has stored, stream.go follows new events,
// and real.go does the same with recorded events, beside VictoriaLogs (victoria.go).
// keys.go compares a backend that requires keys with an open one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"ospulse/test/testbed"
)

const help = `bench compares the backend with the limits of this machine.

Usage: go run ./test/bench [flags]

  -db NAME      sqlite, postgres or all (default)
  -run REGEXP   the scenarios to run, by name, with their limits
  -rounds N     each on fresh databases (3); a figure is the median of the rounds
  -time D       of each measurement (3s), after a warm-up of 0.5s
  -events N     events in each of the ten sessions that are queried (1000000)
  -large=false  leave out the pages of a session with ten times as many events
  -json FILE    also write the figures to FILE
  -victorialogs=false  leave out VictoriaLogs
  -previous FILE  also store the real events by this older ospulse-backend
  -soak D       instead: one mixed load on each database for that long
  -record DIR   instead: run the activities DIR/*.sh, each in a session of the agent, and
                store its events as DIR/*.ndjson.zst (root, Linux)

bench counts the events in the database after each ingest, and compares every answer
and every stream with the stored events. Exit code 1: an event was lost, an answer was
wrong, a request failed, or a limit could not be measured. A missed goal is no failure.

The sessions for the queries (page, histogram, facet, files, conversations, text,
export) are stored once for all rounds, which takes some minutes. -run selects
scenarios, -events makes the sessions smaller.

The scenarios "real …" use events that the agent of this project recorded: a build, the
installation of a package, a run of Python's unittest, a session at a shell, and HTTP
flows (test/bench/testdata). Each repetition of them gets later times, other process IDs
and another work folder. VictoriaLogs, a log store, gets the same events on the same disk.
bench builds it from the Go module proxy; if that fails, it says so and goes on without.

All data is in a temporary folder, so TMPDIR chooses the disk that is measured.
PostgreSQL must be installed. With -db sqlite only the scenario "flows" needs it: COPY
into PostgreSQL tells how fast the machine is.
`

// warmUp comes before each measurement.
const warmUp = 500 * time.Millisecond

// options are the values of the flags.
type options struct {
	testbed.Flags
	databases []string
	time      time.Duration
	sizes     sizes
	soak      time.Duration
	victoria  bool
	previous  string
	record    string
}

func main() {
	testbed.Main(help, func(ctx context.Context) error {
		if os.Getenv(bareVariable) != "" {
			return serveBare(ctx, os.Stdin, os.Stdout)
		}
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}

// run is the whole program. The tables go to stdout, progress to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return fmt.Errorf("%w; see -help", err)
	}
	if o.record != "" {
		return record(ctx, o.record, stderr)
	}
	l, err := openLab(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if o.soak > 0 {
		for _, dialect := range o.databases {
			if err := l.soak(ctx, dialect, o.soak, stdout); err != nil {
				return fmt.Errorf("%s: %w", dialect, err)
			}
		}
		return nil
	}
	results, err := l.measureAll(ctx, o)
	if err != nil {
		return err
	}
	report := newReport(o, results, l.notes, func(dialect string) []scenario { return scenarios(l, dialect) })
	if err := o.WriteJSON(report); err != nil {
		return err
	}
	return report.writeTables(stdout)
}

func parse(args []string) (o options, err error) {
	var db string
	err = o.Parse(args, 3, func(flags *flag.FlagSet) {
		flags.StringVar(&db, "db", "all", "")
		flags.DurationVar(&o.time, "time", 3*time.Second, "")
		flags.IntVar(&o.sizes.events, "events", 1_000_000, "")
		flags.BoolVar(&o.sizes.large, "large", true, "")
		flags.DurationVar(&o.soak, "soak", 0, "")
		flags.BoolVar(&o.victoria, "victorialogs", true, "")
		flags.StringVar(&o.previous, "previous", "", "")
		flags.StringVar(&o.record, "record", "", "")
	})
	if err != nil {
		return o, err
	}
	if o.previous != "" {
		if o.previous, err = filepath.Abs(o.previous); err != nil { // it runs in another folder
			return o, err
		}
	}
	switch db {
	case sqlite, postgres:
		o.databases = []string{db}
	case "all":
		o.databases = []string{sqlite, postgres}
	default:
		return o, fmt.Errorf("-db is %q, not sqlite, postgres or all", db)
	}
	switch {
	case o.Rounds < 1, o.time <= 0, o.soak < 0:
		return o, errors.New("-rounds and -time must be positive, -soak not negative")
	case o.sizes.events < minEvents:
		return o, fmt.Errorf("-events must be at least %d", minEvents)
	}
	return o, nil
}
