package repository

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/plant"
	"ospulse/internal/segment"
)

// ListToSeal returns up to limit sessions that have events which the worker has not sealed
// yet, newest first; only those after a place if it is not nil.
func (r *Segments) ListToSeal(ctx context.Context, after *models.SessionCursor, limit int) ([]models.Session, error) {
	query := r.db.Read(ctx).Where("sealed_seq < event_count AND NOT keep_rows AND NOT " + backfilling + " AND " + visible)
	if after != nil {
		query = query.Where("(created_at, id) < (?, ?)", after.CreatedAt, after.ID)
	}
	var sessions []models.Session
	err := query.Order("created_at DESC, id DESC").Limit(limit).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// SetKeepRows says whether the worker leaves out a session, and makes it begin with the
// session's first event.
func (r *Segments) SetKeepRows(ctx context.Context, sessionID string, keep bool) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Session{}).Where("id = ?", sessionID).UpdateColumns(map[string]any{"keep_rows": keep, "sealed_seq": 0}).Error
	})
	return translate(r.db, err, "session "+sessionID)
}

// StoredAt returns when an event was stored; false if it has no row.
func (r *Segments) StoredAt(ctx context.Context, sessionID string, seq int64) (at time.Time, isRow bool, err error) {
	var times []time.Time
	err = r.db.Read(ctx).Model(&models.Event{}).Where("session_id = ? AND seq = ?", sessionID, seq).Pluck("created_at", &times).Error
	if err != nil || len(times) == 0 {
		return at, false, translate(r.db, err, "the event")
	}
	return times[0], true, nil
}

// errChanged means that the events changed while they were packed.
var errChanged = models.Errorf(models.CodeConflict, "the events changed meanwhile") //nolint:gochecknoglobals // a constant

// maxSealedBytes limits the packed events of a segment, which Seal holds in memory.
const maxSealedBytes = 32 << 20

// Seal moves the events of a segment up to upTo from their rows to the segment. Part of
// them may be sealed already. All or none are moved, in one transaction, after Seal has
// checked that the packed events are exactly the stored ones.
//
// stay is the reason for which the events stay rows; "" if they are sealed. Seal returns
// conflict if another program changed the events meanwhile, some have expired, or the
// session is being deleted: the caller may try again.
func (r *Segments) Seal(ctx context.Context, sessionID string, number, upTo int64) (stay string, err error) {
	if plant.Is("seal a row too few") && upTo > number*models.SegmentEvents+1 {
		upTo--
	}
	s := &sealing{packer: segment.NewPacker(), next: number*models.SegmentEvents + 1}
	s.sealed = models.Segment{SessionID: sessionID, Number: number, EventCount: upTo - number*models.SegmentEvents, IsSealed: true}
	var was models.Segment // zero if it is not sealed
	err = r.views.in(ctx, sessionID, func(v view) error {
		if expired, err := v.expiredSeq(); err != nil || expired > number*models.SegmentEvents {
			return errors.Join(err, errChanged)
		}
		if err := v.sealed().Where("number = ?", number).Omit("columns", "skip").Find(&was).Error; err != nil || was.EventCount == s.sealed.EventCount {
			return err
		}
		page := models.EventPage{After: number * models.SegmentEvents, Before: upTo + 1}
		if err := v.read(nil, page, whole, s.add); err != nil {
			return err
		}
		return s.finish()
	})
	if stays, ok := errors.AsType[staysRows](err); ok {
		return string(stays), nil
	}
	if err != nil {
		return "", translate(r.db, err, "the event")
	}
	if was.EventCount == s.sealed.EventCount {
		return "", r.PassOver(ctx, sessionID, upTo)
	}
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		v := view{tx: tx, sessionID: sessionID}
		if err := r.db.LockSession(tx, sessionID); err != nil {
			return err
		}
		if err := v.sealRows(&s.sealed, &was); err != nil {
			return err
		}
		if err := v.deleteBlocks(&s.sealed); err != nil {
			return err
		}
		for i := range s.blocks {
			if err := tx.Omit(clause.Associations).Create(&s.blocks[i]).Error; err != nil {
				return err
			}
		}
		if err := tx.Omit(clause.Associations).Clauses(replaced).Create(&s.sealed).Error; err != nil {
			return err
		}
		return noteSealed(tx, sessionID, s.sealed.LastSeq())
	})
	return "", translate(r.db, err, "session "+sessionID)
}

