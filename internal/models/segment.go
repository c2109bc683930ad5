package models

import (
	"errors"
	"time"
)

// SegmentEvents is the number of events in a segment.
const SegmentEvents = 4096

// Segment holds the hot fields of consecutive events of a session, packed by
// internal/segment: those with a Seq above Number × SegmentEvents. It has SegmentEvents
// of them, or fewer if it was sealed after the session's end.
//
// The events of a sealed segment have no rows; the segment's blocks have the rest of
// them. Otherwise the segment is redundant: without it, the service reads the events.
type Segment struct {
	SessionID  string    `gorm:"primaryKey;column:session_id;type:varchar(255)"`
	Number     int64     `gorm:"primaryKey;autoIncrement:false"` // 0, 1, 2 …
	FirstTime  time.Time `gorm:"column:first_time;not null"`     // the earliest time of its events
	LastTime   time.Time `gorm:"column:last_time;not null"`
	EventCount int64     `gorm:"column:event_count;not null;default:4096"`

	// Of sealed segments only.
	IsSealed bool   `gorm:"column:is_sealed;not null;default:false"`
	MinID    uint64 `gorm:"column:min_id;not null;default:0;index:idx_segments_ids,where:is_sealed"` // of its events
	MaxID    uint64 `gorm:"column:max_id;not null;default:0"`
	Damage   string `gorm:"type:text;not null;default:'';index:idx_segments_damage,where:damage <> ''"` // why it could not be read; "" if it could

	// Skip is for segment.MayMatch. That of rows covers the hot fields only.
	Skip    []byte
	Columns []byte `gorm:"not null"`

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}

// FirstSeq returns the Seq of the segment's first event.
func (s *Segment) FirstSeq() int64 { return s.Number*SegmentEvents + 1 }

// LastSeq returns the Seq of the segment's last event.
func (s *Segment) LastSeq() int64 { return s.Number*SegmentEvents + s.EventCount }

// Block holds what the columns of a sealed segment lack of some of its events, packed by
// internal/segment.
type Block struct {
	SessionID string `gorm:"primaryKey;column:session_id;type:varchar(255);index:idx_blocks_stored,where:object = ''"`
	FirstSeq  int64  `gorm:"primaryKey;column:first_seq;autoIncrement:false;index:idx_blocks_stored,where:object = ''"`
	LastSeq   int64  `gorm:"column:last_seq;not null"`
	Data      []byte `gorm:"not null"` // empty if an object has it

	Object      string `gorm:"type:varchar(255);not null;default:''"` // name of the object in the bucket; "" if there is none
	ObjectBytes int64  `gorm:"column:object_bytes;not null;default:0"`

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}

// Claim says which events of a session old polls have claimed: of the SegmentEvents events
// with a Seq above Number × SegmentEvents. Without a Claim they have claimed none, except
// those that Session.ClaimsInRows is about.
type Claim struct {
	SessionID string `gorm:"primaryKey;column:session_id;type:varchar(255)"`
	Number    int64  `gorm:"primaryKey;autoIncrement:false"`
	Sent      []byte // a bit for each event, the lowest first; empty if all are claimed

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}

// ErrDamaged is in the chain of the error of a read that needs events of a damaged segment.
var ErrDamaged = errors.New("sealed events are damaged") //nolint:gochecknoglobals // a constant

// Damage is a range of sealed events that cannot be read.
type Damage struct {
	SessionID string
	SeqSpan
	Reason string
}

// Span is a span of time, both ends included.
type Span struct{ From, To time.Time }
