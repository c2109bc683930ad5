package attack

import (
	"slices"
	"strings"

	"ospulse/internal/models"
)

// Matrix are the findings of a session by tactic and technique.
type Matrix struct {
	Tactics []Column // all tactics, in their order
	// Unplaced are techniques without a tactic: unknown ones of rules that name no tactic.
	Unplaced []Cell
}

// Column is a tactic.
type Column struct {
	Tactic
	Score
	Techniques []Cell // those with findings, in the order of their IDs
}

// Cell is a technique of a column. Its Tactics and TaggedAs are empty: they differ from
// rule to rule.
type Cell struct {
	Technique
	Score
	Titles []string // of the findings; those of events that failed say so
}

// Score says how much was found.
type Score struct {
	Findings int
	Events   int64  // of all findings; an event that two rules match counts twice
	Level    string // the highest of the findings; "" without one
}

func (s *Score) add(f *models.Finding) {
	s.Findings++
	s.Events += f.Count
	if models.LevelRank(f.Level) > models.LevelRank(s.Level) {
		s.Level = f.Level
	}
}

// NewMatrix arranges findings.
func NewMatrix(found []models.Finding) Matrix {
	m := Matrix{Tactics: make([]Column, len(known.Tactics))}
	for i, tactic := range known.Tactics {
		m.Tactics[i].Tactic = tactic
	}
	for i := range found {
		f := &found[i]
		mapping := Of(f.Tags)
		for _, t := range mapping.Techniques {
			if len(t.Tactics) == 0 {
				m.Unplaced = addTo(m.Unplaced, t, f)
			}
		}
		for j := range m.Tactics {
			column := &m.Tactics[j]
			if !slices.Contains(mapping.Tactics, column.ShortName) {
				continue
			}
			column.add(f)
			for _, t := range mapping.Techniques {
				if slices.Contains(t.Tactics, column.ShortName) {
					column.Techniques = addTo(column.Techniques, t, f)
				}
			}
		}
	}
	return m
}

// addTo adds a finding to the cell of a technique.
func addTo(cells []Cell, t Technique, f *models.Finding) []Cell {
	i, isThere := slices.BinarySearchFunc(cells, t.ID, func(c Cell, id string) int { return strings.Compare(c.ID, id) })
	if !isThere {
		t.Tactics, t.TaggedAs = nil, ""
		cells = slices.Insert(cells, i, Cell{Technique: t})
	}
	cells[i].add(f)
	title := f.Title
	if failed := f.FailedText(); failed != "" {
		title += " (" + failed + ")"
	}
	cells[i].Titles = append(cells[i].Titles, title)
	return cells
}
