package repository

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// view reads the events of one session as they are at one moment. Some of them are rows,
// the others are in sealed segments.
type view struct {
	tx        *gorm.DB
	sessionID string
	unpacked  *unpackedSegments // nil without a cache
	skips     *keptSkips        // nil without a cache
	objects   *viewObjects      // nil in transactions that do not read blocks

	// usesColumns says that a reader needs no more of an event than the hot fields. It then
	// reads segments that are not sealed like sealed ones, if a filter needs their columns.
	usesColumns bool
}

// views opens views of sessions. It keeps what it unpacked last, because the next page of
// a list or an export often begins in the same segment.
type views struct {
	db       *database.DB
	unpacked unpackedSegments
	skips    keptSkips
	objects  objectReads
}

func newViews(db *database.DB) *views {
	return &views{db: db, objects: objectReads{store: db.Objects()}}
}

// of returns the view of a session in a transaction.
func (r *views) of(tx *gorm.DB, sessionID string) view {
	return view{tx: tx, sessionID: sessionID, unpacked: &r.unpacked, skips: &r.skips, objects: &viewObjects{&r.objects, maxObjectWait}}
}

// in calls fn with a view of a session. If fn fails because a segment is damaged, in also
// notes that in the segment.
func (r *views) in(ctx context.Context, sessionID string, fn func(v view) error) error {
	if v, ok := ctx.Value(momentKey{}).(view); ok && v.sessionID == sessionID {
		return fn(v)
	}
	err := r.db.View(ctx, func(tx *gorm.DB) error { return fn(r.of(tx, sessionID)) })
	if d, ok := errors.AsType[*damageError](err); ok {
		return errors.Join(err, noteDamage(ctx, r.db, &d.segment, d.reason))
	}
	return err
}

// momentKey is the key of a context's view.
type momentKey struct{}

// AtOneMoment calls fn with a context with which all reads of the session's events see
// them as they are at one moment.
func (r *Events) AtOneMoment(ctx context.Context, sessionID string, fn func(ctx context.Context) error) error {
	err := r.views.in(ctx, sessionID, func(v view) error { return fn(context.WithValue(ctx, momentKey{}, v)) })
	return translate(r.db, err, "the event")
}

// damageError is the error of a read that needs a damaged segment.
type damageError struct {
	segment models.Segment
	reason  string
	err     error // a *models.Error
}

func (d *damageError) Error() string { return d.err.Error() }

func (d *damageError) Unwrap() []error { return []error{d.err, models.ErrDamaged} }

// noteDamage notes in a sealed segment that it is damaged, or is not with reason "".
func noteDamage(ctx context.Context, db *database.DB, s *models.Segment, reason string) error {
	return db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Segment{}).Where("session_id = ? AND number = ? AND is_sealed AND damage <> ?", s.SessionID, s.Number, reason).UpdateColumn("damage", reason).Error
	})
}

// unpackedSegments are the segments that were used last, without their view. A caller
// takes one out while it uses it.
type unpackedSegments struct {
	mu   sync.Mutex
	list []sealedSegment
}

// maxUnpackedBytes is the most memory of kept segments, about. The last one is always
// kept. A segment takes half a megabyte if few of its events were read, and several if all
// were.
const maxUnpackedBytes = 8 << 20

// take fills in what is unpacked of a segment. Segments with the same ID of their first
// events are the same: IDs are never used again.
func (u *unpackedSegments) take(s *sealedSegment) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.list {
		if k := &u.list[i]; k.SessionID == s.SessionID && k.Number == s.Number && k.EventCount == s.EventCount && k.MinID == s.MinID {
			s.hot, s.block, s.first = k.hot, k.block, k.first
			u.list = slices.Delete(u.list, i, i+1)
			return
		}
	}
}

// put keeps what is unpacked of a segment that its caller does not use any more.
func (u *unpackedSegments) put(s *sealedSegment) {
	if u == nil || s.hot == nil {
		return
	}
	kept := *s
	kept.view, kept.following = view{}, nil
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, kept)
	bytes := 0
	for i, k := range slices.Backward(u.list) {
		if bytes += k.bytes(); bytes > maxUnpackedBytes && i < len(u.list)-1 {
			for j := range i + 1 {
				u.list[j].release()
			}
			u.list = slices.Delete(u.list, 0, i+1)
			break
		}
	}
}

