package models

import "time"

// NoticeState says whether the webhook has a notice.
type NoticeState string

// The states of a notice.
const (
	NoticeWaiting   NoticeState = "waiting"
	NoticeDelivered NoticeState = "delivered"
	NoticeFailed    NoticeState = "failed" // the backend gave up
)

// Notice is a finding that the webhook must get, or got. There is at most one for each
// session and rule, also if the finding is replaced, so nothing is told twice. It goes with
// its session. Times are microseconds since 1970, by the database's clock.
type Notice struct {
	ID        uint64      `gorm:"primaryKey;autoIncrement"`
	SessionID string      `gorm:"column:session_id;type:varchar(255);not null;uniqueIndex:idx_notices_finding,priority:1"`
	RuleID    string      `gorm:"column:rule_id;type:varchar(255);not null;uniqueIndex:idx_notices_finding,priority:2"`
	State     NoticeState `gorm:"type:varchar(16);not null;index:idx_notices_state,priority:1"`
	FoundAt   int64       `gorm:"column:found_at;not null"`
	NextAt    int64       `gorm:"column:next_at;not null;index:idx_notices_state,priority:2"` // of the next attempt, or of the last one if it is not waiting
	Attempts  int64       `gorm:"not null;default:0"`
	Error     string      `gorm:"type:text;not null;default:''"` // of the last attempt

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}

// DueNotice is a notice to deliver, with its finding.
type DueNotice struct {
	ID       uint64
	Attempts int64
	Age      time.Duration // since the finding
	Finding  ListedFinding
}

// NoticeStatus is what a webhook lacks.
type NoticeStatus struct {
	Retried   int64         // notices that wait after a failed attempt
	Age       time.Duration // of the oldest of them
	LastError string        // of one of them
	Failed    int64         // notices that were given up within NoticeReported
}

// NoticeReported is how long health checks report notices that were given up.
const NoticeReported = 7 * 24 * time.Hour
