package service

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"ospulse/internal/agentclient"
	"ospulse/internal/models"
)

// Limits of a process tree: what is given out, and how deep it is nested. What is
// deeper stands at the last level, where many readers of JSON would give up
// otherwise.
const (
	maxTreeProcesses = 10_000
	maxTreeDepth     = 500
)

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
func (s *Processes) Tree(ctx context.Context, sessionID string) (models.ProcessTree, error) {
	if _, err := s.sessions.Get(ctx, sessionID); err != nil {
		return models.ProcessTree{}, err
	}
	processes, total, err := s.processes.List(ctx, sessionID, maxTreeProcesses)
	if err != nil {
		return models.ProcessTree{}, err
	}
	return models.ProcessTree{Roots: newTree(processes), Total: total, Truncated: total > int64(len(processes))}, nil
}

// newTree puts each process, of which the list has the order of their start,
// beneath the one that started it. Whose parent is not known is a root.
func newTree(processes []models.Process) (roots []*models.ProcessNode) {
	parents := parentsOf(processes)
	nodes := make([]models.ProcessNode, len(processes))
	for i, above := range placesIn(parents) {
		nodes[i].Process = &processes[i]
		if p := parents[i]; p >= 0 {
			nodes[i].ParentID = processes[p].ID
		}
		if above < 0 {
			roots = append(roots, &nodes[i])
		} else {
			nodes[above].Children = append(nodes[above].Children, &nodes[i])
		}
	}
	return roots
}

// placesIn gives the index of the process beneath which each one stands in the
// tree, -1 for a root: its parent, but for what would be too deep.
func placesIn(parents []int) []int {
	children := make([][]int, len(parents))
	above := make([]int, len(parents))
	var level []int
	for i, p := range parents {
		if p < 0 {
			above[i] = -1
			level = append(level, i)
		} else {
			children[p] = append(children[p], i)
		}
	}
	for depth := 2; len(level) > 0; depth++ {
		var next []int
		for _, p := range level {
			for _, i := range children[p] {
				if above[i] = p; depth > maxTreeDepth {
					above[i] = above[p]
				}
				next = append(next, i)
			}
		}
		level = next
	}
	return above
}

// parentsOf gives the index of each process's parent, -1 where it is not known. An
// agent may claim what cannot be, such as a process that descends from itself: no
// way from a process up comes back to it.
func parentsOf(processes []models.Process) []int {
	index := newPIDIndex(processes)
	parents := make([]int, len(processes))
	for i := range processes {
		parents[i] = index.parent(i)
	}
	seen := make([]int, len(processes))
	for i := range parents {
		n := i
		for ; n >= 0 && seen[n] == 0; n = parents[n] {
			seen[n] = i + 1
		}
		if n >= 0 && seen[n] == i+1 { // this very way was here before
			parents[n] = -1
		}
	}
	return parents
}

// pidIndex finds processes by their pid, in the order of their start.
type pidIndex struct {
	processes []models.Process
	all       map[int64][]int
	guessed   map[int64][]int // those of which nobody told when they started: at their StartedAt, or before
}

func newPIDIndex(processes []models.Process) *pidIndex {
	index := &pidIndex{processes, map[int64][]int{}, map[int64][]int{}}
	for i := range processes {
		p := &processes[i]
		index.all[p.PID] = append(index.all[p.PID], i)
		if !p.StartKnown {
			index.guessed[p.PID] = append(index.guessed[p.PID], i)
		}
	}
	return index
}

// parent gives the index of a process's parent, -1 if it is not known: the one
// that started when the parent is said to have, else the one of that pid that had
// started last, else one that was seen only later and may have run before.
func (x *pidIndex) parent(child int) int {
	c := &x.processes[child]
	if c.ParentPID == nil {
		return -1
	}
	all, guessed := x.all[*c.ParentPID], x.guessed[*c.ParentPID]
	if c.ParentStartedAt != nil {
		i, found := x.search(all, *c.ParentStartedAt)
		if !found {
			i, _ = x.search(guessed, *c.ParentStartedAt)
			all = guessed
		}
		if i < len(all) && all[i] != child {
			return all[i]
		}
		return -1
	}
	i, _ := x.search(all, c.StartedAt.Add(1)) // the first that started after the child
	for i--; i >= 0; i-- {
		if all[i] != child {
			return all[i]
		}
	}
	for i, _ = x.search(guessed, c.StartedAt.Add(1)); i < len(guessed); i++ {
		if guessed[i] != child {
			return guessed[i]
		}
	}
	return -1
}

// search gives where among some processes the first one is that started at a time
// or later, and whether it started at that time.
func (x *pidIndex) search(some []int, at time.Time) (int, bool) {
	return slices.BinarySearchFunc(some, at, func(i int, at time.Time) int { return x.processes[i].StartedAt.Compare(at) })
}

// What is spent on asking an agent for its processes.
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