// walk calls rows with each range of seqs that has rows, and sealed with each sealed
// segment, within the bounds of a page and in its order. It leaves out segments in which
// the filter certainly selects nothing, sealed or not. rows gets the page with narrower
// bounds and, if they are known, the rows that the filter may select. Both report whether to
// go on.
func (v view) walk(page models.EventPage, where *filter.Filter, rows func(page models.EventPage, known *candidates) (bool, error), sealed func(*sealedSegment) (bool, error)) error {
	hot := where.WithoutData()
	rest := page // what is not walked yet
	for limit := firstSegmentPage; ; limit = min(4*limit, segmentPage) {
		segments, err := v.segments(rest, where, hot, limit)
		if err != nil {
			return err
		}
		for i := range segments {
			s := &sealedSegment{view: v, Segment: segments[i].Segment, following: segments[i+1:]}
			gap := rest
			if page.Descending {
				gap.After, rest.Before = max(rest.After, s.LastSeq()), s.FirstSeq()
			} else {
				gap.Before, rest.After = s.FirstSeq(), s.LastSeq()
				if page.Before > 0 {
					gap.Before = min(gap.Before, page.Before)
				}
			}
			if !isEmpty(gap) {
				if more, err := rows(gap, nil); err != nil || !more {
					return err
				}
			}
			if segments[i].isSkipped {
				continue
			}
			if more, err := s.walk(page, where, rows, sealed); err != nil || !more {
				return err
			}
		}
		if len(segments) < limit {
			if !isEmpty(rest) {
				_, err = rows(rest, nil)
			}
			return err
		}
	}
}

// candidates are the seqs of rows in a range, in increasing order: a filter selects all of
// sure, some of maybe, and no others.
type candidates struct{ sure, maybe []int64 }

// walk is the part of view.walk for one segment.
func (s *sealedSegment) walk(page models.EventPage, where *filter.Filter, rows func(models.EventPage, *candidates) (bool, error), sealed func(*sealedSegment) (bool, error)) (more bool, err error) {
	if s.IsSealed {
		s.view.unpacked.take(s)
		if more, err = sealed(s); err == nil {
			s.view.unpacked.put(s)
		}
		return more, err
	}
	page.After = max(page.After, s.FirstSeq()-1)
	if page.Before == 0 || page.Before > s.LastSeq() {
		page.Before = s.LastSeq() + 1
	}
	if _, err := s.columns(); errors.Is(err, models.ErrDamaged) { // the rows have everything
		return rows(page, nil)
	} else if err != nil {
		return false, err
	}
	if s.view.usesColumns {
		return sealed(s)
	}
	may, sure, err := s.outline(where, page)
	if err != nil {
		return false, err
	}
	known := s.candidates(may, sure)
	if len(known.sure)+len(known.maybe) == 0 {
		return true, nil
	}
	return rows(page, known)
}

// candidates returns the seqs of what outline returned.
func (s *sealedSegment) candidates(may, sure []bool) *candidates {
	var known candidates
	for i, is := range may {
		switch seq := s.FirstSeq() + int64(i); {
		case is && sure[i]:
			known.sure = append(known.sure, seq)
		case is:
			known.maybe = append(known.maybe, seq)
		}
	}
	return &known
}

// rows selects the rows of a part of the session that a filter selects, those of known if it is
// not nil.
func (v view) rows(where *filter.Filter, part models.EventPage, known *candidates) *gorm.DB {
	query := v.tx.Model(&models.Event{})
	if known != nil && int64(len(known.sure)+len(known.maybe)) < (part.Before-part.After)/listedShare {
		all := append(slices.Clone(known.sure), known.maybe...)
		query = query.Where(isListed(v.tx.Name(), "seq"), numberList(v.tx.Name(), all))
	} else {
		if part.After > 0 {
			query = query.Where("seq > ?", part.After)
		}
		if part.Before > 0 {
			query = query.Where("seq < ?", part.Before)
		}
	}
	if known != nil && where.NeedsData() {
		where = where.Among(known.sure, known.maybe)
	}
	return filtered(query, where).Where("session_id = ?", v.sessionID)
}

