package repository

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// CountByType counts a session's events with a Seq in (after, upTo] by type. It leaves out
// events whose segment is damaged. It also returns the session's ExpiredSeq at that moment.
func (r *Events) CountByType(ctx context.Context, sessionID string, after, upTo int64) (counts map[string]int64, expired int64, err error) {
	counts = map[string]int64{}
	var damage *damageError
	page := models.EventPage{After: after, Before: upTo + 1}
	err = r.views.in(ctx, sessionID, func(v view) (err error) {
		if expired, err = v.expiredSeq(); err != nil {
			return err
		}
		rows := func(gap models.EventPage, _ *candidates) (bool, error) {
			var found []struct {
				EventType string
				N         int64
			}
			err := v.rows(nil, gap, nil).Select("event_type, COUNT(*) AS n").Group("event_type").Scan(&found).Error
			for _, row := range found {
				counts[row.EventType] += row.N
			}
			return true, err
		}
		return v.walk(page, nil, rows, func(s *sealedSegment) (bool, error) {
			selected, err := s.selected(nil, page)
			if errors.As(err, &damage) { // the session's other events are counted
				return true, nil
			}
			if err != nil {
				return false, err
			}
			for i, place := range s.hot.Type.Index {
				if selected[i] {
					counts[*s.hot.Type.Values[place]]++
				}
			}
			return true, nil
		})
	})
	if err == nil && damage != nil {
		err = noteDamage(ctx, r.db, &damage.segment, damage.reason)
	}
	return counts, expired, translate(r.db, err, "the event")
}

// expiredSeq returns the session's ExpiredSeq.
func (v view) expiredSeq() (seq int64, err error) {
	err = v.tx.Model(&models.Session{}).Where("id = ?", v.sessionID).Select("expired_seq").Scan(&seq).Error
	return seq, err
}

// Span returns the earliest and the latest of the events' own times in a session; nil if
// it has no events.
func (r *Events) Span(ctx context.Context, sessionID string) (first, last *time.Time, err error) {
	see := func(earliest, latest time.Time) {
		if first == nil || earliest.Before(*first) {
			first = &earliest
		}
		if last == nil || latest.After(*last) {
			last = &latest
		}
	}
	err = r.views.in(ctx, sessionID, func(v view) error {
		var segments []models.Segment
		err := v.tx.Select("number, event_count, first_time, last_time").Where("session_id = ?", sessionID).Order("number").Find(&segments).Error
		if err != nil {
			return err
		}
		gap := models.EventPage{}
		for i := range segments {
			s := &segments[i]
			see(s.FirstTime, s.LastTime)
			gap.Before = s.FirstSeq()
			if err := v.seeRows(gap, see); err != nil {
				return err
			}
			gap.After = s.LastSeq()
		}
		gap.Before = 0
		return v.seeRows(gap, see)
	})
	return first, last, translate(r.db, err, "the event")
}

// seeRows calls see with the earliest and the latest time of the rows of a page, if it has
// any.
func (v view) seeRows(page models.EventPage, see func(earliest, latest time.Time)) error {
	if isEmpty(page) {
		return nil
	}
	var ends []time.Time
	for _, order := range []string{"timestamp", "timestamp DESC"} {
		if err := v.rows(nil, page, nil).Select("timestamp").Order(order).Limit(1).Scan(&ends).Error; err != nil || len(ends) == 0 {
			return err
		}
		see(ends[0], ends[0])
	}
	return nil
}

// ListMissing returns up to limit spans of numbers in (after, upTo] that no event of the
// session has. It also returns the session's ExpiredSeq at that moment, up to which
// numbers are not missing.
func (r *Events) ListMissing(ctx context.Context, sessionID string, after, upTo int64, limit int) (spans []models.SeqSpan, expired int64, err error) {
	err = r.views.in(ctx, sessionID, func(v view) (err error) {
		if expired, err = v.expiredSeq(); err != nil || expired >= upTo {
			return err
		}
		rows := func(gap models.EventPage, _ *candidates) (bool, error) {
			var some []models.SeqSpan
			// An extra row stands for the end of the numbers.
			err := v.tx.Raw("SELECT previous + 1 AS first, seq - 1 AS last FROM (SELECT seq, LAG(seq, 1, CAST(? AS bigint)) OVER (ORDER BY seq) AS previous FROM "+
				"(SELECT seq FROM events WHERE session_id = ? AND seq > ? AND seq < ? UNION ALL SELECT CAST(? AS bigint)) AS numbers) AS steps "+
				"WHERE seq > previous + 1 ORDER BY seq LIMIT ?", gap.After, sessionID, gap.After, gap.Before, gap.Before, limit-len(spans)).Scan(&some).Error
			spans = append(spans, some...)
			return len(spans) < limit, err
		}
		return v.walk(models.EventPage{After: max(after, expired), Before: upTo + 1}, nil, rows, func(*sealedSegment) (bool, error) { return true, nil })
	})
	return spans, expired, translate(r.db, err, "the event")
}

