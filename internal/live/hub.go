// Package live holds the open streams: of the events of one session, and of the changes of
// all sessions. A stream is a cursor. It reads the next events from a ring of recent events
// that all streams of the session share, or from the database if the ring no longer has
// them. So a slow client never delays the writer, and a client that returns with the seq of
// its last event gets exactly the events after it.
//
// The package does not know HTTP. It knows the database only through Sessions, Events and
// Bus.
package live

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// Sessions finds sessions; *repository.Sessions implements it and documents its
// contracts.
type Sessions interface {
	Get(ctx context.Context, id string) (*models.Session, error)
	ListByID(ctx context.Context, ids []string) ([]models.Session, error)
	ListHeads(ctx context.Context, ids []string) ([]models.Session, error)
	ListHeadsAfter(ctx context.Context, after string, limit int) ([]models.Session, error)
}

// Events lists events; *repository.Events implements it and documents its
// contracts. When an event is listed, all events with a lower seq are committed, because
// seq follows the order of commit.
type Events interface {
	List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) ([]models.Event, error)
	ListWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage, maxBytes int) (events []models.Event, isCut bool, err error)
}

// Bus carries announcements between the backends of a database; *database.DB implements it
// and documents its contract. If it loses one, the hub finds the change by polling, after
// pollInterval at most.
type Bus interface {
	Listen(ctx context.Context, channel string, connected func(), heard func(payload string))
	Notify(ctx context.Context, channel string, payloads ...string) error
}

// Limits bound the open streams.
type Limits struct {
	Streams   int // in all
	PerClient int
	Readers   int   // that read the database at once, for all streams; 0 is maxReaders
	RingBytes int64 // recent events of all sessions that have streams; 0 is allRingBytes
}

const (
	// pollInterval is how often the hub asks the database for changes that were not
	// announced: those of another program on the same SQLite file, and those of a backend
	// that died between a commit and its announcement.
	pollInterval = 2 * time.Second
	// countInterval is how often streams of all sessions report new events.
	countInterval = time.Second
	// readTimeout bounds one read of the database.
	readTimeout = 5 * time.Second
	// maxReaders is how many streams read the database at once. Many streams that return
	// together must not take its connections from other requests.
	maxReaders = 4
)

// Hub holds all streams. It is safe for concurrent use. While Run does not run, streams
// report neither the changes of other backends nor the changes of sessions.
type Hub struct {
	sessions Sessions
	events   Events
	bus      Bus
	limits   Limits

	reading chan struct{}   // holds a value for each read of the database
	ctx     context.Context //nolint:containedctx // ends with Close: all streams hear of it
	cancel  context.CancelFunc

	mu      sync.RWMutex
	topics  map[string]*topic // of the sessions that have streams
	open    int
	clients map[string]int // open streams of each

	ringBytes atomic.Int64 // of all topics
	all       allSessions
	stale     idSet // sessions that have changed, or may have
	counted   idSet // sessions that got events, for those who watch all sessions

	name    string // in announcements, to know its own
	changes changes
	missed  chan struct{} // holds a value when announcements were missed
}

// New gives a hub over its repositories and the bus to other programs.
func New(sessions Sessions, events Events, bus Bus, limits Limits) *Hub {
	limits.RingBytes = cmp.Or(limits.RingBytes, allRingBytes)
	ctx, cancel := context.WithCancel(context.Background())
	return &Hub{
		sessions: sessions, events: events, bus: bus, limits: limits,
		reading: make(chan struct{}, min(cmp.Or(limits.Readers, maxReaders), maxReaders)), ctx: ctx, cancel: cancel,
		topics: map[string]*topic{}, clients: map[string]int{},
		all: newAllSessions(), stale: newIDSet(), counted: newIDSet(),
		name: rand.Text(), changes: newChanges(), missed: make(chan struct{}, 1),
	}
}

// RingBytes returns about how much memory the recent events of all sessions take.
func (h *Hub) RingBytes() int64 { return h.ringBytes.Load() }

// Close ends all streams and refuses new ones, so that the program can end.
func (h *Hub) Close() { h.cancel() }

// Closed reports whether Close was called.
func (h *Hub) Closed() bool { return h.ctx.Err() != nil }

// Published passes the batches of a committed group and their receipts to the streams. The
// caller calls it in the order of commit, and does not change the events afterwards. It
// never blocks.
func (h *Hub) Published(batches []models.Batch, receipts []models.Receipt) {
	for i := range receipts {
		if receipts[i].Repeated { // another batch stored its events
			continue
		}
		for _, r := range receipts[i].Ranges {
			h.changes.add(change{ID: r.SessionID, Seq: r.Last})
			if h.all.watched() {
				h.counted.keep(r.SessionID)
			}
		}
		h.publish(batches[i].Events)
	}
}

