package repository

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// ClaimUnsent marks the newest unsent events of a session as sent and returns their Seqs,
// newest first. Concurrent calls never claim the same event; but they find the same ones,
// and all but one search again, so the caller should let one at a time go on. It passes
// over damaged segments. With an error it returns the Seqs that it claimed before the error.
func (r *Events) ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter) ([]int64, error) {
	seqs := []int64{}
	if err := r.readOldClaims(ctx, sessionID); err != nil {
		return seqs, translate(r.db, err, "the event")
	}
	damaged := map[int64]bool{} // segments by number
	step := minSentStep
	for isComplete := false; !isComplete && len(seqs) < filter.Limit; {
		var found []int64
		err := r.views.in(ctx, sessionID, func(v view) (err error) {
			found, err = v.unsent(filter, filter.Limit-len(seqs))
			return err
		})
		if d, ok := errors.AsType[*damageError](err); ok && !damaged[d.segment.Number] {
			damaged[d.segment.Number] = true // and noted, so the next search leaves it out
			continue
		}
		if err != nil {
			return seqs, translate(r.db, err, "the event")
		}
		isComplete = true
		for len(found) > 0 {
			some := found[:min(step, len(found))]
			began := time.Now()
			changed, err := r.setSent(ctx, sessionID, some, true)
			if err != nil {
				return seqs, translate(r.db, err, "the event")
			}
			if len(changed) < len(some) { // another caller has claimed the others
				isComplete = false
			}
			seqs = append(seqs, changed...)
			found = found[len(some):]
			step = nextSentStep(step, time.Since(began))
		}
	}
	return seqs, nil
}

// Events are marked in steps. Each step is a transaction of about sentStepTime, because
// SQLite rewrites the whole event and incoming events wait meanwhile. A step has at least
// minSentStep events: on a busy machine every transaction takes longer than sentStepTime,
// and with steps of one event a poll would not end in time.
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

// claims are what pollers have claimed of the events of a Claim: a bit for each.
type claims []byte

// claimsOf returns the claims of a Claim, which may be nil.
func claimsOf(kept *models.Claim) claims {
	bits := make(claims, models.SegmentEvents/8)
	if kept != nil && len(kept.Sent) == 0 {
		for i := range bits {
			bits[i] = 0xff
		}
	} else if kept != nil {
		copy(bits, kept.Sent)
	}
	return bits
}

// has reports whether the event with this Seq is claimed.
func (c claims) has(seq int64) bool {
	i := (seq - 1) % models.SegmentEvents
	return c[i/8]&(1<<(i%8)) != 0
}

// flip changes whether the event with this Seq is claimed.
func (c claims) flip(seq int64) {
	i := (seq - 1) % models.SegmentEvents
	c[i/8] ^= 1 << (i % 8)
}

// keep stores claims.
func (v view) keep(number int64, bits claims) error {
	kept := models.Claim{SessionID: v.sessionID, Number: number, Sent: bits}
	if slices.Equal(bits, claimsOf(&models.Claim{})) {
		kept.Sent = nil
	}
	return v.tx.Omit(clause.Associations).Clauses(clause.OnConflict{UpdateAll: true}).Create(&kept).Error
}

// claimed returns the stored claims with some numbers.
func (v view) claimed(numbers ...int64) (map[int64]claims, error) {
	var kept []models.Claim
	err := v.tx.Where("session_id = ? AND number IN ?", v.sessionID, numbers).Find(&kept).Error
	claimed := make(map[int64]claims, len(kept))
	for i := range kept {
		claimed[kept[i].Number] = claimsOf(&kept[i])
	}
	return claimed, err
}

