package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"ospulse/internal/agentclient"
	"ospulse/internal/models"
	"ospulse/internal/sample"
)

// Limits of a client's request.
const (
	maxFileNameLen = 4096 // bytes
	maxChosenPIDs  = 10_000
)

// answerWithin is how long an existing client waits for the answer to an upload or a
// start. stopWithin limits the time of a stop, at any load.
const (
	answerWithin = 9500 * time.Millisecond
	stopWithin   = 4500 * time.Millisecond
)

// SessionRepository stores sessions. internal/repository implements it and documents its
// contracts.
type SessionRepository interface {
	Create(ctx context.Context, session *models.Session, file *models.TargetFile, place func() error) error
	Get(ctx context.Context, id string) (*models.Session, error)
	Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error)
	ListStarting(ctx context.Context) ([]models.Session, error)
	ListStopPending(ctx context.Context, startingBefore time.Time) ([]models.Session, error)
	IsStopPending(ctx context.Context, id string) (bool, error)
	SetStopped(ctx context.Context, id string) error
}

// FileStore stores target files by their SHA-256. *sample.Store implements it and
// documents its contracts.
type FileStore interface {
	Receive(content io.Reader, maxBytes int64) (*sample.Upload, error)
	Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error)
}

// Agent is what a session needs of its agent; *agentclient.Client implements it.
type Agent interface {
	Processes(ctx context.Context) ([]agentclient.Process, error)
	Upload(ctx context.Context, file agentclient.File) (name string, err error)
	Start(ctx context.Context, r agentclient.StartRequest) (agentclient.StartResult, error)
	FindStart(ctx context.Context, id string) (agentclient.Start, error)
	Stop(ctx context.Context, sessionID, startID string) (agentclient.StopResult, error)
}

// StartListener is called for each session that an agent has begun to monitor for. It
// must not block. *Processes implements it.
type StartListener interface {
	Started(session *models.Session)
}

// Sessions creates, starts, stops and deletes sessions. The caller must call Run: it
// carries on starts. It is safe for concurrent use.
type Sessions struct {
	sessions SessionRepository
	files    FileStore
	agents   AgentCaller
	started  StartListener
	working  *Operations
	clock    Clock
	log      *slog.Logger

	mu       sync.Mutex
	starting []string        // sessions with a start for Run to carry on
	carrying map[string]bool // sessions whose start this backend carries on at the moment
	wake     chan struct{}   // holds a value after a session was added to starting
}

// NewSessions returns the service over its repositories and the agents.
func NewSessions(sessions SessionRepository, files FileStore, agents AgentCaller, started StartListener, working *Operations, clock Clock, log *slog.Logger) *Sessions {
	return &Sessions{
		sessions: sessions, files: files, agents: agents, started: started, working: working, clock: clock, log: log,
		carrying: map[string]bool{}, wake: make(chan struct{}, 1),
	}
}

// Create stores a file of at most maxBytes, creates a session for it and sends the file
// to the agent. If the agent cannot be reached, the session exists anyway: pending says
// why the agent does not have the file yet, and Start sends it. agent is the ID or the name
// of the agent, "" for this backend's own.
func (s *Sessions) Create(ctx context.Context, agent, fileName string, content io.Reader, maxBytes int64) (session *models.Session, pending, err error) {
	if len(fileName) > maxFileNameLen {
		return nil, nil, models.Errorf(models.CodeInvalid, "the file's name is %d bytes long; at most %d are taken", len(fileName), maxFileNameLen)
	}
	agentID, err := s.agents.Choose(ctx, agent)
	if err != nil {
		return nil, nil, err
	}
	upload, err := s.files.Receive(content, maxBytes)
	if err != nil {
		return nil, nil, err
	}
	defer s.discard(upload)
	if err := upload.Send(ctx); err != nil {
		return nil, nil, err
	}
	session = &models.Session{AgentID: &agentID, FileName: storedName(fileName), FileSHA256: &upload.File.SHA256, FileSizeBytes: upload.File.SizeBytes}
	return s.store(ctx, session, upload.Place)
}

// Copy creates another session of the same target file, because a session is started
// once. It is for the same agent, or for another one. It returns the same as Create, and
// conflict if the session has no file.
func (s *Sessions) Copy(ctx context.Context, id, agent string) (session *models.Session, pending, err error) {
	from, err := s.sessions.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if from.FileSHA256 == nil {
		return nil, nil, models.Errorf(models.CodeConflict, "session %s has no file", id)
	}
	if agent == "" && from.AgentID != nil {
		agent = *from.AgentID
	}
	agentID, err := s.agents.Choose(ctx, agent)
	if err != nil {
		return nil, nil, err
	}
	session = &models.Session{AgentID: &agentID, FileName: from.FileName, FileSHA256: from.FileSHA256, FileSizeBytes: from.FileSizeBytes, Name: from.Name, Tags: from.Tags}
	return s.store(ctx, session, func(ctx context.Context) error {
		content, err := s.files.Open(ctx, *from.FileSHA256)
		if err != nil {
			return err
		}
		return content.Close()
	})
}

