package models

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Finding says that events of a session match a rule. It has a copy of what a reader must
// know of the rule, which may change or go.
type Finding struct {
	SessionID string   `gorm:"column:session_id;type:varchar(255);primaryKey;index:,composite:level,priority:3"`
	RuleID    string   `gorm:"column:rule_id;type:varchar(255);primaryKey;index:,composite:level,priority:4;index:,composite:rule"`
	Version   string   `gorm:"type:varchar(64);not null"` // of the rule: a hash of its text
	Title     string   `gorm:"type:text;not null"`
	Level     string   `gorm:"type:varchar(16);not null;index:,composite:level,priority:1"`
	Tags      []string `gorm:"type:text;serializer:json"`
	Author    string   `gorm:"type:text;not null;default:''"`
	License   string   `gorm:"type:text;not null;default:''"`

	Count   int64     `gorm:"column:event_count;not null"`
	Failed  int64     `gorm:"column:failed_count;not null;default:0"`                     // of these events: the operation was tried without success
	Seqs    []int64   `gorm:"type:text;serializer:json"`                                  // of the first MaxFindingSeqs events
	FirstAt time.Time `gorm:"column:first_at;not null;index:,composite:level,priority:2"` // of the events by their own times
	LastAt  time.Time `gorm:"column:last_at;not null"`

	// Of the first event.
	PID         *int64  `gorm:"column:pid"`
	ProcessName *string `gorm:"column:process_name;type:text"`
	Target      *string `gorm:"type:text"`

	// RootPath is the root directory of the first event's process if all events are of
	// processes with another root directory or mount namespace than the agent; otherwise nil.
	RootPath *string `gorm:"column:root_path;type:text"`

	IsImported bool `gorm:"-"` // it is an ImportedFinding

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}

// LevelCounts counts findings by level.
type LevelCounts struct {
	Informational int64 `gorm:"not null;default:0" json:"informational"`
	Low           int64 `gorm:"not null;default:0" json:"low"`
	Medium        int64 `gorm:"not null;default:0" json:"medium"`
	High          int64 `gorm:"not null;default:0" json:"high"`
	Critical      int64 `gorm:"not null;default:0" json:"critical"`
}

// Highest returns the highest level that a finding has, "" without findings.
func (c *LevelCounts) Highest() string {
	switch {
	case c.Critical > 0:
		return "critical"
	case c.High > 0:
		return "high"
	case c.Medium > 0:
		return "medium"
	case c.Low > 0:
		return "low"
	case c.Informational > 0:
		return "informational"
	}
	return ""
}

// FindingLevels are the levels of findings, the most severe first.
var FindingLevels = []string{"critical", "high", "medium", "low", "informational"} //nolint:gochecknoglobals // a constant

// FindingFilter selects findings of all sessions; zero fields select all.
type FindingFilter struct {
	Levels     []string // in the order of FindingLevels
	Tag        string   // a tag of the rule, regardless of case
	Techniques []string // of ATT&CK, such as T1059; their sub-techniques too
	RuleID     string
	SessionID  string
	After      *FindingCursor // selects the findings after it in the list
	Limit      int
}

// FindingCursor is a place in the list of findings, which has the most severe first, and of
// one level the newest first.
type FindingCursor struct {
	Level     string
	FirstAt   time.Time
	SessionID string
	RuleID    string
}

// ListedFinding is a finding in a list over sessions. It has no Seqs.
type ListedFinding struct {
	Finding     `gorm:"embedded"`
	SessionName string
	FileName    string
}

// ImportedFinding is what a rule found on the backend that exported an imported session. It
// stays as it came. It is shown unless this backend's rule with the same ID finds something.
type ImportedFinding struct {
	Finding `gorm:"embedded"`
}

// TableName is the name of the table.
func (ImportedFinding) TableName() string { return "imported_findings" }

// LevelRank returns the place of a level, from 1 for informational to 5 for critical, and 0
// for a text that is none.
func LevelRank(level string) int {
	i := slices.Index(FindingLevels, level)
	if i < 0 {
		return 0
	}
	return len(FindingLevels) - i
}

// MaxFindingSeqs is the most events that a finding names; it counts all.
const MaxFindingSeqs = 1000

// Add counts an event that matches the rule. The caller adds events in the order of Seq, and
// says whether the operation failed, and which root directory the process has if it is not
// the agent's. The finding keeps nothing of the event's memory.
func (f *Finding) Add(e *Event, failed bool, rootPath *string) {
	if f.Count == 0 {
		f.FirstAt, f.LastAt = e.Timestamp, e.Timestamp
		if e.PID != nil {
			f.PID = new(*e.PID)
		}
		f.ProcessName, f.Target, f.RootPath = cloned(e.ProcessName), cloned(e.Target), cloned(rootPath)
	}
	if rootPath == nil {
		f.RootPath = nil
	}
	if e.Timestamp.Before(f.FirstAt) {
		f.FirstAt = e.Timestamp
	}
	if e.Timestamp.After(f.LastAt) {
		f.LastAt = e.Timestamp
	}
	if failed {
		f.Failed++
	}
	if f.Count++; len(f.Seqs) < MaxFindingSeqs {
		f.Seqs = append(f.Seqs, e.Seq)
	}
}

func cloned(text *string) *string {
	if text == nil {
		return nil
	}
	return new(strings.Clone(*text))
}

// Merge adds what was found in later events.
func (f *Finding) Merge(later *Finding) {
	f.Count += later.Count
	f.Failed += later.Failed
	if later.RootPath == nil {
		f.RootPath = nil
	}
	f.Seqs = append(f.Seqs, later.Seqs[:min(len(later.Seqs), MaxFindingSeqs-len(f.Seqs))]...)
	if later.FirstAt.Before(f.FirstAt) {
		f.FirstAt = later.FirstAt
	}
	if later.LastAt.After(f.LastAt) {
		f.LastAt = later.LastAt
	}
}

// FailedText says that all events of the finding failed, or how many; "" if none did.
func (f *Finding) FailedText() string {
	switch f.Failed {
	case 0:
		return ""
	case f.Count:
		return "attempt failed"
	}
	return fmt.Sprintf("%d of %d failed", f.Failed, f.Count)
}

// Detection is how far the rules have been applied to a session. A session without one has
// none of its events evaluated.
type Detection struct {
	SessionID string `gorm:"column:session_id;type:varchar(255);primaryKey"`
	UpTo      int64  `gorm:"column:up_to;not null"`     // the Seq of the last event that was evaluated
	Rules     string `gorm:"type:varchar(64);not null"` // the version of the set of rules

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}
