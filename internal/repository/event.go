package repository

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// Events stores events.
type Events struct{ db *database.DB }

// NewEvents returns the events of db.
func NewEvents(db *database.DB) *Events { return &Events{db} }

// ClaimUnsent marks the newest unsent events of a session as sent and returns their IDs,
// newest first. Concurrent calls never claim the same event. The cost depends on the
// number of claimed events, not on the number that were sent before. With an error it
// returns the IDs that it claimed before the error.
func (r *Events) ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter) ([]uint64, error) {
	ids := []uint64{}
	var last *models.Event // the last claimed event
	step := minSentStep
	for len(ids) < filter.Limit {
		var some []models.Event
		limit := min(step, filter.Limit-len(ids))
		began := time.Now()
		err := r.db.Write(ctx, func(tx *gorm.DB) error {
			// No effect on SQLite, where transactions queue.
			locking := clause.Locking{Strength: clause.LockingStrengthUpdate, Options: clause.LockingOptionsSkipLocked}
			query := unsent(tx, sessionID, filter, last).Limit(limit).Clauses(locking).Select("id, timestamp, seq")
			if err := query.Find(&some).Error; err != nil || len(some) == 0 || plant.Is("hand an event out twice") {
				return err
			}
			return setSent(tx, idsOf(some), true)
		})
		if err != nil {
			return ids, translate(r.db, err, "the event")
		}
		ids = append(ids, idsOf(some)...)
		if len(some) < limit {
			break
		}
		last = &some[len(some)-1]
		step = nextSentStep(step, time.Since(began))
	}
	return ids, nil
}

// ClaimUnsent marks events in steps. Each step is a transaction of about sentStepTime,
// because SQLite rewrites the whole event and incoming events wait meanwhile. A step has
// at least minSentStep events: on a busy machine every transaction takes longer than
// sentStepTime, and with steps of one event a poll would not end in time.
const (
	minSentStep  = 32
	maxSentStep  = 256
	sentStepTime = 10 * time.Millisecond
)

// nextSentStep returns the size of the step after one that took this long.
func nextSentStep(step int, took time.Duration) int {
	if took < sentStepTime {
		return min(2*step, maxSentStep)
	}
	return max(step/2, minSentStep)
}

func idsOf(events []models.Event) []uint64 {
	ids := make([]uint64, len(events))
	for i := range events {
		ids[i] = events[i].ID
	}
	return ids
}

// unsent selects a session's newest unsent events; only those older than last if last is
// not nil. The condition on is_sent repeats the index's text, because SQLite would not
// use the index otherwise.
func unsent(tx *gorm.DB, sessionID string, filter models.EventFilter, last *models.Event) *gorm.DB {
	query := tx.Model(&models.Event{}).Where("session_id = ? AND NOT is_sent", sessionID)
	if !filter.Start.IsZero() {
		query = query.Where("timestamp >= ?", filter.Start)
	}
	if !filter.End.IsZero() {
		query = query.Where("timestamp <= ?", filter.End)
	}
	if last != nil {
		query = query.Where("(timestamp, seq) < (?, ?)", last.Timestamp, last.Seq)
	}
	return query.Order("timestamp DESC, seq DESC")
}

// Unclaim marks claimed events as unsent again.
func (r *Events) Unclaim(ctx context.Context, ids []uint64) error {
	for step := minSentStep; len(ids) > 0; {
		some := ids[:min(step, len(ids))]
		began := time.Now()
		if err := r.db.Write(ctx, func(tx *gorm.DB) error { return setSent(tx, some, false) }); err != nil {
			return translate(r.db, err, "the event")
		}
		ids = ids[len(some):]
		step = nextSentStep(step, time.Since(began))
	}
	return nil
}

func setSent(tx *gorm.DB, ids []uint64, sent bool) error {
	return tx.Model(&models.Event{}).Where("id IN ?", ids).Update("is_sent", sent).Error
}

