//go:build linux

// Package clock converts the kernel's time since boot (CLOCK_BOOTTIME) to wall clock
// time. It detects when the wall clock is set: by NTP, by hand, or because a snapshot of
// the machine was restored. It must not know what the times belong to.
package clock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tolerance is the largest difference between two readings that is not a step. Both
// clocks run at the same rate, so only the time that a reading takes makes a difference.
const tolerance = 2 * time.Millisecond

// checkInterval is how often Follow compares the clocks, in case the kernel does not
// report a step.
const checkInterval = time.Second

// maxSpans is how many spans a Clock keeps at most.
const maxSpans = 1000

// Step is a change of the wall clock.
type Step struct {
	Before time.Time // the time without the step
	After  time.Time // the time that the clock shows instead
}

// By returns how far the clock moved; it is negative if the clock moved back.
func (s Step) By() time.Duration { return s.After.Sub(s.Before) }

// span is the time between two steps.
type span struct {
	from uint64    // CLOCK_BOOTTIME, ns
	zero time.Time // the wall clock time at CLOCK_BOOTTIME 0, by the clock of this span
}

// Clock converts times since boot to wall clock times. All methods may be called
// concurrently.
type Clock struct {
	look  func() (boottime uint64, wall time.Time)
	spans atomic.Pointer[[]span] // the oldest first; the slice is immutable

	mu      sync.Mutex
	checked uint64 // CLOCK_BOOTTIME of the last comparison
	steps   []Step // that Follow has not reported yet
	wake    chan struct{}
}

// System returns the Clock of the machine. All callers share it, so that they agree on
// the times before a step.
var System = sync.OnceValue(func() *Clock { return New(look) }) //nolint:gochecknoglobals // a machine has one clock

// New creates a Clock. look must read CLOCK_BOOTTIME, in ns, and the wall clock at the
// same moment.
func New(look func() (boottime uint64, wall time.Time)) *Clock {
	c := &Clock{look: look, wake: make(chan struct{}, 1)}
	boottime, wall := look()
	c.checked = boottime
	c.spans.Store(&[]span{{0, zeroOf(boottime, wall)}})
	return c
}

// zeroOf returns the wall clock time at CLOCK_BOOTTIME 0.
func zeroOf(boottime uint64, wall time.Time) time.Time {
	return wall.Add(-time.Duration(boottime)).Round(time.Microsecond)
}

// look reads both clocks several times and returns the fastest reading, which is the most
// exact.
func look() (boottime uint64, wall time.Time) {
	best := int64(math.MaxInt64)
	for range 5 {
		var before, after unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &before)
		now := time.Now().Round(0)
		err = errors.Join(err, unix.ClockGettime(unix.CLOCK_BOOTTIME, &after))
		if took := after.Nano() - before.Nano(); err == nil && took < best {
			best = took
			boottime, wall = uint64(before.Nano()+took/2), now
		}
	}
	return boottime, wall
}

// Wall returns the wall clock time at a time since boot, in ns. A time before a step
// follows the clock before the step.
func (c *Clock) Wall(boottime uint64) time.Time {
	spans := *c.spans.Load()
	i := len(spans) - 1
	for i > 0 && boottime < spans[i].from {
		i--
	}
	return spans[i].zero.Add(time.Duration(boottime))
}

// Check compares the clocks. If the wall clock was set since the last comparison, all
// times after that comparison follow the new clock.
func (c *Clock) Check() { c.check(false) }

// check compares the clocks. isNow means that the wall clock was set at this moment: then
// times before now still follow the old clock.
func (c *Clock) check(isNow bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	boottime, wall := c.look()
	spans := *c.spans.Load()
	zero := zeroOf(boottime, wall)
	expected := spans[len(spans)-1].zero
	if d := zero.Sub(expected); d.Abs() <= tolerance {
		c.checked = boottime
		return
	}
	from := c.checked + 1
	if isNow {
		from = boottime
	}
	next := append([]span(nil), spans...)
	if len(next) == maxSpans {
		next = append(next[:1], next[2:]...)
	}
	next = append(next, span{from, zero})
	if boottime < c.checked { // impossible, so an earlier reading was wrong
		next = []span{{0, zero}}
	}
	c.spans.Store(&next)
	c.checked = boottime
	c.steps = append(c.steps, Step{Before: expected.Add(time.Duration(boottime)).Round(time.Microsecond), After: wall.Round(time.Microsecond)})
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Follow calls stepped for each step until ctx ends. The kernel reports a set clock at
// once. In addition, Follow compares the clocks every second. The error says that the
// kernel cannot report steps.
func (c *Clock) Follow(ctx context.Context, stepped func(Step)) error {
	set, done, err := watchSets(ctx)
	if err != nil {
		return err
	}
	defer done()
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-set:
			c.check(true)
		case <-ticker.C:
			c.check(false)
		case <-c.wake:
		case <-ctx.Done():
			return nil
		}
		c.mu.Lock()
		steps := c.steps
		c.steps = nil
		c.mu.Unlock()
		for _, s := range steps {
			stepped(s)
		}
	}
}

// watchSets returns a channel that receives a value each time the wall clock is set. The
// caller must call done, after ctx has ended.
func watchSets(ctx context.Context) (set <-chan struct{}, done func(), err error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("watch the clock: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt64)}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("watch the clock: %w", err), timer.Close())
	}
	sets := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var expirations [8]byte
		for {
			if _, err := timer.Read(expirations[:]); err != nil && !errors.Is(err, unix.ECANCELED) {
				return // done closed the timer
			}
			select {
			case sets <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return sets, func() {
		_ = timer.Close() // ends the goroutine
		<-ended
	}, nil
}
