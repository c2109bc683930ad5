package repository

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// ClaimUnsent marks the newest unsent events of a session as sent and returns their Seqs,
// newest first. Concurrent calls never claim the same event. The cost depends on the
// number of claimed events, not on the number that were sent before. It passes over
// damaged segments. With an error it returns the Seqs that it claimed before the error.
func (r *Events) ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter) ([]int64, error) {
	seqs := []int64{}
	var last *claim
	step := minSentStep
	for len(seqs) < filter.Limit {
		var some []claim
		limit := min(step, filter.Limit-len(seqs))
		began := time.Now()
		err := r.db.Write(ctx, func(tx *gorm.DB) (err error) {
			v := view{tx: tx, sessionID: sessionID}
			if err := r.db.ShareSession(tx, sessionID); err != nil { // rows that Seal has locked would be passed over
				return err
			}
			if some, err = v.unsent(filter, last, limit); err != nil || len(some) == 0 || plant.Is("hand an event out twice") {
				return err
			}
			return v.setSent(seqsOf(some), true)
		})
		if d, ok := errors.AsType[*damageError](err); ok {
			if err = noteDamage(ctx, r.db, &d.segment, d.reason); err == nil {
				continue
			}
		}
		if err != nil {
			return seqs, translate(r.db, err, "the event")
		}
		seqs = append(seqs, seqsOf(some)...)
		if len(some) < limit {
			break
		}
		last = &some[len(some)-1]
		step = nextSentStep(step, time.Since(began))
	}
	return seqs, nil
}

// claim is an event that a poller claims.
type claim struct {
	Timestamp time.Time
	Seq       int64
}

