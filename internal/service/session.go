package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"ospulse/internal/agentclient"
	"ospulse/internal/filestore"
	"ospulse/internal/models"
)

// Limits of what a client may ask.
const (
	maxFileNameLen = 4096 // bytes
	maxChosenPIDs  = 10_000
)

// answerWithin is how soon whoever starts or stops a session hears of it, unless
// the agent is still taking in the file. startQueue is how much of that a start
// may spend on waiting for the session's start or stop before it.
const (
	answerWithin = 9500 * time.Millisecond
	startQueue   = 1000 * time.Millisecond
)

// SessionRepository keeps sessions; internal/repository implements it and
// documents its contracts.
type SessionRepository interface {
	Create(ctx context.Context, session *models.Session, file *models.TargetFile, place func() error) error
	Get(ctx context.Context, id string) (*models.Session, error)
	Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error)
	ListStopPending(ctx context.Context, startingBefore time.Time) ([]models.Session, error)
	IsStopPending(ctx context.Context, id string) (bool, error)
	SetStopped(ctx context.Context, id string) error
}

// FileStore keeps target files by their SHA-256; *filestore.Store implements it
// and documents its contracts.
type FileStore interface {
	Receive(content io.Reader, maxBytes int64) (*filestore.Upload, error)
	Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error)
}

// Agent is what a session needs of its agent; *agentclient.Client implements it.
type Agent interface {
	Processes(ctx context.Context) ([]agentclient.Process, error)
	Upload(ctx context.Context, name string, sizeBytes int64, open func() (io.ReadCloser, error)) (string, error)
	Start(ctx context.Context, r agentclient.StartRequest) (agentclient.StartResult, error)
	Stop(ctx context.Context, sessionID string) error
}

// StartListener hears of each session that an agent has begun to monitor for. It
// must not keep the caller waiting. *Processes is one.
type StartListener interface {
	Started(session *models.Session)
}

// Sessions leads sessions through their life: created with a file, active while
// the agent monitors, ended. It is safe for concurrent use.
type Sessions struct {
	sessions SessionRepository
	files    FileStore
	agents   AgentCaller
	started  StartListener
	working  *Operations
	clock    Clock
	log      *slog.Logger
}

// NewSessions gives the service over its repositories and the agents.
func NewSessions(sessions SessionRepository, files FileStore, agents AgentCaller, started StartListener, working *Operations, clock Clock, log *slog.Logger) *Sessions {
	return &Sessions{sessions, files, agents, started, working, clock, log}
}

// Create stores a file of at most maxBytes, makes a session for it and sends the
// file on to the agent. The session stands also when the agent cannot be
// reached: pending then says why the file is not there yet, and Start delivers
// it.
func (s *Sessions) Create(ctx context.Context, fileName string, content io.Reader, maxBytes int64) (session *models.Session, pending, err error) {
	if len(fileName) > maxFileNameLen {
		return nil, nil, models.Errorf(models.CodeInvalid, "the file's name is %d bytes long; at most %d are taken", len(fileName), maxFileNameLen)
	}
	upload, err := s.files.Receive(content, maxBytes)
	if err != nil {
		return nil, nil, err
	}
	defer s.discard(upload)
	if err := upload.Send(ctx); err != nil {
		return nil, nil, err
	}
	file := upload.File
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	agentID := s.agents.Own()
	session = &models.Session{
		ID: id.String(), FileName: storedName(fileName), AgentID: &agentID,
		FileSHA256: &file.SHA256, FileSizeBytes: file.SizeBytes,
	}
	ctx = context.WithoutCancel(ctx) // the file is here: nothing is left half done
	if err := s.sessions.Create(ctx, session, file, func() error { return upload.Place(ctx) }); err != nil {
		return nil, nil, err
	}
	end, err := s.working.begin(ctx, session.ID, answerWithin)
	if err != nil {
		return session, err, nil
	}
	defer end()
	delivered, err := s.deliver(ctx, session)
	if err != nil {
		return session, err, nil
	}
	return delivered, nil, nil
}

// discard removes what is left of an upload; nothing depends on it.
func (s *Sessions) discard(upload *filestore.Upload) {
	if err := upload.Discard(); err != nil {
		s.log.Warn("the rest of an upload could not be removed", "error", err)
	}
}

// deliver sends the session's file to the agent and keeps the name that the
// agent gives it.
func (s *Sessions) deliver(ctx context.Context, session *models.Session) (*models.Session, error) {
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return nil, err
	}
	sha := *session.FileSHA256
	name, err := agent.Upload(ctx, uploadName(session.FileName, sha), session.FileSizeBytes, func() (io.ReadCloser, error) { return s.files.Open(ctx, sha) })
	if err != nil {
		return nil, err
	}
	return s.sessions.Update(ctx, session.ID, func(session *models.Session) error {
		session.AgentFileName = name
		return nil
	})
}