// readOldClaims stores the claims that older versions noted in the rows only.
func (r *Events) readOldClaims(ctx context.Context, sessionID string) error {
	for isDone := false; !isDone; {
		err := r.db.Write(ctx, func(tx *gorm.DB) error {
			v := view{tx: tx, sessionID: sessionID}
			session := tx.Model(&models.Session{}).Where("id = ?", sessionID).Session(&gorm.Session{})
			var inRows int64
			if err := session.Select("claims_in_rows").Scan(&inRows).Error; err != nil {
				return err
			}
			if isDone = inRows == 0; isDone {
				return nil
			}
			if err := r.db.LockSession(tx, sessionID); err != nil {
				return err
			}
			number := (inRows - 1) / models.SegmentEvents
			if err := v.readClaims(number); err != nil {
				return err
			}
			return session.UpdateColumn("claims_in_rows", number*models.SegmentEvents).Error
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readClaims stores the claims with a number as the rows tell them, if none are stored.
func (v view) readClaims(number int64) error {
	if claimed, err := v.claimed(number); err != nil || claimed[number] != nil {
		return err
	}
	var sent []int64
	first := number * models.SegmentEvents
	err := v.rows(nil, models.EventPage{After: first, Before: first + models.SegmentEvents + 1}, nil).Where("is_sent").Pluck("seq", &sent).Error
	if err != nil {
		return err
	}
	bits := claimsOf(nil)
	for _, seq := range sent {
		bits.flip(seq)
	}
	return v.keep(number, bits)
}

// unsent returns the Seqs of the session's newest unsent events, newest first, up to
// limit.
func (v view) unsent(filter models.EventFilter, limit int) ([]int64, error) {
	var session models.Session
	if err := v.tx.Where("id = ?", v.sessionID).Select("event_count, expired_seq").Find(&session).Error; err != nil {
		return nil, err
	}
	var kept []models.Claim
	if err := v.tx.Where("session_id = ?", v.sessionID).Find(&kept).Error; err != nil {
		return nil, err
	}
	claimed := make(map[int64]*models.Claim, len(kept))
	for i := range kept {
		claimed[kept[i].Number] = &kept[i]
	}
	isFull := func(number int64) bool { return claimed[number] != nil && len(claimed[number].Sent) == 0 }

	var segments []models.Segment
	err := v.tx.Select("number, event_count, first_time, last_time, is_sealed, damage").Where("session_id = ?", v.sessionID).Order("last_time DESC").Find(&segments).Error
	if err != nil {
		return nil, err
	}
	packed := make(map[int64]int64, len(segments)) // the last Seq of each segment, by number
	for i := range segments {
		packed[segments[i].Number] = segments[i].LastSeq()
	}

	found := newest{filter: filter, limit: limit}
	for number := session.ExpiredSeq / models.SegmentEvents; number*models.SegmentEvents < session.EventCount; number++ {
		page := models.EventPage{After: max(number*models.SegmentEvents, packed[number]), Before: min((number+1)*models.SegmentEvents, session.EventCount) + 1}
		if isFull(number) || isEmpty(page) {
			continue
		}
		if err := found.addRows(v, page, claimsOf(claimed[number])); err != nil {
			return nil, err
		}
	}
	for i := range segments {
		s := &sealedSegment{view: v, Segment: segments[i]}
		if isFull(s.Number) || s.Damage != "" || !found.mayHave(s.FirstTime, s.LastTime) {
			continue
		}
		bits := claimsOf(claimed[s.Number])
		hot, err := s.columns()
		if err != nil && !s.IsSealed {
			if err := found.addRows(v, models.EventPage{After: s.FirstSeq() - 1, Before: s.LastSeq() + 1}, bits); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		for j, micros := range hot.Micros {
			if seq := s.FirstSeq() + int64(j); !bits.has(seq) {
				found.add(unsentEvent{time.UnixMicro(micros).UTC(), seq})
			}
		}
		found.cut()
	}
	seqs := make([]int64, len(found.events))
	for i := range seqs {
		seqs[i] = found.events[i].Seq
	}
	return seqs, nil
}

// newest collects the newest events that a filter selects, up to limit.
type newest struct {
	filter models.EventFilter
	limit  int
	events []unsentEvent
	from   time.Time // no older event is among the newest; zero if unknown
}

type unsentEvent struct {
	Timestamp time.Time
	Seq       int64
}

// mayHave reports whether events between two times may be among the newest.
func (n *newest) mayHave(first, last time.Time) bool {
	f := n.filter
	return (f.Start.IsZero() || !last.Before(f.Start)) && (f.End.IsZero() || !first.After(f.End)) &&
		!last.Before(n.from)
}

func (n *newest) add(e unsentEvent) {
	if n.mayHave(e.Timestamp, e.Timestamp) {
		n.events = append(n.events, e)
	}
}

// cut keeps the newest events, newest first.
func (n *newest) cut() {
	slices.SortFunc(n.events, func(a, b unsentEvent) int {
		return cmp.Or(b.Timestamp.Compare(a.Timestamp), cmp.Compare(b.Seq, a.Seq))
	})
	if len(n.events) >= n.limit {
		n.events = n.events[:n.limit]
		n.from = n.events[n.limit-1].Timestamp
	}
}

// addRows adds the rows of a page that are not claimed.
func (n *newest) addRows(v view, page models.EventPage, claimed claims) error {
	for !isEmpty(page) && claimed.has(page.After+1) {
		page.After++
	}
	for !isEmpty(page) && claimed.has(page.Before-1) {
		page.Before--
	}
	if isEmpty(page) {
		return nil
	}
	rows, err := v.rows(nil, page, nil).Select("timestamp, seq").Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	var e unsentEvent
	for rows.Next() {
		if err := rows.Scan(&e.Timestamp, &e.Seq); err != nil {
			return err
		}
		if !claimed.has(e.Seq) {
			n.add(e)
		}
	}
	n.cut()
	return rows.Err()
}

// Unclaim marks claimed events as unsent again.
func (r *Events) Unclaim(ctx context.Context, sessionID string, seqs []int64) error {
	for step := minSentStep; len(seqs) > 0; {
		some := seqs[:min(step, len(seqs))]
		began := time.Now()
		if _, err := r.setSent(ctx, sessionID, some, false); err != nil {
			return translate(r.db, err, "the event")
		}
		seqs = seqs[len(some):]
		step = nextSentStep(step, time.Since(began))
	}
	return nil
}

// setSent marks events as sent or unsent, in one transaction. It returns those that were
// not so before, in the order of seqs.
func (r *Events) setSent(ctx context.Context, sessionID string, seqs []int64, sent bool) (changed []int64, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		changed = nil
		v := view{tx: tx, sessionID: sessionID}
		if err := r.db.LockSession(tx, sessionID); err != nil {
			return err
		}
		claimed, err := v.claimsToChange(seqs)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			if bits := claimed[(seq-1)/models.SegmentEvents]; bits.has(seq) != sent {
				bits.flip(seq)
				changed = append(changed, seq)
			}
		}
		if len(changed) == 0 || sent && plant.Is("hand an event out twice") {
			return nil
		}
		for _, number := range slices.Sorted(maps.Keys(claimed)) {
			if err := v.keep(number, claimed[number]); err != nil {
				return err
			}
		}
		return tx.Model(&models.Event{}).Where("session_id = ? AND seq IN ?", sessionID, changed).Update("is_sent", sent).Error
	})
	return changed, err
}

// claimsToChange returns the claims that cover some Seqs, by number. It locks their
// segments, because Unseal copies the claims to the rows.
func (v view) claimsToChange(seqs []int64) (map[int64]claims, error) {
	numbers := numbersOf(seqs)
	lock := clause.Locking{Strength: clause.LockingStrengthUpdate} // no effect on SQLite, where transactions queue
	var locked []int64
	err := v.tx.Model(&models.Segment{}).Where("session_id = ? AND number IN ?", v.sessionID, numbers).Order("number").Clauses(lock).Pluck("number", &locked).Error
	if err != nil {
		return nil, err
	}
	claimed, err := v.claimed(numbers...)
	for _, number := range numbers {
		if claimed[number] == nil {
			claimed[number] = claimsOf(nil)
		}
	}
	return claimed, err
}

// numbersOf returns the numbers of the segments that have some events.
func numbersOf(seqs []int64) (numbers []int64) {
	for _, seq := range seqs {
		if number := (seq - 1) / models.SegmentEvents; !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// segmentsOf returns the sealed segments that have some of the events, by number.
func (v view) segmentsOf(seqs []int64) (map[int64]*sealedSegment, error) {
	var found []models.Segment
	err := v.sealed().Select("number, event_count, first_time, last_time").Where("number IN ?", numbersOf(seqs)).Order("number").Find(&found).Error
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
		_, err := scan(v.rows(nil, models.EventPage{}, nil).Select(whole.columns).Where("seq IN ?", seqs), whole, sessionID, func(e *models.Event) (bool, error) {
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
