package models

import "time"

// TypeEventsLost is the type of events by which an agent, or the backend, reports lost
// events: data.count (1 if missing), data.reason, and data.from and data.to, between
// which they were lost.
const TypeEventsLost = "events_lost"

// SessionSummary summarizes the events of a session.
type SessionSummary struct {
	EventCounts  map[string]int64 // by type
	FirstEventAt *time.Time       // by the events' timestamps; nil without events
	LastEventAt  *time.Time
	Completeness Completeness
}

// Completeness says whether the events 1 to Expected are all stored, and whether losses
// were reported.
type Completeness struct {
	Complete bool
	Expected int64     // the number of events that were given a seq: the newest seq
	Expired  int64     // retention removed the events 1 to Expired, which are not missing
	Present  int64     // stored events
	Missing  []SeqSpan // the first MaxMissing spans of events that are not stored
	Damaged  []SeqSpan // the first MaxMissing spans of stored events that cannot be read
	Lost     int64     // events that were reported lost, in all reports
	Losses   []Loss    // the newest MaxLosses reports, newest first

	Expirations []Expiration // the newest MaxExpirations records, newest first

	// What the agent leaves out on request, by its newest session_start and events_left_out.
	// It is neither missing nor lost.
	Selection *Selection       // nil: it says nothing of a selection
	LeftOut   map[string]int64 // events by class

	// Durability is the worst durability of the events when they were committed.
	// Without events, it is that of a commit now.
	Durability Durability
}

// Limits of the lists in a Completeness.
const (
	MaxMissing     = 100
	MaxLosses      = 100
	MaxExpirations = 100
)

// SeqSpan is a range of seqs of one session, both ends included.
type SeqSpan struct{ First, Last int64 }

// Loss is one report of lost events: an event of TypeEventsLost.
type Loss struct {
	Seq       int64
	Timestamp time.Time
	Count     int64
	Reason    string
	From, To  *time.Time // nil if not reported
}

// SessionTotals has the counts of a session's stored events up to Seq. Events never
// change, so it stays true until some of them expire. Later events are counted on request.
type SessionTotals struct {
	SessionID   string           `gorm:"primaryKey;column:session_id;type:varchar(255)"`
	Seq         int64            `gorm:"not null"`
	EventCounts map[string]int64 `gorm:"column:event_counts;type:text;serializer:json"` // by type
	Missing     []SeqSpan        `gorm:"type:text;serializer:json"`                     // the first MaxMissing spans
	Lost        int64            `gorm:"not null"`                                      // events that were reported lost, in all reports

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}
