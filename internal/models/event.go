package models

import "time"

// The event types of the known agents. Events of other types are stored too.
const (
	TypeFile            = "file_operation"
	TypeProcessCreation = "process_creation"
	TypeHTTP            = "http_network_operation"
	TypePacket          = "raw_network_operation"
	TypeNetwork         = "network_operation" // a socket call; only this project's agent sends it
	TypeSessionStart    = "session_start"
	TypeLeftOut         = "events_left_out"
	TypeSessionEnd      = "session_end" // only this project's agent sends it
)

// The origins of an event's timestamp.
const (
	TimestampFromAgent   = "agent"    // the agent sent it
	TimestampFromReceipt = "received" // time of receipt; the agent sent none, or an unreadable one
)

// Limits of an event's envelope, in bytes. PostgreSQL's varchar counts characters, so
// it accepts every text within these limits.
const (
	MaxEventTypeLen = 100
	MaxSourceLen    = 100
	MaxTimestampLen = 255
)

// MaxProcessNameLen is the most bytes of a process's name outside of data. Together
// with a session ID, the name must fit an index entry of PostgreSQL, at most 2,704
// bytes.
const MaxProcessNameLen = 1024

// Event is one action of a program. ID is unique in the database. Seq numbers the
// events of a session 1, 2, 3 … in commit order, without gaps. Times are UTC with
// microseconds.
//
// The only index beside the primary key is that of Seq, because every index entry costs
// ingest time. Segments serve as indexes of the other fields.
type Event struct {
	ID              uint64    `gorm:"primaryKey;autoIncrement"`
	SessionID       string    `gorm:"column:session_id;type:varchar(255);not null;uniqueIndex:idx_events_session_seq,priority:1"`
	Seq             int64     `gorm:"column:seq;not null;uniqueIndex:idx_events_session_seq,priority:2"`
	EventType       string    `gorm:"column:event_type;type:varchar(100);not null"`
	Timestamp       time.Time `gorm:"not null"`
	TimestampSource string    `gorm:"column:timestamp_source;type:varchar(16);not null;default:agent"`
	TimestampText   *string   `gorm:"column:timestamp_text;type:varchar(255)"` // the agent's JSON, if it differs from the text of Timestamp
	Source          string    `gorm:"type:varchar(100);not null"`

	// Data is what the agent sent, in a form that jsonb accepts. If that form loses a
	// part of the value, DataRaw holds the original bytes. Use Payload to read both.
	Data    JSON   `gorm:"type:jsonb;not null"`
	DataRaw []byte `gorm:"column:data_raw"`

	// Hot fields: copies of members of Data, for filters.
	PID         *int64  `gorm:"column:pid"`
	ProcessName *string `gorm:"column:process_name;type:text"`
	Operation   *string `gorm:"column:operation;type:text"`
	Target      *string `gorm:"column:target;type:text"` // path, URL, host:port or image

	// Preview is the beginning of long Data, so that lists need not read all of it. It
	// is nil for short Data, and for events stored before previews existed.
	Preview *string `gorm:"type:text"`

	// IsSent says that a poller of the session claimed the event. It repeats what Claim
	// says, for users of SQL; no read of this program fills it in.
	IsSent    bool      `gorm:"column:is_sent;not null;default:false"`
	CreatedAt time.Time `gorm:"autoCreateTime"`
	UpdatedAt time.Time `gorm:"autoUpdateTime"`

	Session *Session `gorm:"foreignKey:SessionID;references:ID"`

	Facts *Facts `gorm:"-" json:"-"` // set for rules only; never stored
}

// Facts are what an event and the events before it say about processes and hosts. A nil field is
// unknown. For a process that begins (process_creation), Image and Command are those of the
// new process, and the parent is the process that created it. Otherwise they are those of
// the process that acts.
type Facts struct {
	Image, ParentImage     *string // the path of the program
	Command, ParentCommand *string // the arguments, joined by single spaces
	DestinationHost        *string // the name of the address to which the event connects

	// Member returns a member of the event's data, nil if there is none; nil reads Data.
	Member func(key string) []byte
}

// Payload returns the event's data as the agent sent it: the same JSON text, or one of
// the same value.
func (e *Event) Payload() JSON {
	if e.DataRaw != nil {
		return e.DataRaw
	}
	return e.Data
}

// EventPage selects events of a session: those with a Seq above After and below Before,
// in the order of Seq. Zero means no bound.
type EventPage struct {
	After, Before int64
	Limit         int
	Descending    bool
}

// Incoming is a received event that has no session yet. It may have two hints; a hint
// counts only if it is the ID of a session.
type Incoming struct {
	Event
	RequestHint string // the request has it
	SessionHint string // the event has it; often an ID that only the agent knows

	// Processes holds what the event says about processes, besides the PID and
	// ProcessName of the acting one.
	Processes []ProcessFact
}

// EventFilter selects unsent events of a session by their time, both ends included. A
// zero time means no bound.
type EventFilter struct {
	Start, End time.Time
	Limit      int
}
