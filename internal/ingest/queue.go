// Package ingest commits events in groups. Requests that arrive together share one
// transaction, and each is answered after its commit. While one group is being written,
// the next one forms; a lone request does not wait. While the database is unavailable,
// groups go to a spool on this machine's disk. The drain stores them from there, in
// order, when the database is back.
//
// The package knows nothing of HTTP, attribution or SQL.
package ingest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// Limits bound a Queue.
type Limits struct {
	GroupEvents int           // a group with this many takes no further request; the last request may exceed it
	GroupBytes  int64         // likewise
	QueueEvents int           // waiting events; a request that would exceed it is refused
	QueueBytes  int64         // waiting bytes, likewise
	Commit      time.Duration // how long one commit may take before the group goes to the spool
}

// NewLimits returns limits for a machine of any size. Groups of more than a thousand events
// are not faster.
func NewLimits(queueBytes int64, commit time.Duration) Limits {
	return Limits{GroupEvents: 1000, GroupBytes: 8 << 20, QueueEvents: 50_000, QueueBytes: queueBytes, Commit: commit}
}

// Store stores events. The service's Events implements it.
type Store interface {
	// Append stores the batches of a group, all or none, and returns a receipt for
	// each. If the group's mark was stored before, it stores nothing and returns
	// models.ErrAlreadyStored. It returns invalid if an event can never be stored, and
	// conflict if a key belongs to another request. Every other error may go away.
	Append(ctx context.Context, group models.Group) ([]models.Receipt, error)
	// Try does the same as Append and rolls it back. The events get the sessions that
	// Append would give them.
	Try(ctx context.Context, group models.Group) error
	// LastStored returns the number of a writer's last stored batch.
	LastStored(ctx context.Context, writer string) (int64, error)
	// Time converts a time of this program's clock to the clock that all backends
	// share.
	Time(local time.Time) time.Time
}

// Meter counts the events of a queue. *telemetry.Ingest implements it.
type Meter interface {
	Accepted(events int)
	Committed(events int, took time.Duration) // one group
	Spooled(events int)                       // one group, to be committed later
	Rejected(events int)                      // spooled events that cannot be stored and are set aside
}

// Publisher receives the committed batches. *live.Hub implements it.
type Publisher interface {
	// Published receives a group's batches and their receipts, in the order of commit.
	// It must not block.
	Published(batches []models.Batch, receipts []models.Receipt)
}

// Publishers passes each call to all of its publishers.
type Publishers []Publisher

// Published implements Publisher.
func (all Publishers) Published(batches []models.Batch, receipts []models.Receipt) {
	for _, p := range all {
		p.Published(batches, receipts)
	}
}

// Queue takes requests and commits them in groups. It is safe for concurrent
// use; Run must be running.
type Queue struct {
	store     Store
	limits    Limits
	meter     Meter
	publisher Publisher
	log       *slog.Logger

	// Every request gets the next number of this writer. Each start of the program has
	// a new writer.
	writer string
	number int64

	mu     sync.Mutex
	lines  map[string]*line // waiting requests by agent
	turns  []string         // the agents in lines: the first is served next
	events int              // of all that wait
	bytes  int64            // of all that wait
	closed bool
	wake   chan struct{} // holds a value after put

	spool *spooling
}

// line holds the waiting requests of one agent, the oldest first. There is at least one.
type line struct {
	requests []*request
	events   int
	bytes    int64
}

// request is one call of Append.
type request struct {
	batch   models.Batch
	bytes   int64
	done    chan struct{} // closed when receipt and err are set
	receipt models.Receipt
	err     error
}

// New returns a queue in front of store. The spool takes groups while the store is
// unavailable.
func New(store Store, spool Spool, limits Limits, meter Meter, publisher Publisher, log *slog.Logger) *Queue {
	q := &Queue{store: store, limits: limits, meter: meter, publisher: publisher, log: log, writer: rand.Text(), lines: map[string]*line{}, wake: make(chan struct{}, 1)}
	q.spool = newSpooling(q, spool)
	return q
}

// Append stores the events of one request, all or none. It returns when they are
// committed or, if the receipt says so, spooled. It returns overloaded if the queue is
// full. If ctx ends first, Append returns its error, and the events may or may not be
// stored. Other requests are not affected.
func (q *Queue) Append(ctx context.Context, batch models.Batch) (models.Receipt, error) {
	r := &request{batch: batch, bytes: sizeBytes(batch.Events), done: make(chan struct{})}
	if err := q.put(r); err != nil {
		return models.Receipt{}, err
	}
	q.meter.Accepted(len(batch.Events))
	select {
	case <-r.done:
		return r.receipt, r.err
	case <-ctx.Done():
		return models.Receipt{}, ctx.Err()
	}
}

// Depth returns the number of waiting events and about how much memory they take.
func (q *Queue) Depth() (events int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.events, q.bytes
}