// newerFirst orders claims.
func newerFirst(a, b claim) int {
	return cmp.Or(b.Timestamp.Compare(a.Timestamp), cmp.Compare(b.Seq, a.Seq))
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

func seqsOf(claims []claim) []int64 {
	seqs := make([]int64, len(claims))
	for i := range claims {
		seqs[i] = claims[i].Seq
	}
	return seqs
}

// unsent returns the session's newest unsent events, up to limit, newest first; only
// those older than last if last is not nil. It locks them.
func (v view) unsent(filter models.EventFilter, last *claim, limit int) ([]claim, error) {
	var segments []models.Segment
	query := v.sealed().Select("number, event_count, first_time, last_time, unsent, sent").Where("unsent > 0 AND damage = ''")
	if !filter.Start.IsZero() {
		query = query.Where("last_time >= ?", filter.Start)
	}
	if !filter.End.IsZero() {
		query = query.Where("first_time <= ?", filter.End)
	}
	// Segments are locked before rows, as Seal does it. Locks have no effect on SQLite,
	// where transactions queue.
	if err := query.Order("last_time DESC").Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Find(&segments).Error; err != nil {
		return nil, err
	}
	locking := clause.Locking{Strength: clause.LockingStrengthUpdate, Options: clause.LockingOptionsSkipLocked}
	var found []claim
	if err := unsentRows(v.tx, v.sessionID, filter, last).Limit(limit).Clauses(locking).Select("timestamp, seq").Find(&found).Error; err != nil {
		return nil, err
	}
	for i := range segments {
		s := &sealedSegment{view: v, Segment: segments[i]}
		if len(found) == limit && s.LastTime.Before(found[limit-1].Timestamp) {
			break
		}
		hot, err := s.columns()
		if err != nil {
			return nil, err
		}
		for j, micros := range hot.Micros {
			c := claim{time.UnixMicro(micros).UTC(), s.FirstSeq() + int64(j)}
			if !s.isSent(j) && (last == nil || newerFirst(*last, c) < 0) && !c.Timestamp.Before(filter.Start) && (filter.End.IsZero() || !c.Timestamp.After(filter.End)) {
				found = append(found, c)
			}
		}
		slices.SortFunc(found, newerFirst)
		found = found[:min(limit, len(found))]
	}
	return found, nil
}

// unsentRows selects a session's newest unsent events among the rows; only those older
// than last if last is not nil. The condition on is_sent repeats the index's text,
// because SQLite would not use the index otherwise.
func unsentRows(tx *gorm.DB, sessionID string, filter models.EventFilter, last *claim) *gorm.DB {
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
func (r *Events) Unclaim(ctx context.Context, sessionID string, seqs []int64) error {
	for step := minSentStep; len(seqs) > 0; {
		some := seqs[:min(step, len(seqs))]
		began := time.Now()
		if err := r.db.Write(ctx, func(tx *gorm.DB) error { return view{tx: tx, sessionID: sessionID}.setSent(some, false) }); err != nil {
			return translate(r.db, err, "the event")
		}
		seqs = seqs[len(some):]
		step = nextSentStep(step, time.Since(began))
	}
	return nil
}

// setSent marks events as sent or unsent.
func (v view) setSent(seqs []int64, sent bool) error {
	done := v.tx.Model(&models.Event{}).Where("session_id = ? AND seq IN ?", v.sessionID, seqs).Update("is_sent", sent)
	if done.Error != nil || done.RowsAffected == int64(len(seqs)) {
		return done.Error
	}
	segments, err := v.segmentsOf(seqs, clause.Locking{Strength: clause.LockingStrengthUpdate})
	if err != nil {
		return err
	}
	for number, s := range segments {
		changed := false
		for _, seq := range seqs {
			if i := int(seq - s.FirstSeq()); seq > number*models.SegmentEvents && seq <= s.LastSeq() && s.isSent(i) != sent {
				s.setSent(i, sent)
				changed = true
			}
		}
		if !changed {
			continue
		}
		err := v.tx.Model(&models.Segment{}).Where("session_id = ? AND number = ?", v.sessionID, number).
			UpdateColumns(map[string]any{"unsent": s.Unsent, "sent": s.Sent}).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// setSent notes whether a poller has claimed event i.
func (s *sealedSegment) setSent(i int, sent bool) {
	if len(s.Sent) == 0 {
		s.Sent = make([]byte, (s.EventCount+7)/8)
		if s.Unsent == 0 {
			for j := range s.Sent {
				s.Sent[j] = 0xff
			}
		}
	}
	if s.Sent[i/8] ^= 1 << (i % 8); sent {
		s.Unsent--
	} else {
		s.Unsent++
	}
	if s.Unsent == 0 || s.Unsent == s.EventCount {
		s.Sent = nil
	}
}

// segmentsOf returns the sealed segments that have some of the events, by number.
func (v view) segmentsOf(seqs []int64, clauses ...clause.Expression) (map[int64]*sealedSegment, error) {
	var numbers []int64
	for _, seq := range seqs {
		if number := (seq - 1) / models.SegmentEvents; !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
	}
	var found []models.Segment
	err := v.sealed().Select("number, event_count, first_time, last_time, unsent, sent").Where("number IN ?", numbers).Clauses(clauses...).Order("number").Find(&found).Error
	segments := make(map[int64]*sealedSegment, len(found))
	for i := range found {
		segments[found[i].Number] = &sealedSegment{view: v, Segment: found[i]}
	}
	return segments, err
}

// ListSeqs returns the events of these Seqs of a session, in the order of the Seqs. It
// leaves out missing ones.
func (r *Events) ListSeqs(ctx context.Context, sessionID string, seqs []int64) (events []models.Event, err error) {
	err = r.views.in(ctx, sessionID, func(v view) error {
		_, err := scan(v.rows(nil, models.EventPage{}).Select(whole.columns).Where("seq IN ?", seqs), whole, sessionID, func(e *models.Event) (bool, error) {
			events = append(events, *e)
			return true, nil
		})
		if err != nil || len(events) == len(seqs) {
			return err
		}
		segments, err := v.segmentsOf(seqs)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			s := segments[(seq-1)/models.SegmentEvents]
			if s == nil || seq > s.LastSeq() {
				continue
			}
			var e models.Event
			if err := s.event(&e, int(seq-s.FirstSeq())); err != nil {
				return err
			}
			events = append(events, e)
		}
		return nil
	})
	place := make(map[int64]int, len(seqs))
	for i, seq := range seqs {
		place[seq] = i
	}
	slices.SortFunc(events, func(a, b models.Event) int { return place[a.Seq] - place[b.Seq] })
	return events, translate(r.db, err, "the event")
}
