package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

// Main runs a benchmark. SIGINT and SIGTERM end its context. If the error is
// [flag.ErrHelp], Main prints help; any other goes to stderr, and the exit code is 1.
func Main(help string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err = os.Stdout.WriteString(help)
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx) // the signal caused the error
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Flags are the flags of both benchmarks.
type Flags struct {
	Scenarios *regexp.Regexp // -run: the names of those to run
	Rounds    int            // -rounds
	JSONPath  string         // -json: the file for the report; "" for none
}

// Parse parses args. define adds the flags that only this benchmark has.
func (f *Flags) Parse(args []string, rounds int, define func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	names := flags.String("run", "", "")
	flags.IntVar(&f.Rounds, "rounds", rounds, "")
	flags.StringVar(&f.JSONPath, "json", "", "")
	define(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if f.Scenarios, err = regexp.Compile(*names); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

// WriteJSON writes a report to the file of -json, if there is one.
func (f *Flags) WriteJSON(report any) error {
	if f.JSONPath == "" {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(f.JSONPath, append(text, '\n'), 0o644)
}
