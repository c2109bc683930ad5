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

// maxTreeProcesses is how many processes a tree has at most.
const maxTreeProcesses = 10_000

// ProcessRepository keeps the processes of sessions; internal/repository
// implements it and documents its contracts.
type ProcessRepository interface {
	List(ctx context.Context, sessionID string, limit int) (processes []models.Process, total int64, err error)
	Add(ctx context.Context, sessionID string, at time.Time, processes []models.Process) error
}

// Processes gives the processes of sessions, and asks agents for those that run
// when monitoring starts. It is safe for concurrent use.
type Processes struct {
	processes ProcessRepository
	sessions  SessionFinder
	agents    AgentCaller
	clock     Clock
	log       *slog.Logger
	asked     chan models.Session // of which the agent is to be asked
}

// NewProcesses gives the service over its repositories and the agents. Run
// must run for agents to be asked.
func NewProcesses(processes ProcessRepository, sessions SessionFinder, agents AgentCaller, clock Clock, log *slog.Logger) *Processes {
	return &Processes{processes, sessions, agents, clock, log, make(chan models.Session, maxAsked)}
}

// Tree gives a session's processes.
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

// Limits of asking agents for their processes.
const (
	maxAsked   = 16 // sessions that wait for it
	askTimeout = 20 * time.Second
)

// Started has the agent of a session that has just been started be asked for what
// it monitors, in the background. It never waits.
func (s *Processes) Started(session *models.Session) {
	if session.Mode == models.ModeSpawn {
		return // what is monitored is only starting
	}
	select {
	case s.asked <- *session:
	default:
		s.log.Warn("the agent is not asked for its processes: too many sessions are being started", "session", session.ID)
	}
}

// Run asks agents until ctx ends. What it cannot hear is missing in the trees, and
// nothing else.
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

// ask adds to the session what its agent says that runs: all of it or, in mode 2,
// what was chosen.
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

// maxProcessNameLen is how many bytes of a process's name are kept.
const maxProcessNameLen = 1024

// processName gives the name that an agent tells as the database takes it.
func processName(name string) string { return storedName(name[:min(len(name), maxProcessNameLen)]) }