// publish hands events to the topics of their sessions.
func (h *Hub) publish(events []models.Incoming) {
	for len(events) > 0 {
		id, n := events[0].SessionID, 1
		for n < len(events) && events[n].SessionID == id {
			n++
		}
		if t := h.topic(id); t != nil {
			t.publish(events[:n])
		}
		events = events[n:]
	}
}

// SessionChanged reports that a session was created, changed or deleted. The caller calls
// it after the commit.
func (h *Hub) SessionChanged(id string) {
	h.stale.add(id)
	h.changes.add(change{ID: id, Changed: true})
}

// FindingsChanged reports that the findings of a session changed. The caller calls it after
// the commit.
func (h *Hub) FindingsChanged(id string) {
	h.found(id)
	h.changes.add(change{ID: id, Found: true})
}

// found makes the streams of a session report its findings now, and those of all sessions
// within countInterval.
func (h *Hub) found(id string) {
	if h.topic(id) != nil {
		h.stale.add(id)
	} else if h.all.watched() {
		h.counted.keep(id)
	}
}

// topic returns the topic of a session, nil if the session has no streams.
func (h *Hub) topic(id string) *topic {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[id]
}

// topicIDs returns the sessions that have streams.
func (h *Hub) topicIDs() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	ids := make([]string, 0, len(h.topics))
	for id := range h.topics {
		ids = append(ids, id)
	}
	return ids
}

// enter counts a stream of a client. It returns overloaded if there are too many.
func (h *Hub) enter(client string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.Closed():
		return models.Errorf(models.CodeUnavailable, "the backend is shutting down")
	case h.open >= h.limits.Streams:
		return models.Errorf(models.CodeOverloaded, "%d streams are open, which is the limit (STREAMS_MAX)", h.open)
	case h.clients[client] >= h.limits.PerClient:
		return models.Errorf(models.CodeOverloaded, "%d streams are open to %s, which is the limit for one client (STREAMS_PER_CLIENT)", h.clients[client], client)
	}
	h.open++
	h.clients[client]++
	return nil
}

func (h *Hub) leave(client string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
	if h.clients[client]--; h.clients[client] == 0 {
		delete(h.clients, client)
	}
}

// join adds a stream to the topic of a session, which it returns.
func (h *Hub) join(sessionID string) *topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[sessionID]
	if t == nil {
		t = newTopic(h, sessionID)
		h.topics[sessionID] = t
	}
	t.streams++
	return t
}

// part removes a stream from a topic. It removes the topic with the last stream.
func (h *Hub) part(t *topic) {
	h.mu.Lock()
	t.streams--
	last := t.streams == 0
	if last && h.topics[t.sessionID] == t {
		delete(h.topics, t.sessionID)
	}
	h.mu.Unlock()
	if last {
		t.close(false)
	}
}

// gone ends the streams of a deleted session.
func (h *Hub) gone(t *topic) {
	h.mu.Lock()
	if h.topics[t.sessionID] == t {
		delete(h.topics, t.sessionID)
	}
	h.mu.Unlock()
	t.close(true)
}

// read calls page as soon as fewer than the limit of readers read.
func (h *Hub) read(ctx context.Context, page func()) error {
	select {
	case h.reading <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.reading }()
	page()
	return nil
}

// list reads a page of events.
func (h *Hub) list(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) (events []models.Event, err error) {
	if wait := h.read(ctx, func() { events, err = h.events.List(ctx, sessionID, where, page) }); wait != nil {
		return nil, wait
	}
	return events, err
}

// listWhole reads a page of events with their whole data.
func (h *Hub) listWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) (events []models.Event, isCut bool, err error) {
	if wait := h.read(ctx, func() { events, isCut, err = h.events.ListWhole(ctx, sessionID, where, page, replayDataBytes) }); wait != nil {
		return nil, false, wait
	}
	return events, isCut, err
}

// idSet is a set of session IDs.
type idSet struct {
	mu    *sync.Mutex
	ids   map[string]struct{}
	added chan struct{} // holds a value if add was called since
}

func newIDSet() idSet {
	return idSet{mu: &sync.Mutex{}, ids: map[string]struct{}{}, added: make(chan struct{}, 1)}
}

func (s *idSet) add(ids ...string) {
	s.keep(ids...)
	wake(s.added)
}

// keep adds IDs without a signal on added.
func (s *idSet) keep(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.ids[id] = struct{}{}
	}
}

// take removes all IDs and returns them, sorted.
func (s *idSet) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.ids))
	for id := range s.ids {
		ids = append(ids, id)
	}
	clear(s.ids)
	slices.Sort(ids)
	return ids
}

// wake puts a value into a channel of capacity 1, unless it holds one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