// store creates a session of a target file that this backend has, and sends the file to
// the agent. It calls place while the file cannot be deleted.
func (s *Sessions) store(ctx context.Context, session *models.Session, place func(context.Context) error) (_ *models.Session, pending, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	actor := models.ActorOf(ctx)
	session.ID, session.CreatedByKey, session.CreatedBy = id.String(), actor.KeyID, actor.Name
	file := &models.TargetFile{SHA256: *session.FileSHA256, SizeBytes: session.FileSizeBytes}
	ctx = context.WithoutCancel(ctx) // the file is here: finish the work even if the client disconnects
	if err := s.sessions.Create(ctx, session, file, func() error { return place(ctx) }); err != nil {
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

// discard removes an unused upload. Nothing depends on it.
func (s *Sessions) discard(upload *sample.Upload) {
	if err := upload.Discard(); err != nil {
		s.log.Warn("the rest of an upload could not be removed", "error", err)
	}
}

// deliver sends the session's file to the agent and stores the agent's name for it.
func (s *Sessions) deliver(ctx context.Context, session *models.Session) (*models.Session, error) {
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return nil, err
	}
	sha := *session.FileSHA256
	name, err := agent.Upload(ctx, agentclient.File{
		Name: uploadName(session.FileName, sha), SHA256: sha, SizeBytes: session.FileSizeBytes,
		Open: func() (io.ReadCloser, error) { return s.files.Open(ctx, sha) },
	})
	if err != nil {
		return nil, err
	}
	return s.sessions.Update(ctx, session.ID, func(session *models.Session) error {
		session.AgentFileName = name
		return nil
	})
}

// ListProcesses returns the processes on the machine of the session's agent, or of another
// one that is chosen by its ID or name.
func (s *Sessions) ListProcesses(ctx context.Context, sessionID, chosen string) ([]agentclient.Process, error) {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	agentID := session.AgentID
	if chosen != "" {
		id, err := s.agents.Choose(ctx, chosen)
		if err != nil {
			return nil, err
		}
		agentID = &id
	}
	agent, err := s.agents.For(ctx, agentID)
	if err != nil {
		return nil, err
	}
	return agent.Processes(ctx)
}

// sameTime reports whether two times are the same, or both are missing.
func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

func checkMonitoring(what *models.Monitoring) error {
	if err := checkSelection(what.Selection); err != nil {
		return err
	}
	switch what.Mode {
	case models.ModeSpawn:
		if err := checkLimits(what.Limits); err != nil {
			return err
		}
		return checkCommand(what.EntryPoint, what.Arguments)
	case models.ModeAll, models.ModePIDs:
	default:
		return models.Errorf(models.CodeInvalid, "mode must be 1 (all processes), 2 (chosen processes) or 3 (spawn the uploaded file), not %d", what.Mode)
	}
	if what.EntryPoint != "" || len(what.Arguments) > 0 || what.Limits != (models.StartLimits{}) {
		return models.Errorf(models.CodeInvalid, "entryPoint, arguments, network, timeoutSeconds and memoryMB are for mode 3, which starts the uploaded file, not for mode %d", what.Mode)
	}
	if what.Mode == models.ModeAll {
		return nil
	}
	return checkPIDs(what.PIDs)
}

// Limits of a command, the same as Linux has for a path and for all arguments.
const (
	maxEntryPointLen = 4096
	maxArgumentsLen  = 128 << 10
	maxStartSeconds  = 24 * 60 * 60
	maxStartMemoryMB = 1 << 20
)

// checkLimits checks only what no agent allows. The agent knows its own limits.
func checkLimits(l models.StartLimits) error {
	switch {
	case !slices.Contains([]string{"", "none", "nat", "host"}, l.Network):
		return models.Errorf(models.CodeInvalid, "network must be none, nat or host, not %.20q", l.Network)
	case l.TimeoutSeconds < 0 || l.TimeoutSeconds > maxStartSeconds:
		return models.Errorf(models.CodeInvalid, "timeoutSeconds must be from 0 (the agent's) to %d, not %d", maxStartSeconds, l.TimeoutSeconds)
	case l.MemoryMB < 0 || l.MemoryMB > maxStartMemoryMB:
		return models.Errorf(models.CodeInvalid, "memoryMB must be from 0 (the agent's) to %d, not %d", maxStartMemoryMB, l.MemoryMB)
	}
	return nil
}

// Limits of a selection, which the agents have too.
const (
	maxSelected     = 64 // classes, or paths of one list
	maxSelectedPath = 255
)

// checkSelection checks only what no agent allows. The agent knows its classes of events.
func checkSelection(s *models.Selection) error {
	if s == nil {
		return nil
	}
	for name, list := range map[string][]string{"leaveOut": s.LeaveOut, "onlyPaths": s.OnlyPaths, "leaveOutPaths": s.LeaveOutPaths} {
		if len(list) > maxSelected {
			return models.Errorf(models.CodeInvalid, "selection.%s must have at most %d entries, not %d", name, maxSelected, len(list))
		}
		for _, text := range list {
			if text == "" || len(text) > maxSelectedPath || strings.ContainsRune(text, 0) {
				return models.Errorf(models.CodeInvalid, "selection.%s must have texts of 1 to %d bytes, without NUL", name, maxSelectedPath)
			}
		}
	}
	return nil
}

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

// refused reports whether the agent answered with a refusal. Nothing runs then.
func refused(err error) bool {
	e, ok := errors.AsType[*models.Error](err)
	return ok && e.Err == nil && (e.Code == models.CodeAgentFailed || e.Code == models.CodeInvalid || e.Code == models.CodeCannotRun)
}

// StopOutcome is the outcome of a stop.
type StopOutcome struct {
	Session  *models.Session
	InFlight *agentclient.InFlight // nil if the agent did not report it
	Warning  error                 // why the agent could not be told; the backend tells it later
}

// Stop ends the session within stopWithin. It is idempotent. If it cannot tell the agent
// in that time, it ends the session anyway, and RetryStops tells the agent later. A
// starting session ends when the outcome of its start is known. It may still be starting
// when Stop returns.
func (s *Sessions) Stop(ctx context.Context, id string) (StopOutcome, error) {
	ctx = context.WithoutCancel(ctx)
	deadline := time.Now().Add(stopWithin)
	session, err := s.sessions.Get(ctx, id)
	if err == nil && session.StartRequested != nil {
		session, err = s.stopStart(ctx, session, deadline)
	}
	if err != nil || !session.IsActive && !session.StopPending || session.StartRequested != nil {
		return StopOutcome{Session: session}, err
	}
	asking, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	end, err := s.working.begin(asking, id, stopWithin)
	if models.ErrorCode(err) == models.CodeConflict { // another operation has the session
		session, err = s.endStopped(ctx, id, err)
		return StopOutcome{Session: session, Warning: models.Errorf(models.CodeAgentTimeout, "the agent has not answered yet")}, err
	}
	if err != nil {
		return StopOutcome{}, err
	}
	defer end()
	if session, err = s.sessions.Get(ctx, id); err != nil || !session.IsActive && !session.StopPending {
		return StopOutcome{Session: session}, err
	}
	return s.stopActive(asking, session)
}

// stopStart records the stop of a starting session and waits until the session is no
// longer starting. At the deadline it returns the session as it is.
func (s *Sessions) stopStart(ctx context.Context, session *models.Session, deadline time.Time) (*models.Session, error) {
	session, err := s.sessions.Update(ctx, session.ID, func(session *models.Session) error {
		session.StopPending = session.StopPending || session.StartRequested != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.carryOn(session.ID)
	return s.awaitStart(ctx, session, deadline)
}

// stopActive tells the agent to stop and ends the session. The caller holds the
// session's lease.
func (s *Sessions) stopActive(ctx context.Context, session *models.Session) (StopOutcome, error) {
	told, warning := s.tellStop(ctx, session)
	session, err := s.endStopped(context.WithoutCancel(ctx), session.ID, warning)
	return StopOutcome{session, told.InFlight, warning}, err
}

// endStopped ends a session that a user stopped. If untold is not nil, the agent was not
// told, and the backend tells it later.
func (s *Sessions) endStopped(ctx context.Context, id string, untold error) (*models.Session, error) {
	return s.sessions.Update(ctx, id, func(session *models.Session) error {
		if session.IsActive {
			session.Ended(s.clock.now(), models.SessionEnd{Reason: models.EndStopped, Text: "a user stopped it"})
		}
		session.StopPending = untold != nil
		return nil
	})
}

// tellStop tells the agent of a session that it ends.
func (s *Sessions) tellStop(ctx context.Context, session *models.Session) (agentclient.StopResult, error) {
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return agentclient.StopResult{}, err
	}
	return agent.Stop(ctx, session.ID, session.StartID)
}

// RetryStops sends missed stops to agents: those of sessions that ended while their agent
// was offline, and of starts whose backend died, because the agent may be monitoring for
// them. If an agent refuses one, RetryStops goes on. It does not ask an agent again that
// does not answer.
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

// retryQueue is how long a pending stop waits for another operation on its session, which
// may make it unnecessary. The next call tries again.
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
	pending, err := s.sessions.IsStopPending(ctx, id) // read again: it may have been started meanwhile
	if err != nil || !pending {
		return err
	}
	if _, err := s.tellStop(ctx, session); err != nil {
		return err
	}
	err = s.sessions.SetStopped(ctx, id)
	if err == nil {
		s.log.Info("the agent was told that the session has ended", "session", id)
	}
	return err
}
