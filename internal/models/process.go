package models

import (
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

// ProcessFact is what an event tells of a process.
type ProcessFact struct {
	PID       int64
	StartedAt time.Time // zero if the event does not tell
	Acted     bool      // the event is something that this process did
	ProcessInfo
}

// OtherTypes stands for the event types that a count does not list one by one.
const OtherTypes = "other"
