//go:build linux

package sensor

import (
	"math/bits"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/event"
)

// log collects the events of a watch. Read it after the watch is closed.
type log struct{ events []*event.Event }

func (l *log) add(e *event.Event) { l.events = append(l.events, e) }

// pids returns the processes that caused the events.
func (l *log) pids(t *testing.T) map[int]bool {
	t.Helper()
	pids := map[int]bool{}
	for _, e := range l.events {
		switch d := e.Data.(type) {
		case *event.File:
			pids[d.Actor.PID] = true
		case *event.Network:
			pids[d.Actor.PID] = true
		case *event.Fork:
			pids[d.Actor.PID] = true
		case *event.Exit:
			pids[d.Actor.PID] = true
		case *event.Creation:
			if d.New.PID != 0 {
				pids[d.New.PID] = true
			}
		case *event.Lost:
			t.Errorf("%d events lost", d.Count)
		}
	}
	return pids
}

// opens reports whether an event has the path.
func (l *log) opens(path string) bool {
	for _, e := range l.events {
		if d, ok := e.Data.(*event.File); ok && d.Path == path {
			return true
		}
	}
	return false
}

func closeWatch(t *testing.T, w *Watch) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWatchesAreApartAsRoot runs several watches at once: each receives only the events of its
// own processes and their descendants.
func TestWatchesAreApartAsRoot(t *testing.T) {
	s := newSensor(t, Options{ContentBytes: 16})
	const command = "cat /etc/hostname; (cat /etc/passwd; true) | wc -l"
	dir := t.TempDir()
	one, releaseOne := held(t, dir, "/bin/sh", "-c", command)
	two, releaseTwo := held(t, dir, "/bin/sh", "-c", command)
	other, releaseOther := held(t, dir, "/bin/sh", "-c", command)
	var first, second, both, none log
	watch := func(l *log, pids ...int) *Watch {
		w, err := s.Watch(Scope{PIDs: pids, OnExec: true}, l.add)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	watches := []*Watch{
		watch(&first, one.Process.Pid), watch(&second, two.Process.Pid),
		watch(&both, one.Process.Pid), watch(&none),
	}
	if err := watches[2].Add(two.Process.Pid); err != nil {
		t.Fatal(err)
	}
	releaseOne()
	releaseTwo()
	releaseOther()
	for _, cmd := range []interface{ Wait() error }{one, two, other} {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range watches {
		closeWatch(t, w)
	}
	a, b, ab := first.pids(t), second.pids(t), both.pids(t)
	if len(a) < 4 || len(b) < 4 {
		t.Fatalf("the trees have %d and %d processes; the shell alone starts three", len(a), len(b))
	}
	for pid := range a {
		if b[pid] || !ab[pid] {
			t.Errorf("process %d of the first watch is in the second: %v, in the one of both: %v", pid, b[pid], ab[pid])
		}
	}
	if len(ab) != len(a)+len(b) || len(both.events) != len(first.events)+len(second.events) {
		t.Errorf("the watch of both has %d processes and %d events; the watches of each %d and %d, %d and %d",
			len(ab), len(both.events), len(a), len(b), len(first.events), len(second.events))
	}
	if len(none.events) > 0 {
		t.Errorf("a watch without processes received %d events", len(none.events))
	}
	if a[other.Process.Pid] || b[other.Process.Pid] {
		t.Error("an unwatched process was reported")
	}
}

// TestEveryProcessButTheExcludedAsRoot watches the machine: excluded processes and their
// descendants are not reported.
func TestEveryProcessButTheExcludedAsRoot(t *testing.T) {
	dir := t.TempDir()
	marks := []string{dir + "/child", dir + "/hidden"}
	for _, mark := range marks {
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	child, releaseChild := held(t, dir, "/bin/sh", "-c", "cat "+marks[0]+"; true")
	hidden, releaseHidden := held(t, dir, "/bin/sh", "-c", "cat "+marks[1]+"; true")
	s := newSensor(t, Options{Exclude: []int{hidden.Process.Pid}})
	var all, own log
	w, err := s.Watch(Scope{All: true, Exclude: []int{os.Getpid()}}, all.add)
	if err != nil {
		t.Fatal(err)
	}
	// The watch names an excluded process: the exclusion takes precedence.
	named, err := s.Watch(Scope{PIDs: []int{hidden.Process.Pid}}, own.add)
	if err != nil {
		t.Fatal(err)
	}
	releaseChild() // a child of this program, which is excluded too
	releaseHidden()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := hidden.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	closeWatch(t, named)
	if all.opens(marks[1]) || len(own.events) > 0 {
		t.Error("an excluded process was reported")
	}
	if all.opens(marks[0]) {
		t.Error("a descendant of an excluded process was reported")
	}
	pids := all.pids(t)
	if pids[os.Getpid()] {
		t.Error("this program excluded itself and was reported")
	}
}

// TestAllSeesWhatIsThereAsRoot watches the machine without an exclusion.
func TestAllSeesWhatIsThereAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	var all log
	w, err := s.Watch(Scope{All: true}, all.add)
	if err != nil {
		t.Fatal(err)
	}
	mark := t.TempDir() + "/mark"
	if err := os.WriteFile(mark, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, release := held(t, "/", "/bin/true")
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	if !all.opens(mark) {
		t.Error("a file that this program opened was not reported")
	}
	var begun, ended bool
	for _, e := range all.events {
		switch d := e.Data.(type) {
		case *event.Creation:
			begun = begun || d.New.PID == cmd.Process.Pid && strings.HasSuffix(d.ImagePath, "/true") && d.Actor.PID == os.Getpid()
		case *event.Exit:
			ended = ended || d.Actor.PID == cmd.Process.Pid
		}
	}
	if !begun || !ended {
		t.Errorf("the program's start (%v) or end (%v) is missing among %d events", begun, ended, len(all.events))
	}
}

// TestNamedChildOfTheExcludedAsRoot: a child of the excluded agent is watched if a watch
// names it, and stays watched when the agent is excluded again.
func TestNamedChildOfTheExcludedAsRoot(t *testing.T) {
	dir := t.TempDir()
	mark := dir + "/mark"
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSensor(t, Options{})
	var all, own log
	first, err := s.Watch(Scope{All: true, Exclude: []int{os.Getpid()}}, all.add)
	if err != nil {
		t.Fatal(err)
	}
	child, release := held(t, dir, "/bin/sh", "-c", "cat "+mark+"; true")
	second, err := s.Watch(Scope{PIDs: []int{child.Process.Pid}}, own.add)
	if err != nil {
		t.Fatal(err)
	}
	third, err := s.Watch(Scope{Exclude: []int{os.Getpid()}}, func(*event.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, third)
	closeWatch(t, second)
	closeWatch(t, first)
	if !own.opens(mark) || !all.opens(mark) {
		t.Error("the named process was not reported")
	}
	if all.pids(t)[os.Getpid()] {
		t.Error("the excluded program was reported")
	}
}

// TestClockAsRoot: the wall clock is an hour slow when the sensor starts, and is then set.
// Events of a watch that starts afterwards have the new time. It is then set an hour ahead,
// and the events of the next watch have that time.
func TestClockAsRoot(t *testing.T) {
	var wrong atomic.Int64 // ns
	wrong.Store(-int64(time.Hour))
	look := func() (uint64, time.Time) {
		var boot unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
			t.Error(err)
		}
		return uint64(boot.Nano()), time.Now().Add(time.Duration(wrong.Load()))
	}
	c := clock.New(look)
	s := newSensor(t, Options{Clock: c})
	wrong.Store(0)
	began := time.Now().Add(-50 * time.Millisecond) // two readings of two clocks may differ by this
	events, _ := watched(t, s, t.TempDir(), "/bin/true")
	ended := time.Now().Add(50 * time.Millisecond)
	if len(events) == 0 {
		t.Fatal("no event was reported")
	}
	for _, e := range events {
		if e.Time.Before(began) || e.Time.After(ended) {
			t.Errorf("not between %s and %s: %s", began, ended, e.AppendJSON(nil))
		}
	}
	last := events[len(events)-1].Time
	wrong.Store(int64(time.Hour))
	c.Check()
	boottime, _ := look()
	if now := c.Wall(boottime); now.Sub(last) < time.Hour {
		t.Errorf("the clock was not set: %s, and before %s", now, last)
	}
	events, _ = watched(t, s, t.TempDir(), "/bin/true")
	for _, e := range events {
		if e.Time.Sub(last) < time.Hour {
			t.Errorf("not an hour after %s: %s", last, e.AppendJSON(nil))
		}
	}
}

// TestEntriesOnceAsRoot checks that a process is listed once, also if another ends meanwhile.
func TestEntriesOnceAsRoot(t *testing.T) {
	const first, n = 5_000_000, 8 // no process has such a pid
	s := newSensor(t, Options{})
	for i := range n {
		if err := s.change(first+uint32(i), func(p *proc) { p.Hidden = 1 << i }); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	pids, err := s.entries(func(p *proc) bool {
		if seen++; seen == n/2 {
			if err := s.objects.Procs.Delete(first + uint32(bits.TrailingZeros64(p.Hidden))); err != nil {
				t.Error(err)
			}
		}
		return p.Hidden != 0
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen <= n {
		t.Fatal("the kernel did not list a process again")
	}
	want := make([]uint32, n)
	for i := range want {
		want[i] = first + uint32(i)
	}
	if !slices.Equal(pids, want) {
		t.Errorf("the processes are %v, want %v", pids, want)
	}
}
