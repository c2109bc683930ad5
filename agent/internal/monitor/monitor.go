//go:build linux

// Package monitor runs sessions: it chooses what a session is about, has it
// watched from before its first instruction, and hands on its events. It must not
// know HTTP, nor how events are seen, how a program is confined, or how events
// get to the backend: those are the interfaces that it declares.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/journal"
	"ospulse/agent/internal/procfs"
)

// The modes of the wire contract.
const (
	ModeAll   = 1 // the whole machine
	ModePIDs  = 2 // chosen processes and what comes of them
	ModeSpawn = 3 // the uploaded file and what comes of it
)

// maxSessions is how many there may be at once; the sensor has room for 64.
const maxSessions = 32

// settleTime is how long the end of a session waits to be safe.
const settleTime = 5 * time.Second

// ErrRefused is the cause of every error that is the asker's: the text says why.
var ErrRefused = errors.New("refused")

// The codes of refusals, which are the backend's too.
const (
	codeInvalid   = "invalid"    // the request is at fault
	codeCannotRun = "cannot_run" // the file is at fault
)

// Refusal is an error that is ErrRefused. Text is for the asker. Code says what is
// at fault; it is "" when that is this agent or its present state.
type Refusal struct{ Code, Text string }

func (r *Refusal) Error() string { return r.Text }

// Is says that a refusal is ErrRefused.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// CannotRun makes an error the file's.
func CannotRun(err error) error { return &Refusal{codeCannotRun, err.Error()} }

func refuse(format string, args ...any) error {
	return &Refusal{codeInvalid, fmt.Sprintf(format, args...)}
}

// Scope says whom a watch is about.
type Scope struct {
	All     bool
	PIDs    []int // and their descendants, from now on
	OnExec  bool  // begin with their next exec: what a launcher does is left out
	Exclude []int // and their descendants, but those that PIDs names
}

// Watch is a watch that stands. One with a method Limits() string tells what it does
// not see, for session_start.
type Watch interface {
	// Close ends it, after sink has had all that happened before.
	Close() error
}

// Sensor sees what programs do.
type Sensor interface {
	// Watch reports what is in scope to sink, from one goroutine at a time, until
	// the watch is closed. sink must not block for long.
	Watch(scope Scope, sink func(*event.Event)) (Watch, error)
	// Exclude excludes more processes, from all watches.
	Exclude(pids []int) error
}

// Spawner starts files, confined.
type Spawner interface {
	// Start starts the file but holds it before its first instruction. The context
	// is for starting only.
	Start(ctx context.Context, path string, command Command) (Spawned, error)
}

// Spawned is a program that was started.
type Spawned interface {
	PID() int
	Release() error // lets it run
	Stop() error    // ends it and all that came of it, and waits; also a second time
	Done() <-chan struct{}
	Ending() Ending // once Done is closed
	// Run says what is run and how, as JSON has it; nil if there is nothing to say.
	Run() any
	// OnExec says that a launcher, not the program, stands held.
	OnExec() bool
}

// Files finds uploaded files.
type Files interface {
	// Find gives the path and the SHA-256 of the file that was kept under the name.
	Find(name string) (path, sha256 string, err error)
}

// Journal remembers on disk which sessions run, for the next run of the agent, in
// case this one is killed.
type Journal interface {
	Begin(r journal.Record) error // replaces a record of the same session
	End(sessionID string) error
}

// Starts remembers starts on disk; *journal.Starts implements it and documents its
// contracts.
type Starts interface {
	Get(id string) journal.Start
	Put(start journal.Start) error
}

// Options are the settings of a Monitor.
type Options struct {
	Sensor       Sensor
	SensorName   string // ebpf or procfs
	SensorLimits string // what it does not see; "" for nothing
	Spawner      Spawner
	SpawnFault   string // why nothing can be spawned, when Spawner is nil
	Files        Files
	// Exclude gives the processes that are never reported; it is asked at each start,
	// and again while sessions run. isQuiet says that none runs yet.
	Exclude func(isQuiet bool) []Own
	// Deliver takes the events of a session.
	Deliver func(sessionID string, e *event.Event)
	// Settle waits until what was delivered of a session would survive the agent;
	// false if ctx ended before.
	Settle  func(ctx context.Context, sessionID string) bool
	Journal Journal
	Starts  Starts
	Version string
	Log     *slog.Logger
}