// replaced makes a sealed segment replace that of rows. The columns are usually the same. Then
// PostgreSQL keeps the stored ones, instead of writing them again and leaving the old ones as
// garbage.
var replaced = clause.OnConflict{ //nolint:gochecknoglobals // a constant
	Columns: []clause.Column{{Name: "session_id"}, {Name: "number"}},
	DoUpdates: append(clause.AssignmentColumns([]string{"event_count", "first_time", "last_time", "is_sealed", "min_id", "max_id", "damage", "skip"}),
		clause.Assignment{Column: clause.Column{Name: "columns"}, Value: clause.Expr{SQL: "CASE WHEN segments.columns = excluded.columns THEN segments.columns ELSE excluded.columns END"}}),
}

// staysRows is the reason for which events are not sealed.
type staysRows string

func (s staysRows) Error() string { return string(s) }

// unlessTooLarge replaces segment.ErrTooLarge by a reason.
func unlessTooLarge(err error) error {
	if errors.Is(err, segment.ErrTooLarge) {
		return staysRows("they are too large for a segment")
	}
	return err
}

// sealing packs the events of a segment.
type sealing struct {
	packer *segment.Packer
	sealed models.Segment
	blocks []models.Block
	next   int64 // Seq of the next event
	bytes  int   // of the packed events

	events     []models.Event // of the next block
	eventBytes int
}

// add adds the next event.
func (s *sealing) add(e *models.Event) (bool, error) {
	if e.Seq != s.next {
		return false, staysRows(fmt.Sprintf("event %d is missing", s.next))
	}
	s.next++
	s.events = append(s.events, *e)
	if s.eventBytes += len(e.Data) + len(e.DataRaw); s.eventBytes >= segment.MaxBlockBytes {
		return true, s.flush()
	}
	return true, nil
}

// flush packs the added events as a block, and checks that they return exactly.
func (s *sealing) flush() error {
	if len(s.events) == 0 {
		return nil
	}
	first := s.packer.Hot().Len()
	data, err := s.packer.Add(s.events)
	if err != nil {
		return unlessTooLarge(err)
	}
	block, err := segment.DecodeBlock(data, s.packer.Hot(), first)
	if err != nil {
		return err
	}
	defer block.Release()
	for i := range s.events {
		var e models.Event
		if err := block.Event(&e, i); err != nil {
			return err
		}
		want := &s.events[i]
		if !isSame(&e, want) {
			return staysRows(fmt.Sprintf("event %d cannot be packed exactly", want.Seq))
		}
		if s.sealed.MinID == 0 {
			s.sealed.MinID = want.ID
		}
		s.sealed.MinID, s.sealed.MaxID = min(s.sealed.MinID, want.ID), max(s.sealed.MaxID, want.ID)
	}
	s.blocks = append(s.blocks, models.Block{SessionID: s.sealed.SessionID, FirstSeq: s.events[0].Seq, LastSeq: s.next - 1, Data: data})
	s.events, s.eventBytes = s.events[:0], 0
	if s.bytes += len(data); s.bytes > maxSealedBytes {
		return unlessTooLarge(segment.ErrTooLarge)
	}
	return nil
}

// finish packs the rest, and checks that it returns exactly.
func (s *sealing) finish() error {
	if err := s.flush(); err != nil {
		return err
	}
	if last := s.sealed.LastSeq(); s.next != last+1 {
		return staysRows(fmt.Sprintf("event %d is missing", s.next))
	}
	packed, err := s.packer.Pack()
	if err != nil {
		return unlessTooLarge(err)
	}
	hot, err := segment.DecodeColumns(packed.Columns)
	if err != nil {
		return err
	}
	var got, want models.Event
	for i := range hot.Len() {
		hot.Event(&got, i)
		s.packer.Hot().Event(&want, i)
		if !reflect.DeepEqual(got, want) {
			return staysRows(fmt.Sprintf("the hot fields of event %d cannot be packed exactly", s.sealed.FirstSeq()+int64(i)))
		}
	}
	s.sealed.FirstTime, s.sealed.LastTime, s.sealed.Columns, s.sealed.Skip = packed.FirstTime, packed.LastTime, packed.Columns, packed.Skip
	return nil
}

