package repository

import (
	"context"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Notices stores which findings the webhook must get. Findings.Advance creates them.
type Notices struct{ db *database.DB }

// NewNotices returns the notices of db.
func NewNotices(db *database.DB) *Notices { return &Notices{db} }

// ListDue returns up to limit notices whose time has come, the longest due first: of each
// session the first one that waits. Notices whose finding is gone are deleted.
func (r *Notices) ListDue(ctx context.Context, limit int) (due []models.DueNotice, err error) {
	var rows []struct {
		models.Notice `gorm:"embedded"`
		Now           int64
	}
	err = r.db.Read(ctx).Raw("SELECT n.*, "+nowMicros(r.db)+" AS now FROM notices n WHERE state = ? AND next_at <= "+nowMicros(r.db)+
		" AND NOT EXISTS (SELECT 1 FROM notices earlier WHERE earlier.session_id = n.session_id AND earlier.state = ? AND earlier.id < n.id)"+
		" ORDER BY next_at, id LIMIT ?", models.NoticeWaiting, models.NoticeWaiting, limit).Scan(&rows).Error
	if err != nil {
		return nil, translate(r.db, err, "the notices")
	}
	for i := range rows {
		n := &rows[i]
		var found []models.ListedFinding
		err := r.db.Read(ctx).Table("findings").Joins("JOIN sessions ON sessions.id = findings.session_id").Select(listedColumns("findings")).
			Where("session_id = ? AND rule_id = ? AND "+visible, n.SessionID, n.RuleID).Scan(&found).Error
		if err == nil && len(found) == 0 { // the rule was turned off, or the session is being deleted
			err = r.db.Write(ctx, func(tx *gorm.DB) error {
				return tx.Where("id = ? AND NOT EXISTS (SELECT 1 FROM findings JOIN sessions ON sessions.id = findings.session_id WHERE findings.session_id = notices.session_id AND findings.rule_id = notices.rule_id AND "+visible+")", n.ID).Delete(&models.Notice{}).Error
			})
		}
		if err != nil {
			return nil, translate(r.db, err, "the notices")
		}
		if len(found) > 0 {
			due = append(due, models.DueNotice{ID: n.ID, Attempts: n.Attempts, Age: time.Duration(n.Now-n.FoundAt) * time.Microsecond, Finding: found[0]})
		}
	}
	return due, nil
}

// Finish records the last attempt of a notice that waits: the webhook has it, or the backend
// gave up.
func (r *Notices) Finish(ctx context.Context, id uint64, state models.NoticeState, failure string) error {
	return r.attempted(ctx, id, 0, map[string]any{"state": state, "error": failure})
}

// Retry records a failed attempt. The next one is after a time.
func (r *Notices) Retry(ctx context.Context, id uint64, after time.Duration, failure string) error {
	return r.attempted(ctx, id, after, map[string]any{"error": failure})
}

func (r *Notices) attempted(ctx context.Context, id uint64, after time.Duration, changes map[string]any) error {
	changes["attempts"], changes["next_at"] = gorm.Expr("attempts + 1"), gorm.Expr(nowMicros(r.db)+" + ?", after.Microseconds())
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Notice{}).Where("id = ? AND state = ?", id, models.NoticeWaiting).Updates(changes).Error
	})
	return translate(r.db, err, "the notice")
}

// Status returns what the webhook lacks.
func (r *Notices) Status(ctx context.Context) (s models.NoticeStatus, err error) {
	var row struct {
		Retried, Age, Failed int64
		LastError            string
	}
	since := nowMicros(r.db)
	err = r.db.Read(ctx).Raw("SELECT (SELECT COUNT(*) FROM notices WHERE state = 'waiting' AND attempts > 0) AS retried,"+
		" COALESCE("+since+" - (SELECT MIN(found_at) FROM notices WHERE state = 'waiting' AND attempts > 0), 0) AS age,"+
		" COALESCE((SELECT error FROM notices WHERE state = 'waiting' AND attempts > 0 ORDER BY next_at DESC LIMIT 1), '') AS last_error,"+
		" (SELECT COUNT(*) FROM notices WHERE state = 'failed' AND next_at > "+since+" - ?) AS failed", models.NoticeReported.Microseconds()).Scan(&row).Error
	return models.NoticeStatus{Retried: row.Retried, Age: time.Duration(row.Age) * time.Microsecond, LastError: row.LastError, Failed: row.Failed}, translate(r.db, err, "the notices")
}
