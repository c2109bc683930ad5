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
	"ospulse/test/wait"
)

// within fails the test if do does not end.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	wait.Receive(t, what+" ends", done)
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

// TestSensedAsRoot holds back the sink: Sensed stays before the event that the sink has not
// had, and passes it afterwards.
func TestSensedAsRoot(t *testing.T) {
	s := newSensor(t, Options{RingBytes: 1 << 20})
	reached, release := make(chan struct{}), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	var once sync.Once
	program := exec.Command("sh", "-c", "read line; exec true")
	input, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(Scope{PIDs: []int{program.Process.Pid}}, func(*event.Event) {
		once.Do(func() { close(reached) })
		<-release
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := input.Close(); err != nil { // the program goes on and ends
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	within(t, "the first event", func() { <-reached })
	for time.Since(ended) < 3*pollInterval {
		if got := s.Sensed(); !got.Before(ended) {
			t.Fatalf("sensed until %v, but an event from before %v has not arrived", got, ended)
		}
		runtime.Gosched()
	}
	free()
	within(t, "the last event", func() {
		for s.Sensed().Before(ended) {
			runtime.Gosched()
		}
	})
	closeWatch(t, w)
}
