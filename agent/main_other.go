//go:build !linux

// Command ospulse-agent is the agent of OS-Pulse for Linux. Other systems have other
// agents.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "ospulse-agent: this agent runs on Linux only; use the Python agent on Windows")
	os.Exit(1)
}
