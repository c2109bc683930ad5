package service

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"ospulse/internal/agentclient"
	"ospulse/internal/models"
	"ospulse/internal/process"
)

// maxTreeProcesses limits the processes of a tree.
const maxTreeProcesses = 10_000

// ProcessRepository stores the processes of sessions. internal/repository implements it
// and documents its contracts.
type ProcessRepository interface {
	List(ctx context.Context, sessionID string, limit int) (processes []models.Process, total int64, err error)
	Add(ctx context.Context, sessionID string, at time.Time, processes []models.Process) error
}

// Processes lists the processes of sessions, and asks agents for running processes when
// monitoring starts. It is safe for concurrent use.
type Processes struct {
	processes ProcessRepository
	sessions  SessionFinder
	agents    AgentCaller
	clock     Clock
	log       *slog.Logger
	asked     chan models.Session // whose agent Run asks next
}

// NewProcesses returns the service over its repositories and the agents. The caller must
// call Run, which asks agents.
func NewProcesses(processes ProcessRepository, sessions SessionFinder, agents AgentCaller, clock Clock, log *slog.Logger) *Processes {
	return &Processes{processes, sessions, agents, clock, log, make(chan models.Session, maxAsked)}
}

// Tree returns a session's processes.
func (s *Processes) Tree(ctx context.Context, sessionID string) (process.Tree, error) {
	if _, err := s.sessions.Get(ctx, sessionID); err != nil {
		return process.Tree{}, err
	}
	processes, total, err := s.processes.List(ctx, sessionID, maxTreeProcesses)
	if err != nil {
		return process.Tree{}, err
	}
	return process.Tree{Roots: process.NewTree(processes), Total: total, Truncated: total > int64(len(processes))}, nil
}

// Limits of the questions to agents.
const (
	maxAsked   = 16 // waiting sessions
	askTimeout = 20 * time.Second
)

// Started makes Run ask the agent of a just started session for the processes that it
// monitors. It never blocks.
func (s *Processes) Started(session *models.Session) {
	if session.Mode == models.ModeSpawn {
		return // nothing runs yet
	}
	select {
	case s.asked <- *session:
	default:
		s.log.Warn("the agent is not asked for its processes: too many sessions are being started", "session", session.ID)
	}
}

// Run asks agents until ctx ends. If an agent does not answer, its running processes are
// missing in the tree.
func (s *Processes) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case session := <-s.asked:
			if err := s.ask(ctx, &session); err != nil && ctx.Err() == nil {
				s.log.Warn("the agent's processes could not be added to the session", "session", session.ID, "error", err)
			}
		}
	}
}

// ask adds the processes that the agent reports as running: all, or in mode 2 the chosen
// ones.
func (s *Processes) ask(ctx context.Context, session *models.Session) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	agent, err := s.agents.For(ctx, session.AgentID)
	if err != nil {
		return err
	}
	running, err := agent.Processes(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(running, func(a, b agentclient.Process) int { return cmp.Compare(a.PID, b.PID) })
	wanted := map[int64]bool{}
	for _, pid := range session.ChosenPIDs {
		wanted[pid] = true
	}
	var monitored []models.Process
	for i, p := range running {
		if i > 0 && p.PID == running[i-1].PID || session.Mode == models.ModePIDs && !wanted[p.PID] {
			continue
		}
		if len(monitored) == maxTreeProcesses {
			break
		}
		monitored = append(monitored, models.Process{PID: p.PID, ProcessInfo: models.ProcessInfo{Name: processName(p.Name)}})
	}
	return s.processes.Add(ctx, session.ID, s.clock.now(), monitored)
}

// maxProcessNameLen limits the bytes of a stored process name.
const maxProcessNameLen = 1024

// processName converts a name that an agent reports to a text that the database accepts.
func processName(name string) string { return storedName(name[:min(len(name), maxProcessNameLen)]) }
