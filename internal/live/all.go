package live

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ospulse/internal/models"
)

// Change is what became of a session: how it is now, or nil when it is gone. Of a session
// that is not gone, at least one of Changed and Found is set.
type Change struct {
	ID      string
	Session *models.Session
	Changed bool // more than its findings changed
	Found   bool // its findings changed
}

// SessionStream tells one client what becomes of all sessions. It is for one
// goroutine.
type SessionStream struct {
	hub     *Hub
	client  string
	ctx     context.Context    //nolint:containedctx // of the request that the stream lives for
	cancel  context.CancelFunc // of ctx
	pending map[string]Change
	order   []string // the keys of pending, oldest change first
}

// allSessions is what the streams of all sessions share.
type allSessions struct {
	open *atomic.Int32

	mu      *sync.Mutex
	streams map[*SessionStream]struct{}
	known   map[string]head // how each session was last told of; nil until they were read
	read    chan struct{}   // closed when known is there
	asked   chan struct{}   // holds a value when someone waits for that
	changed chan struct{}   // closed when something is pending; nil when nobody waits
	next    time.Time       // when the sessions are looked through again
}

// head is what tells whether a session has changed.
type head struct {
	eventCount int64
	updatedAt  int64 // microseconds
	findings   int64 // version
}

func headOf(s *models.Session) head {
	return head{s.EventCount, s.UpdatedAt.UnixMicro(), s.FindingVersion}
}

func newAllSessions() allSessions {
	return allSessions{
		open: &atomic.Int32{}, mu: &sync.Mutex{}, streams: map[*SessionStream]struct{}{},
		read: make(chan struct{}), asked: make(chan struct{}, 1),
	}
}

// watched reports whether anyone listens.
func (a *allSessions) watched() bool { return a.open.Load() > 0 }

// SubscribeSessions opens a stream of what becomes of all sessions, which lives
// until ctx ends, the hub is closed or the caller closes it, which it must. A list
// of sessions that is read from then on, and what the stream tells, miss nothing
// between them. Too many streams are overloaded.
func (h *Hub) SubscribeSessions(ctx context.Context, client string) (*SessionStream, error) {
	if err := h.enter(client); err != nil {
		return nil, err
	}
	s := &SessionStream{hub: h, client: client, pending: map[string]Change{}}
	s.ctx, s.cancel = h.context(ctx)
	a := &h.all
	a.mu.Lock()
	a.streams[s] = struct{}{}
	a.open.Store(int32(len(a.streams)))
	read := a.read
	if a.known == nil {
		wake(a.asked)
	}
	a.mu.Unlock()
	timeout := time.NewTimer(2 * readTimeout)
	defer timeout.Stop()
	var err error
	select {
	case <-read:
		return s, nil
	case <-s.ctx.Done():
		err = s.ctx.Err()
	case <-timeout.C:
		err = models.Errorf(models.CodeUnavailable, "the sessions cannot be read at the moment")
	}
	s.Close()
	return nil, err
}

// Done is closed when the stream is at its end, because the client has gone or the
// hub is closed.
func (s *SessionStream) Done() <-chan struct{} { return s.ctx.Done() }

// Close ends the stream.
func (s *SessionStream) Close() {
	s.cancel()
	a := &s.hub.all
	a.mu.Lock()
	delete(a.streams, s)
	a.open.Store(int32(len(a.streams)))
	if len(a.streams) == 0 && a.known != nil {
		a.known, a.read = nil, make(chan struct{})
	}
	a.mu.Unlock()
	s.hub.leave(s.client)
}

// Read gives what has changed, each session once, up to limit; when nothing has, it
// gives a channel that is closed when something does.
func (s *SessionStream) Read(limit int) ([]Change, <-chan struct{}) {
	a := &s.hub.all
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(s.order) == 0 {
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		return nil, a.changed
	}
	n := min(limit, len(s.order))
	changes := make([]Change, n)
	for i, id := range s.order[:n] {
		changes[i] = s.pending[id]
		delete(s.pending, id)
	}
	s.order = slices.Clone(s.order[n:])
	return changes, nil
}

// tell tells the streams how a session is, nil when it is gone, unless they know.
func (a *allSessions) tell(id string, session *models.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, known := a.known[id]
	change := Change{ID: id, Session: session}
	switch {
	case a.known == nil: // who comes then lists it
		return
	case session == nil && !known:
		return
	case session == nil:
		delete(a.known, id)
	case known && before == headOf(session):
		return
	default:
		now := headOf(session)
		change.Found = now.findings != before.findings
		change.Changed = !known || now.eventCount != before.eventCount || now.updatedAt != before.updatedAt
		a.known[id] = now
	}
	for s := range a.streams {
		one := change
		if earlier, waits := s.pending[id]; waits {
			one.Changed, one.Found = one.Changed || earlier.Changed, one.Found || earlier.Found
		} else {
			s.order = append(s.order, id)
		}
		s.pending[id] = one
	}
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// compare takes how all sessions are, and gives those that are not as the streams
// know them. The first time it only keeps them.
func (a *allSessions) compare(now map[string]head) (differing []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		if len(a.streams) > 0 {
			a.known = now
			close(a.read)
		}
		return nil
	}
	for id, is := range now {
		if before, ok := a.known[id]; !ok || before != is {
			differing = append(differing, id)
		}
	}
	for id := range a.known {
		if _, ok := now[id]; !ok {
			differing = append(differing, id)
		}
	}
	return differing
}
