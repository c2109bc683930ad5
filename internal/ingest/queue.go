// Package ingest commits in groups: events of requests that come in together
// share one transaction, and every request is answered after its own is
// committed. Groups form by themselves, of what came in while the one before was
// being written; a lone request waits for nobody. While the database is away,
// groups go to a spool on this machine's disk and are stored from there, in their
// order, when it is back.
//
// It knows nothing of HTTP, attribution or SQL.
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
	GroupEvents int           // a group takes no further request once it has as many; the last one may lead beyond
	GroupBytes  int64         // likewise
	QueueEvents int           // waiting events; a request that would lead beyond is refused
	QueueBytes  int64         // waiting bytes, likewise
	Commit      time.Duration // how long one commit may take before the group goes to the spool
}

// DefaultLimits suit a machine of any size, with so many bytes for the queue: groups
// beyond a thousand events do not get faster, and the forwarders wait five seconds for
// an answer.
func DefaultLimits(queueBytes int64) Limits {
	return Limits{GroupEvents: 1000, GroupBytes: 8 << 20, QueueEvents: 50_000, QueueBytes: queueBytes, Commit: 4 * time.Second}
}

// Store keeps events; the service's Events is one.
type Store interface {
	// Append stores the batches of a group, all or none, and gives a receipt for
	// each. Of a group whose mark was stored before it stores nothing, and
	// returns models.ErrAlreadyStored. An event that can never be stored makes the
	// group invalid, and a key of another request makes it a conflict; every other
	// error may go away.
	Append(ctx context.Context, group models.Group) ([]models.Receipt, error)
	// Try does what Append does, and undoes it. The events have the sessions that
	// they would be stored in.
	Try(ctx context.Context, group models.Group) error
	// LastStored gives the number of the last batch of a writer that was stored.
	LastStored(ctx context.Context, writer string) (int64, error)
	// Time gives a time of this program by the clock that several programs share.
	Time(local time.Time) time.Time
}

// Meter counts what goes through a queue; *telemetry.Ingest is one.
type Meter interface {
	Accepted(events int)
	Committed(events int, took time.Duration) // one group
	Spooled(events int)                       // one group, which is committed later
	Rejected(events int)                      // that were spooled, cannot be stored, and are set aside
}

// Publisher is told of what was committed; *live.Hub is one.
type Publisher interface {
	// Published is told of a group's batches, in the order of commit, and of their
	// receipts. It must not wait for anyone.
	Published(batches []models.Batch, receipts []models.Receipt)
}

// Publishers is several publishers that are told of the same.
type Publishers []Publisher

// Published tells all of them.
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

	// Every request that comes to be stored gets the next number of this writer,
	// which is new with each start of the program.
	writer string
	number int64

	mu      sync.Mutex
	waiting []*request
	events  int   // of all that wait
	bytes   int64 // of all that wait
	closed  bool
	wake    chan struct{} // holds a value when something was put into an idle queue

	spool *spooling
}

// request is one call of Append.
type request struct {
	batch   models.Batch
	bytes   int64
	done    chan struct{} // closed when receipt and err are set
	receipt models.Receipt
	err     error
}

// New gives a queue in front of store, with a spool for when that is away.
func New(store Store, spool Spool, limits Limits, meter Meter, publisher Publisher, log *slog.Logger) *Queue {
	q := &Queue{store: store, limits: limits, meter: meter, publisher: publisher, log: log, writer: rand.Text(), wake: make(chan struct{}, 1)}
	q.spool = newSpooling(q, spool)
	return q
}

// Append stores the events of one request, all or none, and returns when they
// are committed or, if the receipt says so, spooled. A full queue is overloaded at
// once. When ctx ends first, Append returns its error, and the events are stored
// or not; no other request suffers.
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

// Depth gives what waits: events, and about their bytes of memory.
func (q *Queue) Depth() (events int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.events, q.bytes
}

// put adds a request. One that is larger than the queue is taken when nothing
// else waits.
func (q *Queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return models.Errorf(models.CodeUnavailable, "the backend is shutting down")
	case len(q.waiting) > 0 && (q.events+len(r.batch.Events) > q.limits.QueueEvents || q.bytes+r.bytes > q.limits.QueueBytes):
		return models.Errorf(models.CodeOverloaded, "more events are coming in than can be stored; try again")
	}
	q.waiting = append(q.waiting, r)
	q.events += len(r.batch.Events)
	q.bytes += r.bytes
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// Run commits until ctx ends and nothing waits any more. Requests that come
// after that are refused. What is in the spool then stays there.
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
				// Let the clients run that were just answered or are about to send:
				// the next group is larger then. A single client is not delayed.
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

// take removes the next group from the queue: the requests that waited longest,
// in their order.
func (q *Queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, events, bytes := 0, 0, int64(0)
	for n < len(q.waiting) && events < q.limits.GroupEvents && bytes < q.limits.GroupBytes {
		events += len(q.waiting[n].batch.Events)
		bytes += q.waiting[n].bytes
		n++
	}
	group := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.events -= events
	q.bytes -= bytes
	return group
}

// close refuses further requests, unless some wait.
func (q *Queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = len(q.waiting) == 0
	return q.closed
}

// commit stores a group and answers its requests, whose numbers begin with first.
// A group that fails for what is in it is halved until the fault is alone, so that
// it costs no other request. With any other error the database is to blame, and the
// group goes to the spool.
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

// isOfRequest reports whether an error of Store.Append is about what a request holds.
func isOfRequest(err error) bool {
	code := models.ErrorCode(err)
	return code == models.CodeInvalid || code == models.CodeConflict
}

// appendRest stores the one batch of a group without the events that can never be
// stored, which become faults of its items.
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

// committed counts and publishes a group whose commit began at a time.
func (q *Queue) committed(group models.Group, receipts []models.Receipt, began time.Time) {
	q.meter.Committed(stored(receipts), time.Since(began))
	q.publisher.Published(group.Batches, receipts)
}

// append stores a group, counts and publishes it. It gives the commit a context of
// its own: it belongs to no single request. The requests are answered later, so a
// client that has its answer finds it counted.
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

// sizeBytes is about what the events take of memory.
func sizeBytes(incoming []models.Incoming) int64 {
	const each = 512
	size := int64(len(incoming)) * each
	for i := range incoming {
		size += int64(len(incoming[i].Data) + len(incoming[i].DataRaw))
	}
	return size
}
