//go:build linux

package procfs

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"ospulse/agent/internal/event"
)

// DefaultInterval is how often the Sensor reads /proc. It misses processes with shorter lives.
const DefaultInterval = 100 * time.Millisecond

// Scope says which processes a watch is about.
type Scope struct {
	All     bool
	PIDs    []int // and descendants that they create from now on
	Exclude []int // and their descendants, unless these are among PIDs
	// Hide are processes that are not reported, like those of their descendants that run
	// the same program in an unbroken line.
	Hide []Identity
}

// Sensor reports processes that begin and end, by polling /proc. It needs no privileges. It
// does not see how a process ended, nor a process that begins and ends between two polls.
type Sensor struct {
	interval  time.Duration
	arguments Arguments
	log       *slog.Logger
}

// Arguments returns the arguments of a process, and whether there are more. It returns
// nil if they cannot be read.
type Arguments func(pid int) (args []string, isCut bool)

// NewSensor returns a Sensor that polls every interval.
func NewSensor(interval time.Duration, arguments Arguments, log *slog.Logger) *Sensor {
	return &Sensor{interval, arguments, log}
}

// Watch reports processes in the scope that begin and end to sink, from one goroutine,
// until Close. A process that already runs is reported when it ends.
func (s *Sensor) Watch(scope Scope, sink func(*event.Event)) (*Watch, error) {
	w := &Watch{
		scope: scope, sink: sink, arguments: s.arguments, log: s.log, self: slices.Clone(scope.PIDs),
		known: map[int]*member{}, stop: make(chan struct{}), done: make(chan struct{}),
	}
	for _, pid := range scope.PIDs {
		if _, err := Read(pid); err != nil {
			return nil, err
		}
	}
	if err := w.look(false); err != nil {
		return nil, err
	}
	go w.run(s.interval)
	return w, nil
}

// Watch is one watch of a Sensor.
type Watch struct {
	scope Scope
	sink  func(*event.Event)
	once  sync.Once
	stop  chan struct{}
	done  chan struct{}

	arguments Arguments
	log       *slog.Logger

	mu    sync.Mutex // guards the fields below
	self  []int      // named processes, by pid
	known map[int]*member
}

// member is a running process.
type member struct {
	Process
	watched, excluded bool
	hidden            bool // excluded by Scope.Hide while it runs its image
	image             string
	userID            int
}

func (m *member) actor() event.Process {
	return event.Process{PID: m.PID, Name: m.Name, StartTime: m.Start, ParentPID: m.ParentPID, UserID: m.userID}
}

// Add adds a process and its descendants.
func (w *Watch) Add(pid int) error {
	if _, err := Read(pid); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.self = append(w.self, pid)
	for _, m := range w.known { // so that place decides about each again
		m.watched = false
	}
	w.place()
	return nil
}

// Close takes a last look and ends the watch.
func (w *Watch) Close() error {
	w.once.Do(func() { close(w.stop) })
	<-w.done
	return nil
}

// IsOver reports whether no process of the watch was left at the last look. A watch of all
// processes never is over.
func (w *Watch) IsOver() (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.known {
		if m.watched {
			return false, nil
		}
	}
	return !w.scope.All, nil
}

func (w *Watch) run(interval time.Duration) {
	defer close(w.done)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for last := false; !last; {
		select {
		case <-ticker.C:
		case <-w.stop:
			last = true
		}
		if err := w.look(true); err != nil {
			w.log.Warn("cannot list processes", "error", err)
		}
	}
}

