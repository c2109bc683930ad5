package repository

import (
	"cmp"
	"context"
	"slices"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

// ListAll returns up to limit events of all visible sessions with an ID in (after, upTo],
// by ID.
func (r *Events) ListAll(ctx context.Context, after, upTo uint64, limit int) (events []models.Event, err error) {
	err = r.db.View(ctx, func(tx *gorm.DB) error {
		const isShown = "session_id NOT IN (SELECT id FROM sessions WHERE " + hidden + ")"
		err := tx.Where("id > ? AND id <= ? AND "+isShown, after, upTo).Order("id").Limit(limit).Find(&events).Error
		v := r.views.of(tx, "")
		for next := uint64(0); err == nil; {
			var segments []models.Segment
			err = tx.Select("session_id, number, event_count, min_id, max_id").
				Where("is_sealed AND min_id >= ? AND min_id <= ? AND max_id > ? AND "+isShown, next, upTo, after).
				Order("min_id").Limit(segmentPage).Find(&segments).Error
			for i := range segments {
				if len(events) == limit && events[limit-1].ID < segments[i].MinID {
					return nil
				}
				v.sessionID = segments[i].SessionID
				s := &sealedSegment{view: v, Segment: segments[i]}
				if events, err = s.addByID(events, after, upTo, limit); err != nil {
					return err
				}
				next = segments[i].MinID + 1
			}
			if len(segments) < segmentPage {
				break
			}
		}
		return err
	})
	return events, translate(r.db, err, "the event")
}

// addByID adds the segment's events with an ID in (after, upTo] to events, which are in
// the order of ID, and keeps the first ones up to limit.
func (s *sealedSegment) addByID(events []models.Event, after, upTo uint64, limit int) ([]models.Event, error) {
	if len(events) == limit {
		upTo = min(upTo, events[limit-1].ID)
	}
	for i := range int(s.EventCount) {
		block, place, err := s.blockOf(i)
		if err != nil {
			return nil, err
		}
		if id := block.ID(place); id <= after || id > upTo {
			continue
		}
		var e models.Event
		if err := s.event(&e, i); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	s.release()
	slices.SortFunc(events, func(a, b models.Event) int { return cmp.Compare(a.ID, b.ID) })
	return events[:min(limit, len(events))], nil
}

// LastID returns the largest ID of any event; 0 if there are none.
func (r *Events) LastID(ctx context.Context) (uint64, error) {
	var last []uint64
	err := r.db.Read(ctx).Raw("SELECT COALESCE(MAX(id), 0) FROM events UNION ALL SELECT COALESCE(MAX(max_id), 0) FROM segments WHERE is_sealed").Scan(&last).Error
	return slices.Max(append(last, 0)), translate(r.db, err, "the event")
}
