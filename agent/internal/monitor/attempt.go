//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ospulse/agent/internal/journal"
)

// startTime is how long a start with an id may take. It does not end with the
// request that asked for it.
const startTime = 2 * time.Minute

// attempt is a start with an id. Its outcome is there once done is closed.
type attempt struct {
	sessionID string
	done      chan struct{}
	pid       int
	err       error
}

// begunError is why a start failed whose session has begun: it has events.
type begunError struct{ error }

func (e *begunError) Unwrap() error { return e.error }

// Start starts a session and gives the pid that it is about: of the spawned file,
// or the first of the chosen; 0 for the whole machine. What is wrong with the
// request is ErrRefused.
//
// A start with an id is carried out once, also if the agent is killed meanwhile: a
// request that repeats it gets the same outcome. It goes on when ctx ends, and
// FindStart tells what became of it. It is refused if the session runs already. A
// start without an id ends with ctx; a session that asked for something else is
// stopped first.
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
		return 0, refuse("the start %s is of another session", r.StartID)
	}
	return a.pid, a.err
}

// FindStart tells what became of a start with an id.
func (m *Monitor) FindStart(id string) journal.Start {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.options.Starts.Get(id)
	if a := m.attempts[id]; a != nil && s.State == journal.StartUnknown { // it is not noted yet
		s.SessionID, s.State = a.sessionID, journal.StartStarting
	}
	return s
}

// attempt gives the start with an id: the one that is under way, or the outcome of
// an earlier one. If there is none, do is its outcome.
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

// outcome gives the error of a start that is over; nil if the session began.
func outcome(s journal.Start) error {
	if s.State == journal.StartRunning || s.State == journal.StartEnded {
		return nil
	}
	return &Refusal{Code: s.Code, Text: s.Reason}
}

// startOnce carries a start out and notes each step of it.
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

// start gives what the journal notes of the session's start.
func (s *session) start(state journal.StartState, reason string) journal.Start {
	return journal.Start{ID: s.request.StartID, SessionID: s.request.SessionID, State: state, ProcessID: s.pid, Reason: reason}
}

// note keeps what became of a start, if it has an id. If the disk does not take it,
// this run of the agent knows it all the same, and the next one takes the start for
// cut off.
func (m *Monitor) note(s journal.Start) {
	if s.ID == "" {
		return
	}
	if err := m.options.Starts.Put(s); err != nil {
		m.options.Log.Error("what became of a start is not on disk", "session", s.SessionID, "state", s.State, "error", err)
	}
}

// Stopped is what a stop came to.
type Stopped struct {
	Known bool // there was such a session
	Over  bool // it has ended, and all its events have been handed on
}

// Stop ends a session: what was spawned with all that came of it, and the watch. It
// waits for that until ctx ends, and goes on then. A start with startID, if it is
// not "", that has not come yet is refused when it comes.
func (m *Monitor) Stop(ctx context.Context, id, startID string) (Stopped, error) {
	var known bool
	var err error
	begun := make(chan struct{}) // closed when the start that is under way, if there is one, is over
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
	if m.closed { // Close stops all
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
