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

// Spool keeps groups on this machine's disk; *spool.Spool implements it and
// documents its contract.
type Spool interface {
	Append(ctx context.Context, group models.Group) error
	Oldest(ctx context.Context, maxEvents int) (group models.Group, lastID int64, err error)
	Drop(ctx context.Context, lastID int64) error
	Reject(ctx context.Context, batch models.Batch, reason error) error
	Backlog() (events int, sizeBytes int64)
}

// How the spool is drained.
const (
	drainEvents  = 4000                   // stored at once: more than a group, so that the drain overtakes what comes in
	drainTimeout = 30 * time.Second       // of one of these
	firstRetry   = 100 * time.Millisecond // after a database that is away was asked, doubled up to
	lastRetry    = 2 * time.Second
)

// spooling is the part of a queue that works while the database is away. From the
// first group that goes to the spool until the spool is empty, all groups go
// there: none overtakes another.
type spooling struct {
	q     *Queue
	spool Spool

	mu     sync.Mutex
	active bool
	wake   chan struct{} // holds a value when it has become active
}

func newSpooling(q *Queue, spool Spool) *spooling {
	s := &spooling{q: q, spool: spool, wake: make(chan struct{}, 1)}
	if events, _ := spool.Backlog(); events > 0 { // left by an earlier run of the program
		s.active = true
		s.wake <- struct{}{}
	}
	return s
}

// instead puts a group into the spool if others wait there.
func (s *spooling) instead(group models.Group) (receipts []models.Receipt, spooled bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return nil, false, nil
	}
	receipts, err = s.put(group)
	return receipts, true, err
}

// begin puts the first group into the spool, as the database is away, which is
// the cause.
func (s *spooling) begin(group models.Group, cause error) ([]models.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	receipts, err := s.put(group)
	if err != nil {
		return nil, errors.Join(err, cause)
	}
	s.q.log.Warn("the database is away: events are kept on this machine's disk until it is back", "error", cause)
	s.active = true
	select {
	case s.wake <- struct{}{}:
	default: // whoever drains is going to look again
	}
	return receipts, nil
}

// put writes a group to the disk. It must not take long, or be given up: the
// requests are waiting.
func (s *spooling) put(group models.Group) ([]models.Receipt, error) {
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

// run drains the spool whenever something is in it, until ctx ends.
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

// drain stores what is in the spool, oldest first, until the spool is empty or ctx
// ends.
func (s *spooling) drain(ctx context.Context) {
	began, total := time.Now(), 0
	retry, events := firstRetry, drainEvents
	for ctx.Err() == nil {
		n, err := s.step(ctx, events)
		total += n
		switch {
		case err == nil && n == 0:
			if s.end() {
				if total == 0 { // it was drained with what came before
					return
				}
				s.q.log.Info("the database has all events that were kept on this machine's disk", "events", total, "took", time.Since(began).String())
				return
			}
		case err == nil:
			retry, events = firstRetry, drainEvents
		default:
			if models.ErrorCode(err) != models.CodeUnavailable {
				s.q.log.Error("the spool cannot be drained; it is tried again", "error", err)
			}
			events = max(events/2, 1) // it may have been too much for the time that it has
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
			retry = min(2*retry, lastRetry)
		}
	}
}

// end ends the spooling if the spool is empty.
func (s *spooling) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if events, _ := s.spool.Backlog(); events > 0 {
		return false
	}
	s.active = false
	return true
}

// step stores the oldest groups of the spool, about so many events, and tells how
// many are done with. A part of them may have been stored before: by a commit of
// which no answer came, or by a run of the program that ended before it could drop
// them.
func (s *spooling) step(ctx context.Context, maxEvents int) (events int, err error) {
	group, lastID, err := s.spool.Oldest(ctx, maxEvents)
	if err != nil || len(group.Batches) == 0 {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	last, err := s.q.store.LastStored(ctx, group.Mark.Writer)
	if err != nil {
		return 0, err
	}
	for _, batch := range group.Batches {
		events += len(batch.Events)
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
	if err := s.store(ctx, group); err != nil {
		return 0, err
	}
	// Who sees the spool empty is not to find that it is still in use.
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.spool.Drop(context.WithoutCancel(ctx), lastID); err != nil {
		return 0, err
	}
	if left, _ := s.spool.Backlog(); left == 0 {
		s.active = false
	}
	return events, nil
}

// store stores a group; like Queue.commit it halves one that fails for what is in
// it. What no database takes was acknowledged, and is kept.
func (s *spooling) store(ctx context.Context, group models.Group) error {
	if len(group.Batches) == 0 {
		return nil
	}
	began := time.Now()
	receipts, err := s.q.store.Append(ctx, group)
	switch {
	case err == nil:
		s.q.committed(group, receipts, began)
		return nil
	case errors.Is(err, models.ErrAlreadyStored) || models.ErrorCode(err) == models.CodeUnavailable || ctx.Err() != nil:
		return models.Wrap(err, models.CodeUnavailable, "the spool cannot be drained now")
	case len(group.Batches) > 1:
		half := len(group.Batches) / 2
		if err := s.store(ctx, models.Group{Batches: group.Batches[:half], Mark: group.Mark}); err != nil {
			return err
		}
		group.Mark.First += int64(half)
		group.Batches = group.Batches[half:]
		return s.store(ctx, group)
	case models.ErrorCode(err) == models.CodeConflict && group.Batches[0].Key != "":
		// Its key belongs to another request. Its sender was told that the events
		// are taken, so they are.
		group.Batches[0].Key = ""
		return s.store(ctx, group)
	}
	s.q.log.Error("events that were acknowledged cannot be stored: they stay in the table rejected of the spool", "events", len(group.Batches[0].Events), "error", err)
	s.q.meter.Rejected(len(group.Batches[0].Events))
	return s.spool.Reject(ctx, group.Batches[0], err)
}
