// Package live knows who is listening to what: streams of one session's events,
// and streams of what becomes of sessions. A stream is a cursor: it reads what it
// lacks from a ring of recent events that all streams of a session share, else
// from the database. So who reads slowly costs the writer nothing, and who comes
// back with the number of the last event that it has gets exactly the rest.
//
// It knows nothing of HTTP, and of the database only what Sessions, Events and Bus
// say.
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
// contracts. An event that is listed has all below it committed: seq follows the
// order of commit.
type Events interface {
	List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) ([]models.Event, error)
	ListWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage, maxBytes int) (events []models.Event, isCut bool, err error)
}

// Bus carries words between the programs that share a database; *database.DB
// implements it and documents its contract. What it loses, the hub finds out
// pollInterval later at the most.
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
	// pollInterval is how often the database is asked whether anything that has
	// streams has changed without a word: by another program on the same SQLite
	// file, or one that died between a commit and its word.
	pollInterval = 2 * time.Second
	// countInterval is how often those who watch all sessions hear of new events.
	countInterval = time.Second
	// readTimeout bounds one read of the database.
	readTimeout = 5 * time.Second
	// maxReaders is how many streams may read the database at once: many that come
	// back together must not take its connections from other requests.
	maxReaders = 4
)

// Hub knows all streams. It is safe for concurrent use; Run must be running for
// streams to hear of what other programs do, and of sessions.
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
	notices notices
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
		name: rand.Text(), notices: newNotices(), missed: make(chan struct{}, 1),
	}
}

// RingBytes gives about what the recent events of all sessions take of memory.
func (h *Hub) RingBytes() int64 { return h.ringBytes.Load() }

// Close ends all streams, and refuses new ones: they would keep the program from
// ending.
func (h *Hub) Close() { h.cancel() }

// Closed reports whether Close was called.
func (h *Hub) Closed() bool { return h.ctx.Err() != nil }

// Published is told of the batches of a group that has been committed, in the
// order of commit, and of their receipts. It never waits for anyone. From then on
// the events must not be changed.
func (h *Hub) Published(batches []models.Batch, receipts []models.Receipt) {
	for i := range receipts {
		if receipts[i].Repeated { // its events were stored at another time, under other numbers
			continue
		}
		for _, r := range receipts[i].Ranges {
			h.notices.add(notice{ID: r.SessionID, Seq: r.Last})
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

// SessionChanged is told, after the commit, that a session was created, changed or
// deleted.
func (h *Hub) SessionChanged(id string) {
	h.stale.add(id)
	h.notices.add(notice{ID: id, Changed: true})
}

// topic gives a session's topic, nil when it has no streams.
func (h *Hub) topic(id string) *topic {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[id]
}

// topicIDs gives the sessions that have streams.
func (h *Hub) topicIDs() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	ids := make([]string, 0, len(h.topics))
	for id := range h.topics {
		ids = append(ids, id)
	}
	return ids
}

// enter counts a client's stream, unless there are too many.
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

// join gives a session's topic, for a stream more.
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

// part takes a stream from a topic. The last one takes the topic with it.
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

// gone ends the streams of a session that is no longer there.
func (h *Hub) gone(t *topic) {
	h.mu.Lock()
	if h.topics[t.sessionID] == t {
		delete(h.topics, t.sessionID)
	}
	h.mu.Unlock()
	t.close(true)
}

// read has a page of events be read when few others read.
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

// idSet collects the IDs of sessions until someone takes them.
type idSet struct {
	mu    *sync.Mutex
	ids   map[string]struct{}
	added chan struct{} // holds a value when one was added
}

func newIDSet() idSet {
	return idSet{mu: &sync.Mutex{}, ids: map[string]struct{}{}, added: make(chan struct{}, 1)}
}

func (s *idSet) add(ids ...string) {
	s.keep(ids...)
	wake(s.added)
}

// keep adds without waking anyone.
func (s *idSet) keep(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.ids[id] = struct{}{}
	}
}

// take gives what was added, and forgets it.
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

// wake leaves a value in a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
