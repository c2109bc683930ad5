//go:build linux

package sandbox

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/sensor"
)

// TestWatchedFromItsFirstInstructionAsRoot checks that the sensor's first event is the exec
// of the program by the held pid, and that the launcher causes no event.
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
	waitForEnd(t, p)
	if err := watch.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if firstPID != p.PID() {
		t.Errorf("the first event of process %d is %s", p.PID(), first)
	}
	for _, want := range []string{"/bin/sh /home/user/sample", "/bin/true", "cat /etc/hostname"} {
		if !slices.Contains(ran, want) {
			t.Errorf("no exec of %q is reported: %q", want, ran)
		}
	}
	t.Logf("%d events; it ran %q", count, ran)
}

// TestOnePathAsRoot checks that a file has the same path in all of its events, although
// /var/tmp is a link to /tmp in the sandbox.
func TestOnePathAsRoot(t *testing.T) {
	sensors, err := sensor.New(sensor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sensors.Close()
	p := held(t, "#!/bin/sh\ncp /bin/true /var/tmp/.x\nchmod 4755 /var/tmp/.x\nmv /var/tmp/.x /var/tmp/.y\nrm /var/tmp/.y\n", small())
	var got []string
	watch, err := sensors.Watch(sensor.Scope{PIDs: []int{p.PID()}, OnExec: true}, func(e *event.Event) {
		f, ok := e.Data.(*event.File)
		if ok && (strings.Contains(f.Path, "/.") || strings.Contains(f.Given, "/.")) && f.Operation != "CloseFile" && !f.Transfer && !f.Result.Failed() {
			got = append(got, strings.TrimSpace(f.Operation+" "+f.Path+" "+f.NewPath))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	waitForEnd(t, p)
	if err := watch.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"CreateFile /tmp/.x", "ChangeMode /tmp/.x", "RenameFile /tmp/.x /tmp/.y", "DeleteFile /tmp/.y"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
