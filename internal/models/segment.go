package models

import "time"

// SegmentEvents is how many events a segment is made of.
const SegmentEvents = 4096

// Segment is what internal/segment makes of SegmentEvents events of a session that
// follow each other: of those with a Seq above Number × SegmentEvents. It holds
// nothing that the events do not hold, and is there to count them fast: where one
// is missing, the events are read.
type Segment struct {
	SessionID string    `gorm:"primaryKey;column:session_id;type:varchar(255)"`
	Number    int64     `gorm:"primaryKey;autoIncrement:false"` // 0, 1, 2 …
	FirstTime time.Time `gorm:"column:first_time;not null"`     // of any of its events
	LastTime  time.Time `gorm:"column:last_time;not null"`
	Columns   []byte    `gorm:"not null"`

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}

// Span is a span of time, both ends included.
type Span struct{ From, To time.Time }