// Monitor runs sessions. Its methods may be called at any time.
type Monitor struct {
	options Options

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session
	starting map[string]chan struct{} // closed when the start or stop of that id is over
	attempts map[string]*attempt      // starts with an id that are under way, by that id
	working  sync.WaitGroup           // on attempts and stops
}

// New makes a Monitor.
func New(options Options) *Monitor {
	return &Monitor{options: options, sessions: map[string]*session{}, starting: map[string]chan struct{}{}, attempts: map[string]*attempt{}}
}

// Request asks for a session.
type Request struct {
	SessionID string
	StartID   string // of the backend, for this start alone; "" for none
	FileName  string
	Mode      int
	PIDs      []int
	Command
}

// Command says how a file is run.
type Command struct {
	EntryPoint string // of an archive: the path of what is run; "" for the only file that can be
	Arguments  []string
}

// session is one that runs.
type session struct {
	request Request
	pid     int // of what was spawned, else the first chosen, else 0
	watch   Watch
	spawned Spawned       // nil but in mode 3
	done    chan struct{} // closed when the wait for spawned is over
	isOver  bool          // what was spawned has ended, and that was told

	excluded []Own // as the session was told; by the Monitor's mu
	isEnding bool  // session_end is told, and nothing after it; by the Monitor's mu
}

// same reports whether the request is what runs already: a repeated question.
func (s *session) same(r Request) bool {
	if s.spawned != nil {
		select {
		case <-s.spawned.Done():
			return false
		default:
		}
	}
	return s.request.Mode == r.Mode && s.request.FileName == r.FileName && slices.Equal(s.request.PIDs, r.PIDs) &&
		s.request.EntryPoint == r.EntryPoint && slices.Equal(s.request.Arguments, r.Arguments)
}

// start starts a session: see Start.
func (m *Monitor) start(ctx context.Context, r Request) (int, error) {
	path, sha, err := m.check(&r)
	if err != nil {
		return 0, err
	}
	release, err := m.claim(ctx, r.SessionID)
	if err != nil {
		return 0, err
	}
	defer release()
	if old := m.get(r.SessionID); old != nil {
		if r.StartID != "" {
			return 0, &Refusal{Text: fmt.Sprintf("session %s runs already: a session is started once", r.SessionID)}
		}
		if old.same(r) {
			return old.pid, nil
		}
		if err := m.end(r.SessionID, old); err != nil {
			return 0, err
		}
	}
	m.mu.Lock()
	full, closed := len(m.sessions)+len(m.starting) > maxSessions, m.closed
	m.mu.Unlock()
	switch {
	case closed:
		return 0, errors.New("the agent is shutting down")
	case full:
		return 0, &Refusal{Text: fmt.Sprintf("%d sessions run already: stop one first", maxSessions)}
	}
	s, err := m.begin(ctx, r, path, sha)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	if !s.isOver {
		m.sessions[r.SessionID] = s
	}
	m.mu.Unlock()
	m.options.Log.Info("monitoring started", "session", r.SessionID, "mode", r.Mode, "pid", s.pid, "file", r.FileName)
	return s.pid, nil
}

// check refuses what cannot be started, and finds the file.
func (m *Monitor) check(r *Request) (path, sha string, err error) {
	switch r.Mode {
	case ModeAll:
		r.PIDs = nil
	case ModePIDs:
		if len(r.PIDs) == 0 {
			return "", "", refuse("mode 2 needs processes: the pids to monitor")
		}
		excluded := pidsOf(m.options.Exclude(m.isQuiet()))
		for _, pid := range r.PIDs {
			if slices.Contains(excluded, pid) {
				return "", "", refuse("process %d is OS-Pulse's own (the agent, its backend or its database) and is never monitored", pid)
			}
			if err := checkProcess(pid); err != nil {
				return "", "", err
			}
		}
	case ModeSpawn:
		r.PIDs = nil
		if path, sha, err = m.options.Files.Find(r.FileName); err != nil {
			return "", "", &Refusal{Text: err.Error()}
		}
		if m.options.Spawner == nil {
			return "", "", &Refusal{Text: "this agent cannot spawn files: " + m.options.SpawnFault}
		}
	default:
		return "", "", refuse("mode must be 1 (all processes), 2 (specific processes) or 3 (spawn the uploaded file)")
	}
	return path, sha, nil
}

