//go:build linux

package monitor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"ospulse/agent/internal/journal"
)

// openStarts opens the starts in a folder, as the next run of the agent does.
func (w *world) openStarts(t *testing.T, dir string) {
	t.Helper()
	var left []journal.Record
	for _, r := range w.running {
		left = append(left, r)
	}
	starts, faults, err := journal.OpenStarts(dir, left)
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	w.starts = starts
}

// spawns returns how many programs were started.
func (w *world) spawns() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, line := range w.diary {
		if strings.HasPrefix(line, "spawn") {
			n++
		}
	}
	return n
}

// A start with an id continues when no caller waits for it. It happens once, however
// often it is requested and even if the next run of the agent gets the request. Its
// outcome can be asked for.
func TestStartIsCarriedOutOnce(t *testing.T) {
	w, dir := &world{held: make(chan struct{})}, t.TempDir()
	w.openStarts(t, dir)
	m := newMonitor(w)
	r := Request{SessionID: "s", StartID: "1", Mode: ModeSpawn, FileName: "x"}
	state := func(id string, want journal.StartState, reason string) {
		t.Helper()
		if got := m.FindStart(id); got.State != want || !strings.Contains(got.Reason, reason) {
			t.Errorf("the start %s is %+v, want %s", id, got, want)
		}
	}
	state("1", journal.StartUnknown, "")
	impatient, giveUp := context.WithCancel(t.Context())
	giveUp()
	if _, err := m.Start(impatient, r); !errors.Is(err, context.Canceled) {
		t.Error("a start that no caller waits for:", err)
	}
	state("1", journal.StartStarting, "")
	var asked sync.WaitGroup
	for range 8 {
		asked.Go(func() {
			if pid, err := m.Start(t.Context(), r); err != nil || pid != 77 {
				t.Error(pid, err)
			}
		})
	}
	close(w.held)
	asked.Wait()
	state("1", journal.StartRunning, "")
	other := r
	other.SessionID = "t"
	if _, err := m.Start(t.Context(), other); !errors.Is(err, ErrRefused) {
		t.Error("the id of another session's start:", err)
	}
	other = r
	other.StartID = "2"
	if _, err := m.Start(t.Context(), other); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "runs already") {
		t.Error("a second start of a session that runs:", err)
	}
	state("2", journal.StartNotRun, "runs already")

	running := m.get("s")
	w.openStarts(t, dir) // the agent was killed: its journal has the session
	m = newMonitor(w)
	state("1", journal.StartEnded, "restarted")
	if pid, err := m.Start(t.Context(), r); err != nil || pid != 77 {
		t.Error("repeated after a restart:", pid, err)
	}
	if _, err := m.Start(t.Context(), other); !errors.Is(err, ErrRefused) {
		t.Error("a refused one, repeated after a restart:", err)
	}
	if n := w.spawns(); n != 1 {
		t.Errorf("it was started %d times", n)
	}
	running.spawned.(*program).end()
	<-running.done
}

// If the agent is killed before the program runs, its next run reports not_run.
func TestStartThatWasCutOff(t *testing.T) {
	w, dir := &world{}, t.TempDir()
	w.openStarts(t, dir)
	for _, id := range []string{"held", "ran"} {
		if err := w.starts.Put(journal.Start{ID: id, SessionID: id, State: journal.StartStarting}); err != nil {
			t.Fatal(err)
		}
	}
	w.running = map[string]journal.Record{"ran": {SessionID: "ran", StartID: "ran"}}
	w.openStarts(t, dir)
	m := newMonitor(w)
	if got := m.FindStart("held"); got.State != journal.StartNotRun {
		t.Errorf("%+v", got)
	}
	if got := m.FindStart("ran"); got.State != journal.StartEnded {
		t.Errorf("%+v", got)
	}
	if _, err := m.Start(t.Context(), Request{SessionID: "held", StartID: "held", Mode: ModeSpawn, FileName: "x"}); !errors.Is(err, ErrRefused) || w.spawns() > 0 {
		t.Error("the program was started:", err)
	}
}

