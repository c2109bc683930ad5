package models

import "time"

// AuditEntry records that an actor did something, or tried to. It is stored before the
// action, and completed once, after it. Otherwise entries are never changed; only AUDIT_DAYS
// removes them.
type AuditEntry struct {
	ID        int64     `gorm:"primaryKey"`
	At        time.Time `gorm:"not null;index:idx_audit_entries_at"`
	KeyID     string    `gorm:"column:key_id;type:varchar(32);not null;default:'';index:idx_audit_entries_key"`
	ActorName string    `gorm:"column:actor_name;type:text;not null;default:''"`
	Role      Role      `gorm:"type:varchar(16);not null;default:''"`
	Address   string    `gorm:"type:varchar(64);not null;default:''"`
	Action    string    `gorm:"type:varchar(64);not null;index:idx_audit_entries_action"` // the operationId of the route
	SessionID string    `gorm:"column:session_id;type:varchar(255);not null;default:''"`
	Target    string    `gorm:"type:text;not null;default:''"` // what else the path names, such as a rule's or a key's ID
	Before    string    `gorm:"type:text;not null;default:''"` // JSON of what was changed; "" if unknown
	After     string    `gorm:"type:text;not null;default:''"` // JSON of the change; "" if unknown
	Status    int       `gorm:"not null"`                      // HTTP status of the answer; 0 if the action has not finished
	Code      Code      `gorm:"type:varchar(32);not null;default:''"`
	RequestID string    `gorm:"column:request_id;type:varchar(100);not null;default:''"`
}

// AuditFilter selects entries; zero fields select all.
type AuditFilter struct {
	From, To  time.Time
	Actor     string // name or key ID
	Action    string
	SessionID string
	BeforeID  int64 // only entries with a smaller ID; 0 for the newest
	Limit     int
}
