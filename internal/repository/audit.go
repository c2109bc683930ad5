package repository

import (
	"context"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Audit stores the audit entries.
type Audit struct{ db *database.DB }

// NewAudit returns the audit entries of db.
func NewAudit(db *database.DB) *Audit { return &Audit{db} }

// Append stores an entry.
func (r *Audit) Append(ctx context.Context, entry *models.AuditEntry) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error { return tx.Create(entry).Error })
	return translate(r.db, err, "the audit entry")
}

// Complete stores the result of an action, whose entry is without a status. It returns
// not_found if there is none. The time stays that of the beginning.
func (r *Audit) Complete(ctx context.Context, entry *models.AuditEntry) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Model(entry).Where("status = 0").Select("*").Omit("id", "at").Updates(entry)
		if done.Error == nil && done.RowsAffected == 0 {
			return gorm.ErrRecordNotFound
		}
		return done.Error
	})
	return translate(r.db, err, "the audit entry")
}

// List returns the entries that the filter selects, newest first.
func (r *Audit) List(ctx context.Context, filter models.AuditFilter) ([]models.AuditEntry, error) {
	query := r.db.Read(ctx).Order("id DESC").Limit(filter.Limit)
	if !filter.From.IsZero() {
		query = query.Where("at >= ?", filter.From)
	}
	if !filter.To.IsZero() {
		query = query.Where("at <= ?", filter.To)
	}
	if filter.Actor != "" {
		query = query.Where("(actor_name = ? OR key_id = ?)", filter.Actor, filter.Actor)
	}
	if filter.Action != "" {
		query = query.Where("action = ?", filter.Action)
	}
	if filter.SessionID != "" {
		query = query.Where("session_id = ?", filter.SessionID)
	}
	if filter.BeforeID > 0 {
		query = query.Where("id < ?", filter.BeforeID)
	}
	var entries []models.AuditEntry
	err := query.Find(&entries).Error
	return entries, translate(r.db, err, "the audit entries")
}

// DeleteBefore removes the entries of before a time, for AUDIT_DAYS.
func (r *Audit) DeleteBefore(ctx context.Context, at time.Time) (removed int64, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Where("at < ?", at).Delete(&models.AuditEntry{})
		removed = done.RowsAffected
		return done.Error
	})
	return removed, translate(r.db, err, "the audit entries")
}