// isSame reports whether a packed event has all fields of the stored one that a segment
// keeps.
func isSame(packed, stored *models.Event) bool {
	e := *stored
	if !e.Timestamp.Equal(packed.Timestamp) || !e.CreatedAt.Equal(packed.CreatedAt) || !e.UpdatedAt.Equal(packed.UpdatedAt) {
		return false
	}
	e.SessionID, e.Seq = "", 0
	e.Timestamp, e.CreatedAt, e.UpdatedAt = packed.Timestamp, packed.CreatedAt, packed.UpdatedAt
	return reflect.DeepEqual(&e, packed)
}

// sealRows deletes the rows of a segment's events, and stores as claims what only they
// tell. was is the segment as it was read, and the first of its events have no rows.
// sealRows returns errChanged if other events than these have rows now.
func (v view) sealRows(sealed, was *models.Segment) error {
	lock := clause.Locking{Strength: clause.LockingStrengthUpdate} // no effect on SQLite, where transactions queue
	var now models.Segment
	if err := v.sealed().Where("number = ?", sealed.Number).Select("event_count").Clauses(lock).Find(&now).Error; err != nil {
		return err
	}
	var rows []models.Event
	bounds := v.tx.Where("session_id = ? AND seq >= ? AND seq <= ?", v.sessionID, sealed.FirstSeq(), sealed.LastSeq()).Session(&gorm.Session{})
	if err := bounds.Select("seq, is_sent").Order("seq").Clauses(lock).Find(&rows).Error; err != nil {
		return err
	}
	if now.EventCount != was.EventCount || int64(len(rows)) != sealed.EventCount-was.EventCount {
		return errChanged
	}
	isClaimed := false
	for i := range rows {
		if rows[i].Seq != sealed.FirstSeq()+was.EventCount+int64(i) {
			return errChanged
		}
		isClaimed = isClaimed || rows[i].IsSent
	}
	if isClaimed { // perhaps by an older version
		if err := v.readClaims(sealed.Number); err != nil {
			return err
		}
	}
	if plant.Is("seal a row too few") {
		return v.tx.Where("session_id = ? AND seq >= ? AND seq <= ?", v.sessionID, sealed.FirstSeq(), sealed.LastSeq()+1).Delete(&models.Event{}).Error
	}
	return bounds.Delete(&models.Event{}).Error
}

// deleteBlocks deletes the blocks of a segment.
func (v view) deleteBlocks(s *models.Segment) error {
	return v.tx.Where("session_id = ? AND first_seq >= ? AND first_seq <= ?", v.sessionID, s.FirstSeq(), s.Number*models.SegmentEvents+models.SegmentEvents).Delete(&models.Block{}).Error
}

// noteSealed notes that the worker is done with a session's events up to a Seq. It
// returns errChanged if the session is being deleted or keeps its rows since.
func noteSealed(tx *gorm.DB, sessionID string, upTo int64) error {
	done := tx.Model(&models.Session{}).Where("id = ? AND NOT keep_rows AND "+visible, sessionID).
		UpdateColumn("sealed_seq", gorm.Expr("CASE WHEN sealed_seq < ? THEN ? ELSE sealed_seq END", upTo, upTo))
	if done.Error == nil && done.RowsAffected == 0 {
		return errChanged
	}
	return done.Error
}

// PassOver notes that the worker is done with a session's events up to a Seq.
func (r *Segments) PassOver(ctx context.Context, sessionID string, upTo int64) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error { return noteSealed(tx, sessionID, upTo) })
	return translate(r.db, err, "session "+sessionID)
}

