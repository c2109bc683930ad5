//go:build linux

package clock

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ospulse/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hands are the clocks of a test.
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

// pass advances both clocks by d and moves the wall clock by step.
func (h *hands) pass(d, step time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boottime += d
	h.wall = h.wall.Add(d + step)
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// TestSteps checks that times before a step keep their value and that later times follow
// the new clock.
func TestSteps(t *testing.T) {
	h := &hands{boottime: time.Hour, wall: noon}
	c := New(h.look)
	at := func(since time.Duration, want time.Time) {
		t.Helper()
		if got := c.Wall(uint64(since)); !got.Equal(want) {
			t.Errorf("%s after boot it was %s, want %s", since, got, want)
		}
	}
	h.pass(time.Minute, time.Millisecond) // within tolerance
	c.Check()
	h.pass(time.Minute, 3600*time.Second)
	c.check(true)
	h.pass(time.Minute, -7200*time.Second)
	c.check(true)
	h.pass(time.Minute, time.Second) // a step that the kernel does not report
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

// TestFalseLooks checks that a Clock recovers from a wrong first reading, here one hour
// ahead: all times then follow the current clocks.
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

// TestFollow checks that Follow reports each step once, also one that Check found.
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
		if s := wait.Receive(t, "Follow reports a step", steps); s.By() != by || !s.After.Equal(h.wall) {
			t.Errorf("Follow reported %+v, by %s; want %s", s, s.By(), by)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestSystem checks that the machine's Clock agrees with time.Now.
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
		t.Errorf("%d spans, want %d", n, maxSpans)
	}
	if got := c.Wall(0); !got.Equal(noon.Add(-time.Hour)) {
		t.Errorf("the time of boot is %s", got)
	}
	if got := c.Wall(uint64(h.boottime)); !got.Equal(h.wall) {
		t.Errorf("now it is %s, want %s", got, h.wall)
	}
}
