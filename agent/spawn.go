//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/sandbox"
)

// newSpawner returns a spawner that starts files in sandboxes. If this machine has no
// sandbox, it returns the reason and, after "; ", what to do about it.
func newSpawner(cfg config.Config, log *slog.Logger) (monitor.Spawner, string) {
	dataDir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, err.Error()
	}
	sandbox.RemoveStale()
	network, support := sandbox.Network(cfg.SpawnNetwork), sandbox.Check()
	switch {
	case !support.Sandbox.OK:
		return nil, support.Sandbox.Detail
	case network == sandbox.NetworkNAT && !support.NAT.OK:
		return nil, support.NAT.Detail
	case !support.Limits.OK:
		log.Warn("this machine cannot enforce all limits of spawned programs", "why", support.Limits.Detail)
	}
	return spawner{sandbox.Options{
		Network: network, Timeout: cfg.SpawnTimeout,
		MemoryMB: cfg.SpawnMemoryMB, Processes: cfg.SpawnProcesses, DiskMB: cfg.SpawnDiskMB, CPUs: float64(cfg.SpawnCPUs),
		DataDir: dataDir, Log: log,
	}}, ""
}

// spawner starts each uploaded file in a separate sandbox.
type spawner struct{ options sandbox.Options }

func (s spawner) Start(ctx context.Context, path string, command monitor.Command) (monitor.Spawned, error) {
	o := s.options
	o.Entry, o.Args = command.EntryPoint, command.Arguments
	p, err := sandbox.Start(ctx, path, o)
	if err != nil {
		return nil, refused(err)
	}
	return spawned{p}, nil
}

// refused turns an error into a refusal if the file is at fault.
func refused(err error) error {
	if errors.Is(err, sandbox.ErrProgram) {
		return monitor.CannotRun(err)
	}
	return err
}

// spawned is a sandbox with a program in it.
type spawned struct{ *sandbox.Process }

// OnExec returns true: the watched process becomes the program with its next exec.
func (spawned) OnExec() bool { return true }

// Release runs the program. It returns a refusal if the kernel rejects the file.
func (s spawned) Release() error { return refused(s.Process.Release()) }

// Run returns what the file is and what runs it, for session_start.
func (s spawned) Run() any { return s.Process.Run() }

// sandboxDetail is what session_end reports about the sandbox.
type sandboxDetail struct {
	Entry       string   `json:"entry"`            // the path of the program, in the sandbox
	Notes       []string `json:"notes,omitempty"`  // limits that this machine cannot set as requested
	Limits      []string `json:"limits,omitempty"` // limits that it reached, even if it survived
	Output      printed  `json:"output"`           // the end of its output
	OutputBytes int64    `json:"outputBytes"`      // the size of the whole output
}

// printed is text that events keep without loss.
type printed string

// MarshalJSON keeps bytes that are not UTF-8.
func (p printed) MarshalJSON() ([]byte, error) { //nolint:unparam // json.Marshaler has the error
	return event.AppendString(nil, string(p)), nil
}

func (s spawned) Ending() monitor.Ending {
	r := s.Result()
	return monitor.Ending{
		Reason: string(r.Reason), ExitCode: r.ExitCode, Signal: int(r.Signal), Seconds: r.Duration.Seconds(),
		Detail: sandboxDetail{Entry: s.Entry(), Notes: s.Notes(), Limits: r.Limits, Output: printed(r.Output), OutputBytes: r.OutputBytes},
	}
}
