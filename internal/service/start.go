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
	// startSweep is the interval between two searches for starts whose backend died.
	startSweep = time.Second
	// startAsk is the wait before the next question to the agent about a start;
	// startAskLater is the wait if the agent cannot be reached.
	startAsk      = 100 * time.Millisecond
	startAskLater = time.Second
	// startLook is how often a caller that waits for a start reads the session. Another
	// backend may carry on the start, so nobody can wake the caller.
	startLook = 50 * time.Millisecond
)

// Start accepts a start and returns the session in the state starting. Run carries on
// the start. agent is the ID or the name of the agent; "" stands for the session's. If the session is starting or active with the same parameters, Start
// returns it unchanged. It returns conflict if the parameters differ, or if the session
// has ended or may have run.
func (s *Sessions) Start(ctx context.Context, id, agent string, what models.Monitoring) (*models.Session, error) {
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
	chosen, err := s.agents.Choose(ctx, agent)
	if err != nil {
		return nil, err
	}
	now := s.clock.now()
	session, err := s.sessions.Update(ctx, id, func(session *models.Session) error {
		switch state := session.State(); {
		case session.FileSHA256 == nil:
			return models.Errorf(models.CodeConflict, "session %s has no file to monitor: it only keeps events that belong to no other session", id)
		case state == models.StateActive || state == models.StateStarting:
			if !session.Monitors(what) || agent != "" && *session.AgentID != chosen {
				return models.Errorf(models.CodeConflict, "session %s is %s already, with other parameters: stop it first", id, state)
			}
			return nil
		case state == models.StateEnded || session.StartError.MayHaveRun:
			return models.Errorf(models.CodeConflict, "session %s has %s, and a session can be started only once: make another session of the same file", id, state)
		}
		session.StartID, session.StartRequested, session.StartingSince = startID.String(), &now, nil
		session.StartError, session.StopPending = models.StartError{}, false
		session.Mode, session.ChosenPIDs, session.EntryPoint, session.Arguments, session.StartLimits, session.Selection = what.Mode, what.PIDs, what.EntryPoint, what.Arguments, what.Limits, what.Selection
		if session.AgentID == nil || agent != "" && *session.AgentID != chosen { // without an agent, it was imported
			session.AgentID, session.AgentFileName = &chosen, "" // the agent does not have the file
		}
		return nil
	})
	if err == nil && session.StartID == startID.String() {
		s.carryOn(id)
	}
	return session, err
}

// AwaitStart waits until the outcome of a session's start is known, and returns the
// session if it has become active. It returns the error of a failed start, or
// agent_timeout if the outcome is not known within the time that clients wait.
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
		return nil, models.Errorf(models.CodeAgentTimeout, "session %s is still starting%s. It becomes active or failed as soon as the agent reports the outcome", session.ID, waitsFor)
	case session.StartError.Code != "":
		return nil, models.Errorf(session.StartError.Code, "%s", session.StartError.Text)
	}
	return session, nil
}

// awaitStart waits until the session is no longer starting, or until a time, and returns
// the session.
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

// carryOn queues starts for Run.
func (s *Sessions) carryOn(ids ...string) {
	s.mu.Lock()
	s.starting = append(s.starting, ids...)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // Run is awake already
	}
}

// Run carries on starts until ctx ends: those that this backend accepted, and those that
// another backend accepted and left. Any number of backends may call it on one database.
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
				s.log.Warn("the search for unfinished starts failed and will be tried again", "error", err)
			}
			for i := range sessions {
				s.carryOn(sessions[i].ID)
			}
		}
	}
}

