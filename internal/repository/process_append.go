package repository

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// maxProcessesRead is how many processes of a few pids are looked at, the latest
// ones. More than one of a pid is rare; of those that were not read, the ones whose
// start an event tells are looked up.
const maxProcessesRead = 512

// sightings is what a group of events tells of processes, an entry for each, and
// the processes that are stored of the same pids.
type sightings struct {
	all    []*sighting
	byKey  map[sightingKey]*sighting
	stored map[pidKey]*storedPID
}

// sighting is one process as the group sees it.
type sighting struct {
	fact        models.ProcessFact
	stored      *storedPID
	first, last time.Time
	counts      map[string]int64 // of what it did, by event type
}

type sightingKey struct {
	pidKey
	startedAt int64 // microseconds
	name      string
}

type pidKey struct {
	sessionID string
	pid       int64
}

// storedPID is the processes of a session that had one pid.
type storedPID struct {
	pidKey
	processes []*models.Process
	changed   []*changedProcess
	// unreadUpTo, if not zero, is the latest start that a process may have which was
	// not read.
	unreadUpTo time.Time
}

// changedProcess is a process of which the group tells something new.
type changedProcess struct {
	*models.Process
	renamed bool // more than the times and the counts
}

// newSightings collects what the events tell; their sessions are set.
func newSightings(incoming []*models.Incoming) *sightings {
	s := &sightings{byKey: map[sightingKey]*sighting{}, stored: map[pidKey]*storedPID{}}
	for _, in := range incoming {
		acted := false
		for _, fact := range in.Processes {
			s.add(&in.Event, fact)
			acted = acted || fact.Acted
		}
		if in.PID != nil && !acted {
			fact := models.ProcessFact{PID: *in.PID, Acted: true}
			if in.ProcessName != nil {
				fact.Name = *in.ProcessName
			}
			s.add(&in.Event, fact)
		}
	}
	// What tells of a start comes first: the other events find the process then.
	slices.SortStableFunc(s.all, func(a, b *sighting) int {
		switch known := !a.fact.StartedAt.IsZero(); {
		case known == !b.fact.StartedAt.IsZero():
			return 0
		case known:
			return -1
		default:
			return 1
		}
	})
	return s
}

func (s *sightings) add(e *models.Event, fact models.ProcessFact) {
	key := sightingKey{pidKey: pidKey{e.SessionID, fact.PID}, name: fact.Name}
	if !fact.StartedAt.IsZero() {
		key.startedAt = fact.StartedAt.UnixMicro()
	}
	seen := s.byKey[key]
	if seen == nil {
		stored := s.stored[key.pidKey]
		if stored == nil {
			stored = &storedPID{pidKey: key.pidKey}
			s.stored[key.pidKey] = stored
		}
		seen = &sighting{fact: fact, stored: stored, first: e.Timestamp, last: e.Timestamp, counts: map[string]int64{}}
		s.byKey[key] = seen
		s.all = append(s.all, seen)
	}
	seen.fact.Add(fact.ProcessInfo)
	if e.Timestamp.Before(seen.first) {
		seen.first = e.Timestamp
	}
	if e.Timestamp.After(seen.last) {
		seen.last = e.Timestamp
	}
	if fact.Acted {
		seen.counts[e.EventType]++
	}
}

// readStatements read the processes that the group may be about.
func (s *sightings) readStatements() []database.Statement {
	bySession := map[string][]int64{}
	for key := range s.stored {
		bySession[key.sessionID] = append(bySession[key.sessionID], key.pid)
	}
	var statements []database.Statement
	for sessionID, pids := range bySession {
		for some := range slices.Chunk(pids, askedAtOnce) {
			statements = append(statements, s.readStatement(sessionID, some))
		}
	}
	return statements
}

func (s *sightings) readStatement(sessionID string, pids []int64) database.Statement {
	read := 0
	return s.read(sessionID, "pid IN (?, ?, ?, ?, ?, ?, ?, ?) ORDER BY started_at DESC LIMIT ?",
		append(filled([]any{sessionID}, pids), int64(maxProcessesRead)), func(p *models.Process) {
			if read++; read < maxProcessesRead {
				return
			}
			for _, pid := range pids {
				s.stored[pidKey{sessionID, pid}].unreadUpTo = p.StartedAt
			}
		})
}

// readUnreadStatements read the processes that readStatements left out and whose
// start an event tells.
func (s *sightings) readUnreadStatements() []database.Statement {
	var statements []database.Statement
	for _, seen := range s.all {
		if start := seen.fact.StartedAt; !start.IsZero() && !start.After(seen.stored.unreadUpTo) {
			args := []any{seen.stored.sessionID, seen.stored.pid, start}
			statements = append(statements, s.read(seen.stored.sessionID, "pid = ? AND started_at = ?", args, func(*models.Process) {}))
		}
	}
	return statements
}

