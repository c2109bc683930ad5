package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"ospulse/test/testbed"
)

// writeTables prints a table for each database and unit. A scenario has one line, and
// one more for each limit after the first.
func (r *report) writeTables(w io.Writer) error {
	var text strings.Builder
	for _, d := range r.Databases {
		var counted unit
		for _, s := range d.Scenarios {
			if s.Unit != counted {
				counted = s.Unit
				fmt.Fprintf(&text, "\n%s: medians of %d rounds of %gs on %d processors, %s, %s; CPU in µs, each %s\n\n",
					d.Database, r.Rounds, r.Seconds, r.CPUs, r.System, r.Go, counted)
				fmt.Fprintf(&text, "scenario\t%ss/s\tp50 ms\tp99 ms\tCPU backend\tdatabase\tload\tpeak MB\tgrown MB\tbytes each\tlimit\tits %[1]ss/s\tratio\tgoal\tmet\n", counted)
			}
			for _, cells := range s.lines() {
				fmt.Fprintln(&text, strings.Join(cells, "\t"))
			}
		}
		for i, note := range d.Notes {
			if i == 0 {
				fmt.Fprintln(&text)
			}
			fmt.Fprintf(&text, "%s: %s\n", d.Database, note)
		}
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(columns, text.String()); err != nil {
		return err
	}
	return columns.Flush()
}

// lines returns the cells of a scenario's lines.
func (s *scenarioReport) lines() [][]string {
	first := []string{
		s.Scenario, testbed.Number("%8.0f", s.PerSecond), testbed.Number("%6.2f", s.P50Millis), testbed.Number("%6.2f", s.P99Millis),
		testbed.Number("%11.1f", s.BackendCPU), testbed.Number("%8.1f", s.DatabaseCPU), testbed.Number("%5.1f", s.LoadCPU), testbed.Number("%7.0f", s.PeakMB), testbed.Number("%8.1f", s.GrownMB), testbed.Number("%10.0f", s.BytesEach),
	}
	further := make([]string, len(first))
	goals := s.Goals
	if len(s.Limits) == 0 {
		goal, met := summary(goals)
		return [][]string{append(first, "", "", "", goal, met)}
	}
	var lines [][]string
	for i, l := range s.Limits {
		cells := first
		if i > 0 {
			cells, goals = further, nil
		}
		if l.Goal != nil {
			goals = append([]goalReport{*l.Goal}, goals...)
		}
		limit := testbed.Number("%12.0f", l.PerSecond)
		switch {
		case l.P50Millis > 0:
			limit = fmt.Sprintf("p50 %5.2f ms", l.P50Millis)
		case l.BytesEach > 0:
			limit = fmt.Sprintf("%6.0f bytes", l.BytesEach)
		case l.CPUMicros > 0:
			limit = fmt.Sprintf("CPU %5.1f µs", l.CPUMicros)
		}
		goal, met := summary(goals)
		lines = append(lines, append(cells[:len(cells):len(cells)], l.Limit, limit, fmt.Sprintf("%.3f", l.Ratio), goal, met))
	}
	return lines
}

// summary lists the goals and the missed ones.
func summary(goals []goalReport) (goal, met string) {
	var all, missed []string
	for _, g := range goals {
		all = append(all, g.Goal)
		if !g.Met {
			missed = append(missed, g.Goal)
		}
	}
	switch {
	case len(all) == 0:
		return "", ""
	case len(missed) == 0:
		return strings.Join(all, ", "), "yes"
	}
	return strings.Join(all, ", "), "no: " + strings.Join(missed, ", ")
}
