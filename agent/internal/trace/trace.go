//go:build linux

// Package trace is the command `ospulse-agent trace`: it runs one command, watched
// but not sandboxed, and prints its events.
package trace

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"ospulse/agent/internal/capture"
	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/selection"
	"ospulse/agent/internal/sensor"
)

// Exit codes if the command has none, as a shell defines them.
const (
	exitUsage   = 2
	exitFailed  = 125 // the agent failed
	exitNoExec  = 126
	exitMissing = 127
	exitSignal  = 128 // plus the signal's number
)

// LaunchCommand is the agent's hidden command that executes the traced command.
const LaunchCommand = "trace-launch"

// settings are the settings from the command line.
type settings struct {
	format  string
	content int
	ringMiB int
	output  string
	tls     bool
	packets bool
	what    selection.Selection
	command []string
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("ospulse-agent trace", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.format, "format", "text", "`text`, or ndjson: one event of the wire contract per line")
	flags.IntVar(&s.content, "content", 256, "how many `bytes` to keep of the data that a call reads or writes")
	flags.IntVar(&s.ringMiB, "ring", 16, "`MiB` of the buffer between kernel and agent, a power of two")
	flags.StringVar(&s.output, "o", "", "write events to `file` instead of standard output")
	flags.BoolVar(&s.tls, "tls", true, "read data that passes through libraries for TLS")
	flags.BoolVar(&s.packets, "packets", false, "capture the command's packets too")
	flags.Func("leave-out", "`classes` of events to leave out, separated by commas: "+strings.Join(selection.Classes(), ", "), s.what.SetLeaveOut)
	flags.Func("only-paths", "`paths` outside of which to leave out the events of files, separated by colons", s.what.SetOnlyPaths)
	flags.Func("leave-out-paths", "`paths` in which to leave out the events of files, separated by colons", s.what.SetLeaveOutPaths)
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: ospulse-agent trace [flags] [--] command [arguments]")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.command = flags.Args()
	switch {
	case len(s.command) == 0:
		flags.Usage()
		return s, errors.New("no command")
	case s.format != "text" && s.format != "ndjson":
		return s, fmt.Errorf("format %q: must be text or ndjson", s.format)
	case s.content < 0 || s.content > sensor.MaxContent:
		return s, fmt.Errorf("content of %d bytes: must be 0 to %d", s.content, sensor.MaxContent)
	case s.ringMiB < 1 || s.ringMiB > 1024 || s.ringMiB&(s.ringMiB-1) != 0:
		return s, fmt.Errorf("ring of %d MiB: must be a power of two up to 1024", s.ringMiB)
	}
	return s, nil
}

// Run runs the command line `trace args` and returns the exit code: the command's, or 128
// plus the number of the signal that killed it.
func Run(ctx context.Context, args []string, stdout, stderr *os.File, getenv func(string) string) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "ospulse-agent trace:", err)
		return exitUsage
	}
	code, err := run(ctx, s, stdout, stderr, getenv)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent trace:", err)
	}
	return code
}

