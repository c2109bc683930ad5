//go:build linux

package sensor

import (
	"path/filepath"
	"testing"

	"ospulse/agent/internal/event"
)

// TestWatchedStaysWatchedAsRoot: a watched process and its descendants cannot be excluded.
func TestWatchedStaysWatchedAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	marker := filepath.Join(t.TempDir(), "marker")
	cmd, release := held(t, t.TempDir(), "/bin/sh", "-c", `/bin/touch "$0"`, marker)
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Watch(Scope{Exclude: []int{cmd.Process.Pid}}, func(*event.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	closeWatch(t, other)
	for _, e := range l.events {
		if d, ok := e.Data.(*event.File); ok && d.Path == marker {
			return
		}
	}
	t.Error("the process was not reported after a watch excluded it")
}
