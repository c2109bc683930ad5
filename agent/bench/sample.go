//go:build linux

package main

import (
	"context"
	"fmt"
)

// sample is what one run of a measurement gave.
type sample struct {
	Value    float64  `json:"value"`
	Events   int      `json:"events,omitempty"` // that arrived
	Lost     int      `json:"lost,omitempty"`   // that the agent says were lost
	LoadCPU  float64  `json:"load_cpu_seconds,omitempty"`
	AgentCPU float64  `json:"agent_cpu_seconds,omitempty"`
	PeakMB   float64  `json:"agent_peak_mb,omitempty"`
	Faults   []string `json:"faults,omitempty"` // with which no goal is met
	Notes    []string `json:"notes,omitempty"`
}

// count counts what arrived of a session. Of a path exactly as many events as were
// done must be there or be told as lost, if a path is given.
func (s *sample) count(ctx context.Context, st *stage, session, path string, done int) error {
	c, err := st.counts(ctx, session, path)
	if err != nil {
		return err
	}
	s.Events, s.Lost = c.Events, c.Lost
	if path == "" && c.Events == 0 {
		s.Faults = append(s.Faults, "no event arrived")
	}
	if path != "" && c.Matches+c.Lost != done {
		s.Faults = append(s.Faults, fmt.Sprintf("%d events arrived and %d are told as lost, of %d", c.Matches, c.Lost, done))
	}
	return nil
}
