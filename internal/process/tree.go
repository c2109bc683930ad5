package process

import (
	"slices"
	"time"

	"ospulse/internal/models"
)

// Tree holds the processes of a session, each beneath the one that started it.
type Tree struct {
	Roots     []*Node // in the order of their start, as all children are
	Total     int64   // processes of the session
	Truncated bool    // the tree has the first ones only
}

// Node is a process in a tree. ParentID is the ID of the process that started it, 0 if
// that is not known. That process is the node above, except in a tree that is too deep.
type Node struct {
	*models.Process
	ParentID uint64
	Children []*Node
}

// maxDepth bounds how deep a tree is nested. Deeper processes stand at the last level:
// many readers of JSON fail at deeper nesting.
const maxDepth = 500

// NewTree puts each process beneath the one that started it. The processes are in the
// order of their start. A process whose parent is not known is a root.
func NewTree(processes []models.Process) (roots []*Node) {
	parents := parentsOf(processes)
	nodes := make([]Node, len(processes))
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

// placesIn returns the index of the node above each process, -1 for a root. That node is
// the parent, except for a process that would be too deep.
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
				if above[i] = p; depth > maxDepth {
					above[i] = above[p]
				}
				next = append(next, i)
			}
		}
		level = next
	}
	return above
}

// parentsOf returns the index of the parent of each process, -1 if it is unknown. An agent
// may report an impossible tree, such as a process that descends from itself; parentsOf
// cuts such cycles.
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
		if n >= 0 && seen[n] == i+1 { // visited on this path: a cycle
			parents[n] = -1
		}
	}
	return parents
}

// pidIndex finds processes by their pid, in the order of their start.
type pidIndex struct {
	processes []models.Process
	all       map[int64][]int
	guessed   map[int64][]int // without a reported start: they started at StartedAt or before
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

// parent returns the index of the parent of a process, -1 if it is unknown. If an event
// reported the parent's start, it is the process with that start, otherwise the first
// process without a reported start that was seen from then on. If no event reported it,
// the parent is the last process of that pid that had started before the child,
// otherwise one that was seen only later and may have run before.
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

// search returns the position of the first of some processes that started at a time or
// later, and whether it started at that time.
func (x *pidIndex) search(some []int, at time.Time) (int, bool) {
	return slices.BinarySearchFunc(some, at, func(i int, at time.Time) int { return x.processes[i].StartedAt.Compare(at) })
}
