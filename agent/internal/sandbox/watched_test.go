//go:build linux

package sandbox

import (
	"slices"
	"sync"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/sensor"
)

// TestWatchedFromItsFirstInstructionAsRoot: what the sensor sees begins with the program's
// exec, of the pid that was held, and the sandbox does nothing more in its place.
func TestWatchedFromItsFirstInstructionAsRoot(t *testing.T) {
	sensors, err := sensor.New(sensor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sensors.Close()
	p := held(t, "#!/bin/sh\n/bin/true\n(setsid sh -c '/bin/true; cat /etc/hostname' &)\nexit 3\n", small())
	var mu sync.Mutex
	var count int
	var first string
	var firstPID int
	var ran []string
	watch, err := sensors.Watch(sensor.Scope{PIDs: []int{p.PID()}, OnExec: true}, func(e *event.Event) {
		mu.Lock()
		defer mu.Unlock()
		created, ok := e.Data.(*event.Creation)
		if count++; count == 1 {
			first = string(e.AppendJSON(nil))
			if ok {
				firstPID = created.New.PID
			}
		}
		if ok {
			ran = append(ran, created.CommandLine())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	if err := watch.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if firstPID != p.PID() {
		t.Errorf("of process %d the first that was seen is %s", p.PID(), first)
	}
	for _, want := range []string{"/bin/sh /home/user/sample", "/bin/true", "cat /etc/hostname"} {
		if !slices.Contains(ran, want) {
			t.Errorf("it was not seen to run %q: %q", want, ran)
		}
	}
	t.Logf("%d events; it ran %q", count, ran)
}
