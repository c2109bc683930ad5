//go:build linux

package clock

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hands are what a test's clocks show.
type hands struct {
	mu       sync.Mutex
	boottime time.Duration
	wall     time.Time
}

func (h *hands) look() (uint64, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(h.boottime), h.wall
}

// pass lets time pass, and sets the wall clock.
func (h *hands) pass(d, step time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boottime += d
	h.wall = h.wall.Add(d + step)
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// TestSteps: what happened before a step keeps its time, what happens after it has
// the new clock's.
func TestSteps(t *testing.T) {
	h := &hands{boottime: time.Hour, wall: noon}
	c := New(h.look)
	at := func(since time.Duration, want time.Time) {
		t.Helper()
		if got := c.Wall(uint64(since)); !got.Equal(want) {
			t.Errorf("%s since the boot it was %s, want %s", since, got, want)
		}
	}
	h.pass(time.Minute, time.Millisecond) // no more than a look takes
	c.Check()
	h.pass(time.Minute, 3600*time.Second)
	c.check(true)
	h.pass(time.Minute, -7200*time.Second)
	c.check(true)
	h.pass(time.Minute, time.Second) // which the kernel did not tell
	c.Check()
	at(0, noon.Add(-time.Hour))
	at(time.Hour+90*time.Second, noon.Add(90*time.Second))
	at(time.Hour+2*time.Minute-1, noon.Add(2*time.Minute-1))
	after := time.Hour + time.Millisecond
	at(time.Hour+2*time.Minute, noon.Add(2*time.Minute+after))
	at(time.Hour+3*time.Minute-1000, noon.Add(3*time.Minute-1000+after))
	at(time.Hour+3*time.Minute, noon.Add(3*time.Minute+after-2*time.Hour))
	at(time.Hour+3*time.Minute+time.Second, noon.Add(3*time.Minute+time.Second+after-2*time.Hour+time.Second))
	at(time.Hour+4*time.Minute, h.wall)
}

// TestFalseLooks: the time since the boot was an hour ahead when the clock was made,
// and stood still. Once that shows, all times are by what the clocks say now.
func TestFalseLooks(t *testing.T) {
	h := &hands{boottime: 2 * time.Hour, wall: noon}
	c := New(h.look)
	h.mu.Lock()
	h.wall = noon.Add(time.Second)
	h.mu.Unlock()
	c.Check()
	h.pass(-time.Hour, time.Hour)
	c.Check()
	if got, want := c.Wall(uint64(h.boottime-time.Minute)), h.wall.Add(-time.Minute); !got.Equal(want) {
		t.Errorf("a minute ago it was %s, want %s", got, want)
	}
}

// TestFollow: a step that is found, by whoever compares the clocks, is told once.
func TestFollow(t *testing.T) {
	h := &hands{boottime: time.Hour, wall: noon}
	c := New(h.look)
	ctx, stop := context.WithCancel(context.Background())
	steps := make(chan Step)
	ended := make(chan error)
	go func() { ended <- c.Follow(ctx, func(s Step) { steps <- s }) }()
	for _, by := range []time.Duration{time.Hour, -time.Minute} {
		h.pass(time.Second, by)
		c.Check()
		c.Check()
		select {
		case s := <-steps:
			if s.By() != by || !s.After.Equal(h.wall) {
				t.Errorf("told: %+v, by %s; want %s", s, s.By(), by)
			}
		case <-time.After(60 * time.Second):
			t.Fatal("a step is not told")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestSystem: the machine's clock is the one that Go has.
func TestSystem(t *testing.T) {
	boottime, _ := look()
	before := time.Now().Add(-tolerance)
	now, _ := look()
	if got := System().Wall(now); got.Before(before) || now < boottime {
		t.Errorf("%s is before %s", got, before)
	}
}

func TestManySteps(t *testing.T) {
	h := &hands{boottime: time.Hour, wall: noon}
	c := New(h.look)
	for range maxSpans + 10 {
		h.pass(time.Second, time.Minute)
		c.check(true)
	}
	if n := len(*c.spans.Load()); n != maxSpans {
		t.Errorf("%d spans are kept", n)
	}
	if got := c.Wall(0); !got.Equal(noon.Add(-time.Hour)) {
		t.Errorf("the boot was at %s", got)
	}
	if got := c.Wall(uint64(h.boottime)); !got.Equal(h.wall) {
		t.Errorf("it is %s, not %s", h.wall, got)
	}
}
