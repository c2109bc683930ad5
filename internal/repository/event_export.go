package repository

import (
	"context"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// Transfers exports and imports whole sessions.
type Transfers struct {
	db    *database.DB
	views *views
}

// NewTransfers returns the transfers of db.
func NewTransfers(db *database.DB) *Transfers { return &Transfers{db, newViews(db)} }

// ReadEvents returns the first events of a range that a filter selects, by Seq: up to
// limit, and no more once their data exceeds maxBytes. It does not read Preview, IsSent
// and UpdatedAt. It holds no connection when it returns, so that a slow client cannot
// block the database.
func (r *Transfers) ReadEvents(ctx context.Context, sessionID string, where *filter.Filter, events models.EventRange, limit, maxBytes int) ([]models.Event, error) {
	if events.EventType != "" {
		where = filter.OfTypes(where, events.EventType)
	}
	found := make([]models.Event, 0, limit)
	size := 0
	err := r.views.in(ctx, sessionID, func(v view) error {
		return v.read(where, models.EventPage{After: events.After, Before: events.UpTo + 1, Limit: limit}, exported, func(e *models.Event) (bool, error) {
			found = append(found, *e)
			size += len(e.Data) + len(e.DataRaw)
			return size < maxBytes, nil
		})
	})
	return found, translate(r.db, err, "the event")
}

// ReadProcesses returns up to limit processes of a session by pid and start, those that
// follow the process after; from the first if after is nil.
func (r *Transfers) ReadProcesses(ctx context.Context, sessionID string, after *models.Process, limit int) ([]models.Process, error) {
	query := r.db.Read(ctx).Where("session_id = ?", sessionID)
	if after != nil {
		query = query.Where("(pid > ? OR (pid = ? AND started_at > ?))", after.PID, after.PID, after.StartedAt)
	}
	var processes []models.Process
	err := query.Order("pid, started_at").Limit(limit).Find(&processes).Error
	return processes, translate(r.db, err, "the process")
}