// finishStart carries on a start until its outcome is known, or until another operation
// has the session. In that case the next sweep finds the start again.
func (s *Sessions) finishStart(ctx context.Context, id string) {
	start := start{sessions: s, id: id}
	for {
		wait, err := start.step(ctx)
		switch {
		case models.ErrorCode(err) == models.CodeConflict, models.ErrorCode(err) == models.CodeNotFound:
			return
		case err != nil:
			if ctx.Err() == nil {
				s.log.Warn("a start could not be carried on and will be tried again", "session", id, "error", err)
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

// start is the work on one start. The database holds all that another backend needs to
// carry it on. The fields hold what only the backend that asked the agent knows.
type start struct {
	sessions *Sessions
	id       string

	isUnknown bool                     // the agent keeps records of starts and has none of this one: send it again
	result    *agentclient.StartResult // the agent's answer, if it started
	refusal   error                    // the agent's answer, if it refused
}

// step performs the next step and returns the wait before the one after it, 0 if there
// is none. It releases the session's lease between steps, so that a stop can take it.
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

// send sends the start to the agent, and the file before it if the agent does not have
// it.
func (t *start) send(ctx context.Context, session *models.Session, agent Agent) (time.Duration, error) {
	s := t.sessions
	if !session.Delivered() {
		delivered, err := s.deliver(ctx, session)
		if err != nil {
			return 0, t.failUnsent(ctx, session, err)
		}
		session = delivered
	}
	// Agent and database must agree, even if this program is shutting down.
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
		Network: session.Network, TimeoutSeconds: session.TimeoutSeconds, MemoryMB: session.MemoryMB, Selection: session.Selection,
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

// ask asks the agent for its report on the start.
func (t *start) ask(ctx context.Context, session *models.Session, agent Agent) (time.Duration, error) {
	found, err := agent.FindStart(ctx, session.StartID)
	switch {
	case errors.Is(err, agentclient.ErrCannotTell):
		return 0, t.guess(ctx, session)
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil && session.StopPending:
		return 0, t.fail(ctx, session, stoppedStart("the agent cannot be reached, so it is unknown whether anything ran"), true)
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
		// The start is too old. The agent must refuse it if it still arrives.
		if _, err := agent.Stop(ctx, session.ID, session.StartID); err != nil {
			return startAskLater, t.noteWaiting(ctx, session, err)
		}
	}
	return startAsk, nil
}

// guess ends the start as failed. The agent is not OS-Pulse's own and keeps no record of
// starts.
func (t *start) guess(ctx context.Context, session *models.Session) error {
	switch {
	case session.StopPending:
		return t.fail(ctx, session, stoppedStart("the agent cannot tell whether anything ran"), true)
	case refused(t.refusal):
		return t.fail(ctx, session, t.refusal, false)
	}
	code, text := models.CodeAgentFailed, "the backend that asked the agent stopped before it got an answer"
	if e, ok := errors.AsType[*models.Error](t.refusal); ok {
		code, text = e.Code, e.Message
	}
	return t.fail(ctx, session, models.Errorf(code, "%s. Whether anything runs is unknown, because this agent cannot tell. The backend tells it to stop", text), true)
}

// stop ends the start because a user stopped the session. After that, our own agent
// reports that nothing runs. Other agents cannot report that.
func (t *start) stop(ctx context.Context, session *models.Session, agent Agent) (time.Duration, error) {
	if session.StartingSince == nil {
		return 0, t.fail(ctx, session, stoppedStart("nothing ran"), false)
	}
	if _, err := agent.Stop(ctx, session.ID, session.StartID); err != nil && !refused(err) {
		return 0, t.fail(ctx, session, stoppedStart("the agent cannot be reached, so it is unknown whether anything ran"), true)
	}
	return t.ask(ctx, session, agent)
}

func stoppedStart(known string) error {
	return models.Errorf(models.CodeConflict, "a user stopped it before the agent had started it; %s", known)
}

// begin makes the session active after the agent has started. It ends the session at
// once if a user has stopped it meanwhile.
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

// fail ends the start as failed, with the reason why. If something may have run and the
// agent cannot report whether, the backend tells the agent to stop.
func (t *start) fail(ctx context.Context, session *models.Session, why error, mayHaveRun bool) error {
	e, ok := errors.AsType[*models.Error](why)
	if !ok {
		t.sessions.log.Error("a start failed", "session", t.id, "error", why)
		e = models.Errorf(models.CodeInternal, "the start failed; the backend's log has the reason")
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

// failUnsent fails a start that the agent has not been sent. It returns an error, so
// that the start is tried again, if the start was sent or the database cannot be
// reached.
func (t *start) failUnsent(ctx context.Context, session *models.Session, why error) error {
	if ctx.Err() != nil || session.StartingSince != nil || models.ErrorCode(why) == models.CodeUnavailable {
		return models.Wrap(why, models.CodeUnavailable, "the start cannot be carried on")
	}
	return t.fail(ctx, session, why, false)
}

// noteWaiting stores in the session why the outcome of the start is not known yet.
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

// update changes the session if it is still starting with the same start. Otherwise it
// returns conflict.
func (t *start) update(ctx context.Context, session *models.Session, change func(*models.Session)) (*models.Session, error) {
	return t.sessions.sessions.Update(ctx, t.id, func(now *models.Session) error {
		if now.StartRequested == nil || now.StartID != session.StartID {
			return models.Errorf(models.CodeConflict, "another backend has carried on the start of session %s", t.id)
		}
		change(now)
		return nil
	})
}
