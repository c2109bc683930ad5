//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/pending"
	"ospulse/agent/internal/procfs"
	"ospulse/agent/internal/ptrace"
	"ospulse/agent/internal/selection"
	"ospulse/agent/internal/sensor"
)

// eyes is the best sensor that works on this machine.
type eyes struct {
	sensor monitor.Sensor
	name   string // ebpf or procfs
	fault  error  // why the sensor is not eBPF; nil if it is
	// packetFault is why the agent captures no packets; nil if it does.
	packetFault error
	backlog     func() int64 // bytes of events that the sensor has not reported yet
	// sensed returns a recent moment: every event that happened before it was reported.
	sensed func() time.Time
	close  func()
}

func newEyes(cfg config.Config, log *slog.Logger) eyes {
	waiting := pending.New(pending.Limit)
	s, err := sensor.New(sensor.Options{ContentBytes: cfg.ContentBytes, RingBytes: cfg.RingMB << 20, TLS: cfg.TLS, Environment: cfg.Environment, Pending: waiting, Log: log})
	if err != nil {
		return procEyes(cfg, log, err)
	}
	both, sensed, packetFault := withPackets(bpfSensor{s}, s.Sensed, waiting, cfg, log)
	return eyes{both, "ebpf", nil, packetFault, s.Backlog, sensed, func() {
		if err := s.Close(); err != nil {
			log.Warn("the sensor could not be closed", "error", err)
		}
	}}
}

// maxArguments is how many bytes of a process's arguments the agent reports without eBPF.
const maxArguments = 32 << 10

// procEyes returns the sensor that polls /proc. fault says why eBPF does not work.
func procEyes(cfg config.Config, log *slog.Logger, fault error) eyes {
	helper := inspect.New(log)
	arguments := func(pid int) ([]string, bool) {
		args, isCut, _ := helper.Arguments(context.Background(), pid, maxArguments) // omitted if unknown
		return args, isCut
	}
	both, sensed, packetFault := withPackets(procSensor{procfs.NewSensor(cfg.PollInterval, arguments, log), cfg.ContentBytes, cfg.Environment}, time.Now, pending.New(pending.Limit), cfg, log)
	return eyes{both, "procfs", fault, packetFault, func() int64 { return 0 }, sensed, helper.Close}
}

// limits returns what the sensor cannot see, for session_start; "" if nothing is missing.
func (e eyes) limits() string {
	if e.name == "ebpf" {
		return ""
	}
	return "spawned programs: processes, files and connections, slowly (ptrace); other processes: only start and end, if they live longer than the poll interval"
}

type bpfSensor struct{ *sensor.Sensor }

func (s bpfSensor) Watch(scope monitor.Scope, sink func(*event.Event)) (monitor.Watch, error) {
	w, err := s.Sensor.Watch(sensor.Scope{All: scope.All, PIDs: scope.PIDs, OnExec: scope.OnExec, Exclude: scope.Exclude, Hide: scope.Hide, Pause: scope.Pause, Selection: scope.Selection}, sink)
	if err != nil {
		return nil, err // not a nil *Watch in an interface
	}
	return w, nil
}

// procSensor watches a spawned program, while it is held, through ptrace. It watches all
// other processes by polling /proc.
type procSensor struct {
	*procfs.Sensor
	contentBytes int
	environment  string
}

func (s procSensor) Watch(scope monitor.Scope, sink func(*event.Event)) (monitor.Watch, error) {
	if scope.OnExec && len(scope.PIDs) == 1 {
		filter := selection.NewFilter(scope.Selection, sink)
		w, err := ptrace.Start(scope.PIDs[0], s.contentBytes, s.environment, func(e *event.Event) {
			filter.Pass(e)
			if !e.Time.Before(filter.ReportAt) {
				filter.Report(e.Time)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("watch the program through ptrace: %w", err)
		}
		return selectedWatch{w, filter}, nil
	}
	// No class has the start and the end of processes, so nothing of these is left out.
	w, err := s.Sensor.Watch(procfs.Scope{All: scope.All, PIDs: scope.PIDs, Exclude: scope.Exclude, Hide: scope.Hide}, sink)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// selectedWatch reports at its end how many events were left out.
type selectedWatch struct {
	monitor.Watch
	filter *selection.Filter
}

// Close ends the watch. Then only it uses the filter.
func (w selectedWatch) Close() error {
	err := w.Watch.Close()
	w.filter.Report(time.Now())
	return err
}

// Exclude does nothing: this sensor reports only the start and the end of a process, so an
// exclusion after the start gains nothing.
func (procSensor) Exclude([]int) error { return nil }
