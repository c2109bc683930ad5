package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
)

// CountByType counts a session's events with a Seq in (after, upTo] by type.
func (r *Events) CountByType(ctx context.Context, sessionID string, after, upTo int64) (map[string]int64, error) {
	var rows []struct {
		EventType string
		N         int64
	}
	err := r.db.Read(ctx).Model(&models.Event{}).Select("event_type, COUNT(*) AS n").
		Where("session_id = ? AND seq > ? AND seq <= ?", sessionID, after, upTo).Group("event_type").Scan(&rows).Error
	counts := make(map[string]int64, len(rows))
	for _, row := range rows {
		counts[row.EventType] = row.N
	}
	return counts, translate(r.db, err, "the event")
}

// Span returns the earliest and the latest of the events' own times in a session; nil if
// it has no events.
func (r *Events) Span(ctx context.Context, sessionID string) (first, last *time.Time, err error) {
	end := func(order string) (*time.Time, error) {
		var times []time.Time
		err := r.db.Read(ctx).Model(&models.Event{}).Where("session_id = ?", sessionID).Order(order).Limit(1).Pluck("timestamp", &times).Error
		if err != nil || len(times) == 0 {
			return nil, translate(r.db, err, "the event")
		}
		return &times[0], nil
	}
	if first, err = end("timestamp"); err != nil {
		return nil, nil, err
	}
	last, err = end("timestamp DESC")
	return first, last, err
}

// ListMissing returns up to limit spans of numbers in (after, upTo] that no event of the
// session has.
func (r *Events) ListMissing(ctx context.Context, sessionID string, after, upTo int64, limit int) ([]models.SeqSpan, error) {
	var spans []models.SeqSpan
	// An extra row stands for the end of the numbers.
	err := r.db.Read(ctx).Raw("SELECT previous + 1 AS first, seq - 1 AS last FROM (SELECT seq, LAG(seq, 1, CAST(? AS bigint)) OVER (ORDER BY seq) AS previous FROM "+
		"(SELECT seq FROM events WHERE session_id = ? AND seq > ? AND seq <= ? UNION ALL SELECT CAST(? AS bigint)) AS numbers) AS steps "+
		"WHERE seq > previous + 1 ORDER BY seq LIMIT ?", after, sessionID, after, upTo, upTo+1, limit).Scan(&spans).Error
	return spans, translate(r.db, err, "the event")
}

// ListOfType returns up to limit events of a type with a Seq below before, newest first,
// with their Data.
func (r *Events) ListOfType(ctx context.Context, sessionID, eventType string, before int64, limit int) ([]models.Event, error) {
	var events []models.Event
	err := r.db.Read(ctx).Select("seq, timestamp, data, data_raw").
		Where("session_id = ? AND event_type = ? AND seq < ?", sessionID, eventType, before).Order("seq DESC").Limit(limit).Find(&events).Error
	return events, translate(r.db, err, "the event")
}

// ListEnds returns up to limit session_end events of a session with a Seq above after,
// newest first, with their Data. It stops after the event with which their Data exceeds
// maxBytes.
func (r *Events) ListEnds(ctx context.Context, sessionID string, after int64, limit, maxBytes int) (events []models.Event, err error) {
	rows, err := lastEnds(r.db.Read(ctx), sessionID, after).Limit(limit).Rows()
	if err != nil {
		return nil, translate(r.db, err, "the event")
	}
	defer rows.Close()
	for size := 0; size < maxBytes && rows.Next(); {
		var e models.Event
		if err := r.db.Read(ctx).ScanRows(rows, &e); err != nil {
			return nil, translate(r.db, err, "the event")
		}
		events = append(events, e)
		size += len(e.Data) + len(e.DataRaw)
	}
	return events, translate(r.db, rows.Err(), "the event")
}

// lastEnds selects the session_end events of a session, newest first.
func lastEnds(tx *gorm.DB, sessionID string, after int64) *gorm.DB {
	return tx.Model(&models.Event{}).Select("seq, timestamp, created_at, data, data_raw").
		Where("session_id = ? AND event_type = ? AND seq > ?", sessionID, models.TypeSessionEnd, after).Order("seq DESC")
}

// Totals returns the stored totals of a session; zero totals if there are none.
func (r *Events) Totals(ctx context.Context, sessionID string) (*models.SessionTotals, error) {
	var kept []models.SessionTotals
	err := r.db.Read(ctx).Where("session_id = ?", sessionID).Find(&kept).Error
	if err != nil || len(kept) == 0 {
		return &models.SessionTotals{SessionID: sessionID}, translate(r.db, err, "the totals")
	}
	return &kept[0], nil
}

// SaveTotals stores a session's totals unless later ones are stored. It returns conflict
// if the session does not exist any more.
func (r *Events) SaveTotals(ctx context.Context, totals *models.SessionTotals) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Omit(clause.Associations).Clauses(clause.OnConflict{
			Columns:   []clause.Column{{Name: "session_id"}},
			Where:     clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "session_totals.seq < excluded.seq"}}},
			DoUpdates: clause.AssignmentColumns([]string{"seq", "event_counts", "missing", "lost"}),
		}).Create(totals).Error
	})
	return translate(r.db, err, "the totals")
}
