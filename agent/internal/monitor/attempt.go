//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ospulse/agent/internal/journal"
)

// startTime is how long a start with an id may take. Such a start continues when the
// request for it ends. A virtual machine without KVM boots for minutes on a busy machine.
const startTime = 12 * time.Minute

// attempt is a start with an id. pid and err are valid once done is closed.
type attempt struct {
	sessionID string
	done      chan struct{}
	pid       int
	err       error
}

// begunError is the error of a start that failed after its session had its first event.
type begunError struct{ error }

func (e *begunError) Unwrap() error { return e.error }

// Start starts a session and returns its pid: that of the spawned file, or the first
// chosen one; 0 for the whole machine. The error matches ErrRefused if the request is at
// fault.
//
// A start with an id happens once, even if the agent is killed meanwhile. A request that
// repeats it gets the same outcome. The start continues when ctx ends, and FindStart
// returns its state. It is refused if the session runs already.
//
// A start without an id ends with ctx. If the session runs with another request, Start
// stops it first.
func (m *Monitor) Start(ctx context.Context, r Request) (int, error) {
	if r.StartID == "" {
		return m.start(ctx, r)
	}
	a := m.attempt(r.StartID, r.SessionID, func() (int, error) { return m.startOnce(context.WithoutCancel(ctx), r) })
	select {
	case <-a.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the start of session %s: %w", r.SessionID, context.Cause(ctx))
	}
	if a.sessionID != r.SessionID {
		return 0, Refuse("the start %s is of another session", r.StartID)
	}
	return a.pid, a.err
}

// FindStart returns the state of a start with an id.
func (m *Monitor) FindStart(id string) journal.Start {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.options.Starts.Get(id)
	if a := m.attempts[id]; a != nil && s.State == journal.StartUnknown { // not recorded yet
		s.SessionID, s.State = a.sessionID, journal.StartStarting
	}
	return s
}

// attempt returns the start with the id: the one in progress, or the outcome of an
// earlier one. If there is neither, attempt runs do in a goroutine of its own.
func (m *Monitor) attempt(id, sessionID string, do func() (pid int, err error)) *attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.attempts[id]; a != nil {
		return a
	}
	a := &attempt{sessionID: sessionID, done: make(chan struct{})}
	known := m.options.Starts.Get(id)
	switch {
	case known.State != journal.StartUnknown:
		a.sessionID, a.pid, a.err = known.SessionID, known.ProcessID, outcome(known)
		close(a.done)
	case m.closed:
		a.err = errors.New("the agent is shutting down")
		close(a.done)
	default:
		m.attempts[id] = a
		m.working.Go(func() {
			a.pid, a.err = do()
			m.mu.Lock()
			delete(m.attempts, id)
			m.mu.Unlock()
			close(a.done)
		})
	}
	return a
}

// outcome returns the error of a finished start; nil if the session began.
func outcome(s journal.Start) error {
	if s.State == journal.StartRunning || s.State == journal.StartEnded {
		return nil
	}
	return &Refusal{Code: s.Code, Text: s.Reason}
}

// startOnce carries out a start and records its state before and after.
func (m *Monitor) startOnce(ctx context.Context, r Request) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	noted := journal.Start{ID: r.StartID, SessionID: r.SessionID, State: journal.StartStarting}
	err := m.options.Starts.Put(noted)
	if err == nil {
		var pid int
		if pid, err = m.start(ctx, r); err == nil {
			return pid, nil
		}
	}
	noted.State, noted.Reason = journal.StartNotRun, err.Error()
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		noted.Code, noted.Reason = refusal.Code, refusal.Text
	}
	if _, ok := errors.AsType[*begunError](err); ok {
		noted.State = journal.StartFailed
	}
	m.note(noted)
	return 0, err
}

// start returns the journal's record of the session's start.
func (s *session) start(state journal.StartState, reason string) journal.Start {
	return journal.Start{ID: s.request.StartID, SessionID: s.request.SessionID, State: state, ProcessID: s.pid, Reason: reason}
}

// note records the state of a start that has an id. If the write fails, only this run of
// the agent knows the state: the next run assumes that the start was cut off.
func (m *Monitor) note(s journal.Start) {
	if s.ID == "" {
		return
	}
	if err := m.options.Starts.Put(s); err != nil {
		m.options.Log.Error("cannot record the state of a start", "session", s.SessionID, "state", s.State, "error", err)
	}
}

// Stopped is the outcome of a stop.
type Stopped struct {
	Known bool // there was such a session
	Over  bool // it has ended, and Deliver has had all its events
}

// Stop ends a session: its watch, the spawned program and all descendants of it. Stop
// waits until that is done or ctx ends; in the latter case the ending continues. If
// startID is not "" and that start has not arrived yet, the agent refuses it when it does.
func (m *Monitor) Stop(ctx context.Context, id, startID string) (Stopped, error) {
	var known bool
	var err error
	begun := make(chan struct{}) // closed when the start with startID, if there is one, is over
	if startID == "" {
		close(begun)
	} else {
		begun = m.attempt(startID, id, func() (int, error) {
			refusal := &Refusal{Text: fmt.Sprintf("session %s was stopped before it was started", id)}
			err = m.options.Starts.Put(journal.Start{ID: startID, SessionID: id, State: journal.StartNotRun, Reason: refusal.Text})
			return 0, refusal
		}).done
	}
	m.mu.Lock()
	if m.closed { // Close stops every session
		m.mu.Unlock()
		return Stopped{Known: true}, nil
	}
	done := make(chan struct{})
	m.working.Go(func() {
		defer close(done)
		<-begun
		if err == nil {
			known, err = m.stop(context.WithoutCancel(ctx), id)
		}
	})
	m.mu.Unlock()
	select {
	case <-done:
		return Stopped{known, true}, err
	case <-ctx.Done():
		return Stopped{Known: true}, nil
	}
}
