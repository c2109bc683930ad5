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

// processList parses processes: "name pid@start", then "<parent" for the parent's pid
// and "@start" for its start, and "~" for a start that no event reported.
func processList(t *testing.T, texts ...string) []models.Process {
	t.Helper()
	processes := make([]models.Process, len(texts))
	for i, text := range texts {
		p := &processes[i]
		p.ID, p.StartKnown = uint64(i+1), !strings.HasSuffix(text, "~")
		var pid, start, parent, parentStart int64
		own, above, _ := strings.Cut(strings.TrimSuffix(text, "~"), " <")
		if _, err := fmt.Sscanf(own, "%s %d@%d", &p.Name, &pid, &start); err != nil {
			t.Fatal(text, err)
		}
		p.PID, p.StartedAt = pid, time.UnixMicro(start)
		p.FirstSeen = p.StartedAt
		if n, _ := fmt.Sscanf(above, "%d@%d", &parent, &parentStart); n > 0 {
			p.ParentPID = &parent
			if n > 1 {
				at := time.UnixMicro(parentStart)
				p.ParentStartedAt = &at
			}
		}
	}
	slices.SortStableFunc(processes, func(a, b models.Process) int { return a.StartedAt.Compare(b.StartedAt) })
	return processes
}

func drawn(nodes []*Node) string {
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		if texts[i] = n.Name; len(n.Children) > 0 {
			texts[i] += "(" + drawn(n.Children) + ")"
		}
	}
	return strings.Join(texts, " ")
}

func TestTree(t *testing.T) {
	for name, tt := range map[string]struct {
		processes []string
		want      string
	}{
		"none":                                 {nil, ""},
		"a chain":                              {[]string{"a 1@0", "b 2@1 <1", "c 3@2 <2"}, "a(b(c))"},
		"an unknown parent":                    {[]string{"a 1@0 <99", "b 2@1 <1"}, "a(b)"},
		"the one that started last":            {[]string{"old 1@0", "new 1@5", "late 1@9", "child 2@6 <1"}, "old new(child) late"},
		"at the same moment":                   {[]string{"old 1@0", "new 1@5", "child 2@5 <1"}, "old new(child)"},
		"a start that is told wins":            {[]string{"old 1@0", "new 1@5", "child 2@6 <1@0"}, "old(child) new"},
		"a start that nobody else told":        {[]string{"old 1@0", "new 1@5", "child 2@6 <1@3"}, "old new child"},
		"a parent seen acting after its start": {[]string{"seen 1@4~", "child 2@6 <1@3"}, "seen(child)"},
		"a parent seen only later":             {[]string{"child 2@1 <1", "parent 1@9~"}, "parent(child)"},
		"started only later: another one":      {[]string{"child 2@1 <1", "other 1@9"}, "child other"},
		"its own parent":                       {[]string{"a 1@0 <1"}, "a"},
		"its own parent, with a start":         {[]string{"a 1@0 <1@0"}, "a"},
		"the parent has the same pid":          {[]string{"a 1@0", "b 1@1 <1", "c 1@2 <1"}, "a(b(c))"},
		"each other's parents":                 {[]string{"a 1@0 <2@1", "b 2@1 <1@0"}, "a(b)"},
		"a ring of three with a tail":          {[]string{"tail 9@0 <1@1", "a 1@1 <3@3", "b 2@2 <1@1", "c 3@3 <2@2"}, "a(tail b(c))"},
		"children in the order of their start": {[]string{"c 4@7 <1", "b 3@5 <1", "a 1@0"}, "a(b c)"},
	} {
		if got := drawn(NewTree(processList(t, tt.processes...))); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

// TestTreeHoldsEachProcessOnce checks that, whatever an agent reports, each process is
// in the tree once and none is too deep.
func TestTreeHoldsEachProcessOnce(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		var texts []string
		pids := 1 + random.IntN(40)
		for i := range random.IntN(1500) {
			text := fmt.Sprintf("p%d %d@%d", i, random.IntN(pids), random.IntN(50))
			switch random.IntN(4) {
			case 0:
			case 1:
				text += fmt.Sprintf(" <%d@%d", random.IntN(pids), random.IntN(50))
			default:
				text += fmt.Sprintf(" <%d", random.IntN(pids))
			}
			if random.IntN(3) == 0 {
				text += "~"
			}
			texts = append(texts, text)
		}
		processes := processList(t, texts...)
		seen := map[uint64]bool{}
		var walk func(nodes []*Node, depth int)
		walk = func(nodes []*Node, depth int) {
			for i, n := range nodes {
				if seen[n.ID] || depth > maxDepth || n.ParentID == n.ID || i > 0 && n.StartedAt.Before(nodes[i-1].StartedAt) {
					t.Fatalf("seed %d: %s is there twice, out of order or at depth %d", seed, n.Name, depth)
				}
				seen[n.ID] = true
				walk(n.Children, depth+1)
			}
		}
		walk(NewTree(processes), 1)
		if len(seen) != len(processes) {
			t.Fatalf("seed %d: %d of %d processes are in the tree", seed, len(seen), len(processes))
		}
	}
}

// TestDeepTree checks that a process which is too deep is at the last level and has its
// parent's ID.
func TestDeepTree(t *testing.T) {
	texts := []string{"p0 0@0"}
	for i := 1; i < 700; i++ {
		texts = append(texts, fmt.Sprintf("p%d %d@%d <%d", i, i, i, i-1))
	}
	n := NewTree(processList(t, texts...))[0]
	for depth := 1; depth < maxDepth-1; depth++ {
		n = n.Children[0]
	}
	if len(n.Children) != 700-maxDepth+1 || n.Children[1].ParentID != n.Children[0].ID || n.Children[200].ParentID != n.Children[199].ID {
		t.Errorf("at the last level there are %d processes", len(n.Children))
	}
}

func BenchmarkTree(b *testing.B) {
	for name, texts := range map[string]func(i int) string{
		"one pid":   func(i int) string { return fmt.Sprintf("p 1@%d <1", i) },
		"one start": func(i int) string { return fmt.Sprintf("p %d@1 <%d@1", i, i+1) },
		"guesses":   func(i int) string { return fmt.Sprintf("p 1@%d <1@%d~", i, i+5) },
	} {
		b.Run(name, func(b *testing.B) {
			var all []string
			for i := range 10_000 {
				all = append(all, texts(i))
			}
			processes := processList(&testing.T{}, all...)
			for b.Loop() {
				NewTree(processes)
			}
		})
	}
}