// checkProcess refuses what is not a process that runs. A thread has a number like a
// process, and no events under it.
func checkProcess(pid int) error {
	if pid < 1 {
		return refuse("there is no process %d", pid)
	}
	process, err := procfs.ProcessOf(pid)
	switch {
	case errors.Is(err, procfs.ErrGone):
		return refuse("there is no process %d", pid)
	case err != nil:
		return err
	case process != pid:
		return refuse("%d is a thread of process %d: choose that", pid, process)
	case procfs.HasEnded(pid):
		return refuse("process %d has ended", pid)
	}
	return nil
}

// claim waits until nobody else starts or stops the session.
func (m *Monitor) claim(ctx context.Context, id string) (release func(), err error) {
	for {
		m.mu.Lock()
		busy, taken := m.starting[id]
		if !taken {
			mine := make(chan struct{})
			m.starting[id] = mine
			m.mu.Unlock()
			return func() {
				m.mu.Lock()
				delete(m.starting, id)
				m.mu.Unlock()
				close(mine)
			}, nil
		}
		m.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for session %s: %w", id, context.Cause(ctx))
		}
	}
}

func (m *Monitor) get(id string) *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[id]
}

// begin has the session watched, its session_start first, and lets what it
// spawned run.
func (m *Monitor) begin(ctx context.Context, r Request, path, sha string) (_ *session, err error) {
	s := &session{request: r, done: make(chan struct{})}
	scope := Scope{All: r.Mode == ModeAll, PIDs: r.PIDs}
	name, run := "", any(nil)
	switch r.Mode {
	case ModePIDs:
		s.pid = r.PIDs[0]
		if p, err := procfs.Read(s.pid); err == nil {
			name = p.Name
		}
	case ModeSpawn:
		if s.spawned, err = m.options.Spawner.Start(ctx, path, r.Command); err != nil {
			return nil, fmt.Errorf("spawn %s: %w", r.FileName, err)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, s.spawned.Stop())
			}
		}()
		s.pid, name, run = s.spawned.PID(), r.FileName, s.spawned.Run()
		scope.PIDs, scope.OnExec = []int{s.pid}, s.spawned.OnExec()
	}
	began := time.Now()
	if err := m.options.Journal.Begin(journal.Record{SessionID: r.SessionID, Mode: r.Mode, ProcessID: s.pid, StartID: r.StartID, Began: began}); err != nil {
		return nil, fmt.Errorf("note that session %s runs: %w", r.SessionID, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.options.Journal.End(r.SessionID))
		}
	}()
	start := &started{
		SessionID: r.SessionID, ProcessName: name, ProcessID: s.pid, Timestamp: eventTime(began),
		Platform: "linux", Arch: Arch(), Mode: r.Mode, FileName: r.FileName, SHA256: sha, Processes: r.PIDs,
		Run: run, Sensor: m.options.SensorName, Limits: m.options.SensorLimits, Version: m.options.Version,
	}
	// Nothing may come before session_start, nor session_start without a watch.
	var first sync.Once
	gate := make(chan struct{})
	sink := func(e *event.Event) {
		first.Do(func() { <-gate })
		m.options.Deliver(r.SessionID, e)
	}
	if s.watch, s.excluded, err = m.watch(scope, sink); err != nil {
		close(gate)
		return nil, err
	}
	if limited, ok := s.watch.(interface{ Limits() string }); ok && limited.Limits() != "" {
		start.Limits = strings.TrimPrefix(start.Limits+"; "+limited.Limits(), "; ")
	}
	start.Excluded, start.Exclusions = pidsOf(s.excluded), s.excluded
	m.options.Deliver(r.SessionID, &event.Event{Type: typeStart, Time: began, Data: start})
	close(gate)
	if s.spawned == nil {
		m.note(s.start(journal.StartRunning, ""))
		close(s.done)
		return s, nil
	}
	if err := s.spawned.Release(); err != nil {
		err = errors.Join(fmt.Errorf("run %s: %w", r.FileName, err), s.watch.Close())
		now := time.Now()
		m.options.Deliver(r.SessionID, &event.Event{Type: typeEnd, Time: now, Data: &ended{
			SessionID: r.SessionID, Mode: r.Mode, Timestamp: eventTime(now), ProcessID: s.pid, Ending: Ending{Reason: "not_run", ExitCode: -1},
		}})
		return nil, &begunError{err}
	}
	m.note(s.start(journal.StartRunning, ""))
	go m.wait(s, began)
	return s, nil
}

