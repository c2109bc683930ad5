package models

import "time"

// UserRule is a detection rule that a user wrote.
type UserRule struct {
	ID        string    `gorm:"primaryKey;type:varchar(255)"` // the rule's ID, or a random one
	Text      string    `gorm:"type:text;not null"`
	Version   string    `gorm:"type:varchar(64);not null"` // a hash of the text
	SizeBytes int64     `gorm:"column:size_bytes;not null"`
	CreatedAt time.Time `gorm:"autoCreateTime"`
	UpdatedAt time.Time `gorm:"autoUpdateTime"`
}

// RuleOff says that a user turned off a rule, of any source. The rule may be gone.
type RuleOff struct {
	RuleID string    `gorm:"column:rule_id;primaryKey;type:varchar(255)"`
	At     time.Time `gorm:"column:at;not null"`
}

// TableName implements gorm's Tabler.
func (RuleOff) TableName() string { return "rules_off" }

// RuleRevision is one row, whose Revision grows with each change of the users' rules. A
// change locks it, so changes follow one another.
type RuleRevision struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	Revision int64 `gorm:"not null"`
}

// StoredRules is what users stored about rules.
type StoredRules struct {
	Revision int64
	Rules    []UserRule      // by ID
	Off      map[string]bool // by the rule's ID
}
