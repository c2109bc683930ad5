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

// Events keeps events.
type Events struct{ db *database.DB }

// NewEvents gives the events of db.
func NewEvents(db *database.DB) *Events { return &Events{db} }

// ClaimUnsent marks the newest unsent events of a session as sent, and gives
// their IDs, newest first. Concurrent claims never get the same event. Its cost
// depends on how many it claims, not on how many were sent before. After an error
// the IDs are those that were claimed before it.
func (r *Events) ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter) ([]uint64, error) {
	ids := []uint64{}
	var last *models.Event // of those that were claimed
	step := firstSentStep
	for len(ids) < filter.Limit {
		var some []models.Event
		limit := min(step, filter.Limit-len(ids))
		began := time.Now()
		err := r.db.Write(ctx, func(tx *gorm.DB) error {
			// Nothing on SQLite, where transactions queue.
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

// Events are marked as sent in steps, each a transaction, of as many as take about
// sentStepTime: SQLite writes the whole event anew, and events that come in wait for
// that.
const (
	firstSentStep = 10
	maxSentStep   = 200
	sentStepTime  = 10 * time.Millisecond
)

// nextSentStep gives how many events the step after one that took so long has.
func nextSentStep(step int, took time.Duration) int {
	if took < sentStepTime {
		return min(2*step, maxSentStep)
	}
	return max(step/2, 1)
}

func idsOf(events []models.Event) []uint64 {
	ids := make([]uint64, len(events))
	for i := range events {
		ids[i] = events[i].ID
	}
	return ids
}

// unsent selects a session's newest unsent events, those that are older than last
// if it is not nil. The condition on is_sent is written as in the index, or SQLite
// would not see that it applies.
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

// Unclaim takes claims back: the events are unsent again.
func (r *Events) Unclaim(ctx context.Context, ids []uint64) error {
	for step := firstSentStep; len(ids) > 0; {
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

// ListByID gives the events of these IDs in the order of the IDs; those that do
// not exist are left out.
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

// ListBySeq gives up to limit events of a session with a Seq in (after, upTo], by
// Seq.
func (r *Events) ListBySeq(ctx context.Context, sessionID string, after, upTo int64, limit int) ([]models.Event, error) {
	var events []models.Event
	err := r.db.Read(ctx).Where("session_id = ? AND seq > ? AND seq <= ?", sessionID, after, upTo).
		Order("seq").Limit(limit).Find(&events).Error
	return events, translate(r.db, err, "the event")
}

// listedColumns are those of an event in a list: Data has its beginning, at least,
// if it has no Preview.
const listedColumns = "session_id, seq, event_type, timestamp, timestamp_source, timestamp_text, source, " +
	"pid, process_name, operation, target, preview, created_at, CASE WHEN preview IS NULL THEN data END AS data"

// List gives a page of a session's events that a filter selects, without what is
// long: of an event with a Preview Data is null, and DataRaw always.
func (r *Events) List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) ([]models.Event, error) {
	var events []models.Event
	err := between(filtered(r.db.Read(ctx), where), sessionID, page).Select(listedColumns).Order(clause.OrderByColumn{Column: clause.Column{Name: "seq"}, Desc: page.Descending}).Limit(page.Limit).Find(&events).Error
	if plant.Is("read past a hole") && len(events) > 1 {
		events = events[1:]
	}
	return events, translate(r.db, err, "the event")
}

// ListWhole gives a page as List does, of events with their whole data. It ends
// early, isCut, with the event by which its data has maxBytes: what of the page
// comes after it was not read.
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

// Count counts a session's events of a part that a filter selects.
func (r *Events) Count(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPage) (int64, error) {
	var n int64
	err := between(filtered(r.db.Read(ctx), where), sessionID, part).Model(&models.Event{}).Count(&n).Error
	return n, translate(r.db, err, "the event")
}

// between adds which session's events a query is about, and which of them.
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

// Get gives a session's event with its whole data, or not_found.
func (r *Events) Get(ctx context.Context, sessionID string, seq int64) (*models.Event, error) {
	var event models.Event
	if err := r.db.Read(ctx).Where("session_id = ? AND seq = ?", sessionID, seq).Take(&event).Error; err != nil {
		return nil, translate(r.db, err, fmt.Sprintf("event %d of session %s", seq, sessionID))
	}
	return &event, nil
}

// ListAll gives up to limit events of all sessions with an ID in (after, upTo],
// by ID; those of hidden sessions are left out.
func (r *Events) ListAll(ctx context.Context, after, upTo uint64, limit int) ([]models.Event, error) {
	var events []models.Event
	err := r.db.Read(ctx).Where("id > ? AND id <= ? AND session_id NOT IN (SELECT id FROM sessions WHERE "+hidden+")", after, upTo).Order("id").Limit(limit).Find(&events).Error
	return events, translate(r.db, err, "the event")
}

// LastID gives the largest ID of any event, 0 when there is none.
func (r *Events) LastID(ctx context.Context) (uint64, error) {
	var last uint64
	err := r.db.Read(ctx).Model(&models.Event{}).Select("COALESCE(MAX(id), 0)").Scan(&last).Error
	return last, translate(r.db, err, "the event")
}
