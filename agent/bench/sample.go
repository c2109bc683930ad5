//go:build linux

package main

import (
	"context"
	"fmt"
)

// sample is the result of one run of a measurement.
type sample struct {
	Value    float64  `json:"value"`
	Events   int      `json:"events,omitempty"` // that arrived
	Lost     int      `json:"lost,omitempty"`   // as the agent reports
	LeftOut  int      `json:"left_out,omitempty"`
	LoadCPU  float64  `json:"load_cpu_seconds,omitempty"`
	AgentCPU float64  `json:"agent_cpu_seconds,omitempty"`
	PeakMB   float64  `json:"agent_peak_mb,omitempty"`
	Faults   []string `json:"faults,omitempty"` // with a fault, no goal is met
	Notes    []string `json:"notes,omitempty"`
}

// count counts the events of a session. If path is not "", the events of that path and
// the reported losses must add up to done.
func (s *sample) count(ctx context.Context, st *stage, session, path string, done int) error {
	c, err := st.counts(ctx, session, path)
	if err != nil {
		return err
	}
	s.Events, s.Lost, s.LeftOut = c.Events, c.Lost, c.LeftOut
	if path == "" && c.Events == 0 {
		s.Faults = append(s.Faults, "no event arrived")
	}
	if path != "" && c.Matches+c.Lost != done {
		s.Faults = append(s.Faults, fmt.Sprintf("%d events arrived and %d are reported as lost, of %d", c.Matches, c.Lost, done))
	}
	return nil
}
