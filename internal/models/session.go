package models

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// UnassignedID is the session that always exists. It takes the events that belong to no
// other session.
const UnassignedID = "unassigned"

// State is the state of a session. It follows from the session's times.
type State string

// The states of a session. A session is created; it is starting from the acceptance of a
// start until its outcome is known, active while an agent monitors, and then ended. It
// is failed if its start failed. It can then be started again, unless something may have
// run. An ended session cannot be started again: it has the events of one start.
const (
	StateCreated  State = "created"
	StateStarting State = "starting"
	StateActive   State = "active"
	StateFailed   State = "failed"
	StateEnded    State = "ended"
)

// Mode says what the agent monitors.
type Mode int

// The modes of the wire contract; zero means that the session was never started.
const (
	ModeAll   Mode = 1 // every process of the machine
	ModePIDs  Mode = 2 // the chosen processes
	ModeSpawn Mode = 3 // the uploaded file, which the agent starts
)

// Monitoring is what the backend asks an agent to monitor.
type Monitoring struct {
	Mode Mode
	PIDs []int64 // for ModePIDs

	// For ModeSpawn, and agents that support them: the path of the program in an
	// archive, "" for the only one that can run; and its arguments.
	EntryPoint string
	Arguments  []string
	Limits     StartLimits

	Selection *Selection // for agents that support it; nil: the agent's own
}

// Selection says what events an agent leaves out of a session.
type Selection struct {
	LeaveOut      []string `json:"leaveOut,omitempty"`      // classes of events
	OnlyPaths     []string `json:"onlyPaths,omitempty"`     // outside of them, events of files are left out
	LeaveOutPaths []string `json:"leaveOutPaths,omitempty"` // in them, events of files are left out
}

// Equal reports whether both selections say the same; nil is only equal to nil.
func (s *Selection) Equal(other *Selection) bool {
	if s == nil || other == nil {
		return s == other
	}
	return slices.Equal(s.LeaveOut, other.LeaveOut) && slices.Equal(s.OnlyPaths, other.OnlyPaths) && slices.Equal(s.LeaveOutPaths, other.LeaveOutPaths)
}

// StartLimits are what a start of a file asks of an agent that supports it. Zero fields
// are the agent's own settings, which are also the most that it allows.
type StartLimits struct {
	Network        string `gorm:"column:network;type:varchar(16);not null;default:''"` // none, nat or host
	TimeoutSeconds int    `gorm:"column:timeout_seconds;not null;default:0"`
	MemoryMB       int    `gorm:"column:memory_mb;not null;default:0"`
}

