package live

import (
	"context"
	"errors"
	"slices"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// Asked describes the stream of events that a client wants.
type Asked struct {
	Client    string // address of the client, for the limits
	SessionID string
	After     *int64         // the seq after which the stream starts; nil starts with the next event
	Where     *filter.Filter // nil selects all events
	Fields    *filter.Paths  // members of their data to add; nil adds none
	// Renew, if not nil, returns Where with what is known of the session now: its processes
	// and findings. The stream waits for them: it stops at Where.UpTo.
	Renew func(ctx context.Context, where *filter.Filter) (*filter.Filter, error)
}

// Update is one step of a stream. At most one of Events, Session, Found, Expired and Deleted
// is set.
type Update struct {
	Events  [][]byte        // JSON as in lists, by seq; the caller must not change it
	Last    int64           // the seq of the last of Events
	Full    bool            // more events are probably ready
	Session *models.Session // the state of the session: first of all, and after each change
	Found   *models.Session // the session, if its findings have changed since the stream told them
	Deleted bool            // the session was deleted; the stream ends
	Expired *models.SeqSpan // events that the stream cannot have, because they expired

	// Seq is the position of the stream: Last, or more if the filter left out the events
	// after it.
	Seq int64
	// Changed, if not nil, says that the update is empty. It is closed when there may be more.
	Changed <-chan struct{}

	sizeBytes int // of Events
}

// Bounds of one update.
const (
	maxUpdateEvents = 500
	maxUpdateBytes  = 256 << 10 // and at most one event more
	gatherTime      = 20 * time.Millisecond
	// replayBytes is about how much a stream reads from the database at once. Streams share
	// rings, but not these reads.
	replayBytes = 64 << 10
	// replayDataBytes is about how much event data a read returns, if the stream needs it.
	replayDataBytes = 4 << 20
)

// Bounds of one read of the database: its rows, and the events that a filter looks at. A
// stream adapts both to the size and the time of its reads.
const (
	minPage   = 16
	minWindow = 1000
	maxWindow = 200_000
	readGoal  = 200 * time.Millisecond // a window that takes less than half of it grows, one that takes more shrinks
)

// Stream is the position of a client in the events of a session. One goroutine uses it.
type Stream struct {
	hub     *Hub
	topic   *topic
	client  string
	where   *filter.Filter
	match   func(*models.Event) bool // that of where
	renew   func(ctx context.Context, where *filter.Filter) (*filter.Filter, error)
	fields  *filter.Paths
	whole   bool               // it needs the events' data
	ctx     context.Context    //nolint:containedctx // of the request that the stream lives for
	cancel  context.CancelFunc // of ctx
	seq     int64
	expired int64 // events up to this seq have expired, as far as the stream knows
	version int   // of the session that was told last
	found   int64 // the version of the findings that were told last
	page    int   // rows of the next read of the database
	window  int64 // events that it looks at with a filter
}

// Subscribe opens a stream. It ends when ctx ends, or the hub or the stream is closed; the
// caller must close it. Errors: not_found for an unknown session, invalid for a start after
// its newest event, overloaded for too many streams.
func (h *Hub) Subscribe(ctx context.Context, asked Asked) (*Stream, error) {
	if err := h.enter(asked.Client); err != nil {
		return nil, err
	}
	s := &Stream{hub: h, topic: h.join(asked.SessionID), client: asked.Client, where: asked.Where, renew: asked.Renew, fields: asked.Fields, whole: asked.Fields != nil, page: minPage, window: minWindow}
	if s.where != nil {
		s.match, s.whole = s.where.Match, s.whole || s.where.NeedsData()
	}
	s.ctx, s.cancel = h.context(ctx)
	// The topic delivers what is committed after this read of the session.
	if err := s.start(asked); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Stream) start(asked Asked) error {
	session, err := s.hub.sessions.Get(s.ctx, asked.SessionID)
	if err != nil {
		return err
	}
	s.topic.saw(session, false)
	s.seq, s.expired = session.EventCount, session.ExpiredSeq
	if asked.After == nil {
		return nil
	}
	if *asked.After > session.EventCount {
		return models.Errorf(models.CodeInvalid, "the stream cannot start after event %d: the newest of the session is %d", *asked.After, session.EventCount)
	}
	s.seq = *asked.After
	if plant.Is("drop an event when a stream resumes") {
		s.seq = min(s.seq+1, session.EventCount)
	}
	return nil
}

// context gives one that ends with ctx or with the hub.
func (h *Hub) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Done is closed when the stream is at its end, because the client has gone or the
// hub is closed.
func (s *Stream) Done() <-chan struct{} { return s.ctx.Done() }

// Close ends the stream.
func (s *Stream) Close() {
	s.cancel()
	s.hub.part(s.topic)
	s.hub.leave(s.client)
}

// Read gives what comes next, and waits for nothing but the database: when there
// is nothing, Changed of the update tells when to ask again. After an error the
// stream stands where it was; what may be over soon is unavailable.
func (s *Stream) Read() (Update, error) {
	if update, ok := s.state(); ok {
		return update, nil
	}
	update := Update{Seq: s.seq}
	began := time.Now()
	for {
		before := s.seq
		if err := s.gather(&update); err != nil {
			if update.Seq = s.seq; update.Events != nil {
				return update, nil // what is wrong shows the next time
			}
			return update, s.fault(err)
		}
		update.Seq = s.seq
		if s.seq == before && update.Events == nil && s.renew != nil {
			update.Changed = later() // the filter knows too little of the next event
			return update, nil
		}
		if s.seq == before || update.Full || time.Since(began) >= gatherTime {
			return update, nil
		}
	}
}

// knownAfter is when a stream asks again whether its filter knows enough of the next event.
const knownAfter = 50 * time.Millisecond

func later() <-chan struct{} {
	changed := make(chan struct{})
	time.AfterFunc(knownAfter, func() { close(changed) })
	return changed
}

// fault makes what may be over soon unavailable.
func (s *Stream) fault(err error) error {
	if errors.Is(err, errMissing) || errors.Is(err, context.DeadlineExceeded) {
		return models.Wrap(err, models.CodeUnavailable, "the events cannot be read at the moment")
	}
	return err
}

// state gives what is to be told before any event, or that there is none.
func (s *Stream) state() (update Update, ok bool) {
	t := s.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.deleted:
		return Update{Deleted: true, Seq: s.seq}, true
	case s.version != t.version:
		if s.version == 0 { // the first update tells them
			s.found = t.session.FindingVersion
		}
		s.version = t.version
		return Update{Session: t.session, Seq: s.seq}, true
	case s.found != t.session.FindingVersion:
		s.found = t.session.FindingVersion
		return Update{Found: t.session, Seq: s.seq}, true
	case s.seq < s.expired:
		span := models.SeqSpan{First: s.seq + 1, Last: s.expired}
		s.seq = s.expired
		return Update{Expired: &span, Seq: s.seq}, true
	case s.seq >= t.newest:
		return Update{Changed: t.wait(), Seq: s.seq}, true
	}
	return Update{}, false
}

