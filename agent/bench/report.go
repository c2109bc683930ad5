//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"ospulse/test/testbed"
)

// maxPeakMB is the goal for the agent's memory.
const maxPeakMB = 80

// report holds the medians of the rounds, for the table and the JSON file.
type report struct {
	testbed.Machine
	Rounds int     `json:"rounds"`
	Scale  float64 `json:"scale"`
	Rows   []row   `json:"rows"`
}

// row has the figures of one measurement.
type row struct {
	Scenario string   `json:"scenario"`
	Name     string   `json:"measurement"`
	Median   float64  `json:"median"`
	Unit     string   `json:"unit"`
	Spread   float64  `json:"spread"` // (maximum - minimum) / median
	Ratio    float64  `json:"ratio,omitempty"`
	CPURatio float64  `json:"cpu_ratio,omitempty"` // of the processor time, including the agent's
	Goal     string   `json:"goal,omitempty"`
	Met      bool     `json:"met"` // true if there is no goal and no fault
	Samples  []sample `json:"samples,omitempty"`
}

func newReport(o options, all []scenario, samples map[string][][]sample) report {
	r := report{Machine: testbed.ThisMachine(), Rounds: o.Rounds, Scale: o.scale}
	peak := 0.0
	for _, s := range all {
		of := samples[s.name]
		for i, measured := range of {
			m := s.measurements[i]
			var base []sample
			if at := slices.IndexFunc(s.measurements, func(other measurement) bool { return other.name == m.of }); at >= 0 {
				base = of[at]
			}
			r.Rows = append(r.Rows, newRow(s.name, m, measured, base))
			for _, one := range measured {
				peak = max(peak, one.PeakMB)
			}
		}
	}
	if peak > 0 {
		r.Rows = append(r.Rows, row{Scenario: "all of these", Name: "most memory of the agent", Median: peak, Unit: "MB", Goal: fmt.Sprintf("≤ %d", maxPeakMB), Met: peak <= maxPeakMB})
	}
	return r
}

// newRow judges a measurement, and compares it with base if that is not nil.
func newRow(scenario string, m measurement, measured, base []sample) row {
	values := make([]float64, len(measured))
	ratios, cpu := make([]float64, len(base)), make([]float64, len(base))
	isFaulty := false
	for i, s := range measured {
		values[i] = s.Value
		if base != nil {
			ratios[i] = s.Value / base[i].Value
			cpu[i] = (s.LoadCPU + s.AgentCPU) / base[i].LoadCPU
		}
		isFaulty = isFaulty || len(s.Faults) > 0
	}
	r := row{Scenario: scenario, Name: m.name, Median: testbed.Median(values), Unit: m.unit, Met: !isFaulty, Samples: measured}
	r.Spread = (slices.Max(values) - slices.Min(values)) / r.Median
	judged := r.Median
	if base != nil {
		r.Ratio, r.CPURatio = testbed.Median(ratios), testbed.Median(cpu)
		judged = r.Ratio
	}
	switch {
	case m.goal.limit == 0:
	case m.goal.isLeast:
		r.Goal = fmt.Sprintf("≥ %g", m.goal.limit)
		r.Met = r.Met && judged >= m.goal.limit
	default:
		r.Goal = fmt.Sprintf("≤ %g", m.goal.limit)
		r.Met = r.Met && judged <= m.goal.limit
	}
	return r
}

// writeTable prints a line for each measurement.
func (r *report) writeTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "The agent: medians of %d rounds on %d processors, %s, %s\n\n", r.Rounds, r.CPUs, r.System, r.Go)
	_, _ = fmt.Fprintln(table, "scenario\tmeasurement\tmedian\tspread\tratio\tof CPU\tgoal\tmet\tevents\tlost\tleft out\tagent's CPU\tits peak MB")
	for i := range r.Rows {
		_, _ = fmt.Fprintln(table, strings.TrimRight(strings.Join(r.Rows[i].cells(), "\t"), "\t"))
	}
	for i := range r.Rows {
		for round, s := range r.Rows[i].Samples {
			for _, text := range slices.Concat(s.Notes, s.Faults) {
				_, _ = fmt.Fprintf(table, "\n%s, round %d: %s\n", r.Rows[i].Scenario, round+1, text)
			}
		}
	}
	return table.Flush()
}

func (r *row) cells() []string {
	of := func(figure func(sample) float64) float64 {
		var values []float64
		for _, s := range r.Samples {
			values = append(values, figure(s))
		}
		if values == nil {
			return 0
		}
		return testbed.Median(values)
	}
	met := ""
	switch {
	case !r.Met:
		met = "no"
	case r.Goal != "":
		met = "yes"
	}
	events, lost := of(func(s sample) float64 { return float64(s.Events) }), of(func(s sample) float64 { return float64(s.Lost) })
	cpu, peak := "", of(func(s sample) float64 { return s.PeakMB })
	if events+lost > 0 {
		cpu = fmt.Sprintf("%.1f µs/event", of(func(s sample) float64 { return s.AgentCPU })*1e6/(events+lost))
	}
	return []string{
		r.Scenario, r.Name, figure(r.Median) + " " + r.Unit, testbed.Number("%.0f %%", 100*r.Spread), testbed.Number("%.3f", r.Ratio), testbed.Number("%.3f", r.CPURatio), r.Goal, met,
		testbed.Number("%.0f", events), testbed.Number("%.0f", lost), testbed.Number("%.0f", of(func(s sample) float64 { return float64(s.LeftOut) })), cpu, testbed.Number("%.0f", peak),
	}
}

// figure formats a value with three digits, or with all before the point.
func figure(value float64) string {
	if value >= 100 {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.3g", value)
}
