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
// yet. It calls place while it holds the file's row, so that nobody who deletes a
// file that no session has can come between; the error of place undoes everything.
func (r *Sessions) Create(ctx context.Context, session *models.Session, file *models.TargetFile, place func() error) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := holdFile(tx, file, place); err != nil {
			return err
		}
		return tx.Omit(clause.Associations).Create(session).Error
	})
	return translate(r.db, err, "the session")
}

// holdFile adds a file's row, unless it is there, holds it, and calls place.
func holdFile(tx *gorm.DB, file *models.TargetFile, place func() error) error {
	// An update, though of nothing, holds the row; DoNothing would not.
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

// visible is the condition of the sessions that are there for others than those
// who delete or import them.
const visible = "deleting_since IS NULL AND importing_since IS NULL"

// hidden is the condition of the others, as their index has it.
const hidden = "(deleting_since IS NOT NULL OR importing_since IS NOT NULL)"

// Get gives a session, or not_found; hidden ones are not found.
func (r *Sessions) Get(ctx context.Context, id string) (*models.Session, error) {
	var session models.Session
	if err := r.db.Read(ctx).Where("id = ? AND "+visible, id).Take(&session).Error; err != nil {
		return nil, translate(r.db, err, "session "+id)
	}
	return &session, nil
}

// LastStarted gives the session whose monitoring began last, of those that have an
// agent: an imported one has none. It is not_found if none was started.
func (r *Sessions) LastStarted(ctx context.Context) (*models.Session, error) {
	var session models.Session
	err := r.db.Read(ctx).Where("monitoring_started IS NOT NULL AND agent_id IS NOT NULL AND " + visible).Order("monitoring_started DESC, id DESC").Take(&session).Error
	if err != nil {
		return nil, translate(r.db, err, "a session that was started")
	}
	return &session, nil
}

// ListActive gives the active sessions, up to 1000 of them.
func (r *Sessions) ListActive(ctx context.Context) ([]models.Session, error) {
	var sessions []models.Session
	err := active(r.db.Read(ctx)).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// active selects the active sessions. The first condition is that of the index.
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

// ListStopPending returns the sessions whose end the agent has not been told. It also
// returns the sessions that an older version of the backend, which has no start IDs,
// began to start before startingBefore and did not finish. Hidden sessions are included,
// because the agent may still monitor for them. Starting sessions are not.
func (r *Sessions) ListStopPending(ctx context.Context, startingBefore time.Time) ([]models.Session, error) {
	var sessions []models.Session
	err := r.db.Read(ctx).Where("start_requested IS NULL AND (stop_pending OR (starting_since < ? AND NOT is_active))", startingBefore).Order("id").Limit(1000).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// IsStopPending reports whether the agent is still to be told of a session's end,
// as ListStopPending means it. The session may be hidden, or not be there.
func (r *Sessions) IsStopPending(ctx context.Context, id string) (bool, error) {
	var n int64
	err := r.db.Read(ctx).Model(&models.Session{}).Where("id = ? AND NOT is_active AND start_requested IS NULL AND (stop_pending OR starting_since IS NOT NULL)", id).Count(&n).Error
	return n > 0, translate(r.db, err, "session "+id)
}

// SetStopped records that the agent was told of a session's end. It does nothing if the
// session is active or starting, or does not exist.
func (r *Sessions) SetStopped(ctx context.Context, id string) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Session{}).Where("id = ? AND NOT is_active AND start_requested IS NULL", id).
			Updates(map[string]any{"stop_pending": false, "starting_since": nil}).Error
	})
	return translate(r.db, err, "session "+id)
}

// Update changes one session in a transaction that holds its row: change gets
// the session as it is and alters it; its error undoes everything. ID,
// CreatedAt and EventCount stay what they are. A hidden session is not_found.
func (r *Sessions) Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error) {
	var session models.Session
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		locking := clause.Locking{Strength: clause.LockingStrengthUpdate} // nothing on SQLite, where transactions queue
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
