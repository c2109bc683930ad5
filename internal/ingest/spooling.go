package ingest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// Spool keeps groups on this machine's disk. *spool.Spool implements it and documents
// its contract.
type Spool interface {
	Append(ctx context.Context, group models.Group) error
	Oldest(ctx context.Context, maxEvents int) (group models.Group, lastID int64, err error)
	Drop(ctx context.Context, lastID int64) error
	SetAside(ctx context.Context, mark models.Mark, reported models.Batch, refused []models.Refused) error
	Backlog() (events int, sizeBytes int64)
}

// Settings of the drain.
const (
	drainEvents  = 4000                   // stored in one step; more than a group, so that the drain is faster than new events arrive
	drainTimeout = 30 * time.Second       // limit of one database call of the drain
	firstRetry   = 100 * time.Millisecond // first pause after a failed step; it doubles up to lastRetry
	lastRetry    = 2 * time.Second
)

// spooling is the part of a queue that works while the database is unavailable. From
// the first group in the spool until the spool is empty, all groups go there, so that
// none overtakes another.
type spooling struct {
	q     *Queue
	spool Spool

	// turn is a semaphore of size 1. The queue holds it while it writes a group to the
	// spool, and the drain while it stores the last groups, so new groups wait for that
	// commit. Without it, busy clients would keep the spool in use for ever: during each
	// commit of the drain, as many new events arrive as the drain stores.
	turn chan struct{}

	mu     sync.Mutex
	active bool
	why    string        // why the database does not store the spooled groups, for users; "" if not tried yet
	wake   chan struct{} // holds a value when it has become active
}

func newSpooling(q *Queue, spool Spool) *spooling {
	s := &spooling{q: q, spool: spool, turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	if events, _ := spool.Backlog(); events > 0 { // left by an earlier run of the program
		s.active = true
		s.wake <- struct{}{}
	}
	return s
}

// instead puts a group into the spool if other groups wait there. Otherwise it does
// nothing, and spooled is false.
func (s *spooling) instead(group models.Group) (receipts []models.Receipt, spooled bool, err error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return nil, false, nil
	}
	receipts, err = s.put(group)
	return receipts, true, err
}

// begin puts the first group into the spool after the database failed to store it for a
// cause that may go away.
func (s *spooling) begin(group models.Group, cause error) ([]models.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	receipts, err := s.put(group)
	if err != nil {
		return nil, errors.Join(err, cause)
	}
	s.q.log.Warn("events are kept on this machine's disk until the database stores them", "reason", message(cause), "error", cause)
	s.active, s.why = true, message(cause)
	select {
	case s.wake <- struct{}{}:
	default: // the drain already has a wake-up to handle
	}
	return receipts, nil
}

// put writes a group to the disk. It uses no deadline: the requests wait for the
// result.
func (s *spooling) put(group models.Group) ([]models.Receipt, error) {
	for i := range group.Batches {
		if received := &group.Batches[i].ReceivedAt; !received.IsZero() {
			*received = s.q.store.Time(*received)
		}
	}
	if err := s.spool.Append(context.Background(), group); err != nil {
		return nil, err
	}
	receipts := make([]models.Receipt, len(group.Batches))
	events := 0
	for i, batch := range group.Batches {
		receipts[i] = models.Receipt{Ranges: []models.SeqRange{}, Faults: batch.Faults, Spooled: len(batch.Events)}
		events += len(batch.Events)
	}
	s.q.meter.Spooled(events)
	return receipts, nil
}

