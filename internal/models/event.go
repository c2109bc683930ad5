package models

import "time"

// The event types that the existing agents send; any other is stored as it is.
const (
	TypeFile            = "file_operation"
	TypeProcessCreation = "process_creation"
	TypeHTTP            = "http_network_operation"
	TypePacket          = "raw_network_operation"
	TypeNetwork         = "network_operation" // a call on a socket, of our own agent
	TypeSessionStart    = "session_start"
	TypeSessionEnd      = "session_end" // of our own agent
)

// Where an event's timestamp comes from.
const (
	TimestampFromAgent   = "agent"    // the agent said it
	TimestampFromReceipt = "received" // missing or unreadable: the time at which the backend got it
)

// Limits of the envelope, in bytes. PostgreSQL's varchar counts characters, so
// what passes here passes there.
const (
	MaxEventTypeLen = 100
	MaxSourceLen    = 100
	MaxTimestampLen = 255
)

// MaxProcessNameLen is how many bytes of a process's name are kept outside of data:
// with the ID of a session it must fit an entry of an index, which has up to 2,704
// bytes on PostgreSQL.
const MaxProcessNameLen = 1024

// Event is one thing that a program did. ID is unique in the database; Seq
// numbers the events of one session 1, 2, 3 … in commit order and without gaps.
// Times are UTC with microseconds.
//
// Only the index of unsent events has seq after the time: with both alike, SQLite
// would take the other one for a poll and walk over all that was sent.
type Event struct {
	ID              uint64    `gorm:"primaryKey;autoIncrement"`
	SessionID       string    `gorm:"column:session_id;type:varchar(255);not null;uniqueIndex:idx_events_session_seq,priority:1;index:idx_events_session_time,priority:1;index:idx_events_unsent,priority:1,where:NOT is_sent"`
	Seq             int64     `gorm:"column:seq;not null;uniqueIndex:idx_events_session_seq,priority:2;index:idx_events_unsent,priority:3"`
	EventType       string    `gorm:"column:event_type;type:varchar(100);not null"`
	Timestamp       time.Time `gorm:"not null;index:idx_events_session_time,priority:2;index:idx_events_unsent,priority:2"`
	TimestampSource string    `gorm:"column:timestamp_source;type:varchar(16);not null;default:agent"`
	TimestampText   *string   `gorm:"column:timestamp_text;type:varchar(255)"` // what the agent sent, as JSON, if Timestamp does not read so
	Source          string    `gorm:"type:varchar(100);not null"`

	// Data is what the agent sent, in a form that jsonb takes. When that form
	// does not carry the whole value, DataRaw holds the bytes as they came.
	// Read both through Payload.
	Data    JSON   `gorm:"type:jsonb;not null"`
	DataRaw []byte `gorm:"column:data_raw"`

	// Hot fields: copies of members of Data, by which people filter.
	PID         *int64  `gorm:"column:pid"`
	ProcessName *string `gorm:"column:process_name;type:text"`
	Operation   *string `gorm:"column:operation;type:text"`
	Target      *string `gorm:"column:target;type:text"` // path, URL, host:port or image

	// Preview is the beginning of long Data, so that a list need not read the whole;
	// nil for short Data, and for events from before there were previews.
	Preview *string `gorm:"type:text"`

	IsSent    bool      `gorm:"column:is_sent;not null;default:false"` // handed to a poller of the session
	CreatedAt time.Time `gorm:"autoCreateTime"`
	UpdatedAt time.Time `gorm:"autoUpdateTime"`

	Session *Session `gorm:"foreignKey:SessionID;references:ID"`
}

// Payload gives the event's data as the agent sent it: the same JSON text, or a
// text of the same value.
func (e *Event) Payload() JSON {
	if e.DataRaw != nil {
		return e.DataRaw
	}
	return e.Data
}

// EventPage is which of a session's events are listed: those with a Seq above
// After and below Before, zero being no bound, in the order of Seq.
type EventPage struct {
	After, Before int64
	Limit         int
	Descending    bool
}

// Incoming is an event that came in and has no session yet. Two hints may have
// come with it; each counts only if it is the ID of a session.
type Incoming struct {
	Event
	RequestHint string // given with the whole request
	SessionHint string // found in the event: often an ID that only the agent knows

	// Processes is what the event tells of processes, beyond the PID and the
	// ProcessName of the one that acted.
	Processes []ProcessFact
}

// EventFilter selects unsent events of a session by their time, both ends
// included; a zero time is no bound.
type EventFilter struct {
	Start, End time.Time
	Limit      int
}
