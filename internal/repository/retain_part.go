package repository

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
)

// NextPart returns the oldest events of the session unassigned with a Seq above after that
// may expire: those of one segment. It returns nil if there are none, or the session is
// marked keep.
func (r *Retention) NextPart(ctx context.Context, after int64) (part *models.Expirable, err error) {
	err = r.views.in(ctx, models.UnassignedID, func(v view) error {
		var session models.Session
		err := v.tx.Where("id = ? AND NOT keep AND NOT "+backfilling+" AND "+visible, v.sessionID).Find(&session).Error
		if err == nil && session.ID != "" {
			part, err = r.part(v, &session, after, session.EventCount)
		}
		return err
	})
	return part, translate(r.db, err, "the event")
}

// RequestedPart returns the next events that a user asked to remove; nil if there are none.
func (r *Retention) RequestedPart(ctx context.Context) (part *models.Expirable, err error) {
	err = r.views.in(ctx, models.UnassignedID, func(v view) error {
		var session models.Session
		err := v.tx.Where("id = ? AND expire_up_to > expired_seq AND NOT "+backfilling+" AND "+visible, v.sessionID).Find(&session).Error
		if err == nil && session.ID != "" {
			part, err = r.part(v, &session, 0, session.ExpireUpTo)
		}
		return err
	})
	return part, translate(r.db, err, "the event")
}

// part returns the first events of a session in (after, upTo] that are in one segment; nil
// if there are none.
func (r *Retention) part(v view, session *models.Session, after, upTo int64) (*models.Expirable, error) {
	after = max(after, session.ExpiredSeq)
	last := min((after/models.SegmentEvents+1)*models.SegmentEvents, upTo)
	if after >= last {
		return nil, nil //nolint:nilnil // there is nothing, which is no error
	}
	number := after / models.SegmentEvents
	ofSegment := v.tx.Where("session_id = ?", v.sessionID).Session(&gorm.Session{})
	sealed, err := sealedSizes(ofSegment.Where("number = ?", number), ofSegment.Where("first_seq > ? AND first_seq <= ?", number*models.SegmentEvents, last))
	if err != nil {
		return nil, err
	}
	rowBytes, err := r.rowBytes(v.tx)
	if err != nil {
		return nil, err
	}
	at, err := v.storedBy(last)
	if err != nil {
		return nil, err
	}
	of := sealed[v.sessionID]
	return &models.Expirable{
		SessionID: v.sessionID, Name: session.Name, FileName: session.FileName, FirstSeq: after + 1, LastSeq: last,
		SizeBytes: of.Bytes + max(last-after-of.Events, 0)*rowBytes, At: at,
	}, nil
}

// storedBy returns the time at which the event of a Seq was stored. If that event cannot
// be read, it returns the time of a later one; the present if there is none.
func (v view) storedBy(seq int64) (at time.Time, err error) {
	for at = time.Now(); ; {
		err = v.read(nil, models.EventPage{After: seq - 1, Limit: 1}, whole, func(e *models.Event) (bool, error) {
			at = e.CreatedAt
			return false, nil
		})
		d, isDamaged := errors.AsType[*damageError](err)
		if !isDamaged {
			return at.UTC().Truncate(time.Microsecond), err
		}
		seq = (d.segment.Number+1)*models.SegmentEvents + 1
	}
}

