package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"ospulse/internal/agentclient"
	"ospulse/internal/models"
)

const (
	// startSweep is how often starts are looked for that nobody carries on, as their
	// backend died.
	startSweep = time.Second
	// startAsk is how soon an agent is asked again what became of a start, and
	// startAskLater the same of an agent that cannot be reached.
	startAsk      = 100 * time.Millisecond
	startAskLater = time.Second
	// startLook is how often a caller that waits for a start looks at the session:
	// another backend may carry the start on.
	startLook = 50 * time.Millisecond
)

// Start accepts a start: the session is starting when it returns, and Run carries the
// start on. A session that is starting or active already and monitors the same is given
// as it is; one that monitors something else is a conflict, and so is one that has
// ended or may have run.
func (s *Sessions) Start(ctx context.Context, id string, what models.Monitoring) (*models.Session, error) {
	if err := checkMonitoring(&what); err != nil {
		return nil, err
	}
	if what.Mode != models.ModePIDs {
		what.PIDs = nil
	}
	startID, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	own, now := s.agents.Own(), s.clock.now()
	session, err := s.sessions.Update(ctx, id, func(session *models.Session) error {
		switch state := session.State(); {
		case session.FileSHA256 == nil:
			return models.Errorf(models.CodeConflict, "session %s has no file to monitor: it only keeps events that belong to no other", id)
		case state == models.StateActive || state == models.StateStarting:
			if !session.Monitors(what) {
				return models.Errorf(models.CodeConflict, "session %s is %s already, with other parameters: stop it first", id, state)
			}
			return nil
		case state == models.StateEnded || session.StartError.MayHaveRun:
			return models.Errorf(models.CodeConflict, "session %s has %s, and a session has the events of one start: make another session of the same file", id, state)
		}
		session.StartID, session.StartRequested, session.StartingSince = startID.String(), &now, nil
		session.StartError, session.StopPending = models.StartError{}, false
		session.Mode, session.ChosenPIDs, session.EntryPoint, session.Arguments = what.Mode, what.PIDs, what.EntryPoint, what.Arguments
		if session.AgentID == nil { // it was imported
			session.AgentID = &own
		}
		return nil
	})
	if err == nil && session.StartID == startID.String() {
		s.carryOn(id)
	}
	return session, err
}

// AwaitStart waits until it is known what became of a session's start: the session is
// active then, or has been. The error is why the start failed; agent_timeout when that
// is not known within the time that clients wait.
func (s *Sessions) AwaitStart(ctx context.Context, session *models.Session) (*models.Session, error) {
	session, err := s.awaitStart(ctx, session, time.Now().Add(answerWithin))
	switch {
	case err != nil:
		return nil, err
	case session.StartRequested != nil:
		waitsFor := ""
		if session.StartError.Text != "" {
			waitsFor = ": " + session.StartError.Text
		}
		return nil, models.Errorf(models.CodeAgentTimeout, "session %s is still starting%s. It becomes active or failed as soon as the agent tells", session.ID, waitsFor)
	case session.StartError.Code != "":
		return nil, models.Errorf(session.StartError.Code, "%s", session.StartError.Text)
	}
	return session, nil
}

// awaitStart gives the session once it is not starting any more, or as it is at a time.
func (s *Sessions) awaitStart(ctx context.Context, session *models.Session, until time.Time) (*models.Session, error) {
	ticker := time.NewTicker(startLook)
	defer ticker.Stop()
	for session.StartRequested != nil && time.Now().Before(until) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var err error
		if session, err = s.sessions.Get(ctx, session.ID); err != nil {
			return nil, err
		}
	}
	return session, nil
}

// carryOn has Run carry on the start of a session.
func (s *Sessions) carryOn(ids ...string) {
	s.mu.Lock()
	s.starting = append(s.starting, ids...)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// Run carries on starts until ctx ends: those that were accepted here, and those that
// another backend accepted and does not carry on. Any number of backends may do so on
// one database.
func (s *Sessions) Run(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	ticker := time.NewTicker(startSweep)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		ids := s.starting
		s.starting = nil
		for _, id := range ids {
			if s.carrying[id] {
				continue
			}
			s.carrying[id] = true
			working.Go(func() {
				s.finishStart(ctx, id)
				s.mu.Lock()
				delete(s.carrying, id)
				s.mu.Unlock()
			})
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-ticker.C:
			sessions, err := s.sessions.ListStarting(ctx)
			if err != nil && ctx.Err() == nil {
				s.log.Warn("starts could not be looked for; it is tried again", "error", err)
			}
			for i := range sessions {
				s.carryOn(sessions[i].ID)
			}
		}
	}
}

