package segment

import (
	"slices"
	"strconv"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// Select returns, for each event of some columns, whether it is one of those in among and a
// filter selects it. A nil among has all events. firstSeq is the Seq of the first event. The
// filter must not need data.
func (c *Columns) Select(where *filter.Filter, firstSeq int64, among []bool) []bool {
	s := selection{hot: c, n: c.Len(), firstSeq: firstSeq}
	return s.of(where, among)
}

// Select returns, for each event of the block, whether it is one of those in among and a
// filter selects it. A nil among has all events. firstSeq is the Seq of the first event of the
// block's columns. The result is invalid if Err returns an error afterwards.
func (b *Block) Select(where *filter.Filter, firstSeq int64, among []bool) []bool {
	s := selection{hot: b.hot, first: b.first, n: b.Len(), firstSeq: firstSeq, block: b}
	return s.of(where, among)
}

// selection evaluates a filter on some events of columns. It evaluates each test once for
// each different value, and not for each event, and only for events that earlier tests have
// not decided: what a method returns for an event that is not among the given ones means
// nothing.
type selection struct {
	hot      *Columns
	first, n int // the events' place in hot
	firstSeq int64
	block    *Block // nil if the filter needs no data
}

func (s *selection) of(where *filter.Filter, among []bool) []bool {
	if among == nil {
		among = fill(make([]bool, s.n), true)
	}
	if where == nil {
		return slices.Clone(among)
	}
	selected := s.node(where.Root(), among)
	for i, is := range among {
		selected[i] = selected[i] && is
	}
	return selected
}

func fill(selected []bool, value bool) []bool {
	for i := range selected {
		selected[i] = value
	}
	return selected
}

func (s *selection) node(node filter.Node, among []bool) []bool {
	if field, ok := filter.OnlyField(node); ok && field.Column <= filter.Source {
		return s.test(node, field, nil, among)
	}
	switch n := node.(type) {
	case filter.And:
		return s.join(n, true, among)
	case filter.Or:
		return s.join(n, false, among)
	case filter.Not:
		selected := s.node(n.Node, among)
		for i := range selected {
			selected[i] = !selected[i]
		}
		return selected
	case filter.Text:
		return s.text(n, among)
	case filter.Exists:
		return s.test(n, n.Field, filter.Exists{Field: value}, among)
	case filter.In:
		return s.test(n, n.Field, filter.In{Field: value, Values: n.Values}, among)
	case filter.Order:
		return s.test(n, n.Field, filter.Order{Field: value, Op: n.Op, Value: n.Value}, among)
	case filter.Like:
		return s.test(n, n.Field, filter.Like{Field: value, Pattern: n.Pattern}, among)
	case filter.Under:
		return s.under(n, among)
	case filter.Seqs:
		return s.seqs(n)
	}
	return make([]bool, s.n)
}

// value is the field of a test that gets the value itself as data.
var value = filter.Field{Column: filter.Data} //nolint:gochecknoglobals // a constant

// join evaluates And (all is true) or Or.
func (s *selection) join(nodes []filter.Node, all bool, among []bool) []bool {
	selected, open := fill(make([]bool, s.n), all), slices.Clone(among)
	for _, node := range nodes {
		if !slices.Contains(open, true) {
			break
		}
		for i, is := range s.node(node, open) {
			if open[i] && is != all {
				selected[i], open[i] = !all, false
			}
		}
	}
	return selected
}

// test evaluates a condition on a field. ofValue is the same test for a value of data; it is
// nil for a condition on a text column.
func (s *selection) test(node filter.Node, field filter.Field, ofValue filter.DataNode, among []bool) []bool {
	var e models.Event
	switch field.Column {
	case filter.Type:
		return s.texts(&s.hot.Type, among, func(text *string) bool { e.EventType = deref(text); return node.Match(&e) })
	case filter.Source:
		return s.texts(&s.hot.Source, among, func(text *string) bool { e.Source = deref(text); return node.Match(&e) })
	case filter.Operation:
		return s.texts(&s.hot.Operation, among, func(text *string) bool { e.Operation = text; return node.Match(&e) })
	case filter.Process:
		return s.texts(&s.hot.Process, among, func(text *string) bool { e.ProcessName = text; return node.Match(&e) })
	case filter.Target:
		return s.texts(&s.hot.Target, among, func(text *string) bool { e.Target = text; return node.Match(&e) })
	case filter.PID:
		return pick(s.hot.PID.Values, s.hot.PID.Index[s.first:s.first+s.n], among, func(pid *int64) bool { e.PID = pid; return node.Match(&e) })
	case filter.Data:
		return s.data(field, ofValue, among)
	}
	selected := make([]bool, s.n)
	for i := range selected {
		e.Seq, e.Timestamp = s.firstSeq+int64(s.first+i), time.UnixMicro(s.hot.Micros[s.first+i]).UTC()
		selected[i] = node.Match(&e)
	}
	return selected
}

// seqs evaluates a list of seqs.
func (s *selection) seqs(n filter.Seqs) []bool {
	selected, first := make([]bool, s.n), s.firstSeq+int64(s.first)
	place, _ := slices.BinarySearch(n, first)
	for _, seq := range n[place:] {
		if seq >= first+int64(s.n) {
			break
		}
		selected[seq-first] = true
	}
	return selected
}

// under evaluates a test of processes. For most pids the pid alone decides.
func (s *selection) under(n filter.Under, among []bool) []bool {
	if n.Set == nil {
		return make([]bool, s.n)
	}
	places := s.hot.PID.Index[s.first : s.first+s.n]
	selected := pick(s.hot.PID.Values, places, among, func(pid *int64) bool {
		if pid == nil {
			return false
		}
		some, _ := n.Set.HasPID(*pid)
		return some
	})
	for i, is := range selected {
		if !is {
			continue
		}
		pid := *s.hot.PID.Values[places[i]]
		if _, all := n.Set.HasPID(pid); !all {
			name := deref(s.hot.Process.Values[s.hot.Process.Index[s.first+i]])
			selected[i] = n.Set.Has(pid, name, time.UnixMicro(s.hot.Micros[s.first+i]))
		}
	}
	return selected
}

func (s *selection) texts(column *Texts, among []bool, matches func(*string) bool) []bool {
	return pick(column.Values, column.Index[s.first:s.first+s.n], among, matches)
}

// pick evaluates matches once for each value that is in use.
func pick[T any](values []T, index []uint32, among []bool, matches func(T) bool) []bool {
	known := make([]int8, len(values)) // 1 or -1 once it is known
	selected := make([]bool, len(index))
	for i, place := range index {
		if !among[i] {
			continue
		}
		if known[place] == 0 {
			known[place] = -1
			if matches(values[place]) {
				known[place] = 1
			}
		}
		selected[i] = known[place] > 0
	}
	return selected
}

// data evaluates a test of a path in data.
func (s *selection) data(field filter.Field, test filter.DataNode, among []bool) []bool {
	b := s.block
	t := valueTest{block: b, test: test, among: among, selected: make([]bool, b.Len())}
	for i := range b.shapes {
		shape := &b.shapes[i]
		if !t.concerns(shape) {
			continue
		}
		if found := field.Find(shape.skeleton()); found == nil {
			continue
		} else if place, err := strconv.Atoi(string(found)); err != nil { // an object or an array
			if test.MatchData(found) {
				t.all(shape)
			}
		} else {
			t.column(shape, b.column(&shape.columns[place], len(shape.events)))
		}
	}
	return t.selected
}

// numberCharacters are the characters in numbers and in times of timeLayout, lower-case.
const numberCharacters = "0123456789-+.:etz"

// text evaluates a test of the target and of all data.
func (s *selection) text(test filter.Text, among []bool) []bool {
	b := s.block
	var e models.Event
	t := valueTest{block: b, test: test, among: among}
	t.selected = s.texts(&s.hot.Target, among, func(target *string) bool { e.Target = target; return test.MatchTarget(&e) })
	t.neverNumbers = !test.MayMatchOf(numberCharacters)
	for i := range b.shapes {
		shape := &b.shapes[i]
		if !t.concerns(shape) {
			continue
		}
		if slices.ContainsFunc(shape.parts, test.MatchTokens) {
			t.all(shape)
			continue
		}
		for j := range shape.columns {
			p := &shape.columns[j]
			if t.neverNumbers && b.isNumbers(p) {
				continue
			}
			if c := b.column(p, len(shape.events)); c.ref != refNothing || test.MayMatch(c.text) {
				t.column(shape, c)
			}
		}
	}
	return t.selected
}

// isNumbers reports whether all values of a column are numbers or times. It may return
// false for such a column.
func (b *Block) isNumbers(p *packedColumn) bool {
	if p.unpacked == nil && p.isFrame {
		return false
	}
	ref, form := refNothing, asBytes
	if c := p.unpacked; c != nil {
		ref, form = c.ref, c.form
	} else if len(p.packed) >= 2 {
		ref, form = refKind(p.packed[0]), int(p.packed[1])
	}
	return ref <= refPID && (form == asInteger || form == asTime)
}

// skeleton returns the shape as a JSON text, each value being the number of its place.
func (s *shape) skeleton() []byte {
	var text []byte
	for place := range s.columns {
		text = strconv.AppendInt(append(text, s.parts[place]...), int64(place), 10)
	}
	return append(text, s.parts[len(s.parts)-1]...)
}

// valueTest evaluates a test of the values in data, once for each different one.
type valueTest struct {
	block        *Block
	test         filter.DataNode
	neverNumbers bool // the test matches no number and no time
	among        []bool
	selected     []bool
	ofHot        [refKinds][]int8 // by place in the column of a hot field: 1 or -1 once it is known
}

// concerns reports whether an event of a shape is among those that are tested.
func (t *valueTest) concerns(s *shape) bool {
	return slices.ContainsFunc(s.events, func(i uint32) bool { return t.among[i] })
}

// all selects all events of a shape.
func (t *valueTest) all(s *shape) {
	for _, i := range s.events {
		t.selected[i] = true
	}
}

// column selects the events of a shape whose value in a column passes the test.
func (t *valueTest) column(s *shape, c *column) {
	known := make([]int8, len(c.ends)) // by place: 1 or -1 once it is known
	for row, i := range s.events {
		if !t.among[i] {
			continue
		}
		place := c.place(row)
		if place == 0 {
			t.selected[i] = t.selected[i] || t.hot(c.ref, int(i))
			continue
		}
		if known[place] == 0 {
			known[place] = -1
			if t.test.MatchData(c.value(place)) {
				known[place] = 1
			}
		}
		t.selected[i] = t.selected[i] || known[place] > 0
	}
}

// hot tests a hot field of event i.
func (t *valueTest) hot(kind refKind, i int) bool {
	switch {
	case kind == refNothing, t.neverNumbers && kind <= refPID:
		return false
	case kind == refTime:
		return t.test.MatchData(t.block.hotValue(kind, i))
	}
	if t.ofHot[kind] == nil {
		t.ofHot[kind] = make([]int8, t.block.hot.different(kind))
	}
	known := &t.ofHot[kind][t.block.hot.place(kind, i+t.block.first)]
	if *known == 0 {
		*known = -1
		if t.test.MatchData(t.block.hotValue(kind, i)) {
			*known = 1
		}
	}
	return *known > 0
}
