package pgtest

import (
	"os"
	"syscall"
)

// signal kills the server in either mode: Windows has no signals.
func (p *process) signal(StopMode) error { return p.cmd.Process.Kill() }

func sysProcAttr() (*syscall.SysProcAttr, error) { return &syscall.SysProcAttr{}, nil }

func makeDir(parent string) (string, error) { return os.MkdirTemp(parent, "ospulse-pgtest-") }

func inMemory() string { return "" }
