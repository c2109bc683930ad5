package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"ospulse/internal/models"
)

const (
	// endSweep is the interval between two sweeps of active sessions. A sweep finds ends
	// that an earlier run of the program stored and did not handle, and silent agents.
	endSweep = 2 * time.Second
	// endQueue is how long the end of a session waits for another operation on it;
	// endRetry is the wait before the next attempt.
	endQueue = 100 * time.Millisecond
	endRetry = 250 * time.Millisecond
	// Limits of the last session_end events that are read of a session, by number and
	// data.
	maxEndEvents = 20
	maxEndBytes  = 1 << 20
)

// EndPatience holds the grace periods of active sessions.
type EndPatience struct {
	Unlisted time.Duration // before a session ends that its agent's heartbeats do not list
	Silent   time.Duration // before a session reports that its agent is silent
}

// ActiveLister lists sessions by their state. *repository.Sessions implements it.
type ActiveLister interface {
	ListActive(ctx context.Context) ([]models.Session, error)
	ListByID(ctx context.Context, ids []string) ([]models.Session, error)
}

// SessionUpdater changes sessions.
type SessionUpdater interface {
	Get(ctx context.Context, id string) (*models.Session, error)
	Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error)
}

// EndEvents lists the events by which agents report a session's start and end.
// *repository.Events implements it and documents its contracts.
type EndEvents interface {
	ListEnds(ctx context.Context, sessionID string, after int64, limit, maxBytes int) ([]models.Event, error)
	ListOfType(ctx context.Context, sessionID, eventType string, before int64, limit int) ([]models.Event, error)
}

// AgentLister lists agents.
type AgentLister interface {
	List(ctx context.Context, limit int) ([]models.Agent, error)
}

// Ends ends sessions without a stop: when the agent reports that the program has ended,
// and when the agent no longer monitors for them. It records which agents are silent.
// Several backends may use it on one database. It is safe for concurrent use.
type Ends struct {
	active   ActiveLister
	sessions SessionUpdater
	events   EndEvents
	agents   AgentLister
	working  *Operations
	patience EndPatience
	clock    Clock
	log      *slog.Logger

	watchedSince, lastSweep time.Time // used by Run; watchedSince is when it began to notice silence

	mu       sync.Mutex
	reported map[string]bool // sessions that got a session_end
	wake     chan struct{}   // holds a value when one was added
}

// NewEnds returns the service over its repositories. The caller must call Run.
func NewEnds(active ActiveLister, sessions SessionUpdater, events EndEvents, agents AgentLister, working *Operations, patience EndPatience, clock Clock, log *slog.Logger) *Ends {
	return &Ends{
		active: active, sessions: sessions, events: events, agents: agents, working: working, patience: patience, clock: clock, log: log,
		reported: map[string]bool{}, wake: make(chan struct{}, 1),
	}
}

// Published receives committed batches and their receipts. It never blocks.
func (s *Ends) Published(batches []models.Batch, receipts []models.Receipt) {
	for i := range batches {
		if receipts[i].Repeated {
			continue
		}
		for j := range batches[i].Events {
			if e := &batches[i].Events[j]; e.EventType == models.TypeSessionEnd {
				s.look(e.SessionID)
			}
		}
	}
}

