//go:build linux

package sensor

import (
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/agent/internal/event"
)

// within fails the test if do does not end within a minute, enough for a slow machine.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal(what, "did not end")
	}
}

// TestManyFlushesAtOnceAsRoot calls Flush from many goroutines at once: each call returns.
func TestManyFlushesAtOnceAsRoot(t *testing.T) {
	s := newSensor(t, Options{RingBytes: 1 << 20})
	var l log
	w, err := s.Watch(Scope{All: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "a flush among many", func() {
		for range 20 {
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					if err := s.Flush(); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
	})
	closeWatch(t, w)
}

// TestFlushOfAFullRingAsRoot causes events faster than the sink handles them, so that the
// ring is never empty: Flush and Close still return.
func TestFlushOfAFullRingAsRoot(t *testing.T) {
	s := newSensor(t, Options{RingBytes: 128 << 10})
	storm := exec.Command("dd", "if=/dev/zero", "of=/dev/null", "bs=1")
	if err := storm.Start(); err != nil {
		t.Fatal(err)
	}
	defer storm.Wait()         //nolint:errcheck // it was killed
	defer storm.Process.Kill() //nolint:errcheck // as it never ends
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var given atomic.Int64
	w, err := s.Watch(Scope{PIDs: []int{storm.Process.Pid}}, func(*event.Event) {
		if given.Add(1)%64 == 0 {
			<-tick.C // the sink is slower than the program
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the ring", func() {
		for s.Backlog() < 64<<10 {
			runtime.Gosched()
		}
	})
	within(t, "a flush", func() {
		for range 3 {
			if err := s.Flush(); err != nil {
				t.Error(err)
			}
		}
	})
	within(t, "the watch", func() { closeWatch(t, w) })
	if given.Load() == 0 {
		t.Error("the sink received no event")
	}
}
