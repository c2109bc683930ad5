//go:build linux

// Command ospulse-agent is the agent of OS-Pulse for Linux: it reports what
// programs do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/sandbox"
	"ospulse/agent/internal/trace"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "trace":
		return trace.Run(ctx, args[1:], os.Stdout, os.Stderr, os.Getenv)
	case inspect.Command:
		return inspect.Serve(os.Stderr)
	case sandbox.LaunchCommand:
		return sandbox.Launch(args[1:], os.Stderr)
	case trace.LaunchCommand:
		return trace.Launch(args[1:], os.Stderr)
	default:
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the agent at once
		return serve(ctx, args, os.Getenv, os.Stdout, os.Stderr)
	}
}