func run(ctx context.Context, s settings, stdout, stderr *os.File, getenv func(string) string) (code int, err error) {
	path, err := exec.LookPath(s.command[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		if errors.Is(err, os.ErrPermission) {
			return exitNoExec, fmt.Errorf("find the command: %w", err)
		}
		return exitMissing, fmt.Errorf("find the command: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return exitFailed, fmt.Errorf("find the command: %w", err)
	}
	out := stdout
	if s.output != "" {
		if out, err = os.Create(s.output); err != nil {
			return exitFailed, fmt.Errorf("open the output: %w", err)
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	}
	p := &printer{
		out:    bufio.NewWriterSize(out, 1<<16),
		ndjson: s.format == "ndjson",
		color:  getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && term.IsTerminal(int(out.Fd())),
		gone:   make(chan struct{}),
		live:   map[int]bool{},
	}
	following, stop := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() {
		followed <- clock.System().Follow(following, func(step clock.Step) {
			_, _ = fmt.Fprintf(stderr, "ospulse-agent trace: the clock was set from %s to %s\n", step.Before.Format(time.RFC3339Nano), step.After.Format(time.RFC3339Nano))
		})
	}()
	code, err = watched(ctx, s, path, p)
	stop()
	err = errors.Join(err, <-followed)
	if flushErr := p.out.Flush(); flushErr != nil && err == nil {
		err = fmt.Errorf("write events: %w", flushErr)
	}
	for _, l := range p.lost {
		where := ""
		if l.CPU >= 0 {
			where = fmt.Sprintf(" on CPU %d", l.CPU)
		}
		_, _ = fmt.Fprintf(stderr, "ospulse-agent trace: %d events lost%s from %s to %s (%s)\n",
			l.Count, where, l.From.Format("15:04:05.000000"), l.To.Format("15:04:05.000000"), l.Reason)
	}
	return code, err
}

// watched starts the command, watches it from its exec on, and waits until it and all its
// descendants have ended, or ctx is done.
func watched(ctx context.Context, s settings, path string, p *printer) (int, error) {
	sensors, err := sensor.New(sensor.Options{
		ContentBytes: s.content,
		RingBytes:    s.ringMiB << 20,
		Exclude:      []int{},
		TLS:          s.tls,
	})
	if err != nil {
		if os.Geteuid() != 0 {
			err = fmt.Errorf("%w (it needs root)", err)
		}
		return exitFailed, err
	}
	defer sensors.Close()

	hold, release, err := os.Pipe()
	if err != nil {
		return exitFailed, fmt.Errorf("create a pipe: %w", err)
	}
	defer release.Close()
	self, err := os.Executable()
	if err != nil {
		return exitFailed, fmt.Errorf("find the agent: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, append([]string{LaunchCommand, path}, s.command...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{hold}
	if err := cmd.Start(); err != nil {
		return exitFailed, fmt.Errorf("start the command: %w", err)
	}
	_ = hold.Close()
	p.live[cmd.Process.Pid] = true
	end, err := watchBoth(sensors, s, cmd.Process.Pid, p)
	if err != nil {
		_ = release.Close() // the launcher exits
		return exitFailed, errors.Join(fmt.Errorf("watch the command: %w", err), cmd.Wait())
	}
	sensors.Expect(path)
	// The terminal sends these signals to the command too, which decides what they mean.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if _, err := release.Write([]byte{1}); err != nil {
		return exitFailed, fmt.Errorf("release the command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var waitErr error
	for gone := p.gone; ended != nil || gone != nil; {
		select {
		case waitErr = <-ended:
			ended = nil
			if launchFailed(cmd.ProcessState) {
				gone = nil // nothing was watched
			}
		case <-gone:
			gone = nil
		case sig := <-signals:
			if sig == syscall.SIGTERM || sig == syscall.SIGHUP {
				_ = cmd.Process.Signal(sig) // the command may have ended
			}
			if ended == nil {
				gone = nil // its descendants continue
			}
		case <-ctx.Done():
			_ = cmd.Process.Kill() // the command may have ended
			gone = nil
		}
	}
	if err := end(); err != nil {
		return exitFailed, err
	}
	if exit := (*exec.ExitError)(nil); waitErr != nil && !errors.As(waitErr, &exit) {
		return exitFailed, fmt.Errorf("wait for the command: %w", waitErr)
	}
	return exitCode(cmd.ProcessState), nil
}

// watchBoth watches the calls of a process, and its packets if the settings ask for them.
// end stops both watches and returns when all events have been printed.
func watchBoth(sensors *sensor.Sensor, s settings, pid int, p *printer) (end func() error, err error) {
	scope := sensor.Scope{PIDs: []int{pid}, OnExec: true, Selection: s.what}
	if !s.packets {
		calls, err := sensors.Watch(scope, p.print)
		if err != nil {
			return nil, err
		}
		return calls.Close, nil
	}
	packets, err := capture.Open(capture.Options{ContentBytes: s.content, SensedUntil: sensors.Sensed}, capture.Scope{PIDs: []int{pid}}, p.print)
	if err != nil {
		return nil, err
	}
	calls, err := sensors.Watch(scope, packets.Sensed)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	packets.Begin()
	return func() error { return errors.Join(calls.Close(), packets.Close()) }, nil
}

func launchFailed(state *os.ProcessState) bool {
	return state.ExitCode() == exitNoExec || state.ExitCode() == exitMissing
}

func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return state.ExitCode()
}

// Launch is LaunchCommand: it waits until the watch is in place and then executes the
// command. args are the command's path and its argument list, including the name. Launch
// returns only if that fails; it then returns the exit code.
func Launch(args []string, stderr io.Writer) int {
	const held = 3
	var one [1]byte
	n, err := syscall.Read(held, one[:])
	if n != 1 || len(args) < 2 {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent: only the agent itself can run this command:", err)
		return exitFailed
	}
	_ = syscall.Close(held)
	err = syscall.Exec(args[0], args[1:], os.Environ())
	_, _ = fmt.Fprintf(stderr, "ospulse-agent trace: run %s: %v\n", args[0], err)
	if errors.Is(err, os.ErrNotExist) {
		return exitMissing
	}
	return exitNoExec
}

// printer writes events as they arrive.
type printer struct {
	out    *bufio.Writer
	ndjson bool
	color  bool
	line   []byte
	lost   []*event.Lost
	live   map[int]bool  // processes that have not ended
	gone   chan struct{} // closed when live is empty
}

func (p *printer) print(e *event.Event) {
	switch data := e.Data.(type) {
	case *event.Lost:
		p.lost = append(p.lost, data)
	case *event.Fork:
		if data.New.PID != 0 && !data.IsThread {
			p.live[data.New.PID] = true
		}
	}
	if p.ndjson {
		p.line = append(e.AppendJSON(p.line[:0]), '\n')
	} else {
		p.line = append(p.text(p.line[:0], e), '\n')
	}
	_, _ = p.out.Write(p.line) // Flush returns the writer's error
	if data, ok := e.Data.(*event.Exit); ok && p.live[data.Actor.PID] {
		delete(p.live, data.Actor.PID)
		if len(p.live) == 0 {
			close(p.gone)
		}
	}
}