// read reads the processes of a session that a condition selects, and calls after
// with each. One that was read before is left out.
func (s *sightings) read(sessionID, condition string, args []any, after func(*models.Process)) database.Statement {
	var (
		p         models.Process
		id, known int64
		counts    string
	)
	return database.Statement{
		Text: "SELECT id, pid, started_at, CASE WHEN start_known THEN 1 ELSE 0 END, parent_pid, parent_started_at, name, image, command_line, first_seen, last_seen, event_counts " +
			"FROM processes WHERE session_id = ? AND " + condition,
		Args: args,
		Dest: []any{&id, &p.PID, &p.StartedAt, &known, &p.ParentPID, &p.ParentStartedAt, &p.Name, &p.Image, &p.CommandLine, &p.FirstSeen, &p.LastSeen, &counts},
		Row: func() {
			read := p
			read.ID, read.SessionID, read.StartKnown = uint64(id), sessionID, known != 0
			_ = json.Unmarshal([]byte(counts), &read.EventCounts) // what writeStatements wrote
			stored := s.stored[pidKey{sessionID, p.PID}]
			if !slices.ContainsFunc(stored.processes, func(other *models.Process) bool { return other.ID == read.ID }) {
				stored.processes = append(stored.processes, &read)
			}
			after(&read)
		},
	}
}

// writeStatements store what the group adds to the processes that were read.
func (s *sightings) writeStatements() ([]database.Statement, error) {
	for _, seen := range s.all {
		seen.stored.learn(seen)
	}
	var statements []database.Statement
	var usual []any // arguments of usualUpdate, one process after the other
	for _, seen := range s.all {
		for _, p := range seen.stored.changed {
			counts, err := json.Marshal(p.EventCounts)
			if err != nil {
				return nil, err
			}
			if p.ID != 0 && !p.renamed {
				usual = append(usual, int64(p.ID), p.FirstSeen, p.LastSeen, string(counts))
			} else {
				statements = append(statements, p.writeStatement(string(counts)))
			}
		}
		seen.stored.changed = nil
	}
	for some := range slices.Chunk(usual, 4*len(usualUpdates)) {
		statements = append(statements, database.Statement{Text: usualUpdates[len(some)/4-1], Args: some})
	}
	return statements, nil
}

// usualUpdates bring processes up to date of which nothing else is new: 1, 2, 3 …
// of them in one statement.
var usualUpdates = func() (texts [8]string) { //nolint:gochecknoglobals // a constant
	for i := range texts {
		texts[i] = "UPDATE processes SET first_seen = v.column2, last_seen = v.column3, event_counts = v.column4 FROM (VALUES " +
			"(CAST(? AS bigint), CAST(? AS timestamptz), CAST(? AS timestamptz), CAST(? AS text))" + strings.Repeat(", (?, ?, ?, ?)", i) +
			") AS v WHERE processes.id = v.column1"
	}
	return texts
}()

// learn finds the process that was seen, or adds it, and notes what is new.
func (s *storedPID) learn(seen *sighting) {
	p := models.FindProcess(s.processes, seen.fact, seen.first)
	if p == nil {
		p = &models.Process{SessionID: s.sessionID, PID: s.pid, StartedAt: seen.first, FirstSeen: seen.first, LastSeen: seen.last}
		if !p.StartedAt.After(s.unreadUpTo) { // a start that no other process has
			p.StartedAt = s.unreadUpTo.Add(time.Microsecond)
		}
		taken := make(map[int64]bool, len(s.processes))
		for _, other := range s.processes {
			taken[other.StartedAt.UnixMicro()] = true
		}
		for taken[p.StartedAt.UnixMicro()] {
			p.StartedAt = p.StartedAt.Add(time.Microsecond) // the start is part of the key
		}
		s.processes = append(s.processes, p)
	}
	startedAt, info := p.StartedAt, p.ProcessInfo
	p.Learn(seen.fact, seen.first, seen.last)
	for eventType, n := range seen.counts {
		p.Count(eventType, n)
	}
	i := slices.IndexFunc(s.changed, func(c *changedProcess) bool { return c.Process == p })
	if i < 0 {
		i = len(s.changed)
		s.changed = append(s.changed, &changedProcess{Process: p})
	}
	if !startedAt.Equal(p.StartedAt) || info != p.ProcessInfo || !seen.fact.StartedAt.IsZero() {
		s.changed[i].renamed = true
	}
}

func (p *changedProcess) writeStatement(counts string) database.Statement {
	args := []any{p.FirstSeen, p.LastSeen, counts, p.StartedAt, p.StartKnown, orNil(p.ParentPID), orNil(p.ParentStartedAt), p.Name, p.Image, p.CommandLine}
	if p.ID != 0 {
		return database.Statement{
			Text: "UPDATE processes SET first_seen = ?, last_seen = ?, event_counts = ?, started_at = ?, start_known = ?, parent_pid = ?, parent_started_at = ?, name = ?, image = ?, command_line = ? WHERE id = ?",
			Args: append(args, int64(p.ID)),
		}
	}
	return database.Statement{
		Text: "INSERT INTO processes (first_seen, last_seen, event_counts, started_at, start_known, parent_pid, parent_started_at, name, image, command_line, session_id, pid) " +
			"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		Args: append(args, p.SessionID, p.PID),
	}
}