// listedShare says from how many rows on the database reads those with given seqs one by
// one: one in listedShare of a range. Otherwise it is faster to read the whole range.
const listedShare = 8

// read calls fn with the events of a page that a filter selects, in the page's order,
// until fn returns false. A page without a limit has all events within its bounds. The
// event is valid until fn returns, which may keep what the event refers to.
func (v view) read(where *filter.Filter, page models.EventPage, f form, fn func(e *models.Event) (bool, error)) error {
	v.usesColumns = f.isHot
	n := 0
	var e models.Event
	pass := func(e *models.Event) (bool, error) {
		more, err := fn(e)
		n++
		return more && n != page.Limit, err
	}
	rows := func(gap models.EventPage, known *candidates) (bool, error) {
		if known != nil && page.Limit > 0 {
			known = known.first(page.Limit-n, page.Descending)
		}
		query := v.rows(where, gap, known).Select(f.columns, f.args...).Order(clause.OrderByColumn{Column: clause.Column{Name: "seq"}, Desc: page.Descending})
		if page.Limit > 0 {
			query = query.Limit(page.Limit - n)
		}
		return scan(query, f, v.sessionID, pass)
	}
	return v.walk(page, where, rows, func(s *sealedSegment) (more bool, err error) {
		selected, err := s.selected(where, page)
		if err != nil {
			return false, err
		}
		more = true
		err = each(selected, page.Descending, func(i int) (bool, error) {
			if err := f.sealed(s, &e, i); err != nil {
				return false, err
			}
			more, err = pass(&e)
			return more, err
		})
		if more && f.isTransfer {
			s.hot = nil // the next page begins behind this segment
			s.release()
		}
		return more, err
	})
}

// first returns candidates without those after the first n that are sure, in the order of a
// page: the page is full before them.
func (c *candidates) first(n int, descending bool) *candidates {
	if len(c.sure) <= n {
		return c
	}
	if descending {
		sure := c.sure[len(c.sure)-n:]
		place, _ := slices.BinarySearch(c.maybe, sure[0])
		return &candidates{sure, c.maybe[place:]}
	}
	sure := c.sure[:n]
	place, _ := slices.BinarySearch(c.maybe, sure[n-1])
	return &candidates{sure, c.maybe[:place]}
}

// scan calls fn with the event of each row until fn returns false, and returns what fn
// returned last.
func scan(query *gorm.DB, f form, sessionID string, fn func(*models.Event) (bool, error)) (more bool, err error) {
	rows, err := query.Rows()
	if err != nil {
		return false, err
	}
	defer rows.Close()
	dest, take := f.row()
	for more = true; more && rows.Next(); {
		if err := rows.Scan(dest...); err != nil {
			return false, err
		}
		e := take()
		e.SessionID = sessionID
		if more, err = fn(e); err != nil {
			return false, err
		}
	}
	return more, rows.Err()
}

// isEmpty reports whether a page cannot have events by its bounds.
func isEmpty(page models.EventPage) bool { return page.Before > 0 && page.After >= page.Before-1 }

// segmentPage is the most segments that one statement reads, without their columns. The
// first statement reads fewer, because most pages are full soon.
const (
	segmentPage      = 256
	firstSegmentPage = 4
)

// listedSegment is a segment without Columns and Skip.
type listedSegment struct {
	models.Segment
	isSkipped bool // the filter certainly selects none of its events
}

// sealed selects the sealed segments of the session.
func (v view) sealed() *gorm.DB {
	return v.tx.Model(&models.Segment{}).Where("session_id = ? AND is_sealed", v.sessionID)
}

