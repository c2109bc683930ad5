package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Sessions keeps sessions and the target files that they are about.
type Sessions struct{ db *database.DB }

// NewSessions gives the sessions of db.
func NewSessions(db *database.DB) *Sessions { return &Sessions{db} }

// Create stores a new session, and its target file if there is none of that hash
// yet.
func (r *Sessions) Create(ctx context.Context, session *models.Session, file *models.TargetFile) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(file).Error; err != nil {
			return err
		}
		return tx.Omit(clause.Associations).Create(session).Error
	})
	return translate(r.db, err, "the session")
}

// Get gives a session, or not_found.
func (r *Sessions) Get(ctx context.Context, id string) (*models.Session, error) {
	var session models.Session
	if err := r.db.Read(ctx).Where("id = ?", id).Take(&session).Error; err != nil {
		return nil, translate(r.db, err, "session "+id)
	}
	return &session, nil
}

// ListStopPending gives the sessions whose end the agent has not been told, and
// those that were being started before a time and never got further.
func (r *Sessions) ListStopPending(ctx context.Context, startingBefore time.Time) ([]models.Session, error) {
	var sessions []models.Session
	err := r.db.Read(ctx).Where("stop_pending OR (starting_since < ? AND NOT is_active)", startingBefore).Order("id").Limit(1000).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// Update changes one session in a transaction that holds its row: change gets
// the session as it is and alters it; its error undoes everything. ID,
// CreatedAt and EventCount stay what they are.
func (r *Sessions) Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error) {
	var session models.Session
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		locking := clause.Locking{Strength: clause.LockingStrengthUpdate} // nothing on SQLite, where transactions queue
		if err := tx.Clauses(locking).Where("id = ?", id).Take(&session).Error; err != nil {
			return err
		}
		if err := change(&session); err != nil {
			return err
		}
		return tx.Select("*").Omit("id", "created_at", "event_count", clause.Associations).Updates(&session).Error
	})
	if err != nil {
		return nil, translate(r.db, err, "session "+id)
	}
	return &session, nil
}