// ListDamages returns up to limit ranges of sealed events that could not be read when
// they were last read: those of a session, or of all sessions if sessionID is empty.
func (r *Events) ListDamages(ctx context.Context, sessionID string, limit int) ([]models.Damage, error) {
	query := r.db.ReadForIngest(ctx).Where("damage <> ''") // for health checks
	if sessionID != "" {
		query = r.db.Read(ctx).Where("damage <> '' AND session_id = ?", sessionID)
	}
	var segments []models.Segment
	err := query.Select("session_id, number, event_count, damage").Order("session_id, number").Limit(limit).Find(&segments).Error
	damages := make([]models.Damage, len(segments))
	for i := range segments {
		s := &segments[i]
		damages[i] = models.Damage{SessionID: s.SessionID, SeqSpan: models.SeqSpan{First: s.FirstSeq(), Last: s.LastSeq()}, Reason: s.Damage}
	}
	return damages, translate(r.db, err, "the segment")
}

// ListOfType returns up to limit events of a type with a Seq below before, newest first,
// with their Data.
func (r *Events) ListOfType(ctx context.Context, sessionID, eventType string, before int64, limit int) ([]models.Event, error) {
	return r.list(ctx, sessionID, filter.OfTypes(nil, eventType), models.EventPage{Before: before, Limit: limit, Descending: true}, exported(&models.EventMemory{}))
}

// ListEnds returns up to limit session_end events of a session with a Seq above after,
// newest first, with their Data. It stops after the event with which their Data exceeds
// maxBytes.
func (r *Events) ListEnds(ctx context.Context, sessionID string, after int64, limit, maxBytes int) (events []models.Event, err error) {
	size := 0
	err = r.views.in(ctx, sessionID, func(v view) error {
		page := models.EventPage{After: after, Limit: limit, Descending: true}
		return v.read(filter.OfTypes(nil, models.TypeSessionEnd), page, exported(&models.EventMemory{}), func(e *models.Event) (bool, error) {
			events = append(events, *e)
			size += len(e.Data) + len(e.DataRaw)
			return size < maxBytes, nil
		})
	})
	return events, translate(r.db, err, "the event")
}

// Totals returns the stored totals of a session, and its ExpiredSeq at that moment, after
// which they count. Without stored totals, it returns those of no event.
func (r *Events) Totals(ctx context.Context, sessionID string) (t *models.SessionTotals, expired int64, err error) {
	err = r.views.in(ctx, sessionID, func(v view) (err error) {
		if expired, err = v.expiredSeq(); err != nil {
			return err
		}
		var kept []models.SessionTotals
		if err := v.tx.Where("session_id = ?", sessionID).Find(&kept).Error; err != nil {
			return err
		}
		if len(kept) > 0 && kept[0].EventCounts != nil {
			t = &kept[0]
		} else {
			t = &models.SessionTotals{SessionID: sessionID, Seq: expired, EventCounts: map[string]int64{}}
		}
		return nil
	})
	return t, expired, translate(r.db, err, "the totals")
}

// SaveTotals stores a session's totals of the events after expired, unless later ones are
// stored. It returns conflict if the session does not exist any more, or if more events
// have expired.
func (r *Events) SaveTotals(ctx context.Context, totals *models.SessionTotals, expired int64) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := r.db.ShareSession(tx, totals.SessionID); err != nil { // against ExpirePart
			return err
		}
		if now, err := (view{tx: tx, sessionID: totals.SessionID}).expiredSeq(); err != nil || now != expired {
			return errors.Join(err, errChanged)
		}
		return tx.Omit(clause.Associations).Clauses(clause.OnConflict{
			Columns:   []clause.Column{{Name: "session_id"}},
			Where:     clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "session_totals.seq < excluded.seq"}}},
			DoUpdates: clause.AssignmentColumns([]string{"seq", "event_counts", "missing", "lost"}),
		}).Create(totals).Error
	})
	return translate(r.db, err, "the totals")
}
