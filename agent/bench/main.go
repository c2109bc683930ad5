//go:build linux

// Command bench measures the agent: what it costs the programs that it watches and
// those that it does not, and whether all events arrive. What is compared runs in
// turns, round after round, so that a ratio holds where absolute figures do not.
//
// scenarios.go lists what is measured; the agent, the backend, the sink in a
// backend's place and the loads are processes of their own, as in real life.
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

  -run REGEXP   the scenarios to run, by name: build, beside, files, start, idle
  -rounds N     of each, in turns (5); a figure is the median of the rounds, a
                ratio that of the rounds' own ratios
  -scale X      of the size of each load (1)
  -idle D       how long an idle machine is watched, once (60s)
  -json FILE    write the figures there, too
  -help         print this

A traced load runs in a session of mode 2 of the agent's service, which tells a sink
that answers 200 and keeps what it got: there the cost is the agent's. The rows with
"backend beside" have the real backend on SQLite on the same processors, too.

All events are counted: those that a session got and those that it says were lost
must be those that were done. Exit code 1: something could not be measured; a goal
that is not met is no failure.

A build needs gcc, make and go; strace is measured beside it. Everything is kept in
a temporary folder, so TMPDIR chooses the disk.
`

// options is what the flags say.
type options struct {
	testbed.Flags
	scale float64
	idle  time.Duration
}

func main() {
	testbed.Main(help, func(ctx context.Context) error { return dispatch(ctx, os.Args[1:]) })
}

// dispatch is the program that this process is to be: the benchmark, or one of its
// helpers.
func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case sinkCommand:
			return testbed.Serve(ctx, newSink(), os.Stdin, os.Stdout)
		case filesCommand:
			return doFiles(args[1:], os.Stdin, os.Stdout)
		case callsCommand:
			return doCalls(args[1:], os.Stdin, os.Stdout)
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
