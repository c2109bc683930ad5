package main

import (
	"context"
	"sync"
	"time"
)

// worker does one piece of work and returns how many events that was. drive calls it
// repeatedly.
type worker func() (events int, err error)

// window is the measured time, after a warm-up. opened and closed, if not nil, are
// called at its start and end.
type window struct {
	warmUp, length time.Duration
	opened, closed func()
}

// tally is the result of work.
type tally struct {
	acknowledged int64   // events, including the warm-up
	counted      float64 // events inside the window
	latencies    histogram
}

// add counts one piece of work, from start to end. Work that is partly outside of the
// window counts in proportion. Otherwise the result would depend on where the window
// begins, if it holds few pieces.
func (t *tally) add(events int, start, end time.Duration, w *window) {
	t.acknowledged += int64(events)
	inside := min(end, w.warmUp+w.length) - max(start, w.warmUp)
	if inside > 0 {
		t.counted += float64(events) * float64(inside) / float64(end-start)
		t.latencies.add(end - start)
	}
}

// merge adds the tallies of several workers.
func merge(tallies []tally) *tally {
	total := &tally{}
	for i := range tallies {
		total.acknowledged += tallies[i].acknowledged
		total.counted += tallies[i].counted
		total.latencies.merge(&tallies[i].latencies)
	}
	return total
}

// drive runs all workers concurrently until the window ends, and returns the tally of
// each. The first error stops all of them.
func drive(ctx context.Context, w window, workers []worker) ([]tally, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	tallies := make([]tally, len(workers))
	began := time.Now()
	var working sync.WaitGroup
	for i, work := range workers {
		working.Go(func() {
			for start := time.Since(began); start < w.warmUp+w.length && ctx.Err() == nil; {
				events, err := work()
				if err != nil {
					fail(err)
					return
				}
				end := time.Since(began)
				tallies[i].add(events, start, end, &w)
				start = end
			}
		})
	}
	at(ctx, began.Add(w.warmUp), w.opened)
	at(ctx, began.Add(w.warmUp+w.length), w.closed)
	working.Wait()
	return tallies, context.Cause(ctx)
}

// at waits until t and calls fn if it is not nil. It returns early if ctx ends.
func at(ctx context.Context, t time.Time, fn func()) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		if fn != nil {
			fn()
		}
	case <-ctx.Done():
	}
}
