package process

import (
	"fmt"
	"testing"
	"time"

	"ospulse/internal/models"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// process returns a process that started at a second; known says whether an event
// reported the start.
func process(name string, second int, known bool) *models.Process {
	p := &models.Process{StartedAt: at(second), StartKnown: known, FirstSeen: at(second), LastSeen: at(second)}
	p.Name = name
	return p
}

func TestFindProcess(t *testing.T) {
	fact := func(name string) models.ProcessFact {
		return models.ProcessFact{ProcessInfo: models.ProcessInfo{Name: name}}
	}
	started := func(second int) models.ProcessFact { return models.ProcessFact{StartedAt: at(second)} }
	for name, tt := range map[string]struct {
		processes []*models.Process
		fact      models.ProcessFact
		seen      int
		want      int // index, -1 for a new one
	}{
		"there is none":                                {nil, fact("a"), 5, -1},
		"the same name":                                {[]*models.Process{process("a", 0, false)}, fact("a"), 5, 0},
		"a name that was not known":                    {[]*models.Process{process("", 0, false)}, fact("a"), 5, 0},
		"no name":                                      {[]*models.Process{process("a", 0, false)}, fact(""), 5, 0},
		"another name is another process":              {[]*models.Process{process("a", 0, false)}, fact("b"), 5, -1},
		"but not where starts are told":                {[]*models.Process{process("a", 0, true)}, fact("b"), 5, 0},
		"the one that had started":                     {[]*models.Process{process("a", 9, true), process("a", 4, true), process("a", 0, true)}, fact("a"), 5, 1},
		"seen before any start":                        {[]*models.Process{process("a", 9, true), process("a", 7, true)}, fact("a"), 5, 1},
		"its start":                                    {[]*models.Process{process("a", 9, true), process("a", 4, true)}, started(4), 5, 1},
		"another start is another process":             {[]*models.Process{process("a", 4, true)}, started(5), 5, -1},
		"seen acting before its creation was told":     {[]*models.Process{process("a", 6, false)}, started(5), 5, 0},
		"seen acting long before: another one":         {[]*models.Process{process("a", 2, false)}, started(5), 5, -1},
		"of several seen later the first is the start": {[]*models.Process{process("a", 9, false), process("a", 6, false)}, started(5), 5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			found := find(tt.processes, tt.fact, at(tt.seen))
			got := -1
			for i, p := range tt.processes {
				if p == found {
					got = i
				}
			}
			if got != tt.want {
				t.Errorf("found %d, want %d", got, tt.want)
			}
		})
	}
}

func TestProcessLearns(t *testing.T) {
	p := process("", 5, false)
	parent := int64(7)
	learn(p, models.ProcessFact{ProcessInfo: models.ProcessInfo{Image: `C:\Windows\cmd.exe`, ParentPID: &parent}}, at(3), at(8))
	if p.Name != "cmd.exe" || p.Image != `C:\Windows\cmd.exe` || *p.ParentPID != 7 || !p.FirstSeen.Equal(at(3)) || !p.LastSeen.Equal(at(8)) || p.StartKnown {
		t.Errorf("it learned %+v", p)
	}
	learn(p, models.ProcessFact{StartedAt: at(2), ProcessInfo: models.ProcessInfo{Name: "shell"}}, at(4), at(6))
	if p.Name != "shell" || p.Image == "" || p.ParentPID == nil || !p.FirstSeen.Equal(at(3)) || !p.LastSeen.Equal(at(8)) || !p.StartKnown || !p.StartedAt.Equal(at(2)) {
		t.Errorf("then it learned %+v", p)
	}
}

// TestProcessCountsAreBounded checks that the number of types of a process is bounded.
func TestProcessCountsAreBounded(t *testing.T) {
	var p models.Process
	for i := range 1000 {
		count(&p, fmt.Sprint(i), 2)
	}
	count(&p, "0", 1)
	total := int64(0)
	for _, n := range p.EventCounts {
		total += n
	}
	if len(p.EventCounts) > 70 || total != 2001 || p.EventCounts["0"] != 3 || p.EventCounts[models.OtherTypes] == 0 {
		t.Errorf("%d types are counted, %d events", len(p.EventCounts), total)
	}
}