// run drains the spool each time that spooling begins, until ctx ends.
func (s *spooling) run(ctx context.Context) {
	for {
		select {
		case <-s.wake:
			s.drain(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Drain stores the spooled groups of a queue that does not run. It returns when the
// spool is empty, or ctx ends.
func (q *Queue) Drain(ctx context.Context) { q.spool.drain(ctx) }

// drain stores the spooled groups, oldest first, until the spool is empty or ctx ends.
func (s *spooling) drain(ctx context.Context) {
	began := time.Now()
	var total drained
	retry, events := firstRetry, drainEvents
	works := false // whether the database stored the groups of the previous step
	for ctx.Err() == nil {
		var n drained
		var err error
		if left, _ := s.spool.Backlog(); works && left <= events {
			n, err = s.lastStep(ctx, events)
		} else {
			n, err = s.step(ctx, events)
		}
		total.add(n)
		works = err == nil
		switch {
		case err == nil && n == (drained{}):
			if s.end() {
				s.logEnd(total, time.Since(began))
				return
			}
		case err == nil:
			retry, events = firstRetry, drainEvents
			s.waitsFor(nil)
		case ctx.Err() != nil:
			return
		default:
			s.waitsFor(err)
			events = max(events/2, 1) // the step may have been too large for its timeout
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
			retry = min(2*retry, lastRetry)
		}
	}
}

// drained counts events that left the spool.
type drained struct{ events, setAside int }

func (d *drained) add(more drained) {
	d.events += more.events
	d.setAside += more.setAside
}

func (s *spooling) logEnd(total drained, took time.Duration) {
	switch {
	case total.setAside > 0:
		s.q.log.Error("the spool is empty, but the database has refused some of its events: they are set aside (ospulse-backend spool list)",
			"stored", total.events-total.setAside, "set_aside", total.setAside, "took", took.String())
	case total.events > 0: // otherwise an earlier drain stored and logged them
		s.q.log.Info("the database has all events that were kept on this machine's disk", "events", total.events, "took", took.String())
	}
}

// waitsFor records why the spool waits, and logs each new reason. A nil err means that
// it does not wait.
func (s *spooling) waitsFor(err error) {
	why := ""
	if err != nil && !errors.Is(err, models.ErrAlreadyStored) {
		why = message(err)
	}
	s.mu.Lock()
	isNew := why != "" && why != s.why
	s.why = why
	s.mu.Unlock()
	if isNew {
		s.q.log.Warn("the spool waits", "reason", why, "error", err)
	}
}

// WaitsFor returns, for users, why the database does not store the spooled events. It
// returns "" if the database does, or if the spool is empty.
func (q *Queue) WaitsFor() string {
	q.spool.mu.Lock()
	defer q.spool.mu.Unlock()
	return q.spool.why
}

// end ends the spooling if the spool is empty, and reports whether it did.
func (s *spooling) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if events, _ := s.spool.Backlog(); events > 0 {
		return false
	}
	s.active, s.why = false, ""
	return true
}

// lastStep is a step during which new groups wait, at most as long as for a commit of
// the queue.
func (s *spooling) lastStep(ctx context.Context, maxEvents int) (drained, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	ctx, cancel := context.WithTimeout(ctx, s.q.limits.Commit)
	defer cancel()
	return s.step(ctx, maxEvents)
}

// step stores and drops the oldest groups of the spool, about maxEvents events, and
// returns their counts. It skips batches that were stored before: by a commit whose
// result was lost, or by a process that ended before it dropped them.
func (s *spooling) step(ctx context.Context, maxEvents int) (done drained, err error) {
	group, lastID, err := s.spool.Oldest(ctx, maxEvents)
	if err != nil {
		return drained{}, models.Wrap(err, models.CodeInternal, "the spool on this machine's disk cannot be read")
	}
	if len(group.Batches) == 0 {
		return drained{}, nil
	}
	last, err := s.lastStored(ctx, group.Mark.Writer)
	if err != nil {
		return drained{}, err
	}
	for _, batch := range group.Batches {
		done.events += len(batch.Events)
	}
	if before := min(last+1-group.Mark.First, int64(len(group.Batches))); before > 0 {
		group.Batches = group.Batches[before:]
		group.Mark.First += before
	}
	if plant.Is("lose a spooled group") {
		group.Batches = nil
	}
	if plant.Is("reorder the drain") {
		slices.Reverse(group.Batches)
	}
	group.Late = true
	if done.setAside, err = s.store(ctx, group); err != nil {
		return drained{setAside: done.setAside}, err
	}
	// The lock covers the drop, so that no caller sees an empty spool that is still active.
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.spool.Drop(context.WithoutCancel(ctx), lastID); err != nil {
		return drained{}, err
	}
	if left, _ := s.spool.Backlog(); left == 0 {
		s.active, s.why = false, ""
	}
	return done, nil
}

func (s *spooling) lastStored(ctx context.Context, writer string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	return s.q.store.LastStored(ctx, writer)
}

// store stores a group. Like Queue.commit, it halves a group that fails for its
// content. The requests were acknowledged, so every event is either stored, or set
// aside and replaced by a report. store returns how many it set aside.
func (s *spooling) store(ctx context.Context, group models.Group) (setAside int, err error) {
	if len(group.Batches) == 0 {
		return 0, nil
	}
	err = s.append(ctx, group)
	switch {
	case err == nil || !isOfRequest(err):
		return 0, err
	case len(group.Batches) > 1:
		half := len(group.Batches) / 2
		rest := group
		group.Batches = group.Batches[:half]
		rest.Batches, rest.Mark.First = rest.Batches[half:], rest.Mark.First+int64(half)
		if setAside, err = s.store(ctx, group); err != nil {
			return setAside, err
		}
		more, err := s.store(ctx, rest)
		return setAside + more, err
	case models.ErrorCode(err) == models.CodeConflict:
		if group.Batches[0].Key == "" {
			return 0, models.Wrap(err, models.CodeInternal, "the backend does not know this error; its log has it")
		}
		// Another request has its key. The sender has an acknowledgement, so the events
		// are stored without the key.
		group.Batches[0].Key = ""
		return s.store(ctx, group)
	}
	refused, reported, err := isolate(ctx, s.q.store, group)
	if err != nil {
		return 0, err
	}
	if len(refused) > 0 {
		if err := s.spool.SetAside(context.WithoutCancel(ctx), group.Mark, reported, refused); err != nil {
			return 0, models.Wrap(err, models.CodeInternal, "the spool on this machine's disk cannot be written")
		}
		s.q.log.Error("the database refuses events that were acknowledged: they are set aside in the spool, and reported in their sessions",
			"events", len(refused), "reason", refused[0].Reason)
		s.q.meter.Rejected(len(refused))
		group.Batches = []models.Batch{reported}
	}
	return len(refused), s.append(ctx, group)
}

// append stores, counts and publishes a group.
func (s *spooling) append(ctx context.Context, group models.Group) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	began := time.Now()
	receipts, err := s.q.store.Append(ctx, group)
	if err == nil {
		s.q.committed(group, receipts, began)
	}
	return err
}
