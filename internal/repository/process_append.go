package repository

import (
	"encoding/json"
	"slices"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// How processes are read: those of pidsRead pids at once, of each one as good as
// always; when pids were reused without end, the latest ones.
const (
	pidsRead         = 8
	maxProcessesRead = 64 * pidsRead
)

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
	bySession := map[string][]*storedPID{}
	for _, stored := range s.stored {
		bySession[stored.sessionID] = append(bySession[stored.sessionID], stored)
	}
	var statements []database.Statement
	for sessionID, pids := range bySession {
		for some := range slices.Chunk(pids, pidsRead) {
			statements = append(statements, s.readStatement(sessionID, some))
		}
	}
	return statements
}

func (s *sightings) readStatement(sessionID string, pids []*storedPID) database.Statement {
	args := []any{sessionID}
	for i := range pidsRead { // one text for any number of them: the last one fills up
		args = append(args, pids[min(i, len(pids)-1)].pid)
	}
	var (
		p         models.Process
		id, known int64
		counts    string
	)
	return database.Statement{
		Text: "SELECT id, pid, started_at, CASE WHEN start_known THEN 1 ELSE 0 END, parent_pid, parent_started_at, name, image, command_line, first_seen, last_seen, event_counts " +
			"FROM processes WHERE session_id = ? AND pid IN (?, ?, ?, ?, ?, ?, ?, ?) ORDER BY started_at DESC LIMIT ?",
		Args: append(args, int64(maxProcessesRead)),
		Dest: []any{&id, &p.PID, &p.StartedAt, &known, &p.ParentPID, &p.ParentStartedAt, &p.Name, &p.Image, &p.CommandLine, &p.FirstSeen, &p.LastSeen, &counts},
		Row: func() {
			read := p
			read.ID, read.SessionID, read.StartKnown = uint64(id), sessionID, known != 0
			_ = json.Unmarshal([]byte(counts), &read.EventCounts) // what writeStatements wrote
			stored := s.stored[pidKey{sessionID, p.PID}]
			stored.processes = append(stored.processes, &read)
		},
	}
}

// writeStatements store what the group adds to the processes that were read.
func (s *sightings) writeStatements() ([]database.Statement, error) {
	for _, seen := range s.all {
		seen.stored.learn(seen)
	}
	var statements []database.Statement
	for _, seen := range s.all {
		for _, p := range seen.stored.changed {
			statement, err := p.writeStatement()
			if err != nil {
				return nil, err
			}
			statements = append(statements, statement)
		}
		seen.stored.changed = nil
	}
	return statements, nil
}

// learn finds the process that was seen, or adds it, and notes what is new.
func (s *storedPID) learn(seen *sighting) {
	p := models.FindProcess(s.processes, seen.fact, seen.first)
	if p == nil {
		p = &models.Process{SessionID: s.sessionID, PID: s.pid, StartedAt: seen.first, FirstSeen: seen.first, LastSeen: seen.last}
		for slices.ContainsFunc(s.processes, func(other *models.Process) bool { return other.StartedAt.Equal(p.StartedAt) }) {
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

func (p *changedProcess) writeStatement() (database.Statement, error) {
	counts, err := json.Marshal(p.EventCounts)
	if err != nil {
		return database.Statement{}, err
	}
	args := []any{p.FirstSeen, p.LastSeen, string(counts)}
	if p.ID != 0 && !p.renamed { // the usual, which touches no index
		return database.Statement{
			Text: "UPDATE processes SET first_seen = ?, last_seen = ?, event_counts = ? WHERE id = ?",
			Args: append(args, int64(p.ID)),
		}, nil
	}
	args = append(args, p.StartedAt, p.StartKnown, orNil(p.ParentPID), orNil(p.ParentStartedAt), p.Name, p.Image, p.CommandLine)
	if p.ID != 0 {
		return database.Statement{
			Text: "UPDATE processes SET first_seen = ?, last_seen = ?, event_counts = ?, started_at = ?, start_known = ?, parent_pid = ?, parent_started_at = ?, name = ?, image = ?, command_line = ? WHERE id = ?",
			Args: append(args, int64(p.ID)),
		}, nil
	}
	return database.Statement{
		// There is a conflict only if the pid had more processes than were read.
		Text: "INSERT INTO processes (first_seen, last_seen, event_counts, started_at, start_known, parent_pid, parent_started_at, name, image, command_line, session_id, pid) " +
			"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session_id, pid, started_at) DO UPDATE SET last_seen = excluded.last_seen",
		Args: append(args, p.SessionID, p.PID),
	}, nil
}
