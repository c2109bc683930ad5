// Package process derives the processes of a session from its events: which process an
// event is about although pids are used again, what the events add to it, and the tree of
// all of them. It consists of pure functions. internal/repository reads and stores the
// processes.
package process

import (
	"cmp"
	"path"
	"strings"
	"time"

	"ospulse/internal/models"
)

// find returns the process of a pid that a fact seen at a time is about, nil if there
// is none. For a fact without a start time it is the last process of the same name that
// had started by then: if an agent reports no start times, only a new name shows that a
// pid was reused.
func find(processes []*models.Process, fact models.ProcessFact, at time.Time) *models.Process {
	var found *models.Process
	for _, p := range processes {
		switch {
		case !fact.StartedAt.IsZero():
			// The process with this start. Otherwise one that acted after this start, in
			// an event that came before the event about the start.
			if p.StartedAt.Equal(fact.StartedAt) {
				return p
			}
			if !p.StartKnown && sameName(p.Name, fact.Name) && !p.FirstSeen.Before(fact.StartedAt) && (found == nil || p.StartedAt.Before(found.StartedAt)) {
				found = p
			}
		case !p.StartKnown && !sameName(p.Name, fact.Name):
		case found == nil, nearer(p.StartedAt, found.StartedAt, at):
			found = p
		}
	}
	return found
}

func sameName(a, b string) bool { return a == "" || b == "" || a == b }

// nearer reports whether start is a better guess than other for something seen at a
// time. The latest start before that time is best, otherwise the earliest one after it.
func nearer(start, other, at time.Time) bool {
	if start.After(at) || other.After(at) {
		return start.Before(other)
	}
	return start.After(other)
}

// learn adds a fact to p that events between first and last report.
func learn(p *models.Process, fact models.ProcessFact, first, last time.Time) {
	if !fact.StartedAt.IsZero() {
		p.StartedAt, p.StartKnown = fact.StartedAt, true
	}
	add(&p.ProcessInfo, fact.ProcessInfo)
	if p.Name == "" && p.Image != "" {
		p.Name = path.Base(strings.ReplaceAll(p.Image, `\`, "/"))
	}
	if first.Before(p.FirstSeen) {
		p.FirstSeen = first
	}
	if last.After(p.LastSeen) {
		p.LastSeen = last
	}
}

// count adds n events of a type to those of p.
func count(p *models.Process, eventType string, n int64) {
	if p.EventCounts == nil {
		p.EventCounts = map[string]int64{}
	}
	if _, ok := p.EventCounts[eventType]; !ok && len(p.EventCounts) >= maxCountedTypes {
		eventType = models.OtherTypes
	}
	p.EventCounts[eventType] += n
}

// maxCountedTypes bounds EventCounts. Events of further types count as models.OtherTypes.
const maxCountedTypes = 64

// add overwrites the fields of i with the known fields of later.
func add(i *models.ProcessInfo, later models.ProcessInfo) {
	i.ParentPID = cmp.Or(later.ParentPID, i.ParentPID)
	i.ParentStartedAt = cmp.Or(later.ParentStartedAt, i.ParentStartedAt)
	i.Name = cmp.Or(later.Name, i.Name)
	i.Image = cmp.Or(later.Image, i.Image)
	i.CommandLine = cmp.Or(later.CommandLine, i.CommandLine)
}
