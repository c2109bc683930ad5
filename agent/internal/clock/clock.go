//go:build linux

// Package clock tells what time it was when the kernel's clock since the boot showed
// something, and follows the wall clock when it is set: by NTP, by hand, or because a
// machine's snapshot was restored. It must not know what the times are of.
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

// tolerance is what two looks at the clocks may differ by without a step: the two
// clocks run at the same rate, so what differs is how long a look takes.
const tolerance = 2 * time.Millisecond

// checkInterval is how often the clocks are compared, in case that the kernel does
// not say when one is set.
const checkInterval = time.Second

// maxSpans bounds how many steps are remembered.
const maxSpans = 1000

// Step is a change of the wall clock.
type Step struct {
	Before time.Time // what it would have shown
	After  time.Time // what it showed instead
}

// By is how far the clock went; negative: back.
func (s Step) By() time.Duration { return s.After.Sub(s.Before) }

// span is a time between two steps.
type span struct {
	from uint64    // CLOCK_BOOTTIME, ns
	zero time.Time // what the wall clock of the span shows at CLOCK_BOOTTIME 0
}

// Clock turns times since the boot into times of the wall clock. Its methods may be
// called at any time.
type Clock struct {
	look  func() (boottime uint64, wall time.Time)
	spans atomic.Pointer[[]span] // the oldest first, never changed

	mu      sync.Mutex
	checked uint64 // when the clocks were compared last, and were as expected
	steps   []Step // that Follow has not told yet
	wake    chan struct{}
}

// System gives the machine's clock. A time before a step keeps the value that it had,
// so there is one for the whole program.
var System = sync.OnceValue(func() *Clock { return New(look) }) //nolint:gochecknoglobals // a machine has one clock

// New makes a clock of one that is looked at: both clocks at the same moment.
func New(look func() (boottime uint64, wall time.Time)) *Clock {
	c := &Clock{look: look, wake: make(chan struct{}, 1)}
	boottime, wall := look()
	c.checked = boottime
	c.spans.Store(&[]span{{0, zeroOf(boottime, wall)}})
	return c
}

// zeroOf gives what the wall clock shows at CLOCK_BOOTTIME 0.
func zeroOf(boottime uint64, wall time.Time) time.Time {
	return wall.Add(-time.Duration(boottime)).Round(time.Microsecond)
}

// look reads both clocks, several times: the quickest look is the most exact.
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

// Wall gives what the wall clock showed at a time since the boot, in ns. Times before
// a step are by the clock as it was then.
func (c *Clock) Wall(boottime uint64) time.Time {
	spans := *c.spans.Load()
	i := len(spans) - 1
	for i > 0 && boottime < spans[i].from {
		i--
	}
	return spans[i].zero.Add(time.Duration(boottime))
}

// Check compares the clocks. If the wall clock was set since the last time, all since
// then is by the clock as it is now.
func (c *Clock) Check() { c.check(false) }

// check does it; isNow says that the wall clock was set at this moment.
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
	if boottime < c.checked { // it cannot go back: what was seen before was false
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

// Follow tells each step, until ctx ends. The kernel says at once when the clock is
// set; besides, the clocks are compared every second.
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

// watchSets gives a channel that has a value when the wall clock was set; done ends
// that.
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
				return // it was closed
			}
			select {
			case sets <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return sets, func() {
		_ = timer.Close() // which ends the goroutine
		<-ended
	}, nil
}
