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

// newSpawner gives what starts files in a sandbox, or says why there is none and,
// after "; ", what to do about it.
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
		log.Warn("not all limits of what is spawned can be kept on this machine", "why", support.Limits.Detail)
	}
	return spawner{sandbox.Options{
		Network: network, Timeout: cfg.SpawnTimeout,
		MemoryMB: cfg.SpawnMemoryMB, Processes: cfg.SpawnProcesses, DiskMB: cfg.SpawnDiskMB, CPUs: float64(cfg.SpawnCPUs),
		DataDir: dataDir, Log: log,
	}}, ""
}

// spawner starts uploaded files, each in a sandbox of its own.
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

// refused makes an error a refusal if the file is at fault.
func refused(err error) error {
	if errors.Is(err, sandbox.ErrProgram) {
		return monitor.CannotRun(err)
	}
	return err
}

// spawned is a sandbox with a program in it.
type spawned struct{ *sandbox.Process }

// OnExec is so: the sandbox's launcher holds the place of the program.
func (spawned) OnExec() bool { return true }

// Release lets it run; only the kernel knows of some files that it cannot.
func (s spawned) Release() error { return refused(s.Process.Release()) }

// Run says what it is, and what runs it.
func (s spawned) Run() any { return s.Process.Run() }

// sandboxDetail is what session_end tells of the sandbox.
type sandboxDetail struct {
	Entry       string   `json:"entry"`            // the path of what was run, as it saw it
	Notes       []string `json:"notes,omitempty"`  // limits that this machine does not keep as asked for
	Limits      []string `json:"limits,omitempty"` // those it ran into, survived or not
	Output      printed  `json:"output"`           // the end of what it printed
	OutputBytes int64    `json:"outputBytes"`      // of all that it printed
}

// printed is text as events have it.
type printed string

// MarshalJSON keeps bytes that are no UTF-8.
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
