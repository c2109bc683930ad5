//go:build linux

// Command ospulse-agent is the agent of OS-Pulse for Linux: it reports what
// programs do.
package main

import (
	"context"
	"fmt"
	"os"

	"ospulse/agent/internal/trace"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "trace":
		return trace.Run(ctx, args, os.Stdout, os.Stderr, os.Getenv)
	case trace.LaunchCommand:
		return trace.Launch(args, os.Stderr)
	default:
		fmt.Fprintln(os.Stderr, "usage: ospulse-agent trace [flags] [--] command [arguments]")
		return 2
	}
}