// Session is the monitoring of one target file, and owns the resulting events.
type Session struct {
	ID                string     `gorm:"primaryKey;type:varchar(255)"`
	FileName          string     `gorm:"column:file_name;type:text;not null"` // the user's name for it; never used as a path
	CreatedAt         time.Time  `gorm:"autoCreateTime"`
	UpdatedAt         time.Time  `gorm:"autoUpdateTime"`
	MonitoringStarted *time.Time `gorm:"column:monitoring_started"` // the latest start
	MonitoringEnded   *time.Time `gorm:"column:monitoring_ended"`   // nil while active
	IsActive          bool       `gorm:"column:is_active;not null;default:false"`
	StartingSince     *time.Time `gorm:"column:starting_since"`                       // the backend asked the agent to start, and has no answer yet; events may arrive before it
	StartedAfterSeq   int64      `gorm:"column:started_after_seq;not null;default:0"` // EventCount at the request to start; only later events can report the end of this start
	MonitoringPID     *int64     `gorm:"column:monitoring_pid"`                       // the process that the agent started or attached to; nil if not reported
	End               SessionEnd `gorm:"embedded;embeddedPrefix:end_"`                // how the latest monitoring ended; zero while active
	UnlistedSince     *time.Time `gorm:"column:unlisted_since"`                       // the first heartbeat of its agent that did not list the session, while active
	AgentSilentSince  *time.Time `gorm:"column:agent_silent_since"`                   // the last sign of a silent agent, while active

	AgentID       *string `gorm:"column:agent_id;type:varchar(255);index:idx_sessions_agent"`
	AgentFileName string  `gorm:"column:agent_file_name;type:text;not null;default:''"` // the agent's name for the file; empty until it is delivered
	StopPending   bool    `gorm:"column:stop_pending;not null;default:false"`           // ended here, but the agent has not confirmed the stop

	// The latest start: its parameters and its outcome.
	Mode           Mode     `gorm:"column:mode;not null;default:0"`
	ChosenPIDs     []int64  `gorm:"column:chosen_pids;type:text;serializer:json"` // mode 2
	EntryPoint     string   `gorm:"column:entry_point;type:text;not null;default:''"`
	Arguments      []string `gorm:"column:arguments;type:text;serializer:json"`
	StartLimits    `gorm:"embedded"`
	Selection      *Selection `gorm:"column:selection;type:text;serializer:json"`
	StartID        string     `gorm:"column:start_id;type:varchar(64);not null;default:''"` // an agent carries out a start with one ID only once
	StartRequested *time.Time `gorm:"column:start_requested"`                               // while the session is starting
	StartError     StartError `gorm:"embedded;embeddedPrefix:start_error_"`

	FileSHA256    *string `gorm:"column:file_sha256;type:varchar(64);index:idx_sessions_file"`
	FileSizeBytes int64   `gorm:"column:file_size_bytes;not null;default:0"`

	EventCount int64 `gorm:"column:event_count;not null;default:0"` // also the newest event's seq

	// The existing backend, or a version that did not store processes, stored the events
	// up to BackfillUpTo. The backfill adds their search columns and processes in the
	// background. It has done so up to BackfilledSeq.
	BackfilledSeq int64 `gorm:"column:backfilled_seq;not null;default:0"`
	BackfillUpTo  int64 `gorm:"column:backfill_up_to;not null;default:0"`

	// The worker that seals is done with the events up to SealedSeq: most of them are in
	// sealed segments, and the others cannot be. It leaves out a session with KeepRows.
	SealedSeq int64 `gorm:"column:sealed_seq;not null;default:0"`
	KeepRows  bool  `gorm:"column:keep_rows;not null;default:false"`

	// Keep protects the session from retention. Retention removed the events up to
	// ExpiredSeq, and a user asked to remove those up to ExpireUpTo.
	Keep       bool       `gorm:"column:keep;not null;default:false"`
	ExpiredSeq int64      `gorm:"column:expired_seq;not null;default:0"`
	ExpireUpTo int64      `gorm:"column:expire_up_to;not null;default:0"`
	ImportedAt *time.Time `gorm:"column:imported_at"` // nil for a session of this installation

	// ImportedFrom is the ID in the bundle; "" for a session of this installation, and for
	// imports of a version that did not record it.
	ImportedFrom string `gorm:"column:imported_from;type:varchar(255);not null;default:''"`

	// For the events up to ClaimsInRows, older versions noted only in their rows what polls
	// have claimed.
	ClaimsInRows int64 `gorm:"column:claims_in_rows;not null;default:0"`

	// ProcessVersion grows when the session gets a process, or when a process gets another
	// name, start or parent.
	ProcessVersion int64 `gorm:"column:process_version;not null;default:0"`

	// Findings counts what rules found. FindingVersion grows when that changes; UpdatedAt
	// stays.
	Findings       LevelCounts `gorm:"embedded;embeddedPrefix:findings_"`
	FindingVersion int64       `gorm:"column:finding_version;not null;default:0"`

	// Durability is the worst durability of the session's events when they were
	// committed. It is "" without events, and for events of a version that did not
	// record it.
	Durability Durability `gorm:"type:text;not null;default:''"`

	// CreatedByKey is the ID of the key with which the session was created, and CreatedBy its
	// name. Both are "" if no key was required then.
	CreatedByKey string `gorm:"column:created_by_key;type:varchar(32);not null;default:''"`
	CreatedBy    string `gorm:"column:created_by;type:text;not null;default:''"`

	// Notes of the users.
	Name  string   `gorm:"type:text;not null;default:''"`
	Notes string   `gorm:"type:text;not null;default:''"`
	Tags  []string `gorm:"type:text;serializer:json"`

	// Sessions being deleted or imported are hidden from every other query.
	DeletingSince  *time.Time `gorm:"column:deleting_since"`
	ImportingSince *time.Time `gorm:"column:importing_since"` // when the import last made progress

	Agent      *Agent      `gorm:"foreignKey:AgentID;references:ID"`
	TargetFile *TargetFile `gorm:"foreignKey:FileSHA256;references:SHA256"`
	Events     []Event     `gorm:"foreignKey:SessionID"`
}

