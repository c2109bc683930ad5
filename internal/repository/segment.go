package repository

import (
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// Segments stores segments and reads the events that they are built from.
type Segments struct {
	db    *database.DB
	views *views
}

// NewSegments returns the segments of db.
func NewSegments(db *database.DB) *Segments { return &Segments{db, newViews(db)} }

// SessionsToSegment returns the sessions that have events beyond their segments, except
// those whose backfill is not complete. It counts only segments that are not sealed, which
// are few.
func (r *Segments) SessionsToSegment(ctx context.Context) ([]models.Session, error) {
	var sessions []models.Session
	err := r.db.Read(ctx).Select("id, event_count, expired_seq").
		Where("event_count >= ? AND NOT "+backfilling+" AND "+visible, models.SegmentEvents).
		Where("event_count / ? - (sealed_seq + ?) / ? > (SELECT COUNT(*) FROM segments WHERE session_id = sessions.id AND number >= (sealed_seq + ?) / ?)",
			models.SegmentEvents, models.SegmentEvents-1, models.SegmentEvents, models.SegmentEvents-1, models.SegmentEvents).
		Order("id").Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// Numbers returns the numbers of a session's segments in ascending order.
func (r *Segments) Numbers(ctx context.Context, sessionID string) ([]int64, error) {
	var numbers []int64
	err := r.db.Read(ctx).Model(&models.Segment{}).Where("session_id = ?", sessionID).Order("number").Pluck("number", &numbers).Error
	return numbers, translate(r.db, err, "the segment")
}

// ListTimes returns a session's segments by number, without their columns.
func (r *Segments) ListTimes(ctx context.Context, sessionID string) ([]models.Segment, error) {
	var segments []models.Segment
	err := r.db.Read(ctx).Select("number, first_time, last_time, event_count").Where("session_id = ?", sessionID).Order("number").Find(&segments).Error
	return segments, translate(r.db, err, "the segment")
}

// Create stores segments, all or none. It leaves out those that exist, because another
// backend built the same ones, those of deleted sessions, and those with expired events.
func (r *Segments) Create(ctx context.Context, segments []models.Segment) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		ids := make([]string, len(segments))
		for i := range segments {
			ids[i] = segments[i].SessionID
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		for _, id := range ids {
			if err := r.db.ShareSession(tx, id); err != nil {
				return err
			}
		}
		var found []models.Session
		if err := tx.Select("id, expired_seq").Where("id IN ? AND "+visible, ids).Find(&found).Error; err != nil {
			return err
		}
		var wanted []models.Segment
		for i := range segments {
			s := &segments[i]
			if slices.ContainsFunc(found, func(of models.Session) bool { return of.ID == s.SessionID && of.ExpiredSeq < s.FirstSeq() }) {
				wanted = append(wanted, *s)
			}
		}
		return tx.Omit(clause.Associations).Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(wanted, 8).Error
	})
	return translate(r.db, err, "the segment")
}

// Each calls fn with each segment of a session by number; only with those that may have
// events in the span if span is not zero. It stops at fn's first error and returns it.
// The segment is valid until fn returns.
func (r *Segments) Each(ctx context.Context, sessionID string, span models.Span, fn func(*models.Segment) error) error {
	query := r.db.Read(ctx).Model(&models.Segment{}).Select("number, first_time, last_time, event_count, columns").Where("session_id = ?", sessionID)
	if span != (models.Span{}) {
		query = query.Where("last_time >= ? AND first_time <= ?", span.From, span.To)
	}
	rows, err := query.Order("number").Rows()
	if err != nil {
		return translate(r.db, err, "the segment")
	}
	defer rows.Close()
	for rows.Next() {
		segment := models.Segment{SessionID: sessionID}
		if err := rows.Scan(&segment.Number, &segment.FirstTime, &segment.LastTime, &segment.EventCount, &segment.Columns); err != nil {
			return translate(r.db, err, "the segment")
		}
		if err := fn(&segment); err != nil {
			return err
		}
	}
	return translate(r.db, rows.Err(), "the segment")
}

// EachHot calls fn with the hot fields and the Seq of each event of a session with a Seq
// in (after, upTo] that the filter selects and, if span is not zero, that lies in the
// span. The events come in the order of Seq. The event is valid until fn returns.
func (r *Segments) EachHot(ctx context.Context, sessionID string, where *filter.Filter, after, upTo int64, span models.Span, fn func(*models.Event)) error {
	if span != (models.Span{}) {
		where = filter.InSpan(where, span)
	}
	err := r.views.in(ctx, sessionID, func(v view) error {
		return v.read(where, models.EventPage{After: after, Before: upTo + 1}, hot, func(e *models.Event) (bool, error) {
			fn(e)
			return true, nil
		})
	})
	return translate(r.db, err, "the event")
}
