//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/sandbox"
)

// newSpawner gives what starts files in a sandbox, or says why there is none.
func newSpawner(cfg config.Config, log *slog.Logger) (monitor.Spawner, string) {
	if _, err := exec.LookPath("bwrap"); err != nil {
		return nil, "bubblewrap (bwrap) is not installed"
	}
	sandbox.RemoveStale()
	return spawner{sandbox.Options{
		Network: sandbox.Network(cfg.SpawnNetwork), Timeout: cfg.SpawnTimeout,
		MemoryMB: cfg.SpawnMemoryMB, Processes: cfg.SpawnProcesses, DiskMB: cfg.SpawnDiskMB, CPUs: float64(cfg.SpawnCPUs),
		Log: log,
	}}, ""
}

// spawner starts uploaded files, each in a sandbox of its own.
type spawner struct{ options sandbox.Options }

func (s spawner) Start(ctx context.Context, path string, command monitor.Command) (monitor.Spawned, error) {
	o := s.options
	o.Entry, o.Args = command.EntryPoint, command.Arguments
	p, err := sandbox.Start(ctx, path, o)
	if errors.Is(err, sandbox.ErrProgram) {
		return nil, monitor.Refused(err)
	}
	if err != nil {
		return nil, err
	}
	return spawned{p}, nil
}

// spawned is a sandbox with a program in it.
type spawned struct{ *sandbox.Process }

// OnExec is so: the sandbox's launcher holds the place of the program.
func (spawned) OnExec() bool { return true }

func (s spawned) Stop() error {
	s.Process.Stop()
	if left := s.Result().Left; len(left) > 0 {
		return fmt.Errorf("%d processes of the sample are still there: %v", len(left), left)
	}
	return nil
}

func (s spawned) Ending() monitor.Ending {
	r := s.Result()
	ending := monitor.Ending{Reason: string(r.Reason), ExitCode: r.ExitCode, Signal: int(r.Signal), Seconds: r.Duration.Seconds()}
	if r.Reason == sandbox.ReasonExited && r.Signal != 0 {
		ending.Reason = "killed"
	}
	ending.Detail = map[string]any{"notes": s.Notes(), "limits": r.Limits, "output": string(r.Output), "outputBytes": r.OutputBytes}
	return ending
}
