//go:build linux

// Package monitor runs sessions. It decides which processes a session watches, sets up
// the watch before the first instruction, and passes the events on. It must not know
// HTTP, nor how a sensor sees events, how a sandbox confines a program, or how events
// reach the backend: it declares interfaces for those.
package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/journal"
	"ospulse/agent/internal/procfs"
	"ospulse/agent/internal/selection"
)

// The modes of the wire contract.
const (
	ModeAll   = 1 // the whole machine
	ModePIDs  = 2 // chosen processes and their descendants
	ModeSpawn = 3 // the uploaded file and its descendants
)

// maxSessions is how many sessions may run at once. The sensor has room for 64.
const maxSessions = 32

// settleTime is how long the end of a session waits until its events are on disk.
const settleTime = 5 * time.Second

// ErrRefused matches every refusal of a request. The error's text says why.
var ErrRefused = errors.New("refused")

// The codes of refusals. The backend uses the same codes.
const (
	codeInvalid   = "invalid"    // the request is at fault
	codeCannotRun = "cannot_run" // the file is at fault
)

// Refusal is an error that matches ErrRefused. Text is for the caller. Code says what is
// at fault; it is "" if that is the agent or its present state.
type Refusal struct{ Code, Text string }

func (r *Refusal) Error() string { return r.Text }

// Is reports whether target is ErrRefused.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// CannotRun returns err as a Refusal that blames the file.
func CannotRun(err error) error { return &Refusal{codeCannotRun, err.Error()} }

// Refuse returns a Refusal that blames the request.
func Refuse(format string, args ...any) error {
	return &Refusal{codeInvalid, fmt.Sprintf(format, args...)}
}

// Scope says which processes a watch is about.
type Scope struct {
	All     bool
	PIDs    []int // and their descendants, from now on
	OnExec  bool  // begin with their next exec, to leave out what a launcher does
	Exclude []int // and their descendants, except those in PIDs
	Pause   bool  // stop the processes while the sensor's buffer is nearly full
	// Hide are processes that this watch of All does not report, with their descendants that
	// run the same program in an unbroken line. It reports every other descendant.
	Hide []procfs.Identity
	// Selection says which events are left out. Their counts are reported.
	Selection selection.Selection
}

// Watch is a running watch. It may have a method Limits() string, which returns what the
// watch cannot see; session_start reports that.
type Watch interface {
	// Close ends the watch, after sink has received all that happened before.
	Close() error
	// IsOver reports whether none of the watched processes is left, and none can follow.
	IsOver() (bool, error)
	// Has reports whether the watch is about a running process.
	Has(pid int) (bool, error)
	// Hidden returns the running processes that the watch does not report because of
	// Scope.Hide, in no order. An error is temporary.
	Hidden() ([]int, error)
}

// Sensor sees what programs do.
type Sensor interface {
	// Watch reports what is in scope to sink, from one goroutine at a time, until
	// the watch is closed. sink must not block for long.
	Watch(scope Scope, sink func(*event.Event)) (Watch, error)
	// Exclude excludes more processes, from all watches.
	Exclude(pids []int) error
}

// Spawner starts files in a sandbox.
type Spawner interface {
	// Start starts the file and holds it before its first instruction. ctx bounds the
	// start only.
	Start(ctx context.Context, path string, command Command) (Spawned, error)
}

// Spawned is a started program.
type Spawned interface {
	PID() int
	Release() error // lets it run
	Stop() error    // ends it and its descendants, and waits; may be called again
	Done() <-chan struct{}
	Ending() Ending // valid once Done is closed
	// Run returns what is run and how, as a value for JSON; nil if there is nothing to say.
	Run() any
	// OnExec reports whether the held process is a launcher that will exec the program.
	OnExec() bool
}

// Machine is a Spawned that runs in a machine of its own. An agent in that machine watches it.
type Machine interface {
	Spawned
	// Watch reports the machine's events to sink, from one goroutine at a time. It is called
	// once, before Release.
	Watch(what selection.Selection, sink func(*event.Event)) Watch
	// HostPID returns the pid of the process of this machine that runs the other one.
	HostPID() int
	// Seen returns the time before which the sink has had all events, once Release has returned.
	Seen() time.Time
}

