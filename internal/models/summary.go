package models

import "time"

// TypeEventsLost is the type of event by which an agent, or what stands before
// it, reports that it lost events: data.count (1 if it is not told), data.reason,
// and data.from and data.to, between which they were lost.
const TypeEventsLost = "events_lost"

// SessionSummary is what the events of a session come to.
type SessionSummary struct {
	EventCounts  map[string]int64 // by type
	FirstEventAt *time.Time       // by the events' own times; nil when there is none
	LastEventAt  *time.Time
	Completeness Completeness
}

// Completeness says whether all that happened is there: the events 1 to Expected
// are stored, and nobody reported that some were lost before they came here.
type Completeness struct {
	Complete bool
	Expected int64     // how many events the session was given: the newest one's seq
	Present  int64     // how many of them are stored
	Missing  []SeqSpan // those that are not, the first MaxMissing spans
	Lost     int64     // events that were reported lost, in all reports
	Losses   []Loss    // the newest MaxLosses reports, newest first

	// Durability is the worst that the events had when they were committed; of a
	// session without events, what its first one would have.
	Durability Durability
}

// Limits of what a Completeness lists.
const (
	MaxMissing = 100
	MaxLosses  = 100
)

// SeqSpan is events of one session from one seq to another, both included.
type SeqSpan struct{ First, Last int64 }

// Loss is one report of lost events: an event of TypeEventsLost.
type Loss struct {
	Seq       int64
	Timestamp time.Time
	Count     int64
	Reason    string
	From, To  *time.Time // nil when they are not told
}

// SessionTotals is what the events of a session with a Seq up to Seq come to. Events
// never change, so it is true for good; what comes after Seq is counted when it is
// asked for.
type SessionTotals struct {
	SessionID   string           `gorm:"primaryKey;column:session_id;type:varchar(255)"`
	Seq         int64            `gorm:"not null"`
	EventCounts map[string]int64 `gorm:"column:event_counts;type:text;serializer:json"` // by type
	Missing     []SeqSpan        `gorm:"type:text;serializer:json"`                     // the first MaxMissing spans
	Lost        int64            `gorm:"not null"`                                      // events that were reported lost, in all reports

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}