// gather adds the next events to an update, from the ring or else the database,
// and moves the stream on. At the end of what there is it does nothing.
func (s *Stream) gather(update *Update) error {
	t := s.topic
	t.mu.Lock()
	run, gapEnd := t.run(s.seq, s.whole)
	newest := t.newest
	t.mu.Unlock()
	if err := s.followSession(newest); err != nil {
		return err
	}
	newest = s.where.UpTo(newest)
	gapEnd = min(gapEnd, newest)
	if len(run) == 0 && s.seq < newest {
		ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
		defer cancel()
		if s.whole || newest-s.seq > ringEvents/2 {
			return s.replay(ctx, gapEnd, update)
		}
		var err error
		if run, err = t.fill(ctx, s.seq, gapEnd); errors.Is(err, errMissing) {
			return errors.Join(s.sawExpired(ctx), err)
		}
		if err != nil { // others near the end lack it as well
			return err
		}
	}
	for _, i := range run {
		if update.full() || i.event.Seq > newest {
			break
		}
		if s.match == nil || s.match(i.event) {
			update.add(s.listed(i), i.event.Seq)
		}
		s.seq = i.event.Seq
	}
	return nil
}

// followSession makes the filter know the processes of all events up to newest, which are
// committed, and the findings that are known.
func (s *Stream) followSession(newest int64) error {
	if s.renew == nil || s.seq >= newest {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
	defer cancel()
	var where *filter.Filter
	var err error
	if wait := s.hub.read(ctx, func() { where, err = s.renew(ctx, s.where) }); wait != nil {
		return wait
	}
	if err == nil {
		s.where, s.match, s.whole = where, where.Match, s.fields != nil || where.NeedsData()
	}
	return err
}

// listed gives an event of the ring as this stream lists it.
func (s *Stream) listed(i *item) []byte {
	if s.fields == nil {
		return i.listed() // as all others do
	}
	return s.fields.Append(slices.Clone(i.listed()), i.event)
}

func (u *Update) add(event []byte, seq int64) {
	u.Events = append(u.Events, event)
	u.Last = seq
	u.sizeBytes += len(event)
}

// full sets and gives Full.
func (u *Update) full() bool {
	u.Full = len(u.Events) >= maxUpdateEvents || u.sizeBytes >= maxUpdateBytes
	return u.Full
}

// replay adds events that are long past, or whose data the filter needs: a page of
// those up to upTo, of the database.
func (s *Stream) replay(ctx context.Context, upTo int64, update *Update) error {
	if s.where != nil {
		upTo = min(upTo, s.seq+s.window)
	}
	limit := min(s.page, maxUpdateEvents-len(update.Events))
	began := time.Now()
	events, isCut, err := s.read(ctx, models.EventPage{After: s.seq, Before: upTo + 1, Limit: limit})
	switch took := time.Since(began); {
	case err != nil || took > readGoal:
		s.window = max(s.window/2, minWindow)
	case took < readGoal/2:
		s.window = min(2*s.window, maxWindow)
	}
	if err == nil && s.topic.sessionID == models.UnassignedID {
		err = s.sawExpired(ctx)
		// The read may lack events that expired before it.
		if s.expired > s.seq {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case len(events) == 0 && s.where == nil:
		return errMissing
	}
	if len(events) == 0 {
		s.seq = upTo
		return nil
	}
	size := update.sizeBytes
	for i := range events {
		update.add(s.fields.Append(listed(&events[i]), &events[i]), events[i].Seq)
	}
	s.seq = events[len(events)-1].Seq
	if s.where != nil && len(events) < limit && !isCut {
		s.seq = upTo // nothing else is selected
	}
	s.page = min(max(replayBytes*len(events)/(update.sizeBytes-size), minPage), maxUpdateEvents)
	update.Full = true
	return nil
}

// sawExpired finds out which events of the session have expired. The next update reports
// those that the stream has not delivered.
func (s *Stream) sawExpired(ctx context.Context) error {
	session, err := s.hub.sessions.Get(ctx, s.topic.sessionID)
	if err == nil {
		s.expired = session.ExpiredSeq
	}
	return err
}

// read reads a page of the database, with the events' data if fields of it are
// asked for.
func (s *Stream) read(ctx context.Context, page models.EventPage) (events []models.Event, isCut bool, err error) {
	if s.fields != nil {
		return s.hub.listWhole(ctx, s.topic.sessionID, s.where, page)
	}
	events, err = s.hub.list(ctx, s.topic.sessionID, s.where, page)
	return events, false, err
}