// put adds a request. A queue without requests of the same agent accepts one of any size that
// fits, and an empty queue one of any size.
//
// An agent may have as much waiting as room is left for all. So one agent fills half of the
// queue, two a third each, and there is always room for another one. (These are the dynamic
// thresholds of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6, 1998.)
func (q *Queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := len(r.batch.Events)
	own := q.lines[r.batch.AgentID]
	switch {
	case q.closed:
		return models.Errorf(models.CodeUnavailable, "the backend is shutting down")
	case len(q.turns) > 0 && (q.events+events > q.limits.QueueEvents || q.bytes+r.bytes > q.limits.QueueBytes),
		own != nil && (own.events+events > q.limits.QueueEvents-q.events || own.bytes+r.bytes > q.limits.QueueBytes-q.bytes):
		return models.Errorf(models.CodeOverloaded, "more events are coming in than can be stored; try again")
	}
	if own == nil {
		own = &line{}
		q.lines[r.batch.AgentID] = own
		q.turns = append(q.turns, r.batch.AgentID)
	}
	own.requests = append(own.requests, r)
	own.events += events
	own.bytes += r.bytes
	q.events += events
	q.bytes += r.bytes
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// Run commits until ctx ends and no request waits. Later requests are refused. Spooled
// groups then stay in the spool.
func (q *Queue) Run(ctx context.Context) {
	var draining sync.WaitGroup
	defer draining.Wait()
	draining.Go(func() { q.spool.run(ctx) })
	for {
		group := q.take()
		if len(group) > 0 {
			first := q.number + 1
			q.number += int64(len(group))
			q.commit(group, first)
			if len(group) > 1 {
				// Let clients run that have just been answered or are about to send, so
				// that the next group is larger. A single client is not delayed.
				runtime.Gosched()
			}
			continue
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			if q.close() {
				return
			}
		}
	}
}

// take removes the next group from the queue. The agents take turns; the requests of each
// keep their order.
func (q *Queue) take() (group []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, bytes := 0, int64(0)
	for len(q.turns) > 0 && events < q.limits.GroupEvents && bytes < q.limits.GroupBytes {
		agent := q.turns[0]
		q.turns = q.turns[1:]
		of := q.lines[agent]
		r := of.requests[0]
		if of.requests = of.requests[1:]; len(of.requests) == 0 {
			delete(q.lines, agent)
		} else {
			q.turns = append(q.turns, agent)
		}
		of.events -= len(r.batch.Events)
		of.bytes -= r.bytes
		events += len(r.batch.Events)
		bytes += r.bytes
		group = append(group, r)
	}
	q.events -= events
	q.bytes -= bytes
	return group
}

// close refuses further requests, unless some wait. It reports whether it did.
func (q *Queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = len(q.turns) == 0
	return q.closed
}

// commit stores a group and answers its requests, whose numbers begin with first. A
// group that fails for its content is halved until the faulty request is alone, so that
// no other request fails. After any other error the group goes to the spool.
func (q *Queue) commit(requests []*request, first int64) {
	group := models.Group{Batches: make([]models.Batch, len(requests)), Mark: models.Mark{Writer: q.writer, First: first}}
	for i, r := range requests {
		group.Batches[i] = r.batch
	}
	receipts, spooled, err := q.spool.instead(group)
	if !spooled {
		receipts, err = q.append(group)
		if err != nil && len(requests) > 1 && isOfRequest(err) {
			half := len(requests) / 2
			q.commit(requests[:half], first)
			q.commit(requests[half:], first+int64(half))
			return
		}
		if models.ErrorCode(err) == models.CodeInvalid {
			receipts, err = q.appendRest(group)
		}
		if err != nil && !isOfRequest(err) {
			receipts, err = q.spool.begin(group, err)
		}
	}
	for i, r := range requests {
		if r.err = err; err == nil {
			r.receipt = receipts[i]
		}
		close(r.done)
	}
}

// isOfRequest reports whether an error of Store.Append is about the content of a
// request.
func isOfRequest(err error) bool {
	code := models.ErrorCode(err)
	return code == models.CodeInvalid || code == models.CodeConflict
}

// appendRest stores the one batch of a group without the events that can never be
// stored. These become faults of its items.
func (q *Queue) appendRest(group models.Group) ([]models.Receipt, error) {
	batch := group.Batches[0]
	ctx, cancel := context.WithTimeout(context.Background(), q.limits.Commit)
	defer cancel()
	refused, _, err := isolate(ctx, q.store, group)
	if err != nil {
		return nil, err
	}
	rest := batch
	rest.Faults = withFaults(batch.Faults, refused)
	rest.Events = slices.Clone(batch.Events)
	for _, r := range slices.Backward(refused) {
		rest.Events = slices.Delete(rest.Events, r.Index, r.Index+1)
	}
	if len(rest.Events) == 0 {
		return nil, models.Errorf(models.CodeInvalid, "events[%d]: %s (%d items, none could be taken)", rest.Faults[0].Index, rest.Faults[0].Error, len(rest.Faults))
	}
	group.Batches = []models.Batch{rest}
	return q.append(group)
}

// committed counts and publishes a group. began is when its commit began.
func (q *Queue) committed(group models.Group, receipts []models.Receipt, began time.Time) {
	q.meter.Committed(stored(receipts), time.Since(began))
	q.publisher.Published(group.Batches, receipts)
}

// append stores, counts and publishes a group, under a context that belongs to no
// single request. The requests are answered afterwards, so a client that has its answer
// finds it counted.
func (q *Queue) append(group models.Group) ([]models.Receipt, error) {
	ctx, cancel := context.WithTimeout(context.Background(), q.limits.Commit)
	defer cancel()
	began := time.Now()
	receipts, err := q.store.Append(ctx, group)
	if plant.Is("publish before the commit") {
		q.publisher.Published(group.Batches, receipts)
	}
	if err == nil {
		q.committed(group, receipts, began)
	}
	return receipts, err
}

// stored counts the events of batches that were not stored before.
func stored(receipts []models.Receipt) int {
	n := 0
	for i := range receipts {
		if !receipts[i].Repeated {
			n += receipts[i].Stored
		}
	}
	return n
}

// sizeBytes returns about how much memory the events take.
func sizeBytes(incoming []models.Incoming) int64 {
	const each = 512
	size := int64(len(incoming)) * each
	for i := range incoming {
		size += int64(len(incoming[i].Data) + len(incoming[i].DataRaw))
	}
	return size
}
