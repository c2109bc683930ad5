package process

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/models"
)

var epoch = time.UnixMicro(0)

func fromMicros(n int) time.Duration { return time.Duration(n) * time.Microsecond }

// members returns the names of a set's processes.
func members(s *Set, processes []models.Process) string {
	var names []string
	for i, has := range s.has {
		if has {
			names = append(names, processes[i].Name)
		}
	}
	return strings.Join(names, " ")
}

func TestDescendants(t *testing.T) {
	processes := processList(t, "a 1@0", "b 2@1 <1", "c 3@2 <2", "d 1@5", "e 4@6 <1", "f 4@9 <2", "x 8@0 <9@1", "y 9@1 <8@0")
	family := NewFamily(processes)
	for name, want := range map[string][2]string{
		"a": {"a b c f", "a"}, "b": {"b c f", "b"}, "c": {"c", "c"}, "d": {"d e", "d"}, "x": {"x y", "x"}, "y": {"y", "y"},
	} {
		i := slices.IndexFunc(processes, func(p models.Process) bool { return p.Name == name })
		if got := members(family.Descendants(processes[i].ID, false), processes); got != want[0] {
			t.Errorf("under %s are %s, want %s", name, got, want[0])
		}
		if got := members(family.Descendants(processes[i].ID, true), processes); got != want[1] {
			t.Errorf("%s alone is %s", name, got)
		}
	}
	if family.Descendants(99, false) != nil {
		t.Error("an unknown process has descendants")
	}
	s := family.Descendants(1, false) // a, b, c and f
	for _, tt := range []struct {
		pid  int64
		at   int
		want bool
	}{{1, 4, true}, {1, 5, false}, {2, 0, true}, {2, 99, true}, {4, 8, false}, {4, 9, true}, {7, 1, false}} {
		if got := s.Has(tt.pid, "", epoch.Add(fromMicros(tt.at))); got != tt.want {
			t.Errorf("pid %d at %d belongs to it: %v", tt.pid, tt.at, got)
		}
	}
}

// randomProcesses returns processes of few pids, names and times.
func randomProcesses(t *testing.T, random *rand.Rand, n int) []models.Process {
	var texts []string
	taken := map[string]bool{}
	for range n {
		key := fmt.Sprintf("%d@%d", random.IntN(5), random.IntN(30))
		if taken[key] {
			continue
		}
		taken[key] = true
		text := fmt.Sprintf("p%d %s", random.IntN(3), key)
		if random.IntN(3) > 0 {
			text += fmt.Sprintf(" <%d", random.IntN(5))
		}
		if random.IntN(2) == 0 {
			text += "~"
		}
		texts = append(texts, text)
	}
	processes := processList(t, texts...)
	for i := range processes {
		if random.IntN(6) == 0 {
			processes[i].Name = ""
		}
	}
	return processes
}

// TestEventsBelongToTheProcessThatCountsThem checks that a family finds the process of an
// event as the append of the event does, which counts it.
func TestEventsBelongToTheProcessThatCountsThem(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		processes := randomProcesses(t, random, random.IntN(25))
		family := NewFamily(processes)
		for range 200 {
			pid, at := int64(random.IntN(6)), fromMicros(random.IntN(32))
			name := []string{"", "p0", "p1", "p2", "other"}[random.IntN(5)]
			var same []*models.Process
			for i := range processes {
				if processes[i].PID == pid {
					same = append(same, &processes[i])
				}
			}
			want := uint64(0)
			if p := find(same, models.ProcessFact{PID: pid, ProcessInfo: models.ProcessInfo{Name: name}}, epoch.Add(at)); p != nil {
				want = p.ID
			}
			if got := family.Find(pid, name, epoch.Add(at)); got != want {
				t.Fatalf("seed %d: pid %d %q at %v belongs to process %d, is counted for %d", seed, pid, name, at, got, want)
			}
		}
	}
}

// TestSameFor checks that a set is the same for the events of an older family as long as
// only processes of other pids come.
func TestSameFor(t *testing.T) {
	before := NewFamily(processList(t, "a 1@0", "b 2@1 <1", "c 3@1")).Descendants(1, false)
	for name, tt := range map[string]struct {
		now  []string
		want bool
	}{
		"nothing new":            {[]string{"a 1@0", "b 2@1 <1", "c 3@1"}, true},
		"a child of a new pid":   {[]string{"a 1@0", "b 2@1 <1", "c 3@1", "d 4@2 <2"}, true},
		"a pid is used again":    {[]string{"a 1@0", "b 2@1 <1", "c 3@1", "d 3@2 <2"}, false},
		"a parent becomes known": {[]string{"a 1@0", "b 2@1 <1", "c 3@1 <1"}, false},
		"another start":          {[]string{"a 1@0", "b 2@2 <1", "c 3@1"}, false},
		"a process is missing":   {[]string{"a 1@0", "b 2@1 <1"}, false},
	} {
		if got := NewFamily(processList(t, tt.now...)).Descendants(1, false).SameFor(before); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