// finishStart works on the start of a session until it is known what became of it, or
// another operation has the session: the next sweep finds the start again.
func (s *Sessions) finishStart(ctx context.Context, id string) {
	start := start{sessions: s, id: id}
	for {
		wait, err := start.step(ctx)
		switch {
		case models.ErrorCode(err) == models.CodeConflict, models.ErrorCode(err) == models.CodeNotFound:
			return
		case err != nil:
			if ctx.Err() == nil {
				s.log.Warn("a start could not be carried on; it is tried again", "session", id, "error", err)
			}
			wait = startAskLater
		case wait == 0:
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// start is a start that is carried on. The database has all that another backend needs
// to do so; this is what only the backend knows that asked the agent.
type start struct {
	sessions *Sessions
	id       string

	isUnknown bool                     // to the agent, which can tell: it is sent again
	result    *agentclient.StartResult // of the agent that said yes
	refusal   error                    // of the agent that did not
}

// step goes one step further, and gives after what time the next one is due: 0 if
// there is none. Between steps the session is free for its stop.
func (t *start) step(ctx context.Context) (wait time.Duration, err error) {
	s := t.sessions
	end, err := s.working.begin(ctx, t.id, retryQueue)
	if err != nil {
		return 0, err
	}
	defer end()
	session, err := s.sessions.Get(ctx, t.id)
	if err != nil || session.StartRequested == nil {
		return 0, err
	}
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return 0, t.failUnsent(ctx, session, err)
	}
	switch {
	case t.result != nil:
		return 0, t.begin(ctx, session, *t.result)
	case session.StopPending:
		return t.stop(ctx, session, agent)
	case session.StartingSince == nil || t.isUnknown:
		return t.send(ctx, session, agent)
	}
	return t.ask(ctx, session, agent)
}

// send sends the start to the agent, with the file if the agent does not have it.
func (t *start) send(ctx context.Context, session *models.Session, agent Agent) (time.Duration, error) {
	s := t.sessions
	if !session.Delivered() {
		delivered, err := s.deliver(ctx, session)
		if err != nil {
			return 0, t.failUnsent(ctx, session, err)
		}
		session = delivered
	}
	// The agent and the database must agree, whether or not this program goes on.
	ctx = context.WithoutCancel(ctx)
	now := s.clock.now()
	session, err := t.update(ctx, session, func(session *models.Session) {
		if session.StartingSince == nil {
			session.StartingSince, session.StartedAfterSeq = &now, session.EventCount
		}
	})
	if err != nil {
		return 0, err
	}
	t.isUnknown = false
	result, err := agent.Start(ctx, agentclient.StartRequest{
		SessionID: session.ID, StartID: session.StartID, FileName: session.AgentFileName, Mode: int(session.Mode),
		Processes: session.ChosenPIDs, EntryPoint: session.EntryPoint, Arguments: session.Arguments,
	})
	switch {
	case err == nil:
		t.result = &result
		return 0, t.begin(ctx, session, result)
	case errors.Is(err, agentclient.ErrNotSent) && session.StartingSince.Equal(now): // the first time
		return 0, t.fail(ctx, session, err, false)
	}
	t.refusal = err
	return t.ask(ctx, session, agent)
}

// ask asks the agent what became of the start.
func (t *start) ask(ctx context.Context, session *models.Session, agent Agent) (time.Duration, error) {
	found, err := agent.FindStart(ctx, session.StartID)
	switch {
	case errors.Is(err, agentclient.ErrCannotTell):
		return 0, t.guess(ctx, session)
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil && session.StopPending:
		return 0, t.fail(ctx, session, stoppedStart("the agent cannot be reached, so it is not known whether anything ran"), true)
	case err != nil:
		return startAskLater, t.noteWaiting(ctx, session, err)
	}
	switch found.State {
	case agentclient.StartRunning, agentclient.StartEnded:
		t.result = &found.Result
		return 0, t.begin(ctx, session, found.Result)
	case agentclient.StartNotRun, agentclient.StartFailed:
		why := found.Err
		if refused(t.refusal) {
			why = t.refusal
		}
		if session.StopPending {
			why = stoppedStart("nothing ran")
		}
		return 0, t.fail(ctx, session, why, found.State == agentclient.StartFailed)
	case agentclient.StartUnknown:
		if t.sessions.clock.now().Sub(*session.StartingSince) < models.StartGrace {
			t.isUnknown = true
			return startAsk, nil
		}
		// Nobody waits for it any more: the agent is to refuse what may still come.
		if _, err := agent.Stop(ctx, session.ID, session.StartID); err != nil {
			return startAskLater, t.noteWaiting(ctx, session, err)
		}
	}
	return startAsk, nil
}

// guess ends the start with an agent that cannot tell what became of it: one of others
// than OS-Pulse.
func (t *start) guess(ctx context.Context, session *models.Session) error {
	switch {
	case session.StopPending:
		return t.fail(ctx, session, stoppedStart("the agent cannot tell whether anything ran"), true)
	case refused(t.refusal):
		return t.fail(ctx, session, t.refusal, false)
	}
	code, text := models.CodeAgentFailed, "the backend that asked the agent ended before it got an answer"
	if e, ok := errors.AsType[*models.Error](t.refusal); ok {
		code, text = e.Code, e.Message
	}
	return t.fail(ctx, session, models.Errorf(code, "%s. Whether anything runs is unknown, as this agent cannot tell; it is told to stop", text), true)
}

// stop ends the start because a user stopped the session. An agent of ours then tells
// that nothing runs; of others it is not known.
func (t *start) stop(ctx context.Context, session *models.Session, agent Agent) (time.Duration, error) {
	if session.StartingSince == nil {
		return 0, t.fail(ctx, session, stoppedStart("nothing ran"), false)
	}
	if _, err := agent.Stop(ctx, session.ID, session.StartID); err != nil && !refused(err) {
		return 0, t.fail(ctx, session, stoppedStart("the agent cannot be reached, so it is not known whether anything ran"), true)
	}
	return t.ask(ctx, session, agent)
}

func stoppedStart(known string) error {
	return models.Errorf(models.CodeConflict, "a user stopped it before the agent had started it; %s", known)
}

// begin makes the session active: the agent said that it has started. If a user has
// stopped it meanwhile, it ends at once.
func (t *start) begin(ctx context.Context, session *models.Session, result agentclient.StartResult) error {
	isStopped := false
	session, err := t.update(ctx, session, func(session *models.Session) {
		isStopped = session.StopPending
		session.IsActive, session.StartRequested, session.StopPending = true, nil, false
		session.MonitoringStarted, session.MonitoringEnded, session.StartingSince = session.StartingSince, nil, nil
		session.MonitoringPID, session.StartError = result.MonitoringPID, models.StartError{}
		session.End, session.UnlistedSince, session.AgentSilentSince = models.SessionEnd{}, nil, nil
	})
	if err != nil {
		return err
	}
	t.sessions.started.Started(session)
	if isStopped {
		_, err = t.sessions.stopActive(ctx, session)
	}
	return err
}

// fail ends the start: with why, and whether something may have run. What may have run
// on an agent that cannot tell is stopped.
func (t *start) fail(ctx context.Context, session *models.Session, why error, mayHaveRun bool) error {
	e, ok := errors.AsType[*models.Error](why)
	if !ok {
		t.sessions.log.Error("a start failed", "session", t.id, "error", why)
		e = models.Errorf(models.CodeInternal, "the start failed for a reason that is in the backend's log")
	}
	_, err := t.update(ctx, session, func(session *models.Session) {
		session.StartRequested, session.StartingSince, session.StopPending = nil, nil, mayHaveRun
		session.StartError = models.StartError{Code: e.Code, Text: e.Message, MayHaveRun: mayHaveRun}
	})
	if err == nil {
		t.sessions.log.Info("the session was not started", "session", t.id, "because", why, "may_have_run", mayHaveRun)
	}
	return err
}

// failUnsent ends a start that was not sent to the agent; one that was sent, or that
// the database keeps from being carried on, is tried again.
func (t *start) failUnsent(ctx context.Context, session *models.Session, why error) error {
	if ctx.Err() != nil || session.StartingSince != nil || models.ErrorCode(why) == models.CodeUnavailable {
		return models.Wrap(why, models.CodeUnavailable, "the start cannot be carried on")
	}
	return t.fail(ctx, session, why, false)
}

// noteWaiting notes in the session why it is not known yet what became of the start.
func (t *start) noteWaiting(ctx context.Context, session *models.Session, why error) error {
	e, ok := errors.AsType[*models.Error](why)
	if !ok || session.StartError.Text == e.Message {
		return nil
	}
	_, err := t.update(ctx, session, func(session *models.Session) {
		session.StartError = models.StartError{Code: e.Code, Text: e.Message, MayHaveRun: true}
	})
	return err
}

// update changes the session, if it is still starting by the same start; else it is a
// conflict.
func (t *start) update(ctx context.Context, session *models.Session, change func(*models.Session)) (*models.Session, error) {
	return t.sessions.sessions.Update(ctx, t.id, func(now *models.Session) error {
		if now.StartRequested == nil || now.StartID != session.StartID {
			return models.Errorf(models.CodeConflict, "another backend has carried on the start of session %s", t.id)
		}
		change(now)
		return nil
	})
}