// ListByID returns the events of these IDs in the order of the IDs. It leaves out missing
// ones.
func (r *Events) ListByID(ctx context.Context, ids []uint64) ([]models.Event, error) {
	var found []models.Event
	if err := r.db.Read(ctx).Where("id IN ?", ids).Find(&found).Error; err != nil {
		return nil, translate(r.db, err, "the event")
	}
	place := make(map[uint64]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	slices.SortFunc(found, func(a, b models.Event) int { return place[a.ID] - place[b.ID] })
	return found, nil
}

// ListBySeq returns up to limit events of a session with a Seq in (after, upTo], by Seq.
func (r *Events) ListBySeq(ctx context.Context, sessionID string, after, upTo int64, limit int) ([]models.Event, error) {
	var events []models.Event
	err := r.db.Read(ctx).Where("session_id = ? AND seq > ? AND seq <= ?", sessionID, after, upTo).
		Order("seq").Limit(limit).Find(&events).Error
	return events, translate(r.db, err, "the event")
}

// listedColumns are the columns of an event in a list. They contain data only for events
// without a preview.
const listedColumns = "session_id, seq, event_type, timestamp, timestamp_source, timestamp_text, source, " +
	"pid, process_name, operation, target, preview, created_at, CASE WHEN preview IS NULL THEN data END AS data"

// List returns a page of the session's events that a filter selects, without long values:
// Data is null if the event has a Preview, and DataRaw is always nil.
func (r *Events) List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) ([]models.Event, error) {
	var events []models.Event
	err := between(filtered(r.db.Read(ctx), where), sessionID, page).Select(listedColumns).Order(clause.OrderByColumn{Column: clause.Column{Name: "seq"}, Desc: page.Descending}).Limit(page.Limit).Find(&events).Error
	if plant.Is("read past a hole") && len(events) > 1 {
		events = events[1:]
	}
	return events, translate(r.db, err, "the event")
}

// ListWhole returns a page like List, of events with their whole data. If their data
// exceeds maxBytes, it ends the page early, after at least one event, and returns isCut.
func (r *Events) ListWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage, maxBytes int) (events []models.Event, isCut bool, err error) {
	query := between(filtered(r.db.Read(ctx), where), sessionID, page).Model(&models.Event{}).Select("preview, " + exportedColumns)
	rows, err := query.Order(clause.OrderByColumn{Column: clause.Column{Name: "seq"}, Desc: page.Descending}).Limit(page.Limit).Rows()
	if err != nil {
		return nil, false, translate(r.db, err, "the event")
	}
	defer rows.Close()
	var row exportedRow
	var preview sql.NullString
	dest := append([]any{&preview}, row.dest()...)
	for size := 0; rows.Next(); {
		if size >= maxBytes {
			return events, true, nil
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, false, translate(r.db, err, "the event")
		}
		e := row.take(sessionID)
		e.Preview = textOrNil(preview)
		events = append(events, e)
		size += len(e.Data) + len(e.DataRaw)
	}
	return events, false, translate(r.db, rows.Err(), "the event")
}

// Count returns the number of a session's events in a page that a filter selects; it
// ignores the page's limit.
func (r *Events) Count(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPage) (int64, error) {
	var n int64
	err := between(filtered(r.db.Read(ctx), where), sessionID, part).Model(&models.Event{}).Count(&n).Error
	return n, translate(r.db, err, "the event")
}

// between restricts a query to a session's events within the page's bounds.
func between(query *gorm.DB, sessionID string, part models.EventPage) *gorm.DB {
	query = query.Where("session_id = ?", sessionID)
	if part.After > 0 {
		query = query.Where("seq > ?", part.After)
	}
	if part.Before > 0 {
		query = query.Where("seq < ?", part.Before)
	}
	return query
}

// Get returns an event of a session with its whole data, or not_found.
func (r *Events) Get(ctx context.Context, sessionID string, seq int64) (*models.Event, error) {
	var event models.Event
	if err := r.db.Read(ctx).Where("session_id = ? AND seq = ?", sessionID, seq).Take(&event).Error; err != nil {
		return nil, translate(r.db, err, fmt.Sprintf("event %d of session %s", seq, sessionID))
	}
	return &event, nil
}

// ListAll returns up to limit events of all visible sessions with an ID in (after, upTo],
// by ID.
func (r *Events) ListAll(ctx context.Context, after, upTo uint64, limit int) ([]models.Event, error) {
	var events []models.Event
	err := r.db.Read(ctx).Where("id > ? AND id <= ? AND session_id NOT IN (SELECT id FROM sessions WHERE "+hidden+")", after, upTo).Order("id").Limit(limit).Find(&events).Error
	return events, translate(r.db, err, "the event")
}

// LastID returns the largest ID of any event; 0 if there are none.
func (r *Events) LastID(ctx context.Context) (uint64, error) {
	var last uint64
	err := r.db.Read(ctx).Model(&models.Event{}).Select("COALESCE(MAX(id), 0)").Scan(&last).Error
	return last, translate(r.db, err, "the event")
}
