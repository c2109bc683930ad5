package repository

import (
	"encoding/json"
	"slices"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// maxProcessesRead is how many processes of one pid are looked at, the latest
// ones. More than one is rare.
const maxProcessesRead = 64

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
	changed   []*models.Process
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
	statements := make([]database.Statement, 0, len(s.stored))
	var (
		p      models.Process
		id     int64
		known  int64
		counts string
	)
	for _, stored := range s.stored {
		statements = append(statements, database.Statement{
			Text: "SELECT id, started_at, CASE WHEN start_known THEN 1 ELSE 0 END, parent_pid, parent_started_at, name, image, command_line, first_seen, last_seen, event_counts " +
				"FROM processes WHERE session_id = ? AND pid = ? ORDER BY started_at DESC LIMIT ?",
			Args: []any{stored.sessionID, stored.pid, int64(maxProcessesRead)},
			Dest: []any{&id, &p.StartedAt, &known, &p.ParentPID, &p.ParentStartedAt, &p.Name, &p.Image, &p.CommandLine, &p.FirstSeen, &p.LastSeen, &counts},
			Row: func() {
				read := p
				read.ID, read.SessionID, read.PID, read.StartKnown = uint64(id), stored.sessionID, stored.pid, known != 0
				_ = json.Unmarshal([]byte(counts), &read.EventCounts) // what writeStatements wrote
				stored.processes = append(stored.processes, &read)
			},
		})
	}
	return statements
}

// writeStatements store what the group adds to the processes that were read.
func (s *sightings) writeStatements() ([]database.Statement, error) {
	for _, seen := range s.all {
		seen.stored.learn(seen)
	}
	var statements []database.Statement
	for _, seen := range s.all {
		for _, p := range seen.stored.changed {
			statement, err := writeStatement(p)
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
	p.Learn(seen.fact, seen.first, seen.last)
	for eventType, n := range seen.counts {
		p.Count(eventType, n)
	}
	if !slices.Contains(s.changed, p) {
		s.changed = append(s.changed, p)
	}
}

func writeStatement(p *models.Process) (database.Statement, error) {
	counts, err := json.Marshal(p.EventCounts)
	if err != nil {
		return database.Statement{}, err
	}
	args := []any{p.StartedAt, p.StartKnown, orNil(p.ParentPID), orNil(p.ParentStartedAt), p.Name, p.Image, p.CommandLine, p.FirstSeen, p.LastSeen, string(counts)}
	if p.ID != 0 {
		return database.Statement{
			Text: "UPDATE processes SET started_at = ?, start_known = ?, parent_pid = ?, parent_started_at = ?, name = ?, image = ?, command_line = ?, first_seen = ?, last_seen = ?, event_counts = ? WHERE id = ?",
			Args: append(args, int64(p.ID)),
		}, nil
	}
	return database.Statement{
		// There is a conflict only if the pid had more processes than were read.
		Text: "INSERT INTO processes (started_at, start_known, parent_pid, parent_started_at, name, image, command_line, first_seen, last_seen, event_counts, session_id, pid) " +
			"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session_id, pid, started_at) DO UPDATE SET last_seen = excluded.last_seen",
		Args: append(args, p.SessionID, p.PID),
	}, nil
}
