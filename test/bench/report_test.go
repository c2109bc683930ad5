package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRatioIsTheMedianOfTheRoundsOwn(t *testing.T) {
	rates, latency, cpu := &comparison{}, &comparison{byP50: true}, &comparison{byCPU: true}
	var rounds []measurement
	for _, round := range []struct{ scenario, limit float64 }{{50, 100}, {90, 300}, {160, 200}} {
		m := measurement{PerSecond: round.scenario, P50Millis: 6}
		f := figures{perSecond: round.limit, p50Millis: round.limit / 100, cpuMicros: 7, cpuRatio: round.limit / 200}
		m.Limits = []compared{rates.compare(m, f), latency.compare(m, f), cpu.compare(m, f)}
		rounds = append(rounds, m)
	}
	want := measurement{PerSecond: 90, P50Millis: 6, Limits: []compared{{200, 0.5}, {2, 3}, {7, 1}}}
	if got := medians(rounds); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTableSaysWhichGoalsAreMet(t *testing.T) {
	s := scenario{name: "single", goals: goals{maxP99: 10 * time.Millisecond}, against: []comparison{
		{limit: limit{name: "bare"}, min: 0.5},
		{limit: limit{name: "commit"}, byP50: true, max: 1},
		{limit: limit{name: "other"}},
	}}
	for name, c := range map[string]struct {
		m    measurement
		want []string // the ends of the lines
	}{
		"all": {measurement{PerSecond: 60, P99Millis: 10, PeakMB: 150, Limits: []compared{{100, 0.6}, {2, 1}, {10, 6}}},
			[]string{"|0.600|≥ 0.5, p99 ≤ 10ms, ≤ 150 MB|yes", "|p50  2.00 ms|1.000|≤ 1|yes", "|10|6.000||"}},
		"some": {measurement{PerSecond: 40, P99Millis: 11, PeakMB: 10, Limits: []compared{{100, 0.4}, {2, 1.1}, {10, 4}}},
			[]string{"|0.400|≥ 0.5, p99 ≤ 10ms, ≤ 150 MB|no: ≥ 0.5, p99 ≤ 10ms", "|1.100|≤ 1|no: ≤ 1", "|4.000||"}},
		"memory is unknown": {measurement{PerSecond: 60, P99Millis: 10, Limits: []compared{{100, 0.6}, {2, 1}, {10, 6}}},
			[]string{"|0.600|≥ 0.5, p99 ≤ 10ms|yes", "|yes", "||"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newScenarioReport(s, c.m)
			lines := r.lines()
			if len(lines) != len(c.want) {
				t.Fatalf("%d lines, want %d", len(lines), len(c.want))
			}
			for i, cells := range lines {
				if line := strings.Join(cells, "|"); !strings.HasSuffix(strings.ReplaceAll(line, "          10|", "10|"), c.want[i]) || strings.Count(line, "|") != 14 {
					t.Errorf("line %d is %s, want %s", i, line, c.want[i])
				}
			}
		})
	}
}
