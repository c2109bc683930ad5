package service

import (
	"context"
	"sync"
	"time"

	"ospulse/internal/models"
)

// Gate lets a bounded number of callers in at a time. It is safe for concurrent use.
type Gate struct {
	places   chan struct{} // holds a value for each caller that is in
	patience time.Duration // how long a caller waits for a place
	refusal  string        // what one reads that got none
}

// NewGate gives a gate with so many places. refusal says what they are for, and by
// which setting there may be more.
func NewGate(places int, patience time.Duration, refusal string) *Gate {
	return &Gate{make(chan struct{}, places), patience, refusal}
}

// Enter waits for a place, which the caller gives back by calling leave. When there
// is none for the gate's patience, the caller is overloaded.
func (g *Gate) Enter(ctx context.Context) (leave func(), err error) {
	patience := time.NewTimer(g.patience)
	defer patience.Stop()
	select {
	case g.places <- struct{}{}:
		return g.leave, nil
	case <-patience.C:
		return nil, models.Errorf(models.CodeOverloaded, "%s; try again", g.refusal)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *Gate) leave() { <-g.places }

// NewExportGate lets so many exports run at a time: each of them takes as long as its
// reader does.
func NewExportGate(exports int) *Gate {
	return NewGate(exports, readPatience, "as many exports are running as may run at a time (EXPORTS_MAX)")
}

// Reads runs the reads that may take long: text searches, filters without an index,
// counts, sums over a session, and each page of an export. So many run at a time,
// each for so long. They have less than all connections and all processors, so that
// everything else goes on beside them. It is safe for concurrent use.
type Reads struct {
	gate    *Gate
	timeout time.Duration
}

// readPatience is how long a read waits for its turn.
const readPatience = 5 * time.Second

// NewReads lets most reads run at a time, each for timeout at the longest.
func NewReads(most int, timeout time.Duration) *Reads {
	return &Reads{NewGate(most, readPatience, "as many long reads are running as may run at a time (READS_MAX)"), timeout}
}

// Do calls read when it is its turn, with a context that ends when the read has
// taken too long; that is unavailable. A caller whose turn does not come soon is
// overloaded. The turn is over when read returns, or has called done.
func (r *Reads) Do(ctx context.Context, read func(ctx context.Context, done func()) error) error {
	leave, err := r.gate.Enter(ctx)
	if err != nil {
		return err
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	return r.run(ctx, func(ctx context.Context) error { return read(ctx, leave) })
}

// Page is Do for a page of an export that has begun: it waits for its turn as long
// as ctx lasts.
func (r *Reads) Page(ctx context.Context, read func(ctx context.Context) error) error {
	select {
	case r.gate.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer r.gate.leave()
	return r.run(ctx, read)
}

func (r *Reads) run(ctx context.Context, read func(ctx context.Context) error) error {
	reading, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	err := read(reading)
	if err != nil && reading.Err() != nil && ctx.Err() == nil {
		return models.Wrap(err, models.CodeUnavailable, "the read took longer than %s (READ_TIMEOUT): narrow the filter or the span of time", r.timeout)
	}
	return err
}