// ListProcesses gives what runs on the machine of the session's agent.
func (s *Sessions) ListProcesses(ctx context.Context, sessionID string) ([]agentclient.Process, error) {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return nil, err
	}
	return agent.Processes(ctx)
}

// Start makes the agent monitor for the session, in mode 2 the given processes.
// The session becomes active when the agent has said yes, and only then; what
// the agent sends before it says yes is the session's already. A session that is
// active is a conflict.
func (s *Sessions) Start(ctx context.Context, id string, what models.Monitoring) (*models.Session, error) {
	if err := checkMonitoring(&what); err != nil {
		return nil, err
	}
	begin := time.Now()
	end, err := s.working.begin(ctx, id, startQueue)
	if err != nil {
		return nil, err
	}
	defer end()
	ctx = context.WithoutCancel(ctx) // the agent and the database must agree, whether or not anyone waits
	session, err := s.sessions.Get(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case session.FileSHA256 == nil:
		return nil, models.Errorf(models.CodeConflict, "session %s has no file to monitor: it only keeps events that belong to no other", id)
	case session.IsActive:
		return nil, models.Errorf(models.CodeConflict, "session %s is being monitored already: stop it first", id)
	case !session.Delivered():
		if session, err = s.deliver(ctx, session); err != nil {
			return nil, err
		}
	}
	if what.Mode != models.ModePIDs {
		what.PIDs = nil
	}
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return nil, err
	}
	own := s.agents.Own()
	since := s.clock.now()
	if _, err := s.sessions.Update(ctx, id, func(session *models.Session) error {
		session.StartingSince, session.StartedAfterSeq = &since, session.EventCount
		if session.AgentID == nil { // it was imported
			session.AgentID = &own
		}
		return nil
	}); err != nil {
		return nil, err
	}
	result, err := askToStart(ctx, agent, begin, agentclient.StartRequest{
		SessionID: id, FileName: session.AgentFileName, Mode: int(what.Mode), Processes: what.PIDs, EntryPoint: what.EntryPoint, Arguments: what.Arguments,
	})
	if err != nil {
		return nil, s.notStarted(ctx, id, since, err)
	}
	session, err = s.sessions.Update(ctx, id, func(session *models.Session) error {
		if !sameTime(session.StartingSince, &since) {
			return models.Errorf(models.CodeConflict, "session %s was started or stopped by another backend meanwhile", id)
		}
		session.IsActive, session.StartingSince, session.StopPending = true, nil, false
		session.MonitoringStarted, session.MonitoringEnded = &since, nil
		session.Mode, session.ChosenPIDs, session.MonitoringPID = what.Mode, what.PIDs, result.MonitoringPID
		session.End, session.UnlistedSince, session.AgentSilentSince = models.SessionEnd{}, nil, nil
		return nil
	})
	switch {
	case models.ErrorCode(err) == models.CodeConflict:
		return nil, s.notStarted(ctx, id, since, err)
	case err != nil:
		return nil, errors.Join(err, agent.Stop(ctx, id)) // not half started: the agent stops again
	}
	s.started.Started(session)
	return session, nil
}

// sameTime reports whether two times are the same, or both are missing.
func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

func checkMonitoring(what *models.Monitoring) error {
	switch what.Mode {
	case models.ModeSpawn:
		return checkCommand(what.EntryPoint, what.Arguments)
	case models.ModeAll, models.ModePIDs:
	default:
		return models.Errorf(models.CodeInvalid, "mode must be 1 (all processes), 2 (chosen processes) or 3 (spawn the uploaded file), not %d", what.Mode)
	}
	if what.EntryPoint != "" || len(what.Arguments) > 0 {
		return models.Errorf(models.CodeInvalid, "entryPoint and arguments are for mode 3, which starts the uploaded file, not for mode %d", what.Mode)
	}
	if what.Mode == models.ModeAll {
		return nil
	}
	return checkPIDs(what.PIDs)
}

// Limits of a command, which Linux has too: of what it takes as a path, and of all
// arguments together.
const (
	maxEntryPointLen = 4096
	maxArgumentsLen  = 128 << 10
)

func checkCommand(entryPoint string, arguments []string) error {
	length := 0
	for _, argument := range arguments {
		length += len(argument) + 1
	}
	switch {
	case len(entryPoint) > maxEntryPointLen:
		return models.Errorf(models.CodeInvalid, "entryPoint has %d bytes; at most %d are taken", len(entryPoint), maxEntryPointLen)
	case length > maxArgumentsLen:
		return models.Errorf(models.CodeInvalid, "arguments have %d bytes together; at most %d are taken", length, maxArgumentsLen)
	case strings.ContainsRune(entryPoint, 0) || slices.ContainsFunc(arguments, func(argument string) bool { return strings.ContainsRune(argument, 0) }):
		return models.Errorf(models.CodeInvalid, "entryPoint and arguments must have no NUL character")
	}
	return nil
}