// watch sets up a watch, which leaves out what is excluded.
func (m *Monitor) watch(scope Scope, sink func(*event.Event)) (w Watch, excluded []Own, err error) {
	excluded = m.options.Exclude(m.isQuiet())
	scope.Exclude = pidsOf(excluded)
	if w, err = m.options.Sensor.Watch(scope, sink); err != nil {
		return nil, nil, fmt.Errorf("watch: %w", err)
	}
	return w, excluded, nil
}

// isQuiet reports whether no session runs, and no other than the caller's begins.
func (m *Monitor) isQuiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions) == 0 && len(m.starting) <= 1
}

// wait tells the end of what was spawned, and with it the session ends.
func (m *Monitor) wait(s *session, began time.Time) {
	defer close(s.done)
	<-s.spawned.Done()
	// What it did comes before its end.
	if err := s.watch.Close(); err != nil {
		m.options.Log.Error("the watch could not be ended", "session", s.request.SessionID, "error", err)
	}
	m.endTelling(s)
	now := time.Now()
	ending := s.spawned.Ending()
	if ending.Seconds == 0 {
		ending.Seconds = now.Sub(began).Seconds()
	}
	m.options.Deliver(s.request.SessionID, &event.Event{Type: typeEnd, Time: now, Data: &ended{
		SessionID: s.request.SessionID, Mode: s.request.Mode, Timestamp: eventTime(now), ProcessID: s.pid, Ending: ending,
	}})
	m.note(s.start(journal.StartEnded, ending.Reason))
	m.forget(s.request.SessionID)
	m.mu.Lock()
	s.isOver = true
	if m.sessions[s.request.SessionID] == s {
		delete(m.sessions, s.request.SessionID)
	}
	m.mu.Unlock()
	m.options.Log.Info("the spawned program ended", "session", s.request.SessionID, "pid", s.pid, "reason", ending.Reason, "exitCode", ending.ExitCode)
}

// Run looks every now and then whether the backend or its database is another
// process by now, as after a restart, until ctx ends: unexcluded, they would be
// reported to themselves without end.
func (m *Monitor) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if m.Sessions() > 0 {
			m.exclude(m.options.Exclude(false))
		}
	}
}

// ClockStepped tells each session that the machine's clock was set.
func (m *Monitor) ClockStepped(before, after time.Time) {
	m.options.Log.Warn("the machine's clock was set", "before", before, "after", after)
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.sessions {
		if !s.isEnding {
			m.options.Deliver(id, &event.Event{Type: event.TypeClockStep, Time: after, Data: &event.ClockStep{Before: before, After: after}})
		}
	}
}

// endTelling sees to it that nothing but its end is told to a session.
func (m *Monitor) endTelling(s *session) {
	m.mu.Lock()
	s.isEnding = true
	m.mu.Unlock()
}

// stop ends a session: what was spawned with all that came of it, and the watch.
// When it returns, all events of the session have been handed on. known is false
// when there is no such session.
func (m *Monitor) stop(ctx context.Context, id string) (known bool, err error) {
	release, err := m.claim(ctx, id)
	if err != nil {
		return false, err
	}
	defer release()
	s := m.get(id)
	if s == nil {
		return false, nil
	}
	return true, m.end(id, s)
}

