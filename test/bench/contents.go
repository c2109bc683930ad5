package main

import (
	"slices"

	"github.com/google/uuid"

	"ospulse/internal/models"
)

// contents describes a stored session. Answers are compared with it.
type contents struct {
	id        string
	events    int64 // in the end
	noted     int64 // so far; also the last seq
	selected  map[string]*selected
	questions []selection // filters to prepare answers for
}

// selected are the events of a session that a filter selects.
type selected struct {
	seqs   []int64                     // nil if it selects all
	counts map[string]map[string]int64 // by field and value, "" for events without one
}

// facetFields are the fields whose values are counted.
var facetFields = map[string]func(*models.Event) string{
	"type":      func(e *models.Event) string { return e.EventType },
	"operation": func(e *models.Event) string { return textOf(e.Operation) },
	"process":   func(e *models.Event) string { return textOf(e.ProcessName) },
	"host":      func(e *models.Event) string { return models.TargetHost(e.EventType, textOf(e.Target)) },
	"extension": func(e *models.Event) string { return models.TargetExtension(e.EventType, textOf(e.Target)) },
}

func textOf(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func newContents(events int64, questions ...selection) *contents {
	// The ID has the form of the backend's. NewV7 fails only without randomness.
	c := &contents{id: uuid.Must(uuid.NewV7()).String(), events: events, questions: questions, selected: map[string]*selected{}}
	for _, q := range questions {
		c.selected[q.filter] = &selected{counts: map[string]map[string]int64{}}
		for field := range facetFields {
			c.selected[q.filter].counts[field] = map[string]int64{}
		}
	}
	return c
}

// note records the session's next event.
func (c *contents) note(e *models.Event) {
	c.noted++
	var values map[string]string // of the fields, computed at the first match
	for _, q := range c.questions {
		if !q.matches(e) {
			continue
		}
		s := c.selected[q.filter]
		if q.filter != "" {
			s.seqs = append(s.seqs, c.noted)
		}
		if values == nil {
			values = make(map[string]string, len(facetFields))
			for field, of := range facetFields {
				values[field] = of(e)
			}
		}
		for field, value := range values {
			s.counts[field][value]++
		}
	}
}

// page returns the seqs of a page of the selected events, and whether more follow.
func (c *contents) page(q selection, after int64, limit int) (seqs []int64, more bool) {
	if q.filter == "" {
		for seq := after + 1; seq <= c.noted && len(seqs) < limit; seq++ {
			seqs = append(seqs, seq)
		}
		return seqs, after+int64(limit) < c.noted
	}
	all := c.selected[q.filter].seqs
	first, _ := slices.BinarySearch(all, after+1)
	all = all[first:]
	return all[:min(limit, len(all))], len(all) > limit
}
