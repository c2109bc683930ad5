//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/sandbox"
)

// newSpawner gives what starts files in a sandbox, or says why there is none.
func newSpawner(cfg config.Config, log *slog.Logger) (monitor.Spawner, string) {
	if _, err := sandbox.Find(); err != nil {
		return nil, "bubblewrap (bwrap) is not installed"
	}
	dataDir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, err.Error()
	}
	sandbox.RemoveStale()
	return &spawner{dataDir, sandbox.Options{
		Limits: sandbox.Limits{
			MemoryBytes: int64(cfg.SpawnMemoryMB) << 20, Processes: cfg.SpawnProcesses, DiskBytes: int64(cfg.SpawnDiskMB) << 20,
			CPUs: float64(cfg.SpawnCPUs), Timeout: cfg.SpawnTimeout,
		},
		Network: cfg.SpawnNetwork, DataDir: dataDir, Log: log,
	}}, ""
}

// spawner starts uploaded files, each in a sandbox of its own.
type spawner struct {
	dataDir string
	options sandbox.Options
}

func (s *spawner) Start(ctx context.Context, path string, command monitor.Command) (monitor.Spawned, error) {
	if err := os.MkdirAll(s.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("the data folder cannot be used: %w", err)
	}
	program, err := sandbox.Load(path, filepath.Base(path), command.EntryPoint, command.Arguments, s.dataDir, s.options.Limits.DiskBytes)
	if errors.Is(err, sandbox.ErrProgram) {
		return nil, monitor.Refused(err)
	}
	if err != nil {
		return nil, err
	}
	defer program.Close()
	child, err := sandbox.Spawn(ctx, program, s.options)
	if err != nil {
		return nil, err
	}
	return &spawned{child, time.Now()}, nil
}

// spawned is a sandbox with a program in it.
type spawned struct {
	*sandbox.Child
	began time.Time
}

// OnExec is so: a shell holds the place of the program.
func (*spawned) OnExec() bool { return true }

func (s *spawned) PID() int { return s.Child.PID }

func (s *spawned) Stop() error { return s.Kill() }

func (s *spawned) Ending() monitor.Ending {
	ending := monitor.Ending{Reason: "exited", ExitCode: s.ExitCode(), Seconds: time.Since(s.began).Seconds()}
	switch {
	case s.TimedOut():
		ending.Reason = "timeout"
	case s.Killed():
		ending.Reason = "stopped"
	case ending.ExitCode > 128: // how shells tell of a signal
		ending.Reason, ending.Signal = "killed", ending.ExitCode-128
	}
	if notes := s.Notes(); len(notes) > 0 {
		ending.Detail = map[string][]string{"notes": notes}
	}
	return ending
}
