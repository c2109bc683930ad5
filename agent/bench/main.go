//go:build linux

// Command bench measures the agent: how much it slows watched and other programs, and
// whether all events arrive. Compared measurements alternate in each round, so their
// ratio is comparable between machines; absolute figures are not.
//
// scenarios.go lists the scenarios. The agent, the backend, the sink that replaces it and
// the loads are separate processes, as in production.
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

const help = `bench measures the agent of this working copy on this machine. It needs root.

Usage: sudo go run ./agent/bench [flags]

  -run REGEXP   the scenarios to run, by name: build, beside, files, pauses, start, idle
  -rounds N     rounds of each scenario (5); a figure is the median of the rounds,
                a ratio the median of the rounds' ratios
  -scale X      factor of the size of each load (1)
  -idle D       how long an idle machine is watched, once (60s)
  -json FILE    also write the figures to FILE
  -help         print this

A traced load runs in a session of mode 2. The agent sends the events to a sink that
answers 200 and only stores them, so the measured cost is the agent's. In the rows with
"backend beside" the real backend runs on SQLite on the same processors.

bench counts all events: a session's events and its reported losses must add up to the
load's events. Exit code 1: something could not be measured. A missed goal is no failure.

The builds need gcc, make and go, and strace for comparison. All data is in a temporary
folder, so TMPDIR chooses the disk.
`

// options are the values of the flags.
type options struct {
	testbed.Flags
	scale float64
	idle  time.Duration
}

func main() {
	testbed.Main(help, func(ctx context.Context) error { return dispatch(ctx, os.Args[1:]) })
}

// dispatch runs the benchmark, or the helper that the first argument names.
func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case sinkCommand:
			return testbed.Serve(ctx, newSink(), os.Stdin, os.Stdout)
		case filesCommand:
			return doFiles(args[1:], os.Stdin, os.Stdout)
		case callsCommand:
			return doCalls(args[1:], os.Stdin, os.Stdout)
		case sampleCommand:
			return doSample(args[1:])
		}
	}
	return run(ctx, args, os.Stdout, os.Stderr)
}

// run is the benchmark. The table goes to stdout, progress to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return fmt.Errorf("%w; see -help", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("it needs root, as the agent does for eBPF: sudo go run ./agent/bench")
	}
	l, err := openLab(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	samples, err := l.measureAll(ctx, scenarios(), o)
	if err != nil && ctx.Err() != nil {
		return err
	}
	// After an error, the report has what was measured before it.
	r := newReport(o, scenarios(), samples)
	return errors.Join(err, o.WriteJSON(r), r.writeTable(stdout))
}

func parse(args []string) (o options, err error) {
	err = o.Parse(args, 5, func(flags *flag.FlagSet) {
		flags.Float64Var(&o.scale, "scale", 1, "")
		flags.DurationVar(&o.idle, "idle", time.Minute, "")
	})
	if err == nil && (o.Rounds < 1 || !(o.scale > 0 && o.scale <= 100) || o.idle < minIdle) {
		err = fmt.Errorf("-rounds must be at least 1, -scale above 0 and at most 100, -idle at least %s", minIdle)
	}
	return o, err
}