// Files finds uploaded files.
type Files interface {
	// Find returns the path and the SHA-256 of the file stored under the name.
	Find(name string) (path, sha256 string, err error)
}

// Journal records on disk which sessions run. If the agent is killed, its next run reads
// that record.
type Journal interface {
	Begin(r journal.Record) error // replaces a record of the same session
	End(sessionID string) error
}

// Starts records starts on disk. *journal.Starts implements it and documents its contracts.
type Starts interface {
	Get(id string) journal.Start
	Put(start journal.Start) error
}

// Options are the settings of a Monitor.
type Options struct {
	Sensor       Sensor
	SensorName   string // ebpf or procfs
	SensorLimits string // what the sensor cannot see; "" if nothing
	Spawner      Spawner
	SpawnFault   string              // why nothing can be spawned, when Spawner is nil
	PauseSpawned bool                // pause spawned programs while the sensor's buffer is nearly full
	PauseAll     bool                // and all other watched programs
	Selection    selection.Selection // of sessions whose start has none
	Files        Files
	// Exclude returns the processes that are never reported. The Monitor calls it at each
	// start, and again while sessions run. isQuiet says that no session runs yet.
	Exclude func(isQuiet bool) []Own
	// Viewers returns the browsers that display the dashboard. A session of mode 1 does not
	// report those that are there when it starts. nil: it reports all.
	Viewers func() []Own
	// Deliver takes the events of a session.
	Deliver func(sessionID string, e *event.Event)
	// Settle waits until the delivered events of a session would survive a kill of the
	// agent. It returns false if ctx ends first.
	Settle  func(ctx context.Context, sessionID string) bool
	Journal Journal
	Starts  Starts
	Version string
	Log     *slog.Logger
}

// Monitor runs sessions. Its methods are safe for concurrent use.
type Monitor struct {
	options Options

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session
	starting map[string]chan struct{} // by session id; closed when its start or stop is over
	attempts map[string]*attempt      // starts in progress, by start id
	working  sync.WaitGroup           // counts attempts and stops in progress
}

// New makes a Monitor.
func New(options Options) *Monitor {
	return &Monitor{options: options, sessions: map[string]*session{}, starting: map[string]chan struct{}{}, attempts: map[string]*attempt{}}
}

// Request asks for a session.
type Request struct {
	SessionID string
	StartID   string // the backend's id of this start; "" for none
	FileName  string
	Mode      int
	PIDs      []int
	Selection *selection.Selection // nil: the agent's own
	Command
}

// Command says how a file is run.
type Command struct {
	EntryPoint string // path of the program in an archive; "" for the only one that can run
	Arguments  []string
	Limits     Limits
}

// Limits are what the backend asks for beside the file. Zero fields are the agent's own
// settings, which are also the most that it allows.
type Limits struct {
	Network        string `json:"network"` // none, nat or host
	TimeoutSeconds int    `json:"timeoutSeconds"`
	MemoryMB       int    `json:"memoryMB"`
}

// session is a running session.
type session struct {
	request Request
	pid     int // of the spawned program, else of the first chosen process, else 0
	hostPID int // of the process that runs the machine of the spawned program; 0: it has none
	watch   Watch
	spawned Spawned       // nil except in mode 3
	done    chan struct{} // closed when the wait for spawned is over
	// namespace is the pid namespace that the spawned program has for itself; "" if none.
	namespace string
	isOver    bool // the spawned program has ended, and session_end was sent

	excluded []Own // as last reported to the session; guarded by Monitor.mu
	isEnding bool  // session_end is the next and last event; guarded by Monitor.mu
}

