//go:build linux

package sensor

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/procfs"
	"ospulse/test/wait"
)

// TestHiddenIsNoOtherProcessAsRoot checks that hiding a process hides no later process with
// its pid: neither one that began before the watch, nor one that begins while it runs.
func TestHiddenIsNoOtherProcessAsRoot(t *testing.T) {
	dir := t.TempDir()
	mark := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	identity := func(pid int) procfs.Identity {
		p, err := procfs.Read(pid)
		if err != nil {
			t.Fatal(err)
		}
		executable, _ := procfs.Exe(pid)
		return procfs.Identity{PID: pid, Ticks: p.Ticks, Executable: executable}
	}
	earlier, later := mark("earlier"), mark("later")
	s := newSensor(t, Options{})
	reused, releaseReused := held(t, dir, "/bin/cat", earlier)
	stale := identity(reused.Process.Pid)
	stale.Ticks--
	hidden, _ := held(t, dir, "/bin/true")
	pid := hidden.Process.Pid
	var l log
	w, err := s.Watch(Scope{All: true, Hide: []procfs.Identity{stale, identity(pid)}}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := w.Hidden(); err != nil || len(pids) != 1 || pids[0] != pid {
		t.Errorf("%v are hidden (%v), want %d", pids, err, pid)
	}
	releaseReused()
	if err := reused.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := hidden.Process.Kill(); err != nil { // it ends as the hidden program
		t.Fatal(err)
	}
	_ = hidden.Wait()
	for deadline := time.Now().Add(wait.Patience); ; {
		// The next process gets the first free pid after this one.
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		next, release := held(t, dir, "/bin/cat", later)
		release()
		if err := next.Wait(); err != nil {
			t.Fatal(err)
		}
		if next.Process.Pid == pid {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no process got the pid %d again", pid)
		}
	}
	closeWatch(t, w)
	if !l.opens(earlier) {
		t.Error("a process with the pid of an ended one is hidden")
	}
	seen := false
	for _, e := range l.events {
		d, ok := e.Data.(*event.File)
		seen = seen || ok && d.Actor.PID == pid && d.Path == later
	}
	if !seen {
		t.Error("a process that got the pid of a hidden one is hidden")
	}
}
