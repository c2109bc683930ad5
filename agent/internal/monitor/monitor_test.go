//go:build linux

package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/journal"
	"ospulse/agent/internal/selection"
	"ospulse/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world implements all interfaces that a Monitor depends on, and records its calls.
type world struct {
	mu        sync.Mutex
	diary     []string
	spawned   *program
	ran       any   // run in session_start
	selection any   // likewise
	fault     error // result of Watch

	endsAtOnce bool          // the spawned program ends when it is released
	held       chan struct{} // if not nil, the spawner waits until it is closed
	stuck      chan struct{} // if not nil, the end of the program waits until it is closed
	cannotRun  error         // result of Release
	starts     *journal.Starts
	limits     string // limits of each watch
	unsettled  bool
	deserted   atomic.Bool // result of each watch's IsOver
	member     int         // for which each watch's Has is true
	running    map[string]journal.Record
}

func (w *world) Begin(r journal.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == nil {
		w.running = map[string]journal.Record{}
	}
	w.running[r.SessionID] = r
	return nil
}

func (w *world) End(id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, id)
	return nil
}

// journaled returns the sessions that the next run of the agent would end.
func (w *world) journaled() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.running))
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.diary = append(w.diary, fmt.Sprintf(format, args...))
}

func (w *world) Exclude([]int) error { return nil }

func (w *world) Watch(scope Scope, sink func(*event.Event)) (Watch, error) {
	w.note("watch %v %v", scope.All, scope.PIDs)
	if !scope.Selection.IsAll() {
		w.note("without %v", scope.Selection.LeaveOut)
	}
	if w.fault != nil {
		return nil, w.fault
	}
	seen := &watch{world: w}
	seen.sinking.Go(func() { sink(&event.Event{Type: "early", Data: &ended{}}) }) // sinks are called from the sensor's goroutine
	return seen, nil
}

type watch struct {
	*world
	sinking sync.WaitGroup
}

func (w *watch) IsOver() (bool, error) { return w.deserted.Load(), nil }

func (w *watch) Has(pid int) (bool, error) { return pid == w.member, nil }

func (w *watch) Hidden() ([]int, error) { return nil, nil }

func (w *watch) Limits() string { return w.limits }

func (w *watch) Close() error {
	w.sinking.Wait()
	w.note("unwatch")
	return nil
}

func (w *world) Find(name string) (path, sum string, err error) {
	if name != "x" {
		return "", "", errors.New("there is no uploaded file " + name)
	}
	return "/uploads/x", "aa", nil
}

func (w *world) Start(_ context.Context, path string, _ Command) (Spawned, error) {
	if w.held != nil {
		<-w.held
	}
	w.note("spawn %s", path)
	w.spawned = &program{world: w, done: make(chan struct{})}
	return w.spawned, nil
}

type program struct {
	*world
	once sync.Once
	done chan struct{}
}

func (p *program) PID() int              { return 77 }
func (p *program) OnExec() bool          { return true }
func (p *program) Run() any              { return map[string]string{"why": "it is an ELF file"} }
func (p *program) Done() <-chan struct{} { return p.done }
func (p *program) Ending() Ending        { return Ending{ExitCode: 3, Reason: "exited"} }
func (p *program) Release() error {
	p.note("release")
	if p.cannotRun != nil {
		return p.cannotRun
	}
	if p.endsAtOnce {
		p.end()
	}
	return nil
}

func (p *program) Stop() error {
	p.note("stop")
	if p.stuck != nil {
		<-p.stuck
	}
	p.end()
	return nil
}

func (p *program) end() { p.once.Do(func() { close(p.done) }) }

