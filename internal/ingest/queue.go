// Package ingest commits in groups: events of requests that come in together
// share one transaction, and every request is answered after its own is
// committed. Groups form by themselves, of what came in while the one before was
// being written; a lone request waits for nobody.
//
// It knows nothing of HTTP, attribution or SQL.
package ingest

import (
	"context"
	"sync"
	"time"

	"ospulse/internal/models"
)

// Limits bound a Queue.
type Limits struct {
	GroupEvents int           // a group takes no further request once it has as many; the last one may lead beyond
	QueueEvents int           // waiting events; a request that would lead beyond is refused
	QueueBytes  int64         // waiting bytes, likewise
	Commit      time.Duration // how long one commit may take
}

// DefaultLimits suit a machine of any size: groups beyond a thousand events do
// not get faster, and 64 MB is more than a second's work.
func DefaultLimits() Limits {
	return Limits{GroupEvents: 1000, QueueEvents: 50_000, QueueBytes: 64 << 20, Commit: 30 * time.Second}
}

// AppendFunc stores batches, all or none, and gives a receipt for each. The
// service's Append is one.
type AppendFunc func(ctx context.Context, batches []models.Batch) ([]models.Receipt, error)

// Meter counts what goes through a queue; *metrics.Ingest is one.
type Meter interface {
	Accepted(events int)
	Committed(events int, took time.Duration) // one group
}

// Queue takes requests and commits them in groups. It is safe for concurrent
// use; Run must be running.
type Queue struct {
	store  AppendFunc
	limits Limits
	meter  Meter

	mu      sync.Mutex
	waiting []*request
	events  int   // of all that wait
	bytes   int64 // of all that wait
	closed  bool
	wake    chan struct{} // holds a value when something was put into an idle queue
}

// request is one call of Append.
type request struct {
	batch   models.Batch
	bytes   int64
	done    chan struct{} // closed when receipt and err are set
	receipt models.Receipt
	err     error
}

// New gives a queue in front of store.
func New(store AppendFunc, limits Limits, meter Meter) *Queue {
	return &Queue{store: store, limits: limits, meter: meter, wake: make(chan struct{}, 1)}
}

// Append stores the events of one request, all or none, and returns when they
// are committed. A full queue is overloaded at once. When ctx ends first, Append
// returns its error, and the events are stored or not; no other request suffers.
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
// after that are refused.
func (q *Queue) Run(ctx context.Context) {
	for {
		group := q.take()
		if len(group) > 0 {
			q.commit(group)
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
	n, events := 0, 0
	for n < len(q.waiting) && events < q.limits.GroupEvents {
		events += len(q.waiting[n].batch.Events)
		q.bytes -= q.waiting[n].bytes
		n++
	}
	group := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.events -= events
	return group
}

// close refuses further requests, unless some wait.
func (q *Queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = len(q.waiting) == 0
	return q.closed
}

// commit stores a group and answers its requests. A group that fails for what
// is in it is halved until the fault is alone, so that it costs no other request;
// one that fails because the database is away would fail in parts, too.
func (q *Queue) commit(group []*request) {
	batches := make([]models.Batch, len(group))
	for i, r := range group {
		batches[i] = r.batch
	}
	began := time.Now()
	receipts, err := q.storeAll(batches)
	if err != nil && len(group) > 1 && models.ErrorCode(err) != models.CodeUnavailable {
		q.commit(group[:len(group)/2])
		q.commit(group[len(group)/2:])
		return
	}
	if err == nil { // counted before anyone is answered, so that who has the answer finds it counted
		stored := 0
		for i := range receipts {
			if !receipts[i].Repeated {
				stored += receipts[i].Stored
			}
		}
		q.meter.Committed(stored, time.Since(began))
	}
	for i, r := range group {
		if r.err = err; err == nil {
			r.receipt = receipts[i]
		}
		close(r.done)
	}
}

// storeAll gives the commit a context of its own: it belongs to no single
// request.
func (q *Queue) storeAll(batches []models.Batch) ([]models.Receipt, error) {
	ctx, cancel := context.WithTimeout(context.Background(), q.limits.Commit)
	defer cancel()
	return q.store(ctx, batches)
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