// CheckSealed reads the sealed segment that follows one, by session and number, and notes
// whether it is damaged. It returns the segment's session and number, both empty at the
// end, and the error of a damaged segment.
func (r *Segments) CheckSealed(ctx context.Context, sessionID string, number int64) (string, int64, error) {
	var found []models.Segment
	err := r.db.Read(ctx).Select("session_id, number, event_count, damage").Where("is_sealed AND (session_id, number) > (?, ?)", sessionID, number).
		Order("session_id, number").Limit(1).Find(&found).Error
	if err != nil || len(found) == 0 {
		return "", 0, translate(r.db, err, "the segment")
	}
	s := &found[0]
	err = r.views.in(ctx, s.SessionID, func(v view) error {
		sealed := &sealedSegment{view: v, Segment: *s}
		var e models.Event
		for i := range int(s.EventCount) {
			if err := sealed.event(&e, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && s.Damage != "" {
		err = noteDamage(ctx, r.db, s, "")
	}
	return s.SessionID, s.Number, translate(r.db, err, "the segment")
}

// keepTexts returns the statements after which the rows of events return their data as
// the events have it. A segment that was sealed on SQLite and restored on PostgreSQL has
// texts that jsonb would return differently: they go to data_raw.
func keepTexts(ctx context.Context, tx database.Bulk, sessionID string, events []models.Event) (writes []database.Statement, err error) {
	var seq int64
	var data string
	err = tx.Run(ctx, database.Statement{
		Text: "SELECT seq, data FROM events WHERE session_id = ? AND seq >= ? AND seq <= ? AND data_raw IS NULL",
		Args: []any{sessionID, events[0].Seq, events[len(events)-1].Seq}, Dest: []any{&seq, &data},
		Row: func() {
			if e := &events[seq-events[0].Seq]; data != string(e.Data) {
				writes = append(writes, database.Statement{Text: "UPDATE events SET data_raw = ? WHERE id = ?", Args: []any{[]byte(e.Data), int64(e.ID)}})
			}
		},
	})
	return writes, err
}

// Unseal moves the events of a sealed segment back to rows, all or none, in one
// transaction. It does nothing if the segment is not sealed, and returns conflict if the
// segment changed meanwhile.
func (r *Segments) Unseal(ctx context.Context, sessionID string, number int64) error {
	var events []models.Event
	var s models.Segment // zero if it is not sealed
	err := r.views.in(ctx, sessionID, func(v view) error {
		if err := v.sealed().Where("number = ?", number).Omit("columns", "skip").Find(&s).Error; err != nil || !s.IsSealed {
			return err
		}
		sealed := &sealedSegment{view: v, Segment: s}
		events = make([]models.Event, s.EventCount)
		for i := range events {
			if err := sealed.event(&events[i], i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || !s.IsSealed {
		return translate(r.db, err, "the segment")
	}
	err = r.db.BulkBeside(ctx, func(tx database.Bulk) error {
		isSame := false
		claim := database.Statement{
			Text: "UPDATE segments SET is_sealed = FALSE, min_id = 0, max_id = 0, damage = '' " +
				"WHERE session_id = ? AND number = ? AND is_sealed AND event_count = ? RETURNING number",
			Args: []any{sessionID, number, s.EventCount},
			Dest: []any{new(int64)},
			Row:  func() { isSame = true },
		}
		if err := tx.Run(ctx, claim); err != nil {
			return err
		}
		if !isSame {
			return errChanged
		}
		// The segment is locked, so its claims do not change any more.
		claimed := claimsOf(nil)
		var kept models.Claim
		err := tx.Run(ctx, database.Statement{
			Text: "SELECT sent FROM claims WHERE session_id = ? AND number = ?", Args: []any{sessionID, number},
			Dest: []any{&kept.Sent}, Row: func() { claimed = claimsOf(&kept) },
		})
		if err != nil {
			return err
		}
		for i := range events {
			events[i].IsSent = claimed.has(events[i].Seq)
		}
		row := make([]any, 0, len(eventColumns)+1)
		err = tx.Insert(ctx, "events", append(slices.Clone(eventColumns), "id"), len(events), func(i int) []any {
			return append(eventRow(row, &events[i]), int64(events[i].ID))
		})
		if err != nil {
			return err
		}
		writes, err := keepTexts(ctx, tx, sessionID, events)
		if err != nil {
			return err
		}
		writes = append(writes, database.Statement{Text: "DELETE FROM blocks WHERE session_id = ? AND first_seq >= ? AND first_seq <= ?", Args: []any{sessionID, s.FirstSeq(), s.LastSeq()}})
		if s.EventCount < models.SegmentEvents { // only sealed segments may be incomplete
			writes = append(writes, database.Statement{Text: "DELETE FROM segments WHERE session_id = ? AND number = ?", Args: []any{sessionID, number}})
		}
		return tx.Finish(ctx, writes...)
	})
	return translate(r.db, err, "session "+sessionID)
}
