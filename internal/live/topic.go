package live

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Bounds of the rings of recent events. An event counts with twice the bytes of its data,
// because its listed form repeats much of it, and with itemBytes for the rest.
const (
	ringEvents   = 4096
	ringBytes    = 8 << 20
	allRingBytes = 32 << 20 // of all topics, unless Limits say otherwise
	itemBytes    = 1024
)

// copyOf gives an event with data of its own: it keeps nothing of the request that it
// came with.
func copyOf(e *models.Event) *models.Event {
	own := *e
	own.Data, own.DataRaw = bytes.Clone(e.Data), bytes.Clone(e.DataRaw)
	return &own
}

// item is an event in a ring.
type item struct {
	event *models.Event
	whole bool // it has its data, not only what lists show

	once sync.Once
	json []byte
}

// listed gives the event as lists give it; the first who asks writes it.
func (i *item) listed() []byte {
	i.once.Do(func() { i.json = listed(i.event) })
	return i.json
}

func listed(e *models.Event) []byte {
	if len(e.Data) == 0 && e.Preview == nil { // as it is stored
		stored := *e
		stored.Data = models.JSON("null")
		e = &stored
	}
	return wire.AppendListedEvent(nil, e)
}

func (i *item) size() int64 { return itemBytes + 2*int64(len(i.event.Data)+len(i.event.DataRaw)) }

// topic is what the streams of one session share.
type topic struct {
	hub       *Hub
	sessionID string
	streams   int           // guarded by the hub's lock
	filling   chan struct{} // holds a value while a stream reads for all

	mu      sync.Mutex
	ring    []*item // by seq, not always without gaps: other programs write too
	bytes   int64
	newest  int64           // the largest seq that is known to be committed
	session *models.Session // nil until it was read
	version int             // of session
	deleted bool
	closed  bool          // it has no streams any more, and keeps nothing
	changed chan struct{} // closed when something changes; nil when nobody waits
}

func newTopic(h *Hub, sessionID string) *topic {
	return &topic{hub: h, sessionID: sessionID, filling: make(chan struct{}, 1)}
}

// publish takes events that were just committed here.
func (t *topic) publish(events []models.Incoming) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, size := len(events), int64(0) // of those that fit
	for first > 0 && size <= ringBytes && len(events)-first < ringEvents {
		first--
		size += (&item{event: &events[first].Event}).size()
	}
	for i := first; i < len(events); i++ {
		t.add(&item{event: copyOf(&events[i].Event), whole: true})
	}
	t.newest = max(t.newest, events[len(events)-1].Seq)
	t.trim()
	t.wake()
}

// advance is told that events up to seq are committed.
func (t *topic) advance(seq int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq > t.newest {
		t.newest = seq
		t.wake()
	}
}

// saw is told how the session is. One that is older than what is known, by its
// own clock, is taken only from who reads in order.
func (t *topic) saw(session *models.Session, inOrder bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.session
	if known == nil || session.UpdatedAt.After(known.UpdatedAt) || inOrder && !session.UpdatedAt.Equal(known.UpdatedAt) {
		t.session = session
		t.version++
		t.wake()
	} else if session.FindingVersion > known.FindingVersion {
		t.session = session
		t.wake()
	}
	if session.EventCount > t.newest {
		t.newest = session.EventCount
		t.wake()
	}
}

// differs reports whether the session is not as it was last seen.
func (t *topic) differs(head *models.Session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session != nil && (!t.session.UpdatedAt.Equal(head.UpdatedAt) || t.session.FindingVersion != head.FindingVersion)
}

// close empties the ring for good; if the session was deleted, the streams are told.
func (t *topic) close(deleted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.deleted = true, deleted
	t.hub.ringBytes.Add(-t.bytes)
	t.ring, t.bytes = nil, 0
	t.wake()
}

// wake wakes those who wait. The caller holds the lock.
func (t *topic) wake() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// wait gives a channel that is closed when something changes. The caller holds the
// lock, under which it saw that there is nothing.
func (t *topic) wait() <-chan struct{} {
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// add puts an event into the ring, unless it is there. The caller holds the lock.
func (t *topic) add(i *item) {
	if t.closed {
		return
	}
	at := len(t.ring)
	if at > 0 && t.ring[at-1].event.Seq >= i.event.Seq {
		var found bool
		if at, found = t.find(i.event.Seq); found {
			return
		}
	}
	t.ring = slices.Insert(t.ring, at, i)
	t.bytes += i.size()
	t.hub.ringBytes.Add(i.size())
}

// trim takes the oldest events out of a ring that is too large. The caller holds
// the lock.
func (t *topic) trim() {
	n := 0
	for n < len(t.ring) && (len(t.ring)-n > ringEvents || t.bytes > ringBytes || t.hub.ringBytes.Load() > t.hub.limits.RingBytes) {
		size := t.ring[n].size()
		t.bytes -= size
		t.hub.ringBytes.Add(-size)
		t.ring[n] = nil
		n++
	}
	t.ring = t.ring[n:]
}

// find gives the place of the first event from seq on.
func (t *topic) find(seq int64) (at int, found bool) {
	return slices.BinarySearchFunc(t.ring, seq, func(i *item, seq int64) int { return cmp.Compare(i.event.Seq, seq) })
}

// run gives the events that follow after without a gap, up to maxUpdateEvents, with
// their data if whole. If there is none, gapEnd is the last one that must be read
// elsewhere. The caller holds the lock.
func (t *topic) run(after int64, whole bool) (run []*item, gapEnd int64) {
	at, _ := t.find(after + 1)
	rest := t.ring[at:]
	n := 0
	for n < min(len(rest), maxUpdateEvents) && rest[n].event.Seq == after+1+int64(n) && (rest[n].whole || !whole) {
		n++
	}
	if n > 0 {
		return slices.Clone(rest[:n]), 0
	}
	for _, i := range rest {
		if i.whole || !whole {
			return nil, i.event.Seq - 1
		}
	}
	return nil, t.newest
}

// errMissing is for events that are committed and cannot be found: the session is
// being deleted, or the database has lost them.
var errMissing = errors.New("committed events are missing")

// fill reads events that the ring lacks, from after up to gapEnd, once for all
// streams that lack them, and gives them.
func (t *topic) fill(ctx context.Context, after, gapEnd int64) ([]*item, error) {
	select {
	case t.filling <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-t.filling }()
	t.mu.Lock()
	run, _ := t.run(after, false)
	t.mu.Unlock()
	if len(run) > 0 { // someone else has read it meanwhile
		return run, nil
	}
	events, err := t.hub.list(ctx, t.sessionID, nil, models.EventPage{After: after, Before: gapEnd + 1, Limit: maxUpdateEvents})
	if err != nil {
		return nil, err
	}
	for i := range events {
		if events[i].Seq != after+1+int64(i) {
			break
		}
		run = append(run, &item{event: &events[i]})
	}
	if len(run) == 0 {
		return nil, errMissing
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, i := range run {
		t.add(i)
	}
	t.trim()
	return run, nil
}
