package models

import "time"

// ExpiryRule is the reason for which events expired.
type ExpiryRule string

// The rules: settings, or a user's request.
const (
	RuleDays    ExpiryRule = "RETAIN_DAYS"
	RuleSize    ExpiryRule = "RETAIN_GB"
	RuleDiskLow ExpiryRule = "DISK_LOW"
	RuleUser    ExpiryRule = "user"
)

// Expiration records that retention removed a session, or the first events of a session.
// It stays when the session is gone, so it refers to none. Removals of one day from the
// same session by the same rule share a record.
type Expiration struct {
	ID        uint64     `gorm:"primaryKey"`
	SessionID string     `gorm:"column:session_id;type:varchar(255);not null;index:idx_expirations_session"`
	Whole     bool       `gorm:"not null;default:false"` // the session itself was removed
	Name      string     `gorm:"type:text;not null;default:''"`
	FileName  string     `gorm:"column:file_name;type:text;not null;default:''"`
	FirstSeq  int64      `gorm:"column:first_seq;not null"`
	LastSeq   int64      `gorm:"column:last_seq;not null"` // FirstSeq − 1 if the session had no events
	Rule      ExpiryRule `gorm:"type:varchar(16);not null"`
	Setting   string     `gorm:"type:varchar(32);not null;default:''"` // the value of the rule's setting
	SizeBytes int64      `gorm:"column:size_bytes;not null;default:0"` // estimated
	At        time.Time  `gorm:"column:age_from;not null"`             // the time by which the age counted
	ExpiredAt time.Time  `gorm:"column:expired_at;not null"`           // of the last removal
}

// EventCount returns the number of seqs that expired.
func (e *Expiration) EventCount() int64 { return e.LastSeq - e.FirstSeq + 1 }

// Expirable is what retention may remove at once: a session as a whole, or the first
// events of a session that is never removed.
type Expirable struct {
	SessionID string
	Whole     bool
	Name      string
	FileName  string
	FirstSeq  int64
	LastSeq   int64
	SizeBytes int64     // estimated; a file that other sessions use counts 0
	At        time.Time // by which the age counts
}

// ExpirationPage is a page of expirations, newest first.
type ExpirationPage struct {
	SessionID string // "" selects all sessions
	Before    uint64 // selects those with smaller IDs; 0 selects all
	Limit     int
}
