// Command bench measures the backend beside the physical limits of the machine
// that it runs on: what a bare HTTP server decodes, what the database stores of
// the same rows by its fastest means, and how fast it gives them without HTTP.
// Scenario and limit run next to each other, so that their ratio holds where
// absolute figures do not.
//
// scenario.go lists what is measured. Each group of scenarios has a file: ingest.go
// takes events in, query.go and export.go give out what archive.go has stored,
// stream.go gives out what is just coming in.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"ospulse/test/testbed"
)

const help = `bench measures the backend beside the limits of this very machine.

Usage: go run ./test/bench [flags]

  -db NAME      sqlite, postgres or all (default)
  -run REGEXP   the scenarios to run, by name; the limits that they are compared
                with come along
  -rounds N     each on fresh databases (3); a figure is the median of the rounds
  -time D       of each measurement (3s), after a warm-up of 0.5s
  -events N     how many each of the ten sessions has that are queried (1000000)
  -large=false  leave out the pages of a session of ten times as many
  -json FILE    write the figures there, too
  -soak D       instead of all that: one mixed load on each database for that long

After what is taken in the events in the database are counted, and every answer and
every stream is compared with what was stored. Exit code 1: an event was lost, an
answer was wrong, a request failed, or a limit could not be measured; a goal that is
not met is no failure.

What is queried (page, histogram, facet, files, conversations, text, export) is stored once for all rounds,
which takes some minutes: -run leaves out what is not of interest, -events makes it
smaller.

It keeps everything in a temporary folder, so TMPDIR chooses the disk that is
measured. PostgreSQL must be installed; with -db sqlite only the scenario "flows"
needs it, whose goal depends on how fast the machine is.
`

// warmUp comes before each measurement.
const warmUp = 500 * time.Millisecond

// options is what the flags say.
type options struct {
	testbed.Flags
	databases []string
	time      time.Duration
	sizes     sizes
	soak      time.Duration
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
	})
	if err != nil {
		return o, err
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