func newMonitor(w *world) *Monitor {
	return New(Options{Starts: w.starts,
		Sensor: w, SensorName: "test", Spawner: w, Files: w, Exclude: func(bool) []Own { return []Own{{PID: os.Getpid(), Role: roleAgent}} }, Log: slog.New(slog.DiscardHandler),
		Deliver: func(session string, e *event.Event) {
			w.note("%s gets %s", session, e.Type)
			if s, ok := e.Data.(*started); ok {
				w.mu.Lock()
				w.ran, w.selection = s.Run, s.Selection
				w.mu.Unlock()
			}
		},
		Settle: func(context.Context, string) bool { return !w.unsettled }, Journal: w,
	})
}

func (w *world) without(noise string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.diary), func(line string) bool { return strings.Contains(line, noise) })
}

func TestSpawn(t *testing.T) {
	w := &world{}
	m := newMonitor(w)
	request := Request{SessionID: "s", Mode: ModeSpawn, FileName: "x"}
	for range 2 { // the second request does not start it again
		if pid, err := m.Start(t.Context(), request); err != nil || pid != 77 {
			t.Fatal(pid, err)
		}
	}
	if want := fmt.Sprint(w.spawned.Run()); fmt.Sprint(w.ran) != want {
		t.Errorf("run in session_start is %v, want %s", w.ran, want)
	}
	running := m.get("s")
	w.spawned.end()
	<-running.done
	if m.Sessions() != 0 {
		t.Error("the session runs although its program has ended")
	}
	if stopped, err := m.Stop(t.Context(), "s", ""); err != nil || stopped != (Stopped{Over: true}) {
		t.Error(stopped, err)
	}
	want := []string{"spawn /uploads/x", "watch false [77]", "s gets session_start", "release", "unwatch", "s gets session_end"}
	if got := w.without("early"); !slices.Equal(got, want) {
		t.Errorf("diary: %q", got)
	}
	first, early, unwatch := slices.Index(w.diary, "s gets session_start"), slices.Index(w.diary, "s gets early"), slices.Index(w.diary, "unwatch")
	if first >= early || early >= unwatch {
		t.Errorf("the order is not start, event, end: %q", w.diary)
	}
}

