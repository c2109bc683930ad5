package main

import (
	"cmp"
	"fmt"

	"ospulse/test/testbed"
)

// report holds the medians of the rounds, for the table and the JSON file.
type report struct {
	testbed.Machine
	Rounds    int              `json:"rounds"`
	Seconds   float64          `json:"seconds"` // of a measurement
	Databases []databaseReport `json:"databases"`
}

type databaseReport struct {
	Database  string           `json:"database"`
	Scenarios []scenarioReport `json:"scenarios"`
	Notes     []string         `json:"notes,omitempty"`
}

type scenarioReport struct {
	Scenario string `json:"scenario"`
	Unit     unit   `json:"unit"` // of per_second
	measurement
	Goals  []goalReport  `json:"goals"` // without the goals of ratios
	Limits []limitReport `json:"limits"`
}

// goalReport is a goal, and whether it is met.
type goalReport struct {
	Goal string `json:"goal"`
	Met  bool   `json:"met"`
}

type limitReport struct {
	Limit     string      `json:"limit"`
	PerSecond float64     `json:"per_second,omitempty"`
	P50Millis float64     `json:"p50_ms,omitempty"`         // if the comparison is by latency
	BytesEach float64     `json:"bytes,omitempty"`          // if it is by size
	CPUMicros float64     `json:"backend_cpu_us,omitempty"` // if it is by processor time
	Ratio     float64     `json:"ratio"`
	Goal      *goalReport `json:"goal,omitempty"`
}

func newReport(o options, all results, notes map[string][]string, list func(dialect string) []scenario) report {
	r := report{Machine: testbed.ThisMachine(), Rounds: o.Rounds, Seconds: o.time.Seconds()}
	for _, dialect := range o.databases {
		d := databaseReport{Database: dialect, Notes: notes[dialect]}
		for _, s := range list(dialect) {
			if rounds := all[dialect][s.name]; len(rounds) > 0 {
				d.Scenarios = append(d.Scenarios, newScenarioReport(s, medians(rounds)))
			}
		}
		r.Databases = append(r.Databases, d)
	}
	return r
}

func newScenarioReport(s scenario, m measurement) scenarioReport {
	r := scenarioReport{Scenario: s.name, Unit: s.unit, measurement: m, Goals: s.goals.judge(m)}
	for i, c := range s.against {
		l := limitReport{Limit: c.limit.name, Ratio: m.Limits[i].ratio, Goal: c.goal(m.Limits[i].ratio)}
		switch figure := m.Limits[i].limit; {
		case c.byP50:
			l.P50Millis = figure
		case c.byBytes:
			l.BytesEach = figure
		case c.byCPU:
			l.CPUMicros = figure
		default:
			l.PerSecond = figure
		}
		r.Limits = append(r.Limits, l)
	}
	return r
}

// judge returns the goals and whether a measurement meets them. Unknown figures have no
// goal.
func (g goals) judge(m measurement) []goalReport {
	peak := cmp.Or(g.maxPeakMB, usualPeakMB)
	var all []goalReport
	add := func(isSet, isMet bool, format string, goal any) {
		if isSet {
			all = append(all, goalReport{fmt.Sprintf(format, goal), isMet})
		}
	}
	add(g.maxP50 > 0, m.P50Millis <= millis(g.maxP50), "p50 ≤ %s", g.maxP50)
	add(g.maxP99 > 0, m.P99Millis <= millis(g.maxP99), "p99 ≤ %s", g.maxP99)
	add(g.minPerSecond > 0, m.PerSecond >= g.minPerSecond, "≥ %.0f/s", g.minPerSecond)
	add(m.PeakMB > 0, m.PeakMB <= peak, "≤ %g MB", peak)
	add(g.maxBytesEach > 0 && m.BytesEach > 0, m.BytesEach <= g.maxBytesEach, "≤ %g bytes", g.maxBytesEach)
	add(g.maxGrownMB > 0 && m.PeakMB > 0, m.GrownMB <= g.maxGrownMB, "grown ≤ %g MB", g.maxGrownMB)
	return all
}

// goal judges a ratio. It returns nil if there is no goal.
func (c *comparison) goal(ratio float64) *goalReport {
	switch {
	case c.min > 0:
		return &goalReport{fmt.Sprintf("≥ %.3g", c.min), ratio >= c.min}
	case c.max > 0:
		return &goalReport{fmt.Sprintf("≤ %.3g", c.max), ratio <= c.max}
	}
	return nil
}

// medians returns the median of every figure. A ratio is the median of the rounds'
// ratios, not the ratio of two medians.
func medians(rounds []measurement) measurement {
	of := func(figure func(measurement) float64) float64 {
		var values []float64
		for _, m := range rounds {
			values = append(values, figure(m))
		}
		return testbed.Median(values)
	}
	m := measurement{
		PerSecond:   of(func(m measurement) float64 { return m.PerSecond }),
		P50Millis:   of(func(m measurement) float64 { return m.P50Millis }),
		P99Millis:   of(func(m measurement) float64 { return m.P99Millis }),
		BackendCPU:  of(func(m measurement) float64 { return m.BackendCPU }),
		DatabaseCPU: of(func(m measurement) float64 { return m.DatabaseCPU }),
		LoadCPU:     of(func(m measurement) float64 { return m.LoadCPU }),
		PeakMB:      of(func(m measurement) float64 { return m.PeakMB }),
		GrownMB:     of(func(m measurement) float64 { return m.GrownMB }),
		BytesEach:   of(func(m measurement) float64 { return m.BytesEach }),
	}
	for i := range rounds[0].Limits {
		m.Limits = append(m.Limits, compared{
			limit: of(func(m measurement) float64 { return m.Limits[i].limit }),
			ratio: of(func(m measurement) float64 { return m.Limits[i].ratio }),
		})
	}
	return m
}