// ExpirePart removes the next events of a part, in one short transaction: a sealed
// segment, or up to limit rows. It advances the session's ExpiredSeq, corrects its totals
// and records the expiration. It returns the number of expired seqs; 0 if none is left, or
// the session was marked keep meanwhile. All readers see the events before or after a
// step.
func (r *Retention) ExpirePart(ctx context.Context, e *models.Expirable, rule models.ExpiryRule, setting string, now time.Time, limit int) (n int64, err error) {
	unseal := int64(-1) // the number of a segment that ends behind the part
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		v := view{tx: tx, sessionID: e.SessionID}
		if err := r.db.LockSession(tx, e.SessionID); err != nil { // against Seal and ClaimUnsent
			return err
		}
		var session models.Session
		err := tx.Where("id = ? AND NOT "+backfilling+" AND "+visible, e.SessionID).Find(&session).Error
		from := session.ExpiredSeq
		if err != nil || session.ID == "" || session.Keep && rule != models.RuleUser || from >= e.LastSeq {
			return err
		}
		number := from / models.SegmentEvents
		upTo := min(e.LastSeq, (number+1)*models.SegmentEvents, from+int64(limit))
		var segment models.Segment
		if err := tx.Where("session_id = ? AND number = ?", e.SessionID, number).Omit("skip").Find(&segment).Error; err != nil {
			return err
		}
		if segment.IsSealed && segment.LastSeq() > from {
			if upTo = segment.LastSeq(); upTo > e.LastSeq {
				unseal = number
				return nil
			}
		}
		counts, err := v.countExpired(&segment, from, upTo)
		if err != nil {
			return err
		}
		if err := v.deleteUpTo(&segment, from, upTo); err != nil {
			return err
		}
		if err := v.correctTotals(counts, upTo); err != nil {
			return err
		}
		if err := recordPart(tx, e, rule, setting, from, upTo, now); err != nil {
			return err
		}
		n = upTo - from
		return tx.Model(&models.Session{}).Where("id = ?", e.SessionID).UpdateColumns(map[string]any{
			"expired_seq": upTo, "sealed_seq": gorm.Expr("CASE WHEN sealed_seq < ? THEN ? ELSE sealed_seq END", upTo, upTo),
		}).Error
	})
	if err == nil && unseal >= 0 {
		if err = NewSegments(r.db).Unseal(ctx, e.SessionID, unseal); err == nil {
			return r.ExpirePart(ctx, e, rule, setting, now, limit)
		}
	}
	return n, translate(r.db, err, "session "+e.SessionID)
}

// countExpired counts the stored events in (from, upTo] by type; nil if their segment is
// damaged.
func (v view) countExpired(s *models.Segment, from, upTo int64) (map[string]int64, error) {
	counts := map[string]int64{}
	if s.IsSealed && s.LastSeq() > from {
		sealed := &sealedSegment{view: v, Segment: *s}
		hot, err := sealed.columns()
		if _, isDamaged := errors.AsType[*damageError](err); isDamaged {
			return nil, nil //nolint:nilnil // nobody knows
		}
		if err != nil {
			return nil, err
		}
		for _, place := range hot.Type.Index {
			counts[*hot.Type.Values[place]]++
		}
		return counts, nil
	}
	var found []struct {
		EventType string
		N         int64
	}
	err := v.rows(nil, models.EventPage{After: from, Before: upTo + 1}, nil).Select("event_type, COUNT(*) AS n").Group("event_type").Scan(&found).Error
	for _, row := range found {
		counts[row.EventType] = row.N
	}
	return counts, err
}

// deleteUpTo deletes the events in (from, upTo], which are those of a sealed segment or
// rows, and the segment: the columns of an unsealed one would have too many events. It
// deletes the claims of a segment with the last of its events.
func (v view) deleteUpTo(s *models.Segment, from, upTo int64) error {
	if s.IsSealed && s.LastSeq() > from {
		if err := v.deleteBlocks(s); err != nil {
			return err
		}
	} else if err := v.tx.Where("session_id = ? AND seq > ? AND seq <= ?", v.sessionID, from, upTo).Delete(&models.Event{}).Error; err != nil {
		return err
	}
	number := from / models.SegmentEvents
	err := v.tx.Where("session_id = ? AND number = ?", v.sessionID, number).Delete(&models.Segment{}).Error
	if err == nil && upTo%models.SegmentEvents == 0 {
		err = v.tx.Where("session_id = ? AND number = ?", v.sessionID, number).Delete(&models.Claim{}).Error
	}
	return err
}

