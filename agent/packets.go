//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"ospulse/agent/internal/capture"
	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/monitor"
)

// errPacketsOff is why there are no packets when nobody wants them.
var errPacketsOff = errors.New("they are switched off")

// withPackets has a sensor's watches tell of packets too; fault says why they do
// not.
func withPackets(inner monitor.Sensor, cfg config.Config, log *slog.Logger) (_ monitor.Sensor, fault error) {
	if !cfg.Packets {
		return inner, errPacketsOff
	}
	if err := capture.Available(); err != nil {
		return inner, err
	}
	return &packetSensor{
		Sensor: inner, options: capture.Options{ContentBytes: cfg.ContentBytes, Log: log}, watches: map[*packetWatch]bool{},
	}, nil
}

// packetSensor is a sensor that captures packets beside another one, from whose
// events it learns whose they are.
type packetSensor struct {
	monitor.Sensor
	options capture.Options

	mu      sync.Mutex
	watches map[*packetWatch]bool
}

// packetWatch is a watch of both.
type packetWatch struct {
	sensor  *packetSensor
	calls   monitor.Watch
	packets *capture.Watch
}

// Watch has packets collected from before the first event on.
func (s *packetSensor) Watch(scope monitor.Scope, sink func(*event.Event)) (monitor.Watch, error) {
	packets, err := capture.Open(s.options, capture.Scope{All: scope.All, PIDs: scope.PIDs, Own: scope.OnExec, Exclude: scope.Exclude}, sink)
	if err != nil {
		return nil, fmt.Errorf("capture packets (--packets=false does without): %w", err)
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

// Close ends the other sensor's watch first: its events say whose the last packets
// are.
func (w *packetWatch) Close() error {
	err := errors.Join(w.calls.Close(), w.packets.Close())
	w.sensor.mu.Lock()
	delete(w.sensor.watches, w)
	w.sensor.mu.Unlock()
	return err
}

// Limits tells of whom there are no packets.
func (w *packetWatch) Limits() string { return w.packets.Limits() }

// Exclude excludes more processes from both.
func (s *packetSensor) Exclude(pids []int) error {
	s.mu.Lock()
	for w := range s.watches {
		w.packets.Exclude(pids)
	}
	s.mu.Unlock()
	return s.Sensor.Exclude(pids)
}

// packetReason says in words why packets cannot be captured, and what to do.
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
