package service

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// clockJump is how far the clock must go forward at once to count as wrong at first.
	clockJump = 24 * time.Hour
	// clockPatience is how long such a clock counts as wrong. NTP corrects one within minutes.
	clockPatience = time.Hour
)

// PatientClock returns a clock for the removal of what is old. If clock jumps forward by more than
// a day, its time goes on as before the jump for an hour. So a clock that is wrong for a moment
// removes nothing. last is the latest time that is known to have passed; the zero time if none is.
func PatientClock(clock Clock, last time.Time, log *slog.Logger) Clock {
	var (
		mu     sync.Mutex
		asked  = time.Now() // its monotonic time is that of last
		jumped time.Time    // zero: the clock is right
	)
	if last.IsZero() {
		last = clock()
	}
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		wall, now := clock(), time.Now()
		steady := last.Add(now.Sub(asked))
		asked = now
		switch isAhead := wall.Sub(steady) > clockJump; {
		case !isAhead:
			last, jumped = wall, time.Time{}
		case jumped.IsZero():
			log.Warn("the clock went forward, or the backend did not run: what is old is removed in an hour, if the clock is still the same then", "from", steady, "to", wall)
			last, jumped = steady, now
		case now.Sub(jumped) < clockPatience:
			last = steady
		default:
			last, jumped = wall, time.Time{}
		}
		return last
	}
}
