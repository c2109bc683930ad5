//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ospulse/agent/internal/capture"
	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/pending"
)

// errPacketsOff means that the settings switch packets off.
var errPacketsOff = errors.New("they are switched off")

// withPackets returns a sensor that also reports packets, and its eyes.sensed. If it cannot,
// it returns inner and fault says why. sensed is eyes.sensed for inner, and waiting the budget of
// all data that waits in the agent.
func withPackets(inner monitor.Sensor, sensed func() time.Time, waiting *pending.Budget, cfg config.Config, log *slog.Logger) (_ monitor.Sensor, _ func() time.Time, fault error) {
	if !cfg.Packets {
		return inner, sensed, errPacketsOff
	}
	if err := capture.Available(); err != nil {
		return inner, sensed, err
	}
	s := &packetSensor{
		Sensor: inner, options: capture.Options{ContentBytes: cfg.ContentBytes, SensedUntil: sensed, Pending: waiting, Log: log}, watches: map[*packetWatch]bool{},
	}
	return s, s.sensed, nil
}

// packetSensor captures packets beside another sensor. It learns from that sensor's
// events which process a packet belongs to.
type packetSensor struct {
	monitor.Sensor
	options capture.Options

	mu      sync.Mutex
	watches map[*packetWatch]bool
}

// packetWatch is a watch for system calls and packets.
type packetWatch struct {
	sensor  *packetSensor
	calls   monitor.Watch
	packets *capture.Watch
}

// Watch starts capturing before the first event.
func (s *packetSensor) Watch(scope monitor.Scope, sink func(*event.Event)) (monitor.Watch, error) {
	packets, err := capture.Open(s.options, capture.Scope{All: scope.All, PIDs: scope.PIDs, Own: scope.OnExec, Exclude: scope.Exclude, Hide: scope.Hide}, sink)
	if err != nil {
		return nil, fmt.Errorf("capture packets (--packets=false switches this off): %w", err)
	}
	calls, err := s.Sensor.Watch(scope, packets.Sensed)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	packets.Begin()
	w := &packetWatch{s, calls, packets}
	s.mu.Lock()
	s.watches[w] = true
	s.mu.Unlock()
	return w, nil
}

// sensed implements eyes.sensed.
func (s *packetSensor) sensed() time.Time {
	until := s.options.SensedUntil()
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		if read := w.packets.ReadUntil(); read.Before(until) {
			until = read
		}
	}
	return until
}

// Close closes the watch of the other sensor first: its events attribute the last packets.
func (w *packetWatch) Close() error {
	err := errors.Join(w.calls.Close(), w.packets.Close())
	w.sensor.mu.Lock()
	delete(w.sensor.watches, w)
	w.sensor.mu.Unlock()
	return err
}

// IsOver reports whether none of the watched processes is left.
func (w *packetWatch) IsOver() (bool, error) { return w.calls.IsOver() }

// Has reports whether the watch is about a process.
func (w *packetWatch) Has(pid int) (bool, error) { return w.calls.Has(pid) }

// Limits returns the processes whose packets are not captured, as text; "" if there are none.
func (w *packetWatch) Limits() string { return w.packets.Limits() }

// Hidden returns the processes that the watch does not report because of Scope.Hide.
func (w *packetWatch) Hidden() ([]int, error) { return w.calls.Hidden() }

// Exclude excludes more processes from events and packets.
func (s *packetSensor) Exclude(pids []int) error {
	s.mu.Lock()
	for w := range s.watches {
		w.packets.Exclude(pids)
	}
	s.mu.Unlock()
	return s.Sensor.Exclude(pids)
}

// packetReason returns why the agent cannot capture packets, and what to do about it.
func packetReason(fault error) (reason, remedy string) {
	switch {
	case errors.Is(fault, errPacketsOff):
		return fault.Error(), "set --packets=true"
	case capture.IsForbidden(fault):
		return "it needs root (or the capabilities NET_RAW and SYS_ADMIN)", "run as root: sudo ospulse-agent"
	default:
		return fault.Error(), "run a kernel with CONFIG_PACKET=y"
	}
}