// TestSelection: a start has the agent's own selection unless it names one, and session_start
// says which. A start of the session with another selection starts it again.
func TestSelection(t *testing.T) {
	w := &world{}
	m := newMonitor(w)
	m.options.Selection = selection.Selection{LeaveOut: []string{"closes"}}
	for i, test := range []struct {
		asked *selection.Selection
		want  string
	}{
		{nil, `{"leaveOut":["closes"]}`},
		{nil, `{"leaveOut":["closes"]}`},
		{&selection.Selection{LeaveOut: []string{"reads"}}, `{"leaveOut":["reads"]}`},
		{&selection.Selection{}, `null`},
	} {
		if _, err := m.Start(t.Context(), Request{SessionID: "s", Mode: ModeAll, Selection: test.asked}); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(w.selection); err != nil || string(got) != test.want {
			t.Errorf("start %d: session_start has %s, %v, want %s", i, got, err, test.want)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	one := []string{"watch true []", "s gets session_start", "unwatch", "s gets session_end"}
	want := slices.Concat(one[:1], []string{"without [closes]"}, one[1:], one[:1], []string{"without [reads]"}, one[1:], one)
	if got := w.without("early"); !slices.Equal(got, want) {
		t.Errorf("diary: %q", got)
	}
}

// TestClockStepped checks that each running session gets a clock_step, and an ended one
// does not.
func TestClockStepped(t *testing.T) {
	w := &world{}
	m := newMonitor(w)
	for _, id := range []string{"a", "b", "c"} {
		if _, err := m.Start(t.Context(), Request{SessionID: id, Mode: ModeAll}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Stop(t.Context(), "c", ""); err != nil {
		t.Fatal(err)
	}
	m.ClockStepped(time.Now().Add(-time.Hour), time.Now())
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, line := range w.diary {
		if strings.HasSuffix(line, " gets clock_step") {
			got = append(got, line)
		}
	}
	slices.Sort(got)
	if want := []string{"a gets clock_step", "b gets clock_step"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDesertedSessionEnds checks that a session of chosen processes ends when none of them
// is left, and that a session of all processes goes on.
func TestDesertedSessionEnds(t *testing.T) {
	w := &world{}
	m := newMonitor(w)
	var end Ending
	deliver := m.options.Deliver
	m.options.Deliver = func(id string, e *event.Event) {
		if d, ok := e.Data.(*ended); ok && e.Type == typeEnd && id == "chosen" {
			end = d.Ending
		}
		deliver(id, e)
	}
	for _, r := range []Request{{SessionID: "all", Mode: ModeAll}, {SessionID: "chosen", Mode: ModePIDs, PIDs: []int{os.Getppid()}}} {
		if _, err := m.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx, time.Millisecond) }()
	w.deserted.Store(true)
	wait.For(t, "the session has ended", func() bool { return m.Sessions() == 1 })
	cancel()
	<-done
	if ids := m.SessionIDs(); !slices.Equal(ids, []string{"all"}) || !slices.Equal(w.journaled(), ids) {
		t.Errorf("%q run, %q are in the journal", ids, w.journaled())
	}
	if want := (Ending{Reason: "exited", ExitCode: -1}); end != want {
		t.Errorf("it ended as %+v, want %+v", end, want)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// Programs that end at once do not use up the session limit, and their sessions can be
// started again.
func TestManyThatEndAtOnce(t *testing.T) {
	w := &world{endsAtOnce: true}
	m := newMonitor(w)
	for i := range 3 * maxSessions {
		if _, err := m.Start(t.Context(), Request{SessionID: fmt.Sprint("s", i%(2*maxSessions)), Mode: ModeSpawn, FileName: "x"}); err != nil {
			t.Fatal(i, err)
		}
		if s := m.get(fmt.Sprint("s", i%(2*maxSessions))); s != nil {
			<-s.done
		}
	}
	if n := m.Sessions(); n != 0 {
		t.Errorf("%d sessions run", n)
	}
}

func TestSpawnThatCannotBeWatched(t *testing.T) {
	w := &world{fault: errors.New("no")}
	m := newMonitor(w)
	if _, err := m.Start(t.Context(), Request{SessionID: "s", Mode: ModeSpawn, FileName: "x"}); !errors.Is(err, w.fault) {
		t.Error(err)
	}
	if want := []string{"spawn /uploads/x", "watch false [77]", "stop"}; !slices.Equal(w.diary, want) {
		t.Errorf("diary: %q", w.diary)
	}
	if m.Sessions() != 0 {
		t.Error("a session whose start failed still exists")
	}
}

func TestRefusals(t *testing.T) {
	m := newMonitor(&world{})
	for want, test := range map[string]struct {
		code string
		r    Request
	}{
		"mode must be":           {"invalid", Request{SessionID: "s", Mode: 4}},
		"needs processes":        {"invalid", Request{SessionID: "s", Mode: ModePIDs}},
		"no process 1073741824":  {"invalid", Request{SessionID: "s", Mode: ModePIDs, PIDs: []int{1 << 30}}},
		"there is no process -1": {"invalid", Request{SessionID: "s", Mode: ModePIDs, PIDs: []int{-1}}},
		`no class "forks"`:       {"invalid", Request{SessionID: "s", Mode: ModeAll, Selection: &selection.Selection{LeaveOut: []string{"forks"}}}},
		"OS-Pulse's own":         {"invalid", Request{SessionID: "s", Mode: ModePIDs, PIDs: []int{os.Getpid()}}},
		"no uploaded file y":     {"", Request{SessionID: "s", Mode: ModeSpawn, FileName: "y"}},
	} {
		_, err := m.Start(t.Context(), test.r)
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) || refusal.Code != test.code {
			t.Errorf("%+v: %#v", test.r, err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	w := &world{}
	m := newMonitor(w)
	var running sync.WaitGroup
	for i := range 20 {
		running.Go(func() {
			id := fmt.Sprint("s", i%5)
			if _, err := m.Start(t.Context(), Request{SessionID: id, Mode: ModeAll}); err != nil {
				t.Error(err)
			}
			if _, err := m.Stop(t.Context(), id, ""); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if _, err := m.Start(t.Context(), Request{SessionID: "last", Mode: ModeAll}); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := m.Start(t.Context(), Request{SessionID: "later", Mode: ModeAll}); err == nil {
		t.Error("started after Close")
	}
	starts, ends := len(w.without("gets session_end")), len(w.without("gets session_start"))
	if starts != ends || m.Sessions() != 0 {
		t.Errorf("%d lines without ends, %d without starts, %d sessions", starts, ends, m.Sessions())
	}
}

func TestEventsAreJSON(t *testing.T) {
	for _, data := range []event.Data{
		&started{SessionID: "a\xff", Excluded: []int{1}}, &ended{Ending: Ending{Reason: "x", Detail: make(chan int)}}, &ended{Ending: Ending{Detail: map[string]int{"a": 1}}},
	} {
		if text := data.AppendJSON(nil); !json.Valid(text) {
			t.Errorf("%s", text)
		}
	}
}

// The journal holds a session from before its first event until its end is on disk.
func TestJournal(t *testing.T) {
	w := &world{}
	m := newMonitor(w)
	for _, r := range []Request{{SessionID: "all", Mode: ModeAll}, {SessionID: "file", Mode: ModeSpawn, FileName: "x"}, {SessionID: "unsafe", Mode: ModeAll}} {
		if _, err := m.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.journaled(); !slices.Equal(got, []string{"all", "file", "unsafe"}) {
		t.Errorf("run: %v", got)
	}
	w.fault = errors.New("no")
	if _, err := m.Start(t.Context(), Request{SessionID: "failed", Mode: ModeSpawn, FileName: "x"}); err == nil {
		t.Error("started without a watch")
	}
	for _, id := range []string{"all", "file"} {
		if _, err := m.Stop(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	w.unsettled = true
	if _, err := m.Stop(t.Context(), "unsafe", ""); err != nil {
		t.Fatal(err)
	}
	if got := w.journaled(); !slices.Equal(got, []string{"unsafe"}) {
		t.Errorf("the journal has %v", got)
	}
}

// The end of a session from a killed run is reported once, before it can be started again.
func TestRecover(t *testing.T) {
	w := &world{running: map[string]journal.Record{"a": {}}}
	m := newMonitor(w)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var got []string
	m.options.Deliver = func(session string, e *event.Event) {
		if lost, ok := e.Data.(*event.Lost); ok {
			if !lost.From.Equal(at.Add(time.Second)) || lost.To.Before(lost.From) || lost.Reason != "agent_killed" || lost.Count != 0 {
				t.Errorf("lost: %+v", lost)
			}
		}
		if end, ok := e.Data.(*ended); ok && (end.Reason != "agent_restarted" || end.Mode != ModeSpawn || end.ProcessID != 7 || end.Seconds != 1) {
			t.Errorf("ended: %+v", end)
		}
		got = append(got, session+" "+e.Type)
	}
	settle := m.Recover([]journal.Record{{SessionID: "a", Mode: ModeSpawn, ProcessID: 7, Began: at, Alive: at.Add(time.Second)}})
	if want := []string{"a events_lost", "a session_end"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	m.options.Deliver = func(string, *event.Event) {}
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Start(early, Request{SessionID: "a", Mode: ModeAll}); !errors.Is(err, context.Canceled) {
		t.Errorf("a start before it is safe: %v", err)
	}
	settle()
	if got := w.journaled(); len(got) > 0 {
		t.Errorf("are left: %v", got)
	}
	if _, err := m.Start(t.Context(), Request{SessionID: "a", Mode: ModeAll}); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
