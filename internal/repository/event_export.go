package repository

import (
	"context"
	"slices"

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
// and UpdatedAt. The events are valid until their memory is used again; a nil memory is
// new. ReadEvents holds no connection when it returns, so that a slow client cannot
// block the database.
func (r *Transfers) ReadEvents(ctx context.Context, sessionID string, where *filter.Filter, events models.EventRange, limit, maxBytes int, memory *models.EventMemory) ([]models.Event, error) {
	if events.EventType != "" {
		where = filter.OfTypes(where, events.EventType)
	}
	if memory == nil {
		memory = &models.EventMemory{}
	}
	memory.Events, memory.Data = slices.Grow(memory.Events[:0], limit), memory.Data[:0]
	size := 0
	err := r.views.in(ctx, sessionID, func(v view) error {
		return v.read(where, models.EventPage{After: events.After, Before: events.UpTo + 1, Limit: limit}, exported(memory), func(e *models.Event) (bool, error) {
			memory.Events = append(memory.Events, *e)
			size += len(e.Data) + len(e.DataRaw)
			return size < maxBytes, nil
		})
	})
	return memory.Events, translate(r.db, err, "the event")
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

// ListFindings returns the findings of a session.
func (r *Transfers) ListFindings(ctx context.Context, sessionID string) ([]models.Finding, error) {
	return listFindings(ctx, r.db, sessionID)
}
