//go:build linux

package main

import (
	"testing"
	"time"

	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/sandbox"
)

// TestLimited checks the options of a start: what it asks for, else those of the agent's
// owner, and never more than those.
func TestLimited(t *testing.T) {
	s := spawner{sandbox.Options{Network: sandbox.NetworkNAT, Timeout: time.Minute, MemoryMB: 256, DiskMB: 7}, []string{"none", "nat"}}
	for name, test := range map[string]struct {
		ask     monitor.Limits
		network sandbox.Network
		timeout time.Duration
		memory  int
	}{
		"nothing": {monitor.Limits{}, "nat", time.Minute, 256},
		"less":    {monitor.Limits{Network: "none", TimeoutSeconds: 1, MemoryMB: 16}, "none", time.Second, 16},
		"as much": {monitor.Limits{Network: "nat", TimeoutSeconds: 60, MemoryMB: 256}, "nat", time.Minute, 256},
	} {
		o, err := s.limited(test.ask)
		if err != nil || o.Network != test.network || o.Timeout != test.timeout || o.MemoryMB != test.memory || o.DiskMB != 7 {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	for _, ask := range []monitor.Limits{
		{Network: "host"}, {Network: "lan"}, {TimeoutSeconds: 61}, {TimeoutSeconds: -1}, {TimeoutSeconds: 1 << 62}, {MemoryMB: 257}, {MemoryMB: 15}, {MemoryMB: -1},
	} {
		if _, err := s.limited(ask); err == nil {
			t.Errorf("%+v is allowed", ask)
		}
	}
	if options := startOptions(s); options.Network != "nat" || options.TimeoutSeconds != 60 || options.MemoryMB != 256 || len(options.Networks) != 2 {
		t.Errorf("%+v", options)
	}
	if options := startOptions(nil); options != nil {
		t.Errorf("without a sandbox: %+v", options)
	}
}
