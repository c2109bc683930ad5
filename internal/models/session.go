package models

import (
	"strings"
	"time"
	"unicode/utf8"
)

// UnassignedID is the session that always exists and takes the events that
// belong to no other.
const UnassignedID = "unassigned"

// State is where a session is in its life; it follows from the session's times.
type State string

// A session is created, then active while an agent monitors for it, then ended.
// An ended session can become active again.
const (
	StateCreated State = "created"
	StateActive  State = "active"
	StateEnded   State = "ended"
)

// Mode says what the agent monitors.
type Mode int

// The modes of the wire contract; zero means that the session was never started.
const (
	ModeAll   Mode = 1 // every process of the machine
	ModePIDs  Mode = 2 // the chosen processes
	ModeSpawn Mode = 3 // the uploaded file, which the agent starts
)

// Monitoring is what an agent is asked to monitor.
type Monitoring struct {
	Mode Mode
	PIDs []int64 // of ModePIDs

	// Of ModeSpawn, for agents that know them: of an archive, the path of what is run,
	// "" for the only file that can be; and what it is given.
	EntryPoint string
	Arguments  []string
}

// Session is one look at one target file: what is asked of the agent, and the
// owner of the events that come back.
type Session struct {
	ID                string     `gorm:"primaryKey;type:varchar(255)"`
	FileName          string     `gorm:"column:file_name;type:text;not null"` // as the uploader named it: data, never a path
	CreatedAt         time.Time  `gorm:"autoCreateTime"`
	UpdatedAt         time.Time  `gorm:"autoUpdateTime"`
	MonitoringStarted *time.Time `gorm:"column:monitoring_started"` // the latest start
	MonitoringEnded   *time.Time `gorm:"column:monitoring_ended"`   // nil while active
	IsActive          bool       `gorm:"column:is_active;not null;default:false"`
	StartingSince     *time.Time `gorm:"column:starting_since"` // the agent was asked to start and has not answered; its first events may be faster

	AgentID       *string `gorm:"column:agent_id;type:varchar(255);index:idx_sessions_agent"`
	AgentFileName string  `gorm:"column:agent_file_name;type:text;not null;default:''"` // the agent's name for the file; empty until it is delivered
	StopPending   bool    `gorm:"column:stop_pending;not null;default:false"`           // ended here, but the agent has not been told
	Mode          Mode    `gorm:"column:mode;not null;default:0"`
	ChosenPIDs    []int64 `gorm:"column:chosen_pids;type:text;serializer:json"` // mode 2

	FileSHA256    *string `gorm:"column:file_sha256;type:varchar(64);index:idx_sessions_file"`
	FileSizeBytes int64   `gorm:"column:file_size_bytes;not null;default:0"`

	EventCount int64 `gorm:"column:event_count;not null;default:0"` // also the newest event's seq

	// What people note of it.
	Name  string   `gorm:"type:text;not null;default:''"`
	Notes string   `gorm:"type:text;not null;default:''"`
	Tags  []string `gorm:"type:text;serializer:json"`

	// A session that is being deleted, or is not imported to its end, is not there
	// for anyone: only what deletes or imports it sees it.
	DeletingSince  *time.Time `gorm:"column:deleting_since"`
	ImportingSince *time.Time `gorm:"column:importing_since"` // when the import last got further

	Agent      *Agent      `gorm:"foreignKey:AgentID;references:ID"`
	TargetFile *TargetFile `gorm:"foreignKey:FileSHA256;references:SHA256"`
	Events     []Event     `gorm:"foreignKey:SessionID"`
}

// State gives the session's state.
func (s *Session) State() State {
	switch {
	case s.IsActive:
		return StateActive
	case s.MonitoringEnded != nil:
		return StateEnded
	default:
		return StateCreated
	}
}

// SessionFilter selects sessions; what is zero selects all. A part of a text is
// found whether it has A to Z or a to z.
type SessionFilter struct {
	State    State
	AgentID  string
	FileName string         // a part of it
	SHA256   string         // lower-case hex: the beginning, or all of it
	Tag      string         // one of the tags, as it is
	Text     string         // a part of the name, the notes or the file name
	From, To time.Time      // of CreatedAt, both included
	After    *SessionCursor // those that follow it in the list
	Limit    int
}

// SessionCursor is a place in the list of sessions, which has the newest first.
type SessionCursor struct {
	CreatedAt time.Time
	ID        string
}

// SessionChange is what to change of a session's notes; what is nil stays.
type SessionChange struct {
	Name  *string
	Notes *string
	Tags  *[]string
}

// Delivered reports whether the agent has the target file.
func (s *Session) Delivered() bool { return s.AgentFileName != "" }

// maxIDLen is what the id columns hold.
const maxIDLen = 255

// ValidID reports whether id can be the id of anything: any other text names
// nothing, and is not worth asking the database.
func ValidID(id string) bool {
	return id != "" && len(id) <= maxIDLen && utf8.ValidString(id) && !strings.ContainsRune(id, 0)
}