func checkPIDs(pids []int64) error {
	switch {
	case len(pids) == 0:
		return models.Errorf(models.CodeInvalid, "processes is missing: mode 2 takes the pids of the processes to monitor")
	case len(pids) > maxChosenPIDs:
		return models.Errorf(models.CodeInvalid, "processes has %d pids; at most %d are taken", len(pids), maxChosenPIDs)
	}
	for i, pid := range pids {
		if pid < 0 || pid > 1<<32-1 {
			return models.Errorf(models.CodeInvalid, "processes[%d] is no pid: %d", i, pid)
		}
	}
	return nil
}

// askToStart sends the start in what is left of the time that a caller waits.
func askToStart(ctx context.Context, agent Agent, begin time.Time, request agentclient.StartRequest) (agentclient.StartResult, error) {
	if left := answerWithin - time.Since(begin); left > 0 { // else the upload took long, and the client's own limit holds
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	return agent.Start(ctx, request)
}

// notStarted undoes the beginning of a start that failed. An agent that did not
// refuse it may have started all the same, and is told to stop as soon as it answers
// again: unless another start of the session has come between.
func (s *Sessions) notStarted(ctx context.Context, id string, since time.Time, cause error) error {
	_, err := s.sessions.Update(ctx, id, func(session *models.Session) error {
		if session.IsActive || session.StartingSince != nil && !session.StartingSince.Equal(since) {
			return nil
		}
		session.StartingSince = nil
		session.StopPending = session.StopPending || !refused(cause)
		return nil
	})
	if err != nil {
		s.log.Error("a failed start could not be undone", "session", id, "error", err)
	}
	return cause
}

// refused reports whether the agent answered and said no: then nothing runs.
func refused(err error) bool {
	e, ok := errors.AsType[*models.Error](err)
	return ok && e.Err == nil && (e.Code == models.CodeAgentFailed || e.Code == models.CodeInvalid || e.Code == models.CodeCannotRun)
}

// Stop ends the session. It is idempotent. If the agent cannot be told, the
// session ends all the same: warning says so, and RetryStops tells the agent
// later.
func (s *Sessions) Stop(ctx context.Context, id string) (session *models.Session, warning, err error) {
	deadline := time.Now().Add(answerWithin)
	end, err := s.working.begin(ctx, id, answerWithin)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	ctx = context.WithoutCancel(ctx)
	session, err = s.sessions.Get(ctx, id)
	if err != nil || !session.IsActive && !session.StopPending {
		return session, nil, err
	}
	asking, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	warning = s.tellStop(asking, session)
	started := session.MonitoringStarted
	session, err = s.sessions.Update(ctx, id, func(session *models.Session) error {
		if !sameTime(session.MonitoringStarted, started) {
			return models.Errorf(models.CodeConflict, "session %s was started again by another backend meanwhile", id)
		}
		if session.IsActive {
			session.Ended(s.clock.now(), models.SessionEnd{Reason: models.EndStopped, Text: "a user stopped it"})
		}
		session.StopPending = warning != nil
		return nil
	})
	return session, warning, err
}

// tellStop tells the agent of a session that it ends.
func (s *Sessions) tellStop(ctx context.Context, session *models.Session) error {
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return err
	}
	return agent.Stop(ctx, session.ID)
}

// RetryStops tells agents about sessions that ended while they were away, and about
// those that were being started when a backend died: the agent may be monitoring for
// them. One that it refuses to stop does not keep it from hearing of the others; an
// agent that does not answer is left in peace until the next call.
func (s *Sessions) RetryStops(ctx context.Context) error {
	pending, err := s.sessions.ListStopPending(ctx, s.clock.now().Add(-models.StartGrace))
	if err != nil {
		return err
	}
	var failed []error
	silent := map[string]bool{}
	for i := range pending {
		session := &pending[i]
		agentID := s.agents.Own()
		if session.AgentID != nil {
			agentID = *session.AgentID
		}
		if silent[agentID] {
			continue
		}
		err := s.retryStop(ctx, session)
		failed = append(failed, err)
		silent[agentID] = err != nil && !refused(err)
	}
	return errors.Join(failed...)
}

// retryQueue is how long a stop that is pending waits for another operation on its
// session, which may make it unnecessary; later it is tried again.
const retryQueue = 100 * time.Millisecond

func (s *Sessions) retryStop(ctx context.Context, session *models.Session) error {
	id := session.ID
	end, err := s.working.begin(ctx, id, retryQueue)
	if models.ErrorCode(err) == models.CodeConflict {
		return nil
	}
	if err != nil {
		return err
	}
	defer end()
	pending, err := s.sessions.IsStopPending(ctx, id) // anew: it may have been started meanwhile
	if err != nil || !pending {
		return err
	}
	if err := s.tellStop(ctx, session); err != nil {
		return err
	}
	err = s.sessions.SetStopped(ctx, id)
	if err == nil {
		s.log.Info("the agent was told that the session has ended", "session", id)
	}
	return err
}
