package repository

import (
	"context"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// Events stores events.
type Events struct {
	db    *database.DB
	views *views
}

// NewEvents returns the events of db.
func NewEvents(db *database.DB) *Events { return &Events{db, newViews(db)} }

// ListBySeq returns up to limit events of a session with a Seq in (after, upTo], by Seq.
func (r *Events) ListBySeq(ctx context.Context, sessionID string, after, upTo int64, limit int) ([]models.Event, error) {
	return r.list(ctx, sessionID, nil, models.EventPage{After: after, Before: upTo + 1, Limit: limit}, whole)
}

// List returns a page of the session's events that a filter selects, without long values:
// Data is null if the event has a Preview, and DataRaw is always nil. If it reaches a
// damaged segment, it returns the events before it, and models.ErrDamaged.
func (r *Events) List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) ([]models.Event, error) {
	events, err := r.list(ctx, sessionID, where, page, listed)
	if plant.Is("read past a hole") && len(events) > 1 {
		events = events[1:]
	}
	return events, err
}

func (r *Events) list(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage, f form) (events []models.Event, err error) {
	err = r.views.in(ctx, sessionID, func(v view) error {
		return v.read(where, page, f, func(e *models.Event) (bool, error) {
			events = append(events, *e)
			return true, nil
		})
	})
	return events, translate(r.db, err, "the event")
}

// ListWhole returns a page like List, of events with their whole data. If their data
// exceeds maxBytes, it ends the page early, after at least one event, and returns isCut.
func (r *Events) ListWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage, maxBytes int) (events []models.Event, isCut bool, err error) {
	size := 0
	err = r.views.in(ctx, sessionID, func(v view) error {
		return v.read(where, page, whole, func(e *models.Event) (bool, error) {
			if isCut = size >= maxBytes; isCut {
				return false, nil
			}
			events = append(events, *e)
			size += len(e.Data) + len(e.DataRaw)
			return true, nil
		})
	})
	return events, isCut, translate(r.db, err, "the event")
}

// Count returns the number of a session's events in a page that a filter selects; it
// ignores the page's limit.
func (r *Events) Count(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) (total int64, err error) {
	err = r.views.in(ctx, sessionID, func(v view) error {
		v.usesColumns = true
		rows := func(gap models.EventPage, known *candidates) (bool, error) {
			var n int64
			err := v.rows(where, gap, known).Count(&n).Error
			total += n
			return true, err
		}
		return v.walk(page, where, rows, func(s *sealedSegment) (bool, error) {
			selected, err := s.selected(where, page)
			for _, is := range selected {
				if is {
					total++
				}
			}
			return true, err
		})
	})
	return total, translate(r.db, err, "the event")
}

// Get returns an event of a session with its whole data, or not_found, whose message says
// so if the event expired.
func (r *Events) Get(ctx context.Context, sessionID string, seq int64) (*models.Event, error) {
	events, err := r.ListBySeq(ctx, sessionID, seq-1, seq, 1)
	if err == nil && len(events) == 0 {
		err = noEvent(ctx, r.db, sessionID, seq)
	}
	if err != nil {
		return nil, err
	}
	return &events[0], nil
}
