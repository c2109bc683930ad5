//go:build linux

package main

import (
	"math"
	"strings"
	"testing"

	"ospulse/test/testbed"
)

func TestRow(t *testing.T) {
	base := []sample{{Value: 10, LoadCPU: 20}, {Value: 20, LoadCPU: 40}, {Value: 12, LoadCPU: 20}}
	traced := []sample{{Value: 11, LoadCPU: 20, AgentCPU: 4, Events: 100}, {Value: 30, LoadCPU: 40, AgentCPU: 4, Events: 90, Lost: 10}, {Value: 12, LoadCPU: 20, AgentCPU: 4}}
	for name, c := range map[string]struct {
		goal           goal
		measured, base []sample
		want           string // the cells up to met
	}{
		"ratio met":    {goal{limit: 1.1}, traced, base, "s|m|12 s|158 %|1.100|1.200|≤ 1.1|yes"},
		"ratio missed": {goal{limit: 1.05}, traced, base, "s|m|12 s|158 %|1.100|1.200|≤ 1.05|no"},
		"no goal":      {goal{}, base, nil, "s|m|12 s|83 %||||"},
		"at least":     {goal{12, true}, base, nil, "s|m|12 s|83 %|||≥ 12|yes"},
		"less":         {goal{12.5, true}, base, nil, "s|m|12 s|83 %|||≥ 12.5|no"},
		"faulty":       {goal{limit: 100}, []sample{{Value: 1}, {Value: 1, Faults: []string{"x"}}, {Value: 1}}, nil, "s|m|1 s||||≤ 100|no"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRow("s", measurement{name: "m", unit: "s", goal: c.goal}, c.measured, c.base)
			if got := strings.Join(r.cells()[:8], "|"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	all := []scenario{{name: "a", measurements: []measurement{{name: "base"}, {name: "other", of: "base", goal: goal{limit: 2}}}}, {name: "not run"}}
	samples := map[string][][]sample{"a": {{{Value: 2}}, {{Value: 3, PeakMB: 90, Notes: []string{"a note"}, Faults: []string{"a fault"}}}}}
	r := newReport(options{Flags: testbed.Flags{Rounds: 1}}, all, samples)
	if len(r.Rows) != 3 || r.Rows[1].Ratio != 1.5 || r.Rows[1].Met || r.Rows[2].Median != 90 || r.Rows[2].Met {
		t.Errorf("got %+v", r.Rows)
	}
	var table strings.Builder
	if err := r.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a, round 1: a note", "a, round 1: a fault", "most memory of the agent"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, &table)
		}
	}
}

func TestGrowthAndSlope(t *testing.T) {
	if got := growth([]float64{10, 10, 500, 0, 100, 100}); got != 4 { // (100+20)/(10+20)
		t.Errorf("growth is %g", got)
	}
	if got := growth([]float64{0, 0, 0, 0, 1, 2}); got > 1.1 {
		t.Errorf("a handful of events is a growth of %g", got)
	}
	if got := slope([]float64{1, 3, 5, 7}, 0.5); math.Abs(got-4) > 1e-9 {
		t.Errorf("slope is %g", got)
	}
	if got := slope([]float64{5, 5, 5}, 1); got != 0 {
		t.Errorf("slope of the same is %g", got)
	}
}
