//go:build !linux

// Command ospulse-agent is the agent of OS-Pulse for Linux; other systems have
// agents of their own.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "ospulse-agent: this agent is for Linux; for Windows there is the Python agent")
	os.Exit(1)
}
