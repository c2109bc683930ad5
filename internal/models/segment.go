package models

import "time"

// SegmentEvents is the number of events in a segment.
const SegmentEvents = 4096

// Segment holds the hot fields of SegmentEvents consecutive events of a session, those
// with a Seq above Number × SegmentEvents, packed by internal/analysis for fast
// counting. It is redundant: if a segment is missing, the service reads the events.
type Segment struct {
	SessionID string    `gorm:"primaryKey;column:session_id;type:varchar(255)"`
	Number    int64     `gorm:"primaryKey;autoIncrement:false"` // 0, 1, 2 …
	FirstTime time.Time `gorm:"column:first_time;not null"`     // the earliest time of its events
	LastTime  time.Time `gorm:"column:last_time;not null"`
	Columns   []byte    `gorm:"not null"`

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}

// Span is a span of time, both ends included.
type Span struct{ From, To time.Time }
