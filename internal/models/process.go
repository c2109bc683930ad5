package models

import (
	"time"
)

// Process is one process of a session. Pids are reused, so its key is (session, pid,
// start time). If no event has the start time, StartedAt is the time of the first event
// about the process.
type Process struct {
	ID         uint64    `gorm:"primaryKey;autoIncrement"`
	SessionID  string    `gorm:"column:session_id;type:varchar(255);not null;uniqueIndex:idx_processes_key,priority:1"`
	PID        int64     `gorm:"column:pid;not null;uniqueIndex:idx_processes_key,priority:2"`
	StartedAt  time.Time `gorm:"column:started_at;not null;uniqueIndex:idx_processes_key,priority:3"`
	StartKnown bool      `gorm:"column:start_known;not null;default:false"` // an event has the start time
	ProcessInfo
	FirstSeen   time.Time        `gorm:"column:first_seen;not null"`
	LastSeen    time.Time        `gorm:"column:last_seen;not null"`
	EventCounts map[string]int64 `gorm:"column:event_counts;type:text;serializer:json"` // by event type

	Session *Session `gorm:"foreignKey:SessionID;references:ID"`
}

// ProcessInfo describes a process; unknown fields are nil or "".
type ProcessInfo struct {
	ParentPID       *int64     `gorm:"column:parent_pid"`
	ParentStartedAt *time.Time `gorm:"column:parent_started_at"`
	Name            string     `gorm:"type:text;not null;default:''"`
	Image           string     `gorm:"type:text;not null;default:''"` // path of the program
	CommandLine     string     `gorm:"column:command_line;type:text;not null;default:''"`
}

// ProcessFact is what an event says about a process.
type ProcessFact struct {
	PID       int64
	StartedAt time.Time // zero if the event does not have it
	Acted     bool      // this process did what the event reports
	ProcessInfo
}

// OtherTypes is the key for all event types that a count does not list separately.
const OtherTypes = "other"