// look makes Run check whether a session has ended.
func (s *Ends) look(id string) {
	s.mu.Lock()
	s.reported[id] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run ends sessions until ctx ends.
func (s *Ends) Run(ctx context.Context) {
	ticker := time.NewTicker(endSweep)
	defer ticker.Stop()
	for {
		var retry <-chan time.Time
		if s.endReported(ctx) {
			retry = time.After(endRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-retry:
		case <-ticker.C:
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("active sessions could not be looked at; it is tried again", "error", err)
			}
		}
	}
}

// endReported ends the sessions that got a session_end. It reports whether some must be tried
// again.
func (s *Ends) endReported(ctx context.Context) (again bool) {
	s.mu.Lock()
	ids := s.reported
	s.reported = map[string]bool{}
	s.mu.Unlock()
	for id := range ids {
		err := s.endOne(ctx, id, s.byEvent)
		if err == nil || models.ErrorCode(err) == models.CodeNotFound {
			continue
		}
		if models.ErrorCode(err) != models.CodeConflict && ctx.Err() == nil {
			s.log.Warn("a session could not be ended; it is tried again", "session", id, "error", err)
		}
		s.mu.Lock()
		s.reported[id] = true
		s.mu.Unlock()
		again = true
	}
	return again
}

// endOne changes a session by how, which receives the session and returns nil if nothing
// is to change. It returns conflict if the session is being started or stopped.
func (s *Ends) endOne(ctx context.Context, id string, how func(context.Context, *models.Session) (func(*models.Session), error)) error {
	end, err := s.working.begin(ctx, id, endQueue)
	if err != nil {
		return err
	}
	defer end()
	session, err := s.sessions.Get(ctx, id)
	if err != nil {
		return err
	}
	change, err := how(ctx, session)
	if err != nil || change == nil {
		return err
	}
	session, err = s.sessions.Update(ctx, id, func(now *models.Session) error {
		if !sameTime(now.MonitoringStarted, session.MonitoringStarted) || now.IsActive != session.IsActive {
			return models.Errorf(models.CodeConflict, "session %s was started or stopped meanwhile", id)
		}
		change(now)
		return nil
	})
	if err == nil {
		s.log.Info("the session has ended", "session", id, "reason", session.End.Reason, "because", session.End.Text)
	}
	return err
}

// byEvent ends an active session as its agent reported. It also corrects the end of a
// session that was stopped, or whose agent seemed lost, if its program had ended before.
func (s *Ends) byEvent(ctx context.Context, session *models.Session) (func(*models.Session), error) {
	switch reason := session.End.Reason; {
	case session.IsActive:
	case session.MonitoringEnded == nil || reason == "" || reason.OfProgram():
		return nil, nil
	}
	reported, err := s.endEvent(ctx, session)
	switch {
	case err != nil || reported == nil:
		return nil, err
	case session.IsActive:
		return func(session *models.Session) { session.Ended(reported.at, reported.end) }, nil
	case reported.end.Reason.OfProgram():
		at := reported.at
		if at.After(*session.MonitoringEnded) {
			at = *session.MonitoringEnded
		}
		return func(session *models.Session) { session.Ended(at, reported.end) }, nil
	}
	return nil, nil
}

// unlisted ends a session that its agent has not listed for too long. The backend still
// tells the agent to stop it: the agent may have lost only its list.
func (s *Ends) unlisted(_ context.Context, session *models.Session) (func(*models.Session), error) {
	if !session.IsActive || session.UnlistedSince == nil {
		return nil, nil
	}
	return func(session *models.Session) {
		session.Ended(*session.UnlistedSince, models.SessionEnd{Reason: models.EndAgentLost, Text: "the agent no longer lists the session, as after a restart"})
		session.StopPending = true
	}, nil
}

// sweep checks all active sessions.
func (s *Ends) sweep(ctx context.Context) error {
	now := s.clock.now()
	if now.Sub(s.lastSweep) > 10*endSweep {
		s.watchedSince = now // before, perhaps nobody listened to the agents
	}
	active, err := s.active.ListActive(ctx)
	if err != nil || len(active) == 0 {
		return err
	}
	agents, err := s.agents.List(ctx, models.MaxAgents)
	if err != nil {
		return err
	}
	s.lastSweep = now
	var failed []error
	for i := range active {
		session := &active[i]
		if session.MonitoringStarted == nil {
			continue // no start left one like this
		}
		reported, err := s.endEvent(ctx, session)
		if err == nil && reported != nil {
			s.look(session.ID)
			continue
		}
		var agent models.Agent // an agent without a heartbeat, for a session without one
		if n := slices.IndexFunc(agents, func(a models.Agent) bool { return session.AgentID != nil && a.ID == *session.AgentID }); n >= 0 {
			agent = agents[n]
		}
		failed = append(failed, err, s.noteSilence(ctx, session, &agent, now))
	}
	return errors.Join(failed...)
}

// Heard handles a heartbeat. It records which active sessions of the agent the heartbeat
// does not list, and ends those that have been missing for too long. It stops listed
// sessions that ended long ago. It ignores heartbeats without a list.
func (s *Ends) Heard(ctx context.Context, agent *models.Agent) error {
	if agent.SessionIDs == nil {
		return nil
	}
	active, err := s.active.ListActive(ctx)
	if err != nil {
		return err
	}
	var failed []error
	others := slices.Clone(agent.SessionIDs)
	for i := range active {
		session := &active[i]
		others = slices.DeleteFunc(others, func(id string) bool { return id == session.ID })
		if session.AgentID != nil && *session.AgentID == agent.ID && session.MonitoringStarted != nil {
			failed = append(failed, s.noteListing(ctx, session, agent))
		}
	}
	if len(others) > 0 {
		failed = append(failed, s.stopEnded(ctx, others, agent))
	}
	return errors.Join(failed...)
}

// stopEnded tells the agent to stop the listed sessions that ended long ago. An older
// version of our agent keeps sessions until then, and has room for few.
func (s *Ends) stopEnded(ctx context.Context, listed []string, agent *models.Agent) error {
	sessions, err := s.active.ListByID(ctx, listed)
	failed := []error{err}
	for i := range sessions {
		session := &sessions[i]
		isOver := session.MonitoringEnded != nil && session.StartingSince == nil && !session.StopPending &&
			agent.HeartbeatAt.Sub(*session.MonitoringEnded) >= s.patience.Unlisted
		if !isOver || session.AgentID == nil || *session.AgentID != agent.ID {
			continue
		}
		_, err := s.sessions.Update(ctx, session.ID, func(now *models.Session) error {
			now.StopPending = now.StopPending || sameTime(now.MonitoringEnded, session.MonitoringEnded) && now.StartingSince == nil
			return nil
		})
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func (s *Ends) noteListing(ctx context.Context, session *models.Session, agent *models.Agent) error {
	isListed := slices.Contains(agent.SessionIDs, session.ID)
	switch {
	case isListed && session.UnlistedSince != nil:
		return s.note(ctx, session, func(session *models.Session) { session.UnlistedSince = nil })
	case !isListed && session.UnlistedSince == nil:
		return s.note(ctx, session, func(session *models.Session) { session.UnlistedSince = agent.HeartbeatAt })
	case !isListed && agent.HeartbeatAt.Sub(*session.UnlistedSince) >= s.patience.Unlisted:
		err := s.endOne(ctx, session.ID, s.unlisted)
		if models.ErrorCode(err) == models.CodeConflict { // the next heartbeat retries
			return nil
		}
		return err
	}
	return nil
}

// noteSilence records since when a session's agent is silent, or that it is back.
func (s *Ends) noteSilence(ctx context.Context, session *models.Session, agent *models.Agent, now time.Time) error {
	heard := *session.MonitoringStarted // the agent answered the start
	if agent.LastSeenAt != nil && agent.LastSeenAt.After(heard) {
		heard = *agent.LastSeenAt
	}
	isSilent := min(now.Sub(heard), now.Sub(s.watchedSince)) >= s.patience.Silent
	switch since := session.AgentSilentSince; {
	case isSilent && since == nil:
		return s.note(ctx, session, func(session *models.Session) { session.AgentSilentSince = &heard })
	case since != nil && heard.After(*since):
		return s.note(ctx, session, func(session *models.Session) { session.AgentSilentSince = nil })
	}
	return nil
}

// note changes an active session if it is still the same.
func (s *Ends) note(ctx context.Context, session *models.Session, change func(*models.Session)) error {
	_, err := s.sessions.Update(ctx, session.ID, func(now *models.Session) error {
		if now.IsActive && sameTime(now.MonitoringStarted, session.MonitoringStarted) {
			change(now)
		}
		return nil
	})
	if models.ErrorCode(err) == models.CodeNotFound {
		return nil
	}
	return err
}

// reportedEnd is an end that an agent reported.
type reportedEnd struct {
	at  time.Time
	end models.SessionEnd
}

// endEvent returns the end of the session's latest monitoring as its events report it;
// nil if they do not. Of several it prefers those that report the program's end, and of
// these the first.
func (s *Ends) endEvent(ctx context.Context, session *models.Session) (found *reportedEnd, err error) {
	events, err := s.events.ListEnds(ctx, session.ID, session.StartedAfterSeq, maxEndEvents, maxEndBytes)
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(events) { // oldest first
		data := readEnd(&e)
		isOf, err := s.isOfLatest(ctx, session, &e, data)
		if err != nil {
			return nil, err
		}
		reported := &reportedEnd{endTime(session, &e, data), data.end()}
		if isOf && (found == nil || reported.end.Reason.OfProgram() && !found.end.Reason.OfProgram()) {
			found = reported
		}
	}
	return found, nil
}

// isOfLatest reports whether a session_end is about the session's latest monitoring,
// because agents repeat events and send them late. The agent's clock may differ from the
// backend's. Therefore seq and pid decide, and the time only if these do not.
func (s *Ends) isOfLatest(ctx context.Context, session *models.Session, e *models.Event, data endData) (bool, error) {
	isItsPID := data.ProcessID != 0 && session.MonitoringPID != nil && data.ProcessID == *session.MonitoringPID
	switch {
	case data.SessionID != session.ID && data.SessionID != "":
		return false, nil
	case isItsPID:
		return true, nil
	case data.SessionID == "": // it names no session
		return false, nil
	case data.ProcessID != 0:
		starts, err := s.events.ListOfType(ctx, session.ID, models.TypeSessionStart, e.Seq, 1)
		if err != nil {
			return false, err
		}
		if len(starts) > 0 && starts[0].Seq <= session.StartedAfterSeq && readEnd(&starts[0]).ProcessID == data.ProcessID {
			return false, nil // an earlier monitoring began with that process
		}
	}
	return !e.Timestamp.Before(*session.MonitoringStarted), nil
}

// endTime returns when a monitoring ended, by a session_end, limited to the possible
// span.
func endTime(session *models.Session, e *models.Event, data endData) time.Time {
	started, at := *session.MonitoringStarted, e.Timestamp
	if at.Before(started) && data.Seconds > 0 && data.Seconds < math.MaxInt32 { // the agent's clock is slow
		at = started.Add(time.Duration(data.Seconds * float64(time.Second))).Truncate(time.Microsecond)
	}
	if at.After(e.CreatedAt) {
		at = e.CreatedAt
	}
	if at.Before(started) {
		at = started
	}
	return at
}

// endData is the data of a session_end. Unreadable members are missing.
type endData struct {
	SessionID string
	ProcessID int64
	Mode      models.Mode
	Reason    string
	ExitCode  *int64
	Signal    *int64
	Seconds   float64
}

// readEnd reads the data of a session_end, or the same members of a session_start.
func readEnd(e *models.Event) (d endData) {
	var data map[string]json.RawMessage
	_ = json.Unmarshal(e.Payload(), &data) // data that is no object has no members
	for name, into := range map[string]any{"sessionId": &d.SessionID, "processId": &d.ProcessID, "mode": &d.Mode, "reason": &d.Reason, "durationSeconds": &d.Seconds} {
		_ = json.Unmarshal(data[name], into) // unreadable: missing
	}
	for name, into := range map[string]**int64{"exitCode": &d.ExitCode, "signal": &d.Signal} {
		if n := int64(0); json.Unmarshal(data[name], &n) == nil && string(data[name]) != "null" {
			*into = &n
		}
	}
	return d
}

// ofLimits are our agent's reasons for ending a program that exceeded a limit.
var ofLimits = map[string]string{ //nolint:gochecknoglobals // a constant
	"memory": "it used more memory than it may", "cpu": "it used more time of a processor than it may", "disk": "it wrote a larger file than it may",
}

// end returns the end that a session_end reports.
func (d endData) end() models.SessionEnd {
	if d.ExitCode != nil && *d.ExitCode == -1 { // unknown
		d.ExitCode = nil
	}
	if d.Signal != nil && *d.Signal == 0 {
		d.Signal = nil
	}
	end := models.SessionEnd{ExitCode: d.ExitCode, Signal: d.Signal}
	limit, isLimit := ofLimits[d.Reason]
	switch {
	case d.Reason == "stopped": // the agent itself stopped it: a stop by the backend is stored before
		end.Reason, end.Text = models.EndAgentLost, "the agent ended the session by itself, as when it is shut down"
	case d.Reason == "agent_restarted":
		end.Reason, end.Text = models.EndAgentLost, "the agent was killed while the session ran, and restarted"
	case d.Reason == "timeout":
		end.Reason, end.Text = models.EndTimeout, "the program ran for as long as the agent lets it"
	case isLimit:
		end.Reason, end.Text = models.EndSignal, "the agent ended the program: "+limit
	case d.Signal != nil:
		end.Reason, end.Text = models.EndSignal, fmt.Sprintf("signal %d ended the program", *d.Signal)
	case d.ExitCode != nil:
		end.Reason, end.Text = models.EndExited, fmt.Sprintf("the program exited with code %d", *d.ExitCode)
	case d.Mode == models.ModePIDs:
		end.Reason, end.Text = models.EndExited, "all chosen processes ended"
	default:
		end.Reason, end.Text = models.EndExited, "the program ended"
	}
	return end
}
