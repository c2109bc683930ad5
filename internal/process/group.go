package process

import (
	"iter"
	"maps"
	"slices"
	"time"

	"ospulse/internal/models"
)

// PID identifies the processes of a session that had one pid.
type PID struct {
	SessionID string
	PID       int64
}

// Group is what a group of events says about processes. The caller adds the stored
// processes of PIDs, and then stores the Changes.
type Group struct {
	sightings []*sighting
	pids      map[PID]*ofPID
	families  map[string]bool // sessions whose Family changes
}

// sighting is what the events of a group say about one process.
type sighting struct {
	fact        models.ProcessFact
	pid         *ofPID
	first, last time.Time
	counts      map[string]int64 // of its events, by type
}

// ofPID holds the processes that had one pid.
type ofPID struct {
	PID
	processes []*models.Process
	changed   []*Change
	missingTo time.Time // if not zero: processes that started at this time or before may be missing
}

// Change is a process to which a group of events adds something. Its ID is 0 if it is
// not stored yet.
type Change struct {
	*models.Process
	CountsOnly bool // only FirstSeen, LastSeen and EventCounts have changed
}

// NewGroup collects what events say about processes. Their sessions must be set.
func NewGroup(incoming []*models.Incoming) *Group {
	g := &Group{pids: map[PID]*ofPID{}, families: map[string]bool{}}
	type key struct {
		PID
		startedAt int64 // microseconds
		name      string
	}
	byKey := map[key]*sighting{}
	see := func(e *models.Event, fact models.ProcessFact) {
		key := key{PID: PID{e.SessionID, fact.PID}, name: fact.Name}
		if !fact.StartedAt.IsZero() {
			key.startedAt = fact.StartedAt.UnixMicro()
		}
		seen := byKey[key]
		if seen == nil {
			seen = &sighting{fact: fact, pid: g.of(key.PID), first: e.Timestamp, last: e.Timestamp, counts: map[string]int64{}}
			byKey[key] = seen
			g.sightings = append(g.sightings, seen)
		}
		seen.add(e, fact)
	}
	for _, in := range incoming {
		acted := false
		for _, fact := range in.Processes {
			see(&in.Event, fact)
			acted = acted || fact.Acted
		}
		if in.PID != nil && !acted {
			fact := models.ProcessFact{PID: *in.PID, Acted: true}
			if in.ProcessName != nil {
				fact.Name = *in.ProcessName
			}
			see(&in.Event, fact)
		}
	}
	// Facts with a start come first, so that facts without one find the process.
	slices.SortStableFunc(g.sightings, func(a, b *sighting) int {
		switch known := !a.fact.StartedAt.IsZero(); {
		case known == !b.fact.StartedAt.IsZero():
			return 0
		case known:
			return -1
		default:
			return 1
		}
	})
	return g
}

func (g *Group) of(pid PID) *ofPID {
	if g.pids[pid] == nil {
		g.pids[pid] = &ofPID{PID: pid}
	}
	return g.pids[pid]
}

func (s *sighting) add(e *models.Event, fact models.ProcessFact) {
	add(&s.fact.ProcessInfo, fact.ProcessInfo)
	if e.Timestamp.Before(s.first) {
		s.first = e.Timestamp
	}
	if e.Timestamp.After(s.last) {
		s.last = e.Timestamp
	}
	if fact.Acted {
		s.counts[e.EventType]++
	}
}

// PIDs returns the pids that the events are about, in any order.
func (g *Group) PIDs() iter.Seq[PID] { return maps.Keys(g.pids) }

// AddStored adds a stored process. It ignores one that it has already.
func (g *Group) AddStored(p *models.Process) {
	of := g.of(PID{p.SessionID, p.PID})
	if !slices.ContainsFunc(of.processes, func(other *models.Process) bool { return other.ID == p.ID }) {
		of.processes = append(of.processes, p)
	}
}

// SetMissing records that the caller did not add the stored processes of a pid that
// started at upTo or before.
func (g *Group) SetMissing(pid PID, upTo time.Time) { g.of(pid).missingTo = upTo }

// Missing returns the reported starts of processes that may be missing after
// SetMissing.
func (g *Group) Missing() iter.Seq2[PID, time.Time] {
	return func(yield func(PID, time.Time) bool) {
		for _, seen := range g.sightings {
			if start := seen.fact.StartedAt; !start.IsZero() && !start.After(seen.pid.missingTo) && !yield(seen.pid.PID, start) {
				return
			}
		}
	}
}

// Changes merges the events' facts into the stored processes. It returns each process
// that is new or changed.
func (g *Group) Changes() []*Change {
	for _, seen := range g.sightings {
		if seen.pid.learn(seen) {
			g.families[seen.pid.SessionID] = true
		}
	}
	var changes []*Change
	for _, seen := range g.sightings {
		changes = append(changes, seen.pid.changed...)
		seen.pid.changed = nil
	}
	return changes
}

// Families returns, after Changes, the sessions of which a Family made before is out of
// date, sorted.
func (g *Group) Families() []string { return slices.Sorted(maps.Keys(g.families)) }

// learn finds or creates the process that was seen, and records the change. It reports
// whether a Family changes.
func (o *ofPID) learn(seen *sighting) bool {
	p := find(o.processes, seen.fact, seen.first)
	if p == nil {
		p = &models.Process{SessionID: o.SessionID, PID: o.PID.PID, StartedAt: o.freeStart(seen.first), FirstSeen: seen.first, LastSeen: seen.last}
		o.processes = append(o.processes, p)
	}
	before := *p
	learn(p, seen.fact, seen.first, seen.last)
	for eventType, n := range seen.counts {
		count(p, eventType, n)
	}
	i := slices.IndexFunc(o.changed, func(c *Change) bool { return c.Process == p })
	if i < 0 {
		i = len(o.changed)
		o.changed = append(o.changed, &Change{Process: p, CountsOnly: p.ID != 0})
	}
	if !before.StartedAt.Equal(p.StartedAt) || before.ProcessInfo != p.ProcessInfo || !seen.fact.StartedAt.IsZero() {
		o.changed[i].CountsOnly = false
	}
	return p.ID == 0 || before.StartKnown != p.StartKnown || !before.StartedAt.Equal(p.StartedAt) || before.Name != p.Name ||
		!equal(before.ParentPID, p.ParentPID, func(a, b int64) bool { return a == b }) || !equal(before.ParentStartedAt, p.ParentStartedAt, time.Time.Equal)
}

// equal reports whether both are nil or have the same value.
func equal[T any](a, b *T, same func(a, b T) bool) bool {
	return a == b || a != nil && b != nil && same(*a, *b)
}

// freeStart returns the first start from a time on that no other process of the pid has:
// the start is part of the key.
func (o *ofPID) freeStart(start time.Time) time.Time {
	if !start.After(o.missingTo) {
		start = o.missingTo.Add(time.Microsecond)
	}
	taken := make(map[int64]bool, len(o.processes))
	for _, other := range o.processes {
		taken[other.StartedAt.UnixMicro()] = true
	}
	for taken[start.UnixMicro()] {
		start = start.Add(time.Microsecond)
	}
	return start
}