// end ends a session that the caller has claimed.
func (m *Monitor) end(id string, s *session) error {
	var err error
	if s.spawned != nil {
		if err = s.spawned.Stop(); err != nil {
			// It stays, so that a second stop can try again.
			return fmt.Errorf("stop what session %s spawned: %w", id, err)
		}
		<-s.done
	} else {
		err = s.watch.Close()
		m.endTelling(s)
		now := time.Now()
		m.options.Deliver(id, &event.Event{Type: typeEnd, Time: now, Data: &ended{
			SessionID: id, Mode: s.request.Mode, Timestamp: eventTime(now), Ending: Ending{Reason: "stopped"},
		}})
		m.note(s.start(journal.StartEnded, "stopped"))
		m.forget(id)
	}
	m.mu.Lock()
	delete(m.sessions, id)
	m.mu.Unlock()
	m.options.Log.Info("monitoring stopped", "session", id)
	if err != nil {
		return fmt.Errorf("end the watch of session %s: %w", id, err)
	}
	return nil
}

// forget takes a session whose session_end was delivered out of the journal, once
// that would survive the agent. If it would not by settleTime, as a full spool
// takes nothing, or when the agent ends, the session stays there until all of that
// is in order: the next run would rather tell of an end twice than of none.
func (m *Monitor) forget(id string) {
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if closed || !m.options.Settle(ctx, id) {
		return
	}
	if err := m.options.Journal.End(id); err != nil {
		m.options.Log.Error("a session that ended cannot be taken out of the journal", "session", id, "error", err)
	}
}

// Recover tells of sessions that a run of the agent which was killed has left:
// what they are missing, and their end. Nobody can start one of them before that
// is safe. The function that it gives waits for that; it is called once delivery
// runs.
func (m *Monitor) Recover(left []journal.Record) (settle func()) {
	var releases []func()
	now := time.Now()
	for _, r := range left {
		release, _ := m.claim(context.Background(), r.SessionID) // it fails only when its context ends
		releases = append(releases, release)
		m.options.Deliver(r.SessionID, &event.Event{Type: event.TypeLost, Time: now, Data: &event.Lost{
			Reason: event.ReasonKilled, From: r.Alive, To: now, CPU: -1,
		}})
		m.options.Deliver(r.SessionID, &event.Event{Type: typeEnd, Time: now, Data: &ended{
			SessionID: r.SessionID, Mode: r.Mode, Timestamp: eventTime(now), ProcessID: r.ProcessID,
			Ending: Ending{Reason: "agent_restarted", ExitCode: -1, Seconds: r.Alive.Sub(r.Began).Seconds()},
		}})
		m.options.Log.Warn("the agent was killed while a session ran; the session is ended", "session", r.SessionID, "mode", r.Mode, "seen until", r.Alive)
	}
	return func() {
		for i, r := range left {
			m.forget(r.SessionID)
			releases[i]()
		}
	}
}

// Sessions gives the number of sessions that run.
func (m *Monitor) Sessions() int { return len(m.SessionIDs()) }

// SessionIDs gives the sessions that run, in no order.
func (m *Monitor) SessionIDs() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.AppendSeq(make([]string, 0, len(m.sessions)), maps.Keys(m.sessions))
}

// Close stops all sessions; none can be started afterwards.
func (m *Monitor) Close() error {
	m.mu.Lock()
	m.closed = true
	var ids []string
	for id := range m.sessions {
		ids = append(ids, id)
	}
	for id := range m.starting {
		ids = append(ids, id)
	}
	m.mu.Unlock()
	slices.Sort(ids)
	ids = slices.Compact(ids)
	errs := make([]error, len(ids))
	var stops sync.WaitGroup // side by side: one sample that does not end costs the others no time
	for i, id := range ids {
		stops.Go(func() { _, errs[i] = m.stop(context.Background(), id) })
	}
	stops.Wait()
	m.working.Wait()
	return errors.Join(errs...)
}
