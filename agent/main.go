//go:build linux

// Command ospulse-agent is the agent of OS-Pulse for Linux. It reports what programs do.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/enroll"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/sandbox"
	"ospulse/agent/internal/trace"
	"ospulse/agent/internal/vm"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], endTime))
}

// run runs a command and returns its exit code. The agent may take limit to end.
func run(ctx context.Context, args []string, limit time.Duration) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "trace":
		return trace.Run(ctx, args[1:], os.Stdout, os.Stderr, os.Getenv)
	case "enroll":
		return enroll.Run(ctx, args[1:], config.DataDir(os.Getenv), os.Stdout, os.Stderr)
	case "image":
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return vm.ImageCommand(ctx, args[1:], filepath.Join(config.DataDir(os.Getenv), "image"), buildVersion(), os.Stderr)
	case vm.GuestCommand:
		return guest(ctx, os.Stderr)
	case inspect.Command:
		return inspect.Serve(os.Stderr)
	case parser.Command:
		return parser.Serve()
	case sandbox.LaunchCommand:
		return sandbox.Launch(args[1:], os.Stderr)
	case trace.LaunchCommand:
		return trace.Launch(args[1:], os.Stderr)
	default:
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the agent at once
		return endInTime(ctx, os.Stderr, limit, func() int { return serve(ctx, args, os.Getenv, os.Stdout, os.Stderr) })
	}
}

// endTime is how long the agent may take to end. It is longer than the time limits of
// requests, samples and deliveries together, and shorter than TimeoutStopSec of the unit.
// Samples end with the agent.
const endTime = 50 * time.Second

// endInTime runs agent and returns its exit code. If agent does not return within limit
// after the end of ctx, endInTime returns 1; the next run of the agent then reports which
// events may be lost.
func endInTime(ctx context.Context, stderr io.Writer, limit time.Duration, agent func() int) int {
	code := make(chan int, 1)
	go func() { code <- agent() }()
	select {
	case c := <-code:
		return c
	case <-ctx.Done():
	}
	select {
	case c := <-code:
		return c
	case <-time.After(limit):
		_, _ = fmt.Fprintf(stderr, "ospulse-agent: the agent did not end within %s and exits now; its next start reports what may be lost\n", limit)
		return 1
	}
}