// segments returns the first segments that overlap a page, in its order, up to a limit:
// the sealed ones, and all of them if a part of the filter needs no data. hot is that part.
func (v view) segments(page models.EventPage, where, hot *filter.Filter, limit int) (segments []listedSegment, err error) {
	query, skipOfRows := v.sealed(), "NULL"
	if hot != nil {
		query, skipOfRows = v.tx.Model(&models.Segment{}).Where("session_id = ?", v.sessionID), "CASE WHEN NOT is_sealed THEN skip END"
	}
	if page.After > 0 {
		query = query.Where("number >= ? AND number * ? + event_count > ?", page.After/models.SegmentEvents, models.SegmentEvents, page.After)
	}
	if page.Before > 0 {
		query = query.Where("number * ? < ?", models.SegmentEvents, page.Before-1)
	}
	order := "number"
	if page.Descending {
		order = "number DESC"
	}
	rows, err := query.Select("number, event_count, first_time, last_time, is_sealed, min_id, " + skipOfRows).Order(order).Limit(limit).Rows()
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ofSealed, ofRows := where.Span(), hot.Span()
	var skip sql.RawBytes
	s := listedSegment{Segment: models.Segment{SessionID: v.sessionID}}
	for rows.Next() {
		if err := rows.Scan(&s.Number, &s.EventCount, &s.FirstTime, &s.LastTime, &s.IsSealed, &s.MinID, &skip); err != nil {
			return nil, err
		}
		if s.IsSealed {
			s.isSkipped = s.isOutside(ofSealed)
		} else { // its skip has only the hot fields
			s.isSkipped = s.isOutside(ofRows) || !segment.MayMatch(skip, hot)
		}
		segments = append(segments, s)
	}
	if err := rows.Err(); err != nil || where == nil {
		return segments, err
	}
	return segments, v.test(segments, where)
}

// isOutside reports whether all events are outside of a span of time, whose zero times are
// no bounds.
func (s *listedSegment) isOutside(span models.Span) bool {
	return !span.From.IsZero() && s.LastTime.Before(span.From) || !span.To.IsZero() && s.FirstTime.After(span.To)
}

// sealedSegment is a segment of a view, usually a sealed one. It is read as far as it is
// used.
type sealedSegment struct {
	view view
	models.Segment

	hot   *segment.Columns
	block *segment.Block // the last one that was used, with the events from first on
	first int

	following []listedSegment // in the order of the page
}

// bytes returns about how much memory the unpacked part takes.
func (s *sealedSegment) bytes() int {
	bytes := s.hot.Bytes()
	if s.block != nil {
		bytes += s.block.Bytes()
	}
	return bytes
}

// columns returns the hot fields.
func (s *sealedSegment) columns() (*segment.Columns, error) {
	if s.hot != nil {
		return s.hot, nil
	}
	var packed []byte
	err := s.view.tx.Model(&models.Segment{}).Where("session_id = ? AND number = ?", s.view.sessionID, s.Number).Select("columns").Row().Scan(&packed)
	if err != nil {
		return nil, err
	}
	hot, err := segment.DecodeColumns(packed)
	if err == nil && int64(hot.Len()) != s.EventCount {
		err = fmt.Errorf("%w: it has %d events", segment.ErrDamaged, hot.Len())
	}
	if err != nil {
		return nil, s.damaged(err)
	}
	s.hot = hot
	return hot, nil
}

// damaged returns the error of a segment that cannot be read.
func (s *sealedSegment) damaged(err error) error {
	known := models.Segment{SessionID: s.view.sessionID, Number: s.Number}
	return &damageError{known, err.Error(), models.Wrap(err, models.CodeInternal, "the events %d to %d of session %s cannot be read: %s", s.FirstSeq(), s.LastSeq(), s.view.sessionID, err)}
}

// blockOf returns the block that has event i, and the event's place in it.
func (s *sealedSegment) blockOf(i int) (*segment.Block, int, error) {
	if s.block != nil && i >= s.first && i < s.first+s.block.Len() {
		return s.block, i - s.first, nil
	}
	hot, err := s.columns()
	if err != nil {
		return nil, 0, err
	}
	seq := s.FirstSeq() + int64(i)
	var packed []models.Block
	err = s.view.tx.Where("session_id = ? AND first_seq <= ?", s.view.sessionID, seq).Order("first_seq DESC").Limit(1).Find(&packed).Error
	if err != nil {
		return nil, 0, err
	}
	if len(packed) == 0 || packed[0].FirstSeq < s.FirstSeq() || packed[0].LastSeq < seq {
		return nil, 0, s.damaged(segment.ErrDamaged)
	}
	data, err := s.data(&packed[0])
	if err != nil {
		return nil, 0, err
	}
	s.release()
	s.first = int(packed[0].FirstSeq - s.FirstSeq())
	if s.block, err = segment.DecodeBlock(data, hot, s.first); err == nil && int64(s.block.Len()) != packed[0].LastSeq-packed[0].FirstSeq+1 {
		err = segment.ErrDamaged
	}
	if err != nil {
		s.block = nil
		return nil, 0, s.damaged(err)
	}
	return s.block, i - s.first, nil
}

