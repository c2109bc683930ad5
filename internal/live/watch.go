package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"ospulse/internal/models"
)

// Sessions per query.
const (
	askedSessions = 200
	askedHeads    = 500
	scannedHeads  = 1000
)

// scanShare makes the pause after a scan of all sessions this many times as long as the scan.
const scanShare = 20

// Run exchanges announcements with the other backends, and keeps the sessions of the
// streams current, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { h.bus.Listen(ctx, channel, func() { wake(h.missed) }, h.hear) })
	running.Go(func() { h.announce(ctx) })
	h.watch(ctx)
	running.Wait()
}

// watch reads the sessions of open streams. It is the only goroutine that does, one read
// after the other, so that a stream never gets an older state after a newer one.
func (h *Hub) watch(ctx context.Context) {
	poll, count := time.NewTicker(pollInterval), time.NewTicker(countInterval)
	defer poll.Stop()
	defer count.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.stale.added:
			h.refresh(ctx)
		case <-count.C:
			h.stale.keep(h.counted.take()...)
			h.refresh(ctx)
		case <-h.all.asked:
			h.scan(ctx)
		case <-poll.C:
			h.poll(ctx)
		case <-h.missed:
			h.poll(ctx)
		}
	}
}

// refresh reads the sessions that may have changed and passes them to the streams. It
// retries the sessions that it cannot read at the next call.
func (h *Hub) refresh(ctx context.Context) {
	ids := h.stale.take()
	if !h.all.watched() {
		ids = slices.DeleteFunc(ids, func(id string) bool { return h.topic(id) == nil })
	}
	for some := range slices.Chunk(ids, askedSessions) {
		sessions, err := within(ctx, some, h.sessions.ListByID)
		if err != nil {
			h.stale.keep(some...)
			continue
		}
		found := make(map[string]*models.Session, len(sessions))
		for i := range sessions {
			found[sessions[i].ID] = &sessions[i]
		}
		for _, id := range some {
			h.tell(id, found[id])
		}
	}
}

// tell passes the state of a session to its streams. A nil session was deleted.
func (h *Hub) tell(id string, session *models.Session) {
	if t := h.topic(id); t != nil {
		if session == nil {
			h.gone(t)
		} else {
			t.saw(session, true)
		}
	}
	h.all.tell(id, session)
}

// poll finds the changes of streamed sessions that were not announced.
func (h *Hub) poll(ctx context.Context) {
	for some := range slices.Chunk(h.topicIDs(), askedHeads) {
		heads, err := within(ctx, some, h.sessions.ListHeads)
		if err != nil {
			return // the database is away; the streams stay
		}
		missing := make(map[string]bool, len(some))
		for _, id := range some {
			missing[id] = true
		}
		for i := range heads {
			delete(missing, heads[i].ID)
			t := h.topic(heads[i].ID)
			if t == nil {
				continue
			}
			t.advance(heads[i].EventCount)
			if t.differs(&heads[i]) {
				h.stale.keep(heads[i].ID)
			}
		}
		for id := range missing {
			h.stale.keep(id)
		}
	}
	if h.all.watched() && !time.Now().Before(h.all.next) {
		h.scan(ctx)
	}
	h.refresh(ctx)
}

// scan finds the changes of all sessions that were not announced.
func (h *Hub) scan(ctx context.Context) {
	began := time.Now()
	now := map[string]head{}
	for after, more := "", true; more; {
		heads, err := within(ctx, after, func(ctx context.Context, after string) ([]models.Session, error) {
			return h.sessions.ListHeadsAfter(ctx, after, scannedHeads)
		})
		if err != nil {
			return // the next scan serves those that wait
		}
		for i := range heads {
			after = heads[i].ID
			now[after] = headOf(&heads[i])
		}
		more = len(heads) == scannedHeads
	}
	h.all.next = time.Now().Add(scanShare * time.Since(began))
	h.stale.add(h.all.compare(now)...)
}

// within calls read with a timeout of readTimeout.
func within[A, R any](ctx context.Context, asked A, read func(context.Context, A) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return read(ctx, asked)
}
