//go:build linux

package delivery

import (
	"context"
	"time"
)

// SafeUntil gives a time: what was added before it would survive the agent and a
// power cut now, as it is with the backend, synced to disk, or lost and reported.
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

// Settle waits until what was added of a session so far would survive the agent:
// as long as the backend takes to answer, or the disk to take it, which is asked
// after a second. It reports false if ctx ended before.
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
