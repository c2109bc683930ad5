package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
)

// report is what is printed and written: medians over the rounds.
type report struct {
	System    string           `json:"system"`
	CPUs      int              `json:"cpus"`
	Go        string           `json:"go"`
	Rounds    int              `json:"rounds"`
	Seconds   float64          `json:"seconds"` // of a measurement
	Databases []databaseReport `json:"databases"`
}

type databaseReport struct {
	Database  string           `json:"database"`
	Scenarios []scenarioReport `json:"scenarios"`
}

type scenarioReport struct {
	Scenario string `json:"scenario"`
	measurement
	Goals  []goalReport  `json:"goals"` // those that concern no limit
	Limits []limitReport `json:"limits"`
}

// goalReport is a goal, and whether it is met.
type goalReport struct {
	Goal string `json:"goal"`
	Met  bool   `json:"met"`
}

type limitReport struct {
	Limit     string      `json:"limit"`
	PerSecond float64     `json:"events_per_second,omitempty"`
	P50Millis float64     `json:"p50_ms,omitempty"` // when the latency is compared
	Ratio     float64     `json:"ratio"`
	Goal      *goalReport `json:"goal,omitempty"`
}

func newReport(o options, all results, list func(dialect string) []scenario) report {
	r := report{System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Rounds: o.rounds, Seconds: o.time.Seconds()}
	for _, dialect := range o.databases {
		d := databaseReport{Database: dialect}
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
	r := scenarioReport{Scenario: s.name, measurement: m}
	if s.maxP99 > 0 {
		r.Goals = append(r.Goals, goalReport{fmt.Sprintf("p99 ≤ %s", s.maxP99), m.P99Millis <= millis(s.maxP99)})
	}
	if m.PeakMB > 0 {
		r.Goals = append(r.Goals, goalReport{fmt.Sprintf("≤ %d MB", maxPeakMB), m.PeakMB <= maxPeakMB})
	}
	for i, c := range s.against {
		l := limitReport{Limit: c.limit.name, Ratio: m.Limits[i].ratio, Goal: c.goal(m.Limits[i].ratio)}
		if c.byP50 {
			l.P50Millis = m.Limits[i].limit
		} else {
			l.PerSecond = m.Limits[i].limit
		}
		r.Limits = append(r.Limits, l)
	}
	return r
}

// goal judges a ratio; nil when there is no goal.
func (c *comparison) goal(ratio float64) *goalReport {
	switch {
	case c.min > 0:
		return &goalReport{fmt.Sprintf("≥ %.3g", c.min), ratio >= c.min}
	case c.max > 0:
		return &goalReport{fmt.Sprintf("≤ %.3g", c.max), ratio <= c.max}
	}
	return nil
}

// medians gives the median of every figure over the rounds; a ratio is that of
// the rounds' own ratios.
func medians(rounds []measurement) measurement {
	of := func(figure func(measurement) float64) float64 {
		var values []float64
		for _, m := range rounds {
			values = append(values, figure(m))
		}
		return median(values)
	}
	m := measurement{
		PerSecond:   of(func(m measurement) float64 { return m.PerSecond }),
		P50Millis:   of(func(m measurement) float64 { return m.P50Millis }),
		P99Millis:   of(func(m measurement) float64 { return m.P99Millis }),
		BackendCPU:  of(func(m measurement) float64 { return m.BackendCPU }),
		DatabaseCPU: of(func(m measurement) float64 { return m.DatabaseCPU }),
		LoadCPU:     of(func(m measurement) float64 { return m.LoadCPU }),
		PeakMB:      of(func(m measurement) float64 { return m.PeakMB }),
	}
	for i := range rounds[0].Limits {
		m.Limits = append(m.Limits, compared{
			limit: of(func(m measurement) float64 { return m.Limits[i].limit }),
			ratio: of(func(m measurement) float64 { return m.Limits[i].ratio }),
		})
	}
	return m
}

// median gives the middle one of some values, or the mean of the middle two.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func (r *report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
