//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/heartbeat"
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
	case network == sandbox.NetworkHost && cfg.APIKey == "":
		return nil, "a sample in this machine's network could control the agent; set AGENT_API_KEY for the agent and the backend"
	case !support.Sandbox.OK:
		return nil, support.Sandbox.Detail
	case network == sandbox.NetworkNAT && !support.NAT.OK:
		return nil, support.NAT.Detail
	case !support.Limits.OK:
		log.Warn("this machine cannot enforce all limits of spawned programs", "why", support.Limits.Detail)
	}
	networks := []string{string(sandbox.NetworkNone)}
	if network != sandbox.NetworkNone && support.NAT.OK {
		networks = append(networks, string(sandbox.NetworkNAT))
	}
	if network == sandbox.NetworkHost {
		networks = append(networks, string(sandbox.NetworkHost))
	}
	own := spawner{sandbox.Options{
		Network: network, Timeout: cfg.SpawnTimeout,
		MemoryMB: cfg.SpawnMemoryMB, Processes: cfg.SpawnProcesses, DiskMB: cfg.SpawnDiskMB, CPUs: float64(cfg.SpawnCPUs),
		ShowLocal: cfg.SpawnLocal, DataDir: dataDir, Log: log,
	}, networks}
	if cfg.SpawnIsolation == "vm" {
		return newMachines(cfg, own, log)
	}
	return own, ""
}

// spawner starts each uploaded file in a separate sandbox. A start may ask for less than
// options allow, and for one of the networks.
type spawner struct {
	options  sandbox.Options
	networks []string
}

// minMemoryMB is the least memory that a program can be run with.
const minMemoryMB = 16

// limited returns the options for a start with these limits. It returns a refusal if they
// exceed what the agent's owner allows.
func (s spawner) limited(l monitor.Limits) (sandbox.Options, error) {
	o := s.options
	most := int(o.Timeout / time.Second)
	switch {
	case l.Network == string(sandbox.NetworkHost) && !slices.Contains(s.networks, l.Network):
		return o, monitor.Refuse("network: this agent allows %s, not host (--spawn-network host, which needs the same AGENT_API_KEY for the agent and the backend)", strings.Join(s.networks, ", "))
	case l.Network != "" && !slices.Contains(s.networks, l.Network):
		return o, monitor.Refuse("network: this agent allows %s, not %.20q (--spawn-network)", strings.Join(s.networks, ", "), l.Network)
	case l.TimeoutSeconds < 0 || l.TimeoutSeconds > most:
		return o, monitor.Refuse("timeoutSeconds: this agent allows 1 to %d, not %d (--spawn-timeout)", most, l.TimeoutSeconds)
	case l.MemoryMB != 0 && (l.MemoryMB < minMemoryMB || l.MemoryMB > o.MemoryMB):
		return o, monitor.Refuse("memoryMB: this agent allows %d to %d, not %d (--spawn-memory)", minMemoryMB, o.MemoryMB, l.MemoryMB)
	}
	o.Network = cmp.Or(sandbox.Network(l.Network), o.Network)
	o.Timeout = cmp.Or(time.Duration(l.TimeoutSeconds)*time.Second, o.Timeout)
	o.MemoryMB = cmp.Or(l.MemoryMB, o.MemoryMB)
	return o, nil
}

// startOptions returns what a heartbeat says of starts; nil if the agent cannot start files.
func startOptions(s monitor.Spawner) *heartbeat.StartOptions {
	own, ok := s.(spawner)
	if machines, isVM := s.(machines); isVM {
		own, ok = machines.spawner, true
	}
	if !ok {
		return nil
	}
	o := own.options
	return &heartbeat.StartOptions{
		Networks: own.networks, Network: string(o.Network), TimeoutSeconds: int(o.Timeout / time.Second),
		MinMemoryMB: minMemoryMB, MemoryMB: o.MemoryMB,
	}
}

func (s spawner) Start(ctx context.Context, path string, command monitor.Command) (monitor.Spawned, error) {
	o, err := s.limited(command.Limits)
	if err != nil {
		return nil, err
	}
	o.Entry, o.Args = command.EntryPoint, command.Arguments
	p, err := sandbox.Start(ctx, path, o)
	if err != nil {
		return nil, refused(err)
	}
	return spawned{p, monitor.Limits{Network: string(o.Network), TimeoutSeconds: int(o.Timeout / time.Second), MemoryMB: o.MemoryMB}}, nil
}

// refused turns an error into a refusal if the file is at fault.
func refused(err error) error {
	if errors.Is(err, sandbox.ErrProgram) {
		return monitor.CannotRun(err)
	}
	return err
}

// spawned is a sandbox with a program in it.
type spawned struct {
	*sandbox.Process

	limits monitor.Limits
}

// OnExec returns true: the watched process becomes the program with its next exec.
func (spawned) OnExec() bool { return true }

// Release runs the program. It returns a refusal if the kernel rejects the file.
func (s spawned) Release() error { return refused(s.Process.Release()) }

// Run returns what the file is, what runs it, and its limits, for session_start.
func (s spawned) Run() any {
	return struct {
		sandbox.Run

		Limits monitor.Limits `json:"limits"`
	}{s.Process.Run(), s.limits}
}

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
