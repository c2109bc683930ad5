package repository

import (
	"context"

	"ospulse/internal/models"
)

// headColumns are the columns that show whether a session has changed.
const headColumns = "id, event_count, updated_at, finding_version"

// ListByID returns the visible sessions with these IDs, in no order.
func (r *Sessions) ListByID(ctx context.Context, ids []string) ([]models.Session, error) {
	var sessions []models.Session
	err := r.db.Read(ctx).Where("id IN ? AND "+visible, ids).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// ListHeads is ListByID with ID, EventCount, UpdatedAt and FindingVersion only.
func (r *Sessions) ListHeads(ctx context.Context, ids []string) ([]models.Session, error) {
	var heads []models.Session
	err := r.db.Read(ctx).Select(headColumns).Where("id IN ? AND "+visible, ids).Find(&heads).Error
	return heads, translate(r.db, err, "the session")
}

// ListHeadsAfter returns up to limit sessions with an ID above after, by ID, with ID,
// EventCount, UpdatedAt and FindingVersion only.
func (r *Sessions) ListHeadsAfter(ctx context.Context, after string, limit int) ([]models.Session, error) {
	var heads []models.Session
	err := r.db.Read(ctx).Select(headColumns).Where("id > ? AND "+visible, after).Order("id").Limit(limit).Find(&heads).Error
	return heads, translate(r.db, err, "the session")
}
