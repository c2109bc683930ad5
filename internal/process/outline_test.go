package process

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ospulse/internal/models"
)

// outlined formats the rows of a page: a dot for each level, + for children and the number of rows below, - if the
// process is listed only as an ancestor.
func outlined(page Page, processes []models.Process) string {
	var texts []string
	for _, r := range page.Rows {
		i := slices.IndexFunc(processes, func(p models.Process) bool { return p.ID == r.ID })
		text := strings.Repeat(".", r.Depth) + processes[i].Name
		if r.HasChildren {
			text += "+"
		}
		if r.Below > 0 {
			text += strconv.Itoa(r.Below)
		}
		if !r.Matches {
			text += "-"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

func TestPage(t *testing.T) {
	processes := processList(t, "a 1@0", "b 2@1 <1", "c 3@2 <2", "d 4@3 <1", "e 5@4", "f 6@5 <5", "lost 7@6 <99", "again 2@7 <5")
	family := NewFamily(processes)
	id := func(names ...string) (ids []uint64) {
		ids = []uint64{}
		for _, name := range names {
			i := slices.IndexFunc(processes, func(p models.Process) bool { return p.Name == name })
			ids = append(ids, processes[i].ID)
		}
		return ids
	}
	counts := NewCounts(family)
	for name, pid := range map[string]int64{"c": 3, "d": 4, "again": 2} {
		counts.Add("x", pid, name, epoch.Add(fromMicros(9)))
	}
	counts.Add("x", 99, "nobody", epoch)
	for name, tt := range map[string]struct {
		list     List
		want     string
		total    int
		matching int
	}{
		"all":                           {List{}, "a+3 .b+1 ..c .d e+2 .f .again lost", 8, 8},
		"a page":                        {List{Offset: 3, Limit: 2}, ".d e+2", 8, 8},
		"the last page":                 {List{Offset: 6, Limit: 5}, ".again lost", 8, 8},
		"a page beyond the end":         {List{Offset: 9, Limit: 5}, "", 8, 8},
		"a closed process":              {List{Closed: id("a")}, "a+ e+2 .f .again lost", 5, 8},
		"a closed one below another":    {List{Closed: id("b", "a", "lost")}, "a+ e+2 .f .again lost", 5, 8},
		"found processes":               {List{IDs: id("c", "lost")}, "a+2- .b+1- ..c lost", 4, 2},
		"a found ancestor":              {List{IDs: id("c", "a")}, "a+2 .b+1- ..c", 3, 2},
		"found below a closed one":      {List{IDs: id("c", "d"), Closed: id("b")}, "a+2- .b+- .d", 3, 2},
		"nothing is found":              {List{IDs: id()}, "", 0, 0},
		"those with events":             {List{Counts: counts}, "a+3- .b+1- ..c .d e+1- .again", 6, 3},
		"found ones with events":        {List{Counts: counts, IDs: id("c", "f")}, "a+2- .b+1- ..c", 3, 1},
		"around a process":              {List{Around: id("f")[0], Limit: 3}, ".d e+2 .f", 8, 8},
		"around one that is not listed": {List{Around: id("f")[0], IDs: id("c"), Limit: 3}, "", 3, 1},
		"around a hidden one":           {List{Around: id("c")[0], Closed: id("a"), Limit: 3}, "", 5, 8},
		"around an unknown one":         {List{Around: 999, Limit: 3}, "", 8, 8},
		"unknown closed and found ones": {List{IDs: append(id("e"), 999), Closed: []uint64{999}}, "e", 1, 1},
	} {
		if tt.list.Limit == 0 {
			tt.list.Limit = 100
		}
		page := family.Page(tt.list)
		if got := outlined(page, processes); got != tt.want || page.Total != tt.total || page.Matching != tt.matching {
			t.Errorf("%s: got %q, %d rows, %d matching; want %q, %d and %d", name, got, page.Total, page.Matching, tt.want, tt.total, tt.matching)
		}
	}
	page := family.Page(List{Counts: counts, Limit: 9})
	if len(page.Rows[0].Counts) != 0 || page.Rows[2].Counts["x"] != 1 || page.Rows[2].ParentID != page.Rows[1].ID || page.Rows[0].ParentID != 0 {
		t.Errorf("got %+v", page.Rows)
	}
}

// TestPagesHaveTheTree checks that, whatever an agent reports, the pages have each process
// of the tree once and in its order, and that a search has its matches and their ancestors.
func TestPagesHaveTheTree(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 3))
		processes := randomProcesses(t, random, random.IntN(100))
		family := NewFamily(processes)
		parents := map[uint64]uint64{}
		var want []uint64
		var walk func(nodes []*Node)
		walk = func(nodes []*Node) {
			for _, n := range nodes {
				want = append(want, n.ID)
				parents[n.ID] = n.ParentID
				walk(n.Children)
			}
		}
		walk(NewTree(processes))
		pages := func(list List) (ids []uint64) {
			for list.Limit = 1 + random.IntN(9); ; list.Offset += list.Limit {
				page := family.Page(list)
				if len(page.Rows) == 0 {
					return ids
				}
				for _, r := range page.Rows {
					ids = append(ids, r.ID)
				}
			}
		}
		if got := pages(List{}); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the pages have %v, the tree %v", seed, got, want)
		}
		found, kept := []uint64{}, map[uint64]bool{}
		for _, id := range want {
			if random.IntN(8) == 0 {
				found = append(found, id)
				for ; id != 0; id = parents[id] {
					kept[id] = true
				}
			}
		}
		wanted := slices.DeleteFunc(slices.Clone(want), func(id uint64) bool { return !kept[id] })
		if got := pages(List{IDs: found}); !slices.Equal(got, wanted) {
			t.Fatalf("seed %d: the pages have %v, want %v", seed, got, wanted)
		}
	}
}

// TestCountsAreBounded checks that events of too many types are counted together.
func TestCountsAreBounded(t *testing.T) {
	counts := NewCounts(NewFamily(processList(t, "a 1@0")))
	total := int64(0)
	for i := range 1000 {
		counts.Add(strings.Repeat("x", i), 1, "", epoch)
	}
	of := counts.of(0)
	for _, n := range of {
		total += n
	}
	if len(of) != maxTypes || total != 1000 || of[models.OtherTypes] != 1000-maxTypes+1 {
		t.Errorf("%d types, %d events, %d others", len(of), total, of[models.OtherTypes])
	}
}
