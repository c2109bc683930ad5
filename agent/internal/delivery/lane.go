//go:build linux

package delivery

import (
	"crypto/rand"
	"time"
)

// lane is the way of one session's events: first the head, then what is on disk,
// then what is in memory, then what is open.
type lane struct {
	session string
	head    *batch // being sent, or to be sent again
	disk    []ref
	memory  []*batch
	open    *batch
	losses  losses // not told of yet

	// unsynced are in the spool, but a power cut would take them: they are kept in
	// memory until the spool is synced.
	unsynced []*batch

	sending bool
	retry   retry
	gaveUp  bool // while closing
}

// retry is when something that failed is tried again.
type retry struct {
	fails int
	at    time.Time
}

// fail puts off the next try: twice as long each time, a little at random so
// that agents do not come all at once, and as long as the backend asks for.
func (r *retry) fail(now time.Time, asked time.Duration) {
	wait := min(firstBackoff<<min(r.fails, 10), maxBackoff)
	wait = wait/2 + time.Duration(randomFraction()*float64(wait)/2)
	r.fails++
	r.at = now.Add(max(wait, asked))
}

func randomFraction() float64 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return float64(int(b[0])<<8|int(b[1])) / (1 << 16)
}

// isReady reports whether there is something to send.
func (l *lane) isReady() bool { return l.head != nil || len(l.disk) > 0 || len(l.memory) > 0 }

// unsafeSince gives when the oldest was added of what is in memory only; zero if
// nothing is.
func (l *lane) unsafeSince() time.Time {
	var oldest time.Time
	note := func(at time.Time) {
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	if b := l.firstInMemory(); b != nil {
		note(b.since)
	}
	for _, b := range l.memory {
		note(b.since)
	}
	if l.open != nil {
		note(l.open.since)
	}
	for _, b := range l.unsynced {
		note(b.since)
	}
	for _, lost := range l.losses {
		note(lost.to)
	}
	return oldest
}

func (l *lane) isEmpty() bool {
	return !l.isReady() && !l.sending && l.open == nil && len(l.losses) == 0 && len(l.unsynced) == 0
}

// firstInMemory gives the oldest batch that is not on disk. What is before it
// is, so that the disk has the order of the lane.
func (l *lane) firstInMemory() *batch {
	if l.head != nil && !l.head.spooled {
		return l.head
	}
	if len(l.memory) > 0 {
		return l.memory[0]
	}
	return nil
}
