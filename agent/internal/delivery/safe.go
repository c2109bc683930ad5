//go:build linux

package delivery

import (
	"context"
	"time"
)

// SafeUntil returns the time before which no added event can be lost by a kill or a power
// cut: each is delivered, synced to disk, or lost and reported.
func (d *Delivery) SafeUntil() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	until := time.Now()
	for _, l := range d.lanes {
		if at := l.unsafeSince(); !at.IsZero() && at.Before(until) {
			until = at
		}
	}
	return until
}

// Settle waits until the events that were added to a session so far survive the end of the
// agent: the backend has stored them, or the spool is synced. It returns false if ctx ends
// first.
func (d *Delivery) Settle(ctx context.Context, session string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := time.Now()
	for {
		l := d.lanes[session]
		if l == nil {
			return true
		}
		if at := l.unsafeSince(); at.IsZero() || at.After(asked) {
			return true
		}
		freed := d.freed
		d.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		d.mu.Lock()
		if ctx.Err() != nil {
			return false
		}
	}
}
