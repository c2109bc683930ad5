package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Sessions stores sessions and their target files.
type Sessions struct{ db *database.DB }

// NewSessions returns the sessions of db.
func NewSessions(db *database.DB) *Sessions { return &Sessions{db} }

// Create stores a new session, and its target file if none has that hash yet. It calls
// place while it holds the file's row, so that a concurrent deletion of an unused file
// waits. If place fails, Create stores nothing.
func (r *Sessions) Create(ctx context.Context, session *models.Session, file *models.TargetFile, place func() error) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := holdFile(tx, file, place); err != nil {
			return err
		}
		return tx.Omit(clause.Associations).Create(session).Error
	})
	return translate(r.db, err, "the session")
}

// holdFile inserts a file's row if it is missing, locks it, and calls place.
func holdFile(tx *gorm.DB, file *models.TargetFile, place func() error) error {
	// An update locks the row even if it changes nothing. DoNothing would not lock it.
	updated := []string{"size_bytes"}
	if !file.NoContent {
		updated = append(updated, "no_content")
	}
	held := clause.OnConflict{Columns: []clause.Column{{Name: "sha256"}}, DoUpdates: clause.AssignmentColumns(updated)}
	if err := tx.Clauses(held).Create(file).Error; err != nil {
		return err
	}
	return place()
}

// visible is the condition for sessions that are neither being deleted nor imported.
const visible = "deleting_since IS NULL AND importing_since IS NULL"

// hidden is the opposite condition, with the text of its index.
const hidden = "(deleting_since IS NOT NULL OR importing_since IS NOT NULL)"

// Get returns a session, or not_found, whose message says so if the session expired.
// Hidden sessions are not found.
func (r *Sessions) Get(ctx context.Context, id string) (*models.Session, error) {
	var session models.Session
	if err := r.db.Read(ctx).Where("id = ? AND "+visible, id).Take(&session).Error; err != nil {
		return nil, notFound(ctx, r.db, id, err)
	}
	return &session, nil
}

// LastStarted returns the session whose monitoring began last, or not_found. It ignores
// sessions without an agent, such as imported ones.
func (r *Sessions) LastStarted(ctx context.Context) (*models.Session, error) {
	var session models.Session
	err := r.db.Read(ctx).Where("monitoring_started IS NOT NULL AND agent_id IS NOT NULL AND " + visible).Order("monitoring_started DESC, id DESC").Take(&session).Error
	if err != nil {
		return nil, translate(r.db, err, "a session that was started")
	}
	return &session, nil
}

// ListActive returns the active sessions, at most 1000.
func (r *Sessions) ListActive(ctx context.Context) ([]models.Session, error) {
	var sessions []models.Session
	err := active(r.db.Read(ctx)).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// active selects the active sessions. Its first condition is that of the index.
func active(tx *gorm.DB) *gorm.DB {
	return tx.Where("(is_active OR starting_since IS NOT NULL) AND is_active AND " + visible).Order("agent_id, id").Limit(1000)
}

// ListStarting returns up to 1000 sessions that are starting, the oldest start first.
func (r *Sessions) ListStarting(ctx context.Context) ([]models.Session, error) {
	var sessions []models.Session
	err := starting(r.db.Read(ctx)).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// starting selects the sessions that are starting. Its first condition is that of the
// index.
func starting(tx *gorm.DB) *gorm.DB {
	return tx.Where("start_requested IS NOT NULL AND " + visible).Order("start_requested, id").Limit(1000)
}

// ListStopPending returns the sessions whose agent does not know of their end yet. It
// also returns the sessions that an older version of the backend, which has no start IDs,
// began to start before startingBefore and did not finish. It includes hidden sessions,
// because the agent may still monitor for them. It excludes starting sessions.
func (r *Sessions) ListStopPending(ctx context.Context, startingBefore time.Time) ([]models.Session, error) {
	var sessions []models.Session
	err := r.db.Read(ctx).Where("start_requested IS NULL AND (stop_pending OR (starting_since < ? AND NOT is_active))", startingBefore).Order("id").Limit(1000).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// IsStopPending reports whether ListStopPending would return the session. The session may
// be hidden or missing.
func (r *Sessions) IsStopPending(ctx context.Context, id string) (bool, error) {
	var n int64
	err := r.db.Read(ctx).Model(&models.Session{}).Where("id = ? AND NOT is_active AND start_requested IS NULL AND (stop_pending OR starting_since IS NOT NULL)", id).Count(&n).Error
	return n > 0, translate(r.db, err, "session "+id)
}

// SetStopped records that the agent knows of a session's end. It does nothing if the
// session is active or starting, or does not exist.
func (r *Sessions) SetStopped(ctx context.Context, id string) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Session{}).Where("id = ? AND NOT is_active AND start_requested IS NULL", id).
			Updates(map[string]any{"stop_pending": false, "starting_since": nil}).Error
	})
	return translate(r.db, err, "session "+id)
}

// Update changes a session in a transaction that locks its row. change receives the
// session and alters it; if change fails, Update stores nothing. ID, CreatedAt and
// EventCount do not change. Update returns not_found for a hidden session.
func (r *Sessions) Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error) {
	var session models.Session
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		locking := clause.Locking{Strength: clause.LockingStrengthUpdate} // no effect on SQLite, where transactions queue
		if err := tx.Clauses(locking).Where("id = ? AND "+visible, id).Take(&session).Error; err != nil {
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
