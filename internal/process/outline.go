package process

import (
	"slices"
	"time"

	"ospulse/internal/models"
)

// outline holds the members of a family in the order of their tree: each one before its
// children, which are in the order of their start.
type outline struct {
	order []int32 // the members
	depth []int32 // by member: the number of its ancestors
	size  []int32 // by member: it and its descendants
}

// outlineOf returns the outline of members with these parents, which have no cycles.
func outlineOf(parents []int) outline {
	n := len(parents)
	o := outline{order: make([]int32, 0, n), depth: make([]int32, n), size: make([]int32, n)}
	child, next := make([]int32, n), make([]int32, n) // the first child and the next sibling, -1 if there is none
	root := int32(-1)
	for i := range child {
		child[i] = -1
	}
	for i := n - 1; i >= 0; i-- {
		first := &root
		if parents[i] >= 0 {
			first = &child[parents[i]]
		}
		next[i], *first = *first, int32(i)
	}
	for i := root; i >= 0; {
		o.order = append(o.order, i)
		if p := parents[i]; p >= 0 {
			o.depth[i] = o.depth[p] + 1
		}
		if child[i] >= 0 {
			i = child[i]
			continue
		}
		for i >= 0 && next[i] < 0 {
			i = int32(parents[i])
		}
		if i >= 0 {
			i = next[i]
		}
	}
	for _, i := range slices.Backward(o.order) {
		o.size[i]++
		if p := parents[i]; p >= 0 {
			o.size[p] += o.size[i]
		}
	}
	return o
}

// Len returns the number of processes.
func (f *Family) Len() int { return len(f.members) }

// Row is a process in a list of the tree.
type Row struct {
	ID, ParentID uint64           // ParentID is 0 if the parent is unknown
	Depth        int              // the number of ancestors
	Matches      bool             // it is listed for itself, not only as an ancestor
	HasChildren  bool             // it has listed children, or would have if it were not closed
	Below        int              // rows of its descendants
	Counts       map[string]int64 // those of List.Counts by type, nil without them
}

// List says which part of the tree to list.
type List struct {
	IDs    []uint64 // if not nil: only these processes and their ancestors
	Counts *Counts  // if not nil: only processes with counts, and their ancestors
	Closed []uint64 // processes whose descendants are left out
	Around uint64   // if not 0: the page with this process, instead of Offset
	Offset int      // rows before the page
	Limit  int      // rows of a page
}

// Page is a page of a list of the tree.
type Page struct {
	Rows     []Row
	Offset   int // rows before the page
	Total    int // rows
	Matching int // processes that are listed for themselves, below closed ones too
}

// Page returns a page of the processes in the order of the tree. A page around a process
// begins at a multiple of Limit; it is empty if the process is not listed.
func (f *Family) Page(l List) Page {
	matches, kept, hasChildren, matching := f.kept(l)
	closed := make(map[int32]bool, len(l.Closed))
	for _, id := range l.Closed {
		if i, known := f.byID[id]; known {
			closed[int32(i)] = true
		}
	}
	around, found := -1, l.Around == 0
	if i, known := f.byID[l.Around]; known {
		around = i
	}
	page := Page{Matching: matching, Offset: l.Offset}
	var listed []int32
	for k := 0; k < len(f.order); {
		i := f.order[k]
		if kept[i] {
			if int(i) == around {
				page.Offset, found = len(listed)/l.Limit*l.Limit, true
			}
			listed = append(listed, i)
		}
		if k++; !kept[i] || closed[i] {
			k += int(f.size[i]) - 1
		}
	}
	page.Total = len(listed)
	if !found || page.Offset >= len(listed) {
		return page
	}
	rows := make([]int, len(f.members)) // by member: its row and those of its descendants
	for _, i := range slices.Backward(listed) {
		rows[i]++
		if p := f.parents[i]; p >= 0 {
			rows[p] += rows[i]
		}
	}
	for _, i := range listed[page.Offset : min(len(listed)-page.Offset, l.Limit)+page.Offset] {
		row := Row{ID: f.members[i].id, Depth: int(f.depth[i]), Matches: matches[i], HasChildren: hasChildren[i], Below: rows[i] - 1}
		if p := f.parents[i]; p >= 0 {
			row.ParentID = f.members[p].id
		}
		if l.Counts != nil {
			row.Counts = l.Counts.of(i)
		}
		page.Rows = append(page.Rows, row)
	}
	return page
}

// kept returns, by member, which processes the list is about, which ones it keeps, because
// they are ancestors of those, and which ones have kept children.
func (f *Family) kept(l List) (matches, kept, hasChildren []bool, matching int) {
	matches, hasChildren = make([]bool, len(f.members)), make([]bool, len(f.members))
	if l.IDs == nil {
		for i := range matches {
			matches[i] = true
		}
	}
	for _, id := range l.IDs {
		if i, known := f.byID[id]; known {
			matches[i] = true
		}
	}
	kept = make([]bool, len(f.members))
	for _, i := range slices.Backward(f.order) {
		if matches[i] = matches[i] && (l.Counts == nil || l.Counts.any[i]); matches[i] {
			matching++
		}
		kept[i] = matches[i] || hasChildren[i]
		if p := f.parents[i]; kept[i] && p >= 0 {
			hasChildren[p] = true
		}
	}
	return matches, kept, hasChildren, matching
}

// Counts counts events by the process that they belong to, and by type.
type Counts struct {
	family *Family
	types  map[string][]int64 // by member
	any    []bool             // by member
}

// maxTypes bounds the types of Counts. Events of further types count as models.OtherTypes.
const maxTypes = 16

// NewCounts returns empty counts of the processes of a family.
func NewCounts(f *Family) *Counts {
	return &Counts{family: f, types: map[string][]int64{}, any: make([]bool, len(f.members))}
}

// Add adds an event of a type with a pid, a process name and a time. Find says to which
// process it belongs.
func (c *Counts) Add(eventType string, pid int64, name string, at time.Time) {
	i := c.family.find(pid, name, at)
	if i < 0 {
		return
	}
	counts := c.types[eventType]
	if counts == nil {
		if len(c.types) >= maxTypes-1 {
			eventType = models.OtherTypes
		}
		if counts = c.types[eventType]; counts == nil {
			counts = make([]int64, len(c.any))
			c.types[eventType] = counts
		}
	}
	counts[i]++
	c.any[i] = true
}

// of returns the counts of a member by type.
func (c *Counts) of(member int32) map[string]int64 {
	counts := map[string]int64{}
	for eventType, all := range c.types {
		if n := all[member]; n > 0 {
			counts[eventType] = n
		}
	}
	return counts
}