// FindStart reports every kind of outcome.
func TestOutcomesOfStarts(t *testing.T) {
	w := &world{endsAtOnce: true}
	w.openStarts(t, t.TempDir())
	m := newMonitor(w)
	start := func(id string) {
		t.Helper()
		_, err := m.Start(t.Context(), Request{SessionID: id, StartID: id, Mode: ModeSpawn, FileName: "x"})
		_, again := m.Start(t.Context(), Request{SessionID: id, StartID: id, Mode: ModeSpawn, FileName: "x"})
		if (err == nil) != (again == nil) {
			t.Errorf("%v, and then %v", err, again)
		}
	}
	start("ends")
	if s := m.get("ends"); s != nil {
		<-s.done
	}
	w.cannotRun = CannotRun(errors.New("it is a picture"))
	start("not a program")
	w.cannotRun, w.fault = nil, errors.New("no")
	start("not watched")
	for id, want := range map[string]journal.Start{
		"ends":          {State: journal.StartEnded, ProcessID: 77, Reason: "exited"},
		"not a program": {State: journal.StartFailed, Code: "cannot_run", Reason: "it is a picture"},
		"not watched":   {State: journal.StartNotRun, Reason: "watch: no"},
	} {
		got := m.FindStart(id)
		want.ID, want.SessionID, want.At = id, id, got.At
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.diary, "not a program gets session_start") || !slices.Contains(w.diary, "not a program gets session_end") {
		t.Errorf("a session that began has no session_end: %q", w.diary)
	}
}

// A stop answers in time although the program does not end, and then continues. Any
// number of concurrent stops get an answer. A start that arrives after its stop is refused.
func TestStopAnswersInTime(t *testing.T) {
	w := &world{stuck: make(chan struct{})}
	w.openStarts(t, t.TempDir())
	m := newMonitor(w)
	if _, err := m.Start(t.Context(), Request{SessionID: "s", StartID: "1", Mode: ModeSpawn, FileName: "x"}); err != nil {
		t.Fatal(err)
	}
	impatient, giveUp := context.WithCancel(t.Context())
	giveUp()
	if stopped, err := m.Stop(impatient, "s", "1"); err != nil || stopped != (Stopped{Known: true}) {
		t.Errorf("%+v, %v", stopped, err)
	}
	var stops sync.WaitGroup
	for range 8 {
		stops.Go(func() {
			if stopped, err := m.Stop(t.Context(), "s", ""); err != nil || !stopped.Over {
				t.Errorf("%+v, %v", stopped, err)
			}
		})
	}
	close(w.stuck)
	stops.Wait()
	if n := m.Sessions(); n != 0 {
		t.Errorf("%d sessions run", n)
	}
	if got := m.FindStart("1"); got.State != journal.StartEnded {
		t.Errorf("%+v", got)
	}

	if stopped, err := m.Stop(t.Context(), "s", "late"); err != nil || stopped != (Stopped{Over: true}) {
		t.Errorf("%+v, %v", stopped, err)
	}
	if _, err := m.Start(t.Context(), Request{SessionID: "s", StartID: "late", Mode: ModeSpawn, FileName: "x"}); !errors.Is(err, ErrRefused) {
		t.Error("a start that comes after its stop:", err)
	}
	if n := w.spawns(); n != 1 {
		t.Errorf("%d programs were started", n)
	}
}

// A stop waits for the start in progress, then ends the session.
func TestStopDuringAStart(t *testing.T) {
	w := &world{held: make(chan struct{})}
	w.openStarts(t, t.TempDir())
	m := newMonitor(w)
	r := Request{SessionID: "s", StartID: "1", Mode: ModeSpawn, FileName: "x"}
	impatient, giveUp := context.WithCancel(t.Context())
	giveUp()
	if _, err := m.Start(impatient, r); err == nil {
		t.Error("it is started already")
	}
	if stopped, err := m.Stop(impatient, "s", "1"); err != nil || stopped.Over {
		t.Errorf("%+v, %v", stopped, err)
	}
	close(w.held)
	if stopped, err := m.Stop(t.Context(), "s", "1"); err != nil || !stopped.Over {
		t.Errorf("%+v, %v", stopped, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if got := m.FindStart("1"); got.State != journal.StartEnded || m.Sessions() != 0 {
		t.Errorf("%+v, %d sessions run", got, m.Sessions())
	}
}
