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
	waiting  chan struct{} // holds a value for each caller that waits
	patience time.Duration // how long a caller waits for a place
	refusal  string        // the error for a caller without a place
}

// maxWaiting bounds the callers that wait at a gate, and so the memory of their requests.
const maxWaiting = 64

// NewGate returns a gate with a number of places. refusal says what they are for, and
// which setting raises their number.
func NewGate(places int, patience time.Duration, refusal string) *Gate {
	return &Gate{make(chan struct{}, places), make(chan struct{}, maxWaiting), patience, refusal}
}

// Enter waits for a place. The caller must call leave to return it. Enter returns
// overloaded if no place becomes free within the gate's patience, and at once if too many
// callers wait.
func (g *Gate) Enter(ctx context.Context) (leave func(), err error) {
	overloaded := models.Errorf(models.CodeOverloaded, "%s; try again", g.refusal)
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return nil, overloaded
	}
	patience := time.NewTimer(g.patience)
	defer patience.Stop()
	select {
	case g.places <- struct{}{}:
		return g.leave, nil
	case <-patience.C:
		return nil, overloaded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *Gate) leave() { <-g.places }

// exportPatience is how long an export waits for its turn.
const exportPatience = 5 * time.Second

// NewExportGate limits the number of concurrent exports: each lasts as long as its reader
// takes.
func NewExportGate(exports int) *Gate {
	return NewGate(exports, exportPatience, "as many exports are running as may run at a time (EXPORTS_MAX)")
}

// Reads runs the reads that may take long: text searches, filters without an index,
// counts, sums over a session, and pages of exports. It limits their number and their
// time. They get fewer than all connections and processors, so that other work goes on.
// It is safe for concurrent use.
type Reads struct {
	gate    *Gate
	timeout time.Duration
}

// NewReads limits the number of concurrent reads to most. Each waits for its turn for at
// most timeout, and then takes at most timeout.
func NewReads(most int, timeout time.Duration) *Reads {
	return &Reads{NewGate(most, timeout, "as many long reads are running as may run at a time (READS_MAX)"), timeout}
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
