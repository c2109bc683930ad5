package models

import "time"

// Process is one process seen in a session. Pids are reused, so its key is
// (session, pid, start time); StartedAt is the time of its first event when the
// agent did not say when it started.
type Process struct {
	ID              uint64           `gorm:"primaryKey;autoIncrement"`
	SessionID       string           `gorm:"column:session_id;type:varchar(255);not null;uniqueIndex:idx_processes_key,priority:1"`
	PID             int64            `gorm:"column:pid;not null;uniqueIndex:idx_processes_key,priority:2"`
	StartedAt       time.Time        `gorm:"column:started_at;not null;uniqueIndex:idx_processes_key,priority:3"`
	ParentPID       *int64           `gorm:"column:parent_pid"`
	ParentStartedAt *time.Time       `gorm:"column:parent_started_at"`
	Name            string           `gorm:"type:text;not null;default:''"`
	Image           string           `gorm:"type:text;not null;default:''"`
	CommandLine     string           `gorm:"column:command_line;type:text;not null;default:''"`
	FirstSeen       time.Time        `gorm:"column:first_seen;not null"`
	LastSeen        time.Time        `gorm:"column:last_seen;not null"`
	EventCounts     map[string]int64 `gorm:"column:event_counts;type:text;serializer:json"` // by event type

	Session *Session `gorm:"foreignKey:SessionID;references:ID"`
}