// release releases the block. blockOf reads it again when a caller needs it.
func (s *sealedSegment) release() {
	if s.block != nil {
		s.block.Release()
		s.block = nil
	}
}

// event sets e to event i, without IsSent.
func (s *sealedSegment) event(e *models.Event, i int) error {
	return s.read(e, i, (*segment.Block).Event)
}

// read sets e to event i by a method of its block.
func (s *sealedSegment) read(e *models.Event, i int, from func(*segment.Block, *models.Event, int) error) error {
	block, place, err := s.blockOf(i)
	if err != nil {
		return err
	}
	if err := from(block, e, place); err != nil {
		return s.damaged(err)
	}
	e.SessionID, e.Seq = s.view.sessionID, s.FirstSeq()+int64(i)
	return nil
}

// hotEvent sets Seq and the hot fields of e to those of event i.
func (s *sealedSegment) hotEvent(e *models.Event, i int) error {
	s.hot.Event(e, i)
	e.Seq = s.FirstSeq() + int64(i)
	return nil
}

// outline returns, for each event of the segment, whether it lies within the page and its hot
// fields allow the filter to select it, and whether the filter then certainly does.
func (s *sealedSegment) outline(where *filter.Filter, page models.EventPage) (may, sure []bool, err error) {
	hot, err := s.columns()
	if err != nil {
		return nil, nil, err
	}
	within := make([]bool, hot.Len())
	for i := range within {
		seq := s.FirstSeq() + int64(i)
		within[i] = seq > page.After && (page.Before == 0 || seq < page.Before)
	}
	may = hot.Select(where.WithoutData(), s.FirstSeq(), within)
	if !where.NeedsData() {
		return may, may, nil
	}
	if certain := where.Certain(); certain != nil {
		return may, hot.Select(certain, s.FirstSeq(), may), nil
	}
	return may, make([]bool, len(may)), nil
}

// selected returns, for each event of the segment, whether the filter selects it and it
// lies within the page. It reads the blocks or the rows of events for which the hot fields do
// not tell.
func (s *sealedSegment) selected(where *filter.Filter, page models.EventPage) (selected []bool, err error) {
	may, sure, err := s.outline(where, page)
	if err != nil {
		return nil, err
	}
	if !s.IsSealed {
		return sure, s.selectRows(where, s.candidates(may, sure).maybe, sure)
	}
	open := make([]bool, len(may))
	for i := range may {
		open[i] = may[i] && !sure[i]
	}
	selected = slices.Clone(sure)
	for i := slices.Index(open, true); i >= 0; {
		block, place, err := s.blockOf(i)
		if err != nil {
			return nil, err
		}
		first, end := i-place, i-place+block.Len()
		for j, is := range block.Select(where, s.FirstSeq(), open[first:end]) {
			selected[first+j] = selected[first+j] || is
		}
		if err := block.Err(); err != nil {
			return nil, s.damaged(err)
		}
		next := slices.Index(open[end:], true)
		if i = end + next; next < 0 {
			break
		}
	}
	return selected, nil
}

// selectRows sets selected for those of some rows of the segment that the filter selects.
func (s *sealedSegment) selectRows(where *filter.Filter, seqs []int64, selected []bool) error {
	if len(seqs) == 0 {
		return nil
	}
	var found []int64
	part := models.EventPage{After: s.FirstSeq() - 1, Before: s.LastSeq() + 1}
	err := s.view.rows(where, part, &candidates{maybe: seqs}).Pluck("seq", &found).Error
	for _, seq := range found {
		selected[seq-s.FirstSeq()] = true
	}
	return err
}

// each calls fn with the index of each selected event, in the order of the page, until fn
// returns false.
func each(selected []bool, descending bool, fn func(i int) (bool, error)) error {
	indexes := slices.All(selected)
	if descending {
		indexes = slices.Backward(selected)
	}
	for i, is := range indexes {
		if !is {
			continue
		}
		if more, err := fn(i); err != nil || !more {
			return err
		}
	}
	return nil
}
