package service

import (
	"context"
	"sync"
	"time"

	"ospulse/internal/models"
)

// Gate limits the number of concurrent callers. It is safe for concurrent use.
type Gate struct {
	places   chan struct{} // holds a value for each caller inside
	patience time.Duration // how long a caller waits for a place
	refusal  string        // the error for a caller without a place
}

// NewGate returns a gate with a number of places. refusal says what they are for, and
// which setting raises their number.
func NewGate(places int, patience time.Duration, refusal string) *Gate {
	return &Gate{make(chan struct{}, places), patience, refusal}
}

// Enter waits for a place. The caller must call leave to return it. Enter returns
// overloaded if no place becomes free within the gate's patience.
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

// NewExportGate limits the number of concurrent exports: each lasts as long as its reader
// takes.
func NewExportGate(exports int) *Gate {
	return NewGate(exports, readPatience, "as many exports are running as may run at a time (EXPORTS_MAX)")
}

// Reads runs the reads that may take long: text searches, filters without an index,
// counts, sums over a session, and pages of exports. It limits their number and their
// time. They get fewer than all connections and processors, so that other work goes on.
// It is safe for concurrent use.
type Reads struct {
	gate    *Gate
	timeout time.Duration
}

// readPatience is how long a read waits for its turn.
const readPatience = 5 * time.Second

// NewReads limits the number of concurrent reads to most, and the time of each to
// timeout.
func NewReads(most int, timeout time.Duration) *Reads {
	return &Reads{NewGate(most, readPatience, "as many long reads are running as may run at a time (READS_MAX)"), timeout}
}

// Do waits for its turn and calls read, with a context that ends after the timeout; the
// error is unavailable then. Do returns overloaded if its turn does not come soon. The
// turn ends when read returns or calls done.
func (r *Reads) Do(ctx context.Context, read func(ctx context.Context, done func()) error) error {
	leave, err := r.gate.Enter(ctx)
	if err != nil {
		return err
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	return r.run(ctx, func(ctx context.Context) error { return read(ctx, leave) })
}

// Page is Do for a page of an export that has begun: it waits for its turn until ctx
// ends.
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
