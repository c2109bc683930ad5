//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/sandbox"
	"ospulse/agent/internal/selection"
	"ospulse/agent/internal/vm"
)

// guest runs the agent inside a virtual machine, and returns its exit code.
func guest(ctx context.Context, stderr io.Writer) int {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	err := vm.Guest(ctx, func(program int, settings vm.Settings, sink func(*event.Event)) (func() time.Time, func() error, error) {
		cfg, err := config.Load(nil, func(string) string { return "" })
		if err != nil {
			return nil, nil, err
		}
		cfg.ContentBytes, cfg.Environment = settings.ContentBytes, settings.Environment
		eyes := newEyes(cfg, log)
		if eyes.fault != nil {
			return nil, nil, eyes.fault
		}
		w, err := eyes.sensor.Watch(monitor.Scope{All: true, PIDs: []int{program}, OnExec: true, Exclude: []int{os.Getpid()}, Pause: true, Selection: settings.Selection}, sink)
		if err != nil {
			return nil, nil, err
		}
		return eyes.sensed, w.Close, nil
	}, log)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent guest:", err)
		return 1
	}
	return 0
}

// machines starts each uploaded file in a virtual machine of its own.
type machines struct {
	spawner
	image    vm.Image
	settings vm.Settings
}

// newMachines is newSpawner for SPAWN_ISOLATION=vm.
func newMachines(cfg config.Config, inner spawner, log *slog.Logger) (monitor.Spawner, string) {
	if err := vm.Check(); err != nil {
		return nil, err.Error()
	}
	image, err := vm.OpenImage(cfg.SpawnImage)
	if err != nil {
		return nil, err.Error()
	}
	if image.Agent != buildVersion() {
		log.Warn("the image of the virtual machine has another version of the agent: ospulse-agent image build", "image", image.Agent, "agent", buildVersion())
	}
	return machines{inner, image, vm.Settings{ContentBytes: cfg.ContentBytes, Environment: cfg.Environment}}, ""
}

// Start boots a virtual machine and holds the file in it.
func (s machines) Start(ctx context.Context, path string, command monitor.Command) (monitor.Spawned, error) {
	o, err := s.limited(command.Limits)
	if err != nil {
		return nil, err
	}
	o.Entry, o.Args = command.EntryPoint, command.Arguments
	m, err := vm.Start(ctx, path, vm.Options{Options: o, Image: s.image})
	if err != nil {
		return nil, refused(err)
	}
	limits := monitor.Limits{Network: string(o.Network), TimeoutSeconds: int(o.Timeout / time.Second), MemoryMB: o.MemoryMB}
	return inMachine{m, limits, s.image, s.settings}, nil
}

// inMachine is a program in a virtual machine.
type inMachine struct {
	*vm.Machine

	limits   monitor.Limits
	image    vm.Image
	settings vm.Settings
}

// OnExec returns false: the guest's agent decides where the watch begins.
func (inMachine) OnExec() bool { return false }

// Release runs the program. It returns a refusal if the guest's kernel rejects the file.
func (s inMachine) Release() error { return refused(s.Machine.Release()) }

// Watch reports the guest's events to sink.
func (s inMachine) Watch(what selection.Selection, sink func(*event.Event)) monitor.Watch {
	s.settings.Selection = what
	s.Machine.Watch(s.settings, sink)
	return machineWatch{s.Machine}
}

// Run returns what runs, and in which machine, for session_start.
func (s inMachine) Run() any {
	return struct {
		sandbox.Run

		Limits      monitor.Limits `json:"limits"`
		Isolation   string         `json:"isolation"`
		Image       string         `json:"image"`
		Accelerator string         `json:"accelerator"`
	}{s.Machine.Run(), s.limits, "vm", s.image.ID(), s.Accelerator()}
}

// Ending returns what the guest says about the end of its program.
func (s inMachine) Ending() monitor.Ending {
	r := s.Result()
	return monitor.Ending{
		Reason: string(r.Reason), ExitCode: r.ExitCode, Signal: int(r.Signal), Seconds: r.Duration.Seconds(),
		Detail: sandboxDetail{Entry: s.Machine.Run().Path, Notes: s.Notes(), Limits: r.Limits, Output: printed(r.Output), OutputBytes: r.OutputBytes},
	}
}

// machineWatch is the watch of a guest's agent.
type machineWatch struct{ *vm.Machine }

// Close waits for the end of the machine: its last events come before.
func (w machineWatch) Close() error {
	<-w.Done()
	return nil
}

// IsOver reports whether the machine has ended.
func (w machineWatch) IsOver() (bool, error) {
	select {
	case <-w.Done():
		return true, nil
	default:
		return false, nil
	}
}

// Has reports whether a process of this machine is the one that runs the virtual machine.
func (w machineWatch) Has(pid int) (bool, error) { return pid == w.HostPID(), nil }

// Hidden returns nothing: a guest has no browser.
func (machineWatch) Hidden() ([]int, error) { return nil, nil }