// same reports whether r repeats the request of this session and the session still runs.
func (s *session) same(r Request) bool {
	if s.spawned != nil {
		select {
		case <-s.spawned.Done():
			return false
		default:
		}
	}
	return s.request.Mode == r.Mode && s.request.FileName == r.FileName && slices.Equal(s.request.PIDs, r.PIDs) &&
		s.request.Selection.Equal(r.Selection) && s.request.EntryPoint == r.EntryPoint && s.request.Limits == r.Limits && slices.Equal(s.request.Arguments, r.Arguments)
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
		if err := m.end(r.SessionID, old, Ending{Reason: "stopped"}); err != nil {
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

// check completes the request. It returns a Refusal if the request cannot be started. In mode 3
// it returns the file's path and SHA-256.
func (m *Monitor) check(r *Request) (path, sha string, err error) {
	r.Selection = cmp.Or(r.Selection, &m.options.Selection)
	if err := r.Selection.Check(); err != nil {
		return "", "", Refuse("selection: %v", err)
	}
	switch r.Mode {
	case ModeAll:
		r.PIDs = nil
	case ModePIDs:
		if len(r.PIDs) == 0 {
			return "", "", Refuse("mode 2 needs processes: the pids to monitor")
		}
		excluded := pidsOf(m.options.Exclude(m.isQuiet()))
		for _, pid := range r.PIDs {
			if slices.Contains(excluded, pid) {
				return "", "", Refuse("process %d is OS-Pulse's own (the agent, its backend or its database) and is never monitored", pid)
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
		return "", "", Refuse("mode must be 1 (all processes), 2 (specific processes) or 3 (spawn the uploaded file)")
	}
	return path, sha, nil
}

// checkProcess returns a Refusal unless pid is a running process. It refuses a thread,
// because no event carries a thread's number as its process.
func checkProcess(pid int) error {
	if pid < 1 {
		return Refuse("there is no process %d", pid)
	}
	process, err := procfs.ProcessOf(pid)
	switch {
	case errors.Is(err, procfs.ErrGone):
		return Refuse("there is no process %d", pid)
	case err != nil:
		return err
	case process != pid:
		return Refuse("%d is a thread of process %d: choose that", pid, process)
	case procfs.HasEnded(pid):
		return Refuse("process %d has ended", pid)
	}
	return nil
}

// claim waits until no other goroutine starts or stops the session, then reserves it
// until release is called. It fails if ctx ends first.
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

// begin sets up the session's watch, delivers session_start as the first event, and then
// lets the spawned program run.
func (m *Monitor) begin(ctx context.Context, r Request, path, sha string) (_ *session, err error) {
	s := &session{request: r, done: make(chan struct{})}
	scope := Scope{All: r.Mode == ModeAll, PIDs: r.PIDs, Selection: *r.Selection, Pause: m.options.PauseAll || m.options.PauseSpawned && r.Mode == ModeSpawn}
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
		if machine, ok := s.spawned.(Machine); ok {
			s.hostPID = machine.HostPID()
		} else if namespace := procfs.PIDNamespace(s.pid); namespace != procfs.PIDNamespace(os.Getpid()) {
			s.namespace = namespace
		}
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
	// No event may precede session_start, and session_start needs a watch.
	var first sync.Once
	gate := make(chan struct{})
	sink := func(e *event.Event) {
		first.Do(func() { <-gate })
		m.options.Deliver(r.SessionID, e)
	}
	if machine, ok := s.spawned.(Machine); ok {
		s.watch, s.excluded = machine.Watch(*r.Selection, sink), []Own{}
	} else if s.watch, s.excluded, err = m.watch(scope, sink); err != nil {
		close(gate)
		return nil, err
	}
	if limited, ok := s.watch.(interface{ Limits() string }); ok && limited.Limits() != "" {
		start.Limits = strings.TrimPrefix(start.Limits+"; "+limited.Limits(), "; ")
	}
	if !r.Selection.IsAll() {
		start.Selection = r.Selection
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

// Seen returns the time before which the machines of all sessions have reported everything; the
// present if no session has one.
func (m *Monitor) Seen() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := time.Now()
	for _, s := range m.sessions {
		if machine, ok := s.spawned.(Machine); ok && machine.Seen().Before(seen) {
			seen = machine.Seen()
		}
	}
	return seen
}

// watch sets up a watch that excludes OS-Pulse's own processes, and returns those.
func (m *Monitor) watch(scope Scope, sink func(*event.Event)) (w Watch, excluded []Own, err error) {
	excluded = m.options.Exclude(m.isQuiet())
	scope.Exclude = pidsOf(excluded)
	if scope.All && m.options.Viewers != nil {
		scope.Hide = m.hide(m.options.Viewers(), excluded)
	}
	if w, err = m.options.Sensor.Watch(scope, sink); err != nil {
		return nil, nil, fmt.Errorf("watch: %w", err)
	}
	return w, append(excluded, m.hiddenFrom(w, nil)...), nil
}

// isQuiet reports whether no session runs and none begins except the caller's.
func (m *Monitor) isQuiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions) == 0 && len(m.starting) <= 1
}

// wait waits for the spawned program to end, delivers session_end, and removes the session.
func (m *Monitor) wait(s *session, began time.Time) {
	defer close(s.done)
	<-s.spawned.Done()
	// The program's events must precede session_end.
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

// Run checks two things at each interval, until ctx ends. It excludes the backend or its
// database again if it is another process now, for example after a restart: otherwise each
// report about it would cause another one, without end. And it ends sessions whose chosen
// processes and their descendants have all ended.
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
			m.endDeserted(ctx)
		}
	}
}

// endDeserted ends the sessions that watch chosen processes of which none is left.
func (m *Monitor) endDeserted(ctx context.Context) {
	for _, id := range m.SessionIDs() {
		s := m.get(id)
		if s == nil || s.request.Mode != ModePIDs {
			continue
		}
		over, err := s.watch.IsOver()
		if err != nil {
			m.options.Log.Warn("cannot check whether the processes of a session still run", "session", id, "error", err)
		}
		if !over {
			continue
		}
		release, err := m.claim(ctx, id)
		if err != nil { // the agent is ending
			return
		}
		if m.get(id) == s { // nobody has stopped it meanwhile
			if err := m.end(id, s, Ending{Reason: "exited", ExitCode: -1}); err != nil {
				m.options.Log.Error("cannot end a session without processes", "session", id, "error", err)
			}
		}
		release()
	}
}

// ClockStepped delivers a clock_step to each session: the machine's clock was set.
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

// endTelling makes session_end the only event that the session can still get.
func (m *Monitor) endTelling(s *session) {
	m.mu.Lock()
	s.isEnding = true
	m.mu.Unlock()
}

// stop ends a session: its watch, the spawned program and all descendants of it. When it
// returns, Deliver has had all events of the session. known is false if there is no such
// session.
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
	return true, m.end(id, s, Ending{Reason: "stopped"})
}