// look compares the running processes with the known ones. With report, it reports those
// that began, ended or changed their image.
func (w *Watch) look(report bool) error {
	pids, err := PIDs()
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	alive := make(map[int]Process, len(pids))
	for _, pid := range pids {
		if p, err := Read(pid); err == nil && !p.kernel && !p.Zombie {
			alive[pid] = p
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(w.known)) {
		m := w.known[pid]
		if p, ok := alive[pid]; ok && p.Start.Equal(m.Start) {
			m.ParentPID = p.ParentPID // an orphan gets another parent, but stays watched or excluded
			continue
		}
		delete(w.known, pid)
		w.self = slices.DeleteFunc(w.self, func(named int) bool { return named == pid })
		if report && m.watched {
			w.sink(&event.Event{Type: event.TypeProcessExit, Time: now, Data: &exited{actor: m.actor(), time: now}})
		}
	}
	fresh := map[int]bool{}
	for pid, p := range alive {
		if w.known[pid] == nil {
			w.known[pid] = &member{Process: p}
			fresh[pid] = true
		}
	}
	w.place()
	for _, pid := range pids {
		m := w.known[pid]
		if m == nil || !m.watched && !m.hidden {
			continue
		}
		image, deleted := Exe(pid)
		if m.hidden && (image == "" || image == m.image) {
			continue
		}
		if m.hidden {
			m.hidden, m.excluded, m.watched = false, false, true
		}
		begun := fresh[pid] || image != "" && m.image != "" && image != m.image
		if image != "" {
			m.image = image
		}
		m.Name = alive[pid].Name
		if begun { // the process may have executed the image after its name was read
			if p, err := Read(pid); err == nil && p.Start.Equal(m.Start) {
				m.Name = p.Name
			}
		}
		m.userID = UserID(pid)
		if report && begun {
			w.begun(m, deleted, fresh[pid], now)
		}
	}
	return nil
}

// place decides whether each new process is watched: by the scope if that names it, or else
// like its parent. It decides about parents first, regardless of pids.
func (w *Watch) place() {
	placed := make(map[int]bool, len(w.known))
	var visit func(pid, depth int)
	visit = func(pid, depth int) {
		m := w.known[pid]
		if m == nil || placed[pid] || depth > len(w.known) {
			return
		}
		placed[pid] = true
		visit(m.ParentPID, depth+1)
		parent := w.known[m.ParentPID]
		switch {
		case slices.Contains(w.self, pid):
			m.watched, m.excluded = true, false
		case slices.Contains(w.scope.Exclude, pid):
			m.watched, m.excluded = false, true
		case m.watched || m.excluded:
		case w.hides(m, parent):
			m.hidden, m.excluded = true, true
		case parent != nil && parent.hidden:
			m.watched = true
		case parent != nil && (parent.watched || parent.excluded):
			m.watched, m.excluded = parent.watched, parent.excluded
		default:
			m.watched = w.scope.All
		}
	}
	for pid := range w.known {
		visit(pid, 0)
	}
}

// hides reports whether Scope.Hide hides a new process.
func (w *Watch) hides(m, parent *member) bool {
	if len(w.scope.Hide) == 0 {
		return false
	}
	m.image, _ = Exe(m.PID)
	return m.image != "" && parent != nil && parent.hidden && parent.image == m.image ||
		slices.ContainsFunc(w.scope.Hide, func(i Identity) bool { return i.Is(&m.Process) })
}

// Has reports whether the watch was about a process at the last look.
func (w *Watch) Has(pid int) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.known[pid]
	return m != nil && m.watched, nil
}

// Hidden returns the running processes that the watch does not report because of Scope.Hide.
func (w *Watch) Hidden() ([]int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var pids []int
	for pid, m := range w.known {
		if m.hidden {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// begun reports a process that runs a new image.
func (w *Watch) begun(m *member, deleted, fresh bool, now time.Time) {
	began := now
	actor := m.actor()
	if fresh {
		began = m.Start
		if parent := w.known[m.ParentPID]; parent != nil {
			actor = parent.actor()
			actor.UserID = UserID(parent.PID)
		} else {
			actor = event.Process{PID: m.ParentPID, UserID: -1}
		}
	}
	args, isCut := w.arguments(m.PID)
	w.sink(&event.Event{Type: event.TypeProcessCreation, Time: began, Data: &event.Creation{
		Actor: actor, Time: began, New: m.actor(), ImagePath: m.image, Args: args, ArgsCut: isCut,
		CurrentDirectory: CurrentDirectory(m.PID), Memory: deleted,
	}})
}

// exited is the data of a process_exit without an exit code.
type exited struct {
	actor event.Process
	time  time.Time
}

// AppendJSON appends the data of the event.
func (e *exited) AppendJSON(out []byte) []byte {
	out = append(out, `{"operation":"exit","status":0,"exitCodeKnown":false,"timestamp":"`...)
	out = event.AppendTime(out, e.time)
	out = append(out, `","metadata":`...)
	out = e.actor.AppendJSON(out)
	return append(out, '}')
}
