package process

import (
	"slices"
	"time"

	"ospulse/internal/models"
)

// Family holds the processes of a session and who started whom. It is immutable.
type Family struct {
	UpTo      int64 // the family has all processes of the session's events up to this Seq
	Truncated bool  // the session has more processes, which started later

	members []member // in the order of their start
	parents []int    // index of each member's parent, -1 if it is unknown
	byID    map[uint64]int
	byPID   map[int64][]int // in the order of their start
	outline
}

// member is a process of a family.
type member struct {
	id         uint64
	startedAt  time.Time
	startKnown bool
	name       string
	pid        int64
}

// NewFamily returns the family of a session's processes, which are in the order of their
// start.
func NewFamily(processes []models.Process) *Family {
	f := &Family{
		members: make([]member, len(processes)), parents: parentsOf(processes),
		byID: make(map[uint64]int, len(processes)), byPID: make(map[int64][]int, len(processes)),
	}
	for i := range processes {
		p := &processes[i]
		f.members[i] = member{p.ID, p.StartedAt, p.StartKnown, p.Name, p.PID}
		f.byID[p.ID] = i
		f.byPID[p.PID] = append(f.byPID[p.PID], i)
	}
	f.outline = outlineOf(f.parents)
	return f
}

// KnownUpTo returns a copy of the family with another UpTo.
func (f *Family) KnownUpTo(seq int64) *Family {
	other := *f
	other.UpTo = seq
	return &other
}

// Find returns the ID of the process that an event with a pid and a process name belongs
// to, and 0 if there is none. That is the last process of that pid that had started at the
// event's time; if none had, the first one. If no event reported the start of a process,
// only events with its name or without a name belong to it, because then a new name is the
// only sign that a pid was reused. An unknown name is "".
func (f *Family) Find(pid int64, name string, at time.Time) uint64 {
	if i := f.find(pid, name, at); i >= 0 {
		return f.members[i].id
	}
	return 0
}

func (f *Family) find(pid int64, name string, at time.Time) int {
	same := f.byPID[pid]
	later, _ := slices.BinarySearchFunc(same, at, func(i int, at time.Time) int {
		if f.members[i].startedAt.After(at) {
			return 1
		}
		return -1
	})
	may := func(i int) bool { return f.members[i].startKnown || sameName(f.members[i].name, name) }
	for _, i := range slices.Backward(same[:later]) {
		if may(i) {
			return i
		}
	}
	for _, i := range same[later:] {
		if may(i) {
			return i
		}
	}
	return -1
}

// Set is a set of processes of a family. It is immutable.
type Set struct {
	family *Family
	has    []bool         // by index of the member
	pids   map[int64]bool // pids of the members; true if the set has all processes of the pid
}

// Descendants returns the set of a process and all processes that descend from it; only
// the process itself if alone is set. It returns nil if the family lacks the process.
func (f *Family) Descendants(id uint64, alone bool) *Set {
	top, ok := f.byID[id]
	if !ok {
		return nil
	}
	s := &Set{family: f, has: make([]bool, len(f.members)), pids: map[int64]bool{}}
	s.has[top] = true
	if !alone {
		s.addDescendants(top)
	}
	for i, has := range s.has {
		if !has {
			continue
		}
		pid := f.members[i].pid
		if _, known := s.pids[pid]; !known {
			s.pids[pid] = !slices.ContainsFunc(f.byPID[pid], func(i int) bool { return !s.has[i] })
		}
	}
	return s
}

// addDescendants adds the descendants of a member. The parents have no cycles.
func (s *Set) addDescendants(top int) {
	known := make([]bool, len(s.has)) // whether has is final
	known[top] = true
	var path []int
	for i := range s.has {
		n := i
		for path = path[:0]; n >= 0 && !known[n]; n = s.family.parents[n] {
			path = append(path, n)
		}
		is := n >= 0 && s.has[n]
		for _, n := range path {
			s.has[n], known[n] = is, true
		}
	}
}

// Has reports whether an event with a pid, a process name and a time belongs to one of the
// processes. If the set has all processes of the pid, all its events do. Otherwise Find
// decides.
func (s *Set) Has(pid int64, name string, at time.Time) bool {
	all, some := s.pids[pid]
	if !some || all {
		return some
	}
	i := s.family.find(pid, name, at)
	return i >= 0 && s.has[i]
}

// HasPID reports whether the set has some of the processes of a pid, and whether it has all
// of them.
func (s *Set) HasPID(pid int64) (some, all bool) {
	all, some = s.pids[pid]
	return some, all
}

// PIDs returns the pids of the processes, sorted: those of which the set has all
// processes, and those of which it has only some.
func (s *Set) PIDs() (all, some []int64) {
	for pid, isAll := range s.pids {
		if isAll {
			all = append(all, pid)
		} else {
			some = append(some, pid)
		}
	}
	slices.Sort(all)
	slices.Sort(some)
	return all, some
}

// IDs returns the IDs of the processes with some pids.
func (s *Set) IDs(pids []int64) (ids []int64) {
	for _, pid := range pids {
		for _, i := range s.family.byPID[pid] {
			if s.has[i] {
				ids = append(ids, int64(s.family.members[i].id))
			}
		}
	}
	return ids
}

// SameFor reports whether the set selects the same of the events of the other's family as
// the other set. The families are of the same session. Events of pids that the other
// family lacks do not count: it has none.
func (s *Set) SameFor(other *Set) bool {
	for pid, before := range other.family.byPID {
		now := s.family.byPID[pid]
		if !slices.EqualFunc(before, now, func(i, j int) bool {
			return other.has[i] == s.has[j] && other.family.members[i].equal(&s.family.members[j])
		}) {
			return false
		}
	}
	return true
}

func (m *member) equal(n *member) bool {
	return m.id == n.id && m.startKnown == n.startKnown && m.name == n.name && m.startedAt.Equal(n.startedAt)
}
