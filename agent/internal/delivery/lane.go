//go:build linux

package delivery

import (
	"crypto/rand"
	"time"
)

// lane is the queue of one session. In order, it has the head, the batches on disk, the
// batches in memory and the open batch.
type lane struct {
	session string
	head    *batch // being sent, or waiting for a retry
	disk    []ref
	memory  []*batch
	open    *batch
	losses  losses // not reported yet

	// unsynced are batches in the spool that a power cut would lose. They stay in memory
	// until the spool is synced.
	unsynced []*batch

	sending bool
	retry   retry
	gaveUp  bool // an attempt failed while closing
}

// retry counts failures in a row and holds the time of the next attempt.
type retry struct {
	fails int
	at    time.Time
}

// fail counts a failure and delays the next attempt. The delay doubles each time and is at
// least the time that the backend asked for. A random part keeps agents from retrying all
// at once.
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

// isReady reports whether the lane has a sealed batch.
func (l *lane) isReady() bool { return l.head != nil || len(l.disk) > 0 || len(l.memory) > 0 }

// unsafeSince returns the time at which the oldest event that a power cut would lose was
// added. It is zero if there is none.
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

// firstInMemory returns the oldest sealed batch that is not on disk, or nil. All batches
// before it are on disk, so the disk keeps the order of the lane.
func (l *lane) firstInMemory() *batch {
	if l.head != nil && !l.head.spooled {
		return l.head
	}
	if len(l.memory) > 0 {
		return l.memory[0]
	}
	return nil
}
