package models

import (
	"cmp"
	"path"
	"strings"
	"time"
)

// Process is one process seen in a session. Pids are reused, so its key is
// (session, pid, start time); StartedAt is the time of the event that made it
// known when no event said when it started.
type Process struct {
	ID         uint64    `gorm:"primaryKey;autoIncrement"`
	SessionID  string    `gorm:"column:session_id;type:varchar(255);not null;uniqueIndex:idx_processes_key,priority:1"`
	PID        int64     `gorm:"column:pid;not null;uniqueIndex:idx_processes_key,priority:2"`
	StartedAt  time.Time `gorm:"column:started_at;not null;uniqueIndex:idx_processes_key,priority:3"`
	StartKnown bool      `gorm:"column:start_known;not null;default:false"` // an event said when it started
	ProcessInfo
	FirstSeen   time.Time        `gorm:"column:first_seen;not null"`
	LastSeen    time.Time        `gorm:"column:last_seen;not null"`
	EventCounts map[string]int64 `gorm:"column:event_counts;type:text;serializer:json"` // by event type

	Session *Session `gorm:"foreignKey:SessionID;references:ID"`
}

// ProcessInfo is what is known of a process; what is not is nil or "".
type ProcessInfo struct {
	ParentPID       *int64     `gorm:"column:parent_pid"`
	ParentStartedAt *time.Time `gorm:"column:parent_started_at"`
	Name            string     `gorm:"type:text;not null;default:''"`
	Image           string     `gorm:"type:text;not null;default:''"` // path of the program
	CommandLine     string     `gorm:"column:command_line;type:text;not null;default:''"`
}

// Add takes over what later is known.
func (i *ProcessInfo) Add(later ProcessInfo) {
	i.ParentPID = cmp.Or(later.ParentPID, i.ParentPID)
	i.ParentStartedAt = cmp.Or(later.ParentStartedAt, i.ParentStartedAt)
	i.Name = cmp.Or(later.Name, i.Name)
	i.Image = cmp.Or(later.Image, i.Image)
	i.CommandLine = cmp.Or(later.CommandLine, i.CommandLine)
}

// ProcessFact is what an event tells of a process.
type ProcessFact struct {
	PID       int64
	StartedAt time.Time // zero if the event does not tell
	Acted     bool      // the event is something that this process did
	ProcessInfo
}

// maxCountedTypes bounds EventCounts: events of further types are counted
// together, as OtherTypes.
const maxCountedTypes = 64

// OtherTypes stands in Process.EventCounts for the types that are not counted on
// their own.
const OtherTypes = "other"

// FindProcess gives the one of a pid's processes that a fact seen at a time is
// about, nil if it is none of them. Without a start time to go by it is the last
// one that had started then, of the same name: an agent that knows no start times
// tells only by the name that a pid was reused.
func FindProcess(processes []*Process, fact ProcessFact, at time.Time) *Process {
	var found *Process
	for _, p := range processes {
		switch {
		case !fact.StartedAt.IsZero():
			// The start itself; or a process that was seen acting after this start,
			// before the event that tells of it came.
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

// nearer reports whether a start is a better guess than another for something
// seen at a time: the latest start before it, else the earliest after it.
func nearer(start, other, at time.Time) bool {
	if start.After(at) || other.After(at) {
		return start.Before(other)
	}
	return start.After(other)
}

// Learn adds to the process what a fact tells that was seen between two times.
func (p *Process) Learn(fact ProcessFact, first, last time.Time) {
	if !fact.StartedAt.IsZero() {
		p.StartedAt, p.StartKnown = fact.StartedAt, true
	}
	p.Add(fact.ProcessInfo)
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

// Count counts events of a type that the process did.
func (p *Process) Count(eventType string, n int64) {
	if p.EventCounts == nil {
		p.EventCounts = map[string]int64{}
	}
	if _, ok := p.EventCounts[eventType]; !ok && len(p.EventCounts) >= maxCountedTypes {
		eventType = OtherTypes
	}
	p.EventCounts[eventType] += n
}

// ProcessTree is the processes of a session, each beneath the one that started it.
type ProcessTree struct {
	Roots     []*ProcessNode // in the order of their start, as all children are
	Total     int64          // processes of the session
	Truncated bool           // the tree has the first ones only
}

// ProcessNode is a process in a tree. ParentID is the ID of the process that
// started it, 0 when that is not known: mostly the node above.
type ProcessNode struct {
	*Process
	ParentID uint64
	Children []*ProcessNode
}