// end ends a session that the caller has claimed. ending is for sessions without a spawned
// program, whose own ending counts otherwise.
func (m *Monitor) end(id string, s *session, ending Ending) error {
	var err error
	if s.spawned != nil {
		if err = s.spawned.Stop(); err != nil {
			// The session stays, so that a second stop can try again.
			return fmt.Errorf("stop the program of session %s: %w", id, err)
		}
		<-s.done
	} else {
		err = s.watch.Close()
		m.endTelling(s)
		now := time.Now()
		m.options.Deliver(id, &event.Event{Type: typeEnd, Time: now, Data: &ended{
			SessionID: id, Mode: s.request.Mode, Timestamp: eventTime(now), Ending: ending,
		}})
		m.note(s.start(journal.StartEnded, ending.Reason))
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

// forget removes a session from the journal once its session_end would survive a kill of
// the agent. The session stays in the journal if that takes longer than settleTime, for
// example because the spool is full, or if the agent is closing. The next run then
// reports the end again: twice is better than never.
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
		m.options.Log.Error("cannot remove an ended session from the journal", "session", id, "error", err)
	}
}

// Recover delivers, for each session left by a killed run of the agent, the loss and the
// session_end. The sessions cannot be started before these events are on disk. The
// returned function waits for that; the caller runs it once delivery runs.
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

// Sessions returns the number of running sessions.
func (m *Monitor) Sessions() int { return len(m.SessionIDs()) }

// SessionIDs returns the ids of the running sessions, in no order.
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
	var stops sync.WaitGroup // in parallel, so that a sample that does not end delays no other
	for i, id := range ids {
		stops.Go(func() { _, errs[i] = m.stop(context.Background(), id) })
	}
	stops.Wait()
	m.working.Wait()
	return errors.Join(errs...)
}