// State returns the session's state.
func (s *Session) State() State {
	switch {
	case s.IsActive:
		return StateActive
	case s.StartRequested != nil:
		return StateStarting
	case s.MonitoringEnded != nil:
		return StateEnded
	case s.StartError.Code != "":
		return StateFailed
	default:
		return StateCreated
	}
}

// IsBackfilling reports whether some of the session's events still lack search columns
// and processes.
func (s *Session) IsBackfilling() bool { return s.BackfilledSeq < s.BackfillUpTo }

// Monitors reports whether the latest start has the same parameters.
func (s *Session) Monitors(what Monitoring) bool {
	return s.Mode == what.Mode && slices.Equal(s.ChosenPIDs, what.PIDs) && s.EntryPoint == what.EntryPoint && slices.Equal(s.Arguments, what.Arguments) && s.StartLimits == what.Limits &&
		s.Selection.Equal(what.Selection)
}

// StartError says why the latest start failed or, while the session is starting, what
// the start waits for. Its Code is "" if there is neither.
type StartError struct {
	Code       Code   `gorm:"type:varchar(32);not null;default:''"`
	Text       string `gorm:"type:text;not null;default:''"` // for users
	MayHaveRun bool   `gorm:"column:may_have_run;not null;default:false"`
}

// EndReason is the reason for which a session ended.
type EndReason string

// The end reasons. Sessions that ended before reasons were stored have none.
const (
	EndExited    EndReason = "exited"     // the program exited
	EndSignal    EndReason = "signal"     // a signal ended the program
	EndTimeout   EndReason = "timeout"    // the program reached the agent's time limit
	EndStopped   EndReason = "stopped"    // a user stopped it
	EndAgentLost EndReason = "agent_lost" // the agent no longer monitors for it
)

// OfProgram reports whether the program ended, not only the monitoring.
func (r EndReason) OfProgram() bool { return r == EndExited || r == EndSignal || r == EndTimeout }

// SessionEnd is how a session ended; MonitoringEnded is when.
type SessionEnd struct {
	Reason   EndReason `gorm:"type:varchar(16);not null;default:''"`
	ExitCode *int64    // of the program; nil if there is none, or it is unknown
	Signal   *int64    // the signal that ended the program
	Text     string    `gorm:"type:text;not null;default:''"` // for users
}

// SessionFilter selects sessions; zero fields select all. Parts of texts match
// regardless of the case of A to Z.
type SessionFilter struct {
	State    State
	AgentID  string
	FileName string         // a part of it
	SHA256   string         // lower-case hex: a prefix, or all of it
	Tag      string         // one of the tags, exactly
	Text     string         // a part of the name, the notes or the file name
	From, To time.Time      // of CreatedAt, both included
	Kept     bool           // only sessions with Keep
	Level    string         // only sessions with a finding of this level or above
	Severe   bool           // the list has the sessions with the most severe findings first
	After    *SessionCursor // selects the sessions after it in the list
	Limit    int
}

// SessionCursor is a place in the list of sessions, which has the newest first.
type SessionCursor struct {
	Rank      int // LevelRank of the highest level of the session's findings, if they come first
	CreatedAt time.Time
	ID        string
}

// SessionChange is a change of a session's notes and of Keep; nil fields stay as they
// are.
type SessionChange struct {
	Keep  *bool
	Name  *string
	Notes *string
	Tags  *[]string
}

// Ended turns an active session into an ended one.
func (s *Session) Ended(at time.Time, end SessionEnd) {
	s.IsActive, s.MonitoringEnded, s.End = false, &at, end
	s.UnlistedSince, s.AgentSilentSince = nil, nil
}

// Delivered reports whether the agent has the target file.
func (s *Session) Delivered() bool { return s.AgentFileName != "" }

// maxIDLen is the length of the id columns.
const maxIDLen = 255

// ValidID reports whether id can be an id. No row has any other text as its id, so no
// query is needed.
func ValidID(id string) bool {
	return id != "" && len(id) <= maxIDLen && utf8.ValidString(id) && !strings.ContainsRune(id, 0)
}