// correctTotals takes the expired events up to upTo out of the session's totals. It deletes
// totals that it cannot correct, so that the next request counts what is left.
func (v view) correctTotals(counts map[string]int64, upTo int64) error {
	var found []models.SessionTotals
	if err := v.tx.Where("session_id = ?", v.sessionID).Find(&found).Error; err != nil || len(found) == 0 {
		return err
	}
	t := &found[0]
	if counts == nil || t.Seq < upTo || counts[models.TypeEventsLost] > 0 || len(t.Missing) >= models.MaxMissing {
		return v.tx.Delete(t).Error
	}
	for eventType, n := range counts {
		if t.EventCounts[eventType] -= n; t.EventCounts[eventType] <= 0 {
			delete(t.EventCounts, eventType)
		}
	}
	missing := []models.SeqSpan{}
	for _, span := range t.Missing {
		if span.First = max(span.First, upTo+1); span.First <= span.Last {
			missing = append(missing, span)
		}
	}
	t.Missing = missing
	return v.tx.Select("event_counts", "missing").Updates(t).Error
}

// recordPart records that the events in (from, upTo] expired. It extends the last record if
// that is of the same day and rule and ends before them.
func recordPart(tx *gorm.DB, e *models.Expirable, rule models.ExpiryRule, setting string, from, upTo int64, now time.Time) error {
	size := e.SizeBytes * (upTo - from) / max(e.LastSeq-e.FirstSeq+1, 1)
	var last []models.Expiration
	if err := tx.Where("session_id = ?", e.SessionID).Order("id DESC").Limit(1).Find(&last).Error; err != nil {
		return err
	}
	if len(last) > 0 && !last[0].Whole && last[0].LastSeq == from && last[0].Rule == rule && last[0].Setting == setting && now.Format(time.DateOnly) == last[0].ExpiredAt.UTC().Format(time.DateOnly) {
		return tx.Model(&last[0]).Select("last_seq", "size_bytes", "age_from", "expired_at").
			Updates(&models.Expiration{LastSeq: upTo, SizeBytes: last[0].SizeBytes + size, At: e.At, ExpiredAt: now}).Error
	}
	return tx.Create(&models.Expiration{
		SessionID: e.SessionID, Name: e.Name, FileName: e.FileName, FirstSeq: from + 1, LastSeq: upTo,
		Rule: rule, Setting: setting, SizeBytes: size, At: e.At, ExpiredAt: now,
	}).Error
}

// ForgetProcesses deletes up to limit processes of a session all of whose events have
// expired: those that were last seen before the earliest event that is left. It returns
// their number.
func (r *Retention) ForgetProcesses(ctx context.Context, sessionID string, limit int) (n int64, err error) {
	first, _, err := (&Events{r.db, r.views}).Span(ctx, sessionID)
	if err != nil {
		return 0, err
	}
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		var session models.Session
		locking := clause.Locking{Strength: clause.LockingStrengthUpdate} // against Append; no effect on SQLite, where transactions queue
		if err := tx.Clauses(locking).Where("id = ?", sessionID).Find(&session).Error; err != nil {
			return err
		}
		some := tx.Model(&models.Process{}).Select("id").Where("session_id = ?", sessionID).Limit(limit)
		switch {
		case first != nil:
			some = some.Where("last_seen < ?", *first)
		case session.EventCount > session.ExpiredSeq: // of an event that came meanwhile
			return nil
		}
		done := tx.Where("id IN (?)", some).Delete(&models.Process{})
		n = done.RowsAffected
		return done.Error
	})
	return n, translate(r.db, err, "the process")
}

// RequestExpiry asks to remove the events that a session has now. It returns their last
// Seq.
func (r *Retention) RequestExpiry(ctx context.Context, sessionID string) (upTo int64, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&models.Session{}).Where("id = ? AND "+visible, sessionID).UpdateColumn("expire_up_to", gorm.Expr("event_count"))
		if done.Error != nil {
			return done.Error
		}
		return tx.Model(&models.Session{}).Where("id = ?", sessionID).Select("expire_up_to").Row().Scan(&upTo)
	})
	return upTo, translate(r.db, err, "session "+sessionID)
}
