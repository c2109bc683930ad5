package segment

import (
	"strconv"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// Select returns, for each event of some columns, whether a filter selects it. firstSeq
// is the Seq of the first event. The filter must not need data.
func (c *Columns) Select(where *filter.Filter, firstSeq int64) []bool {
	s := selection{hot: c, n: c.Len(), firstSeq: firstSeq}
	return s.of(where)
}

// Select returns, for each event of the block, whether a filter selects it. firstSeq is
// the Seq of the first event of the block's columns. The result is invalid if Err returns
// an error afterwards.
func (b *Block) Select(where *filter.Filter, firstSeq int64) []bool {
	s := selection{hot: b.hot, first: b.first, n: b.Len(), firstSeq: firstSeq, block: b}
	return s.of(where)
}

// selection evaluates a filter on some events of columns. It evaluates each test once for
// each different value, and not for each event.
type selection struct {
	hot      *Columns
	first, n int // the events' place in hot
	firstSeq int64
	block    *Block // nil if the filter needs no data
}

func (s *selection) of(where *filter.Filter) []bool {
	if where == nil {
		return fill(make([]bool, s.n), true)
	}
	return s.node(where.Root())
}

func fill(selected []bool, value bool) []bool {
	for i := range selected {
		selected[i] = value
	}
	return selected
}

func (s *selection) node(node filter.Node) []bool {
	switch n := node.(type) {
	case filter.And:
		return s.join(n, true)
	case filter.Or:
		return s.join(n, false)
	case filter.Not:
		selected := s.node(n.Node)
		for i := range selected {
			selected[i] = !selected[i]
		}
		return selected
	case filter.Text:
		return s.text(n)
	case filter.Exists:
		return s.test(n, n.Field, filter.Exists{Field: value})
	case filter.In:
		return s.test(n, n.Field, filter.In{Field: value, Values: n.Values})
	case filter.Order:
		return s.test(n, n.Field, filter.Order{Field: value, Op: n.Op, Value: n.Value})
	case filter.Like:
		return s.test(n, n.Field, filter.Like{Field: value, Pattern: n.Pattern})
	}
	return make([]bool, s.n)
}

// value is the field of a test that gets the value itself as data.
var value = filter.Field{Column: filter.Data} //nolint:gochecknoglobals // a constant

// join evaluates And (all is true) or Or.
func (s *selection) join(nodes []filter.Node, all bool) []bool {
	selected := fill(make([]bool, s.n), all)
	for _, node := range nodes {
		for i, is := range s.node(node) {
			if is != all {
				selected[i] = !all
			}
		}
	}
	return selected
}

// test evaluates a test of a field. ofValue is the same test for a value of data.
func (s *selection) test(node filter.Node, field filter.Field, ofValue filter.DataNode) []bool {
	var e models.Event
	switch field.Column {
	case filter.Type:
		return s.texts(&s.hot.Type, func(text *string) bool { e.EventType = deref(text); return node.Match(&e) })
	case filter.Source:
		return s.texts(&s.hot.Source, func(text *string) bool { e.Source = deref(text); return node.Match(&e) })
	case filter.Operation:
		return s.texts(&s.hot.Operation, func(text *string) bool { e.Operation = text; return node.Match(&e) })
	case filter.Process:
		return s.texts(&s.hot.Process, func(text *string) bool { e.ProcessName = text; return node.Match(&e) })
	case filter.Target:
		return s.texts(&s.hot.Target, func(text *string) bool { e.Target = text; return node.Match(&e) })
	case filter.PID:
		return pick(s.hot.PID.Values, s.hot.PID.Index[s.first:s.first+s.n], func(pid *int64) bool { e.PID = pid; return node.Match(&e) })
	case filter.Data:
		return s.data(field, ofValue)
	}
	selected := make([]bool, s.n)
	for i := range selected {
		e.Seq, e.Timestamp = s.firstSeq+int64(s.first+i), time.UnixMicro(s.hot.Micros[s.first+i]).UTC()
		selected[i] = node.Match(&e)
	}
	return selected
}

func (s *selection) texts(column *Texts, matches func(*string) bool) []bool {
	return pick(column.Values, column.Index[s.first:s.first+s.n], matches)
}

// pick evaluates matches once for each value that is in use.
func pick[T any](values []T, index []uint32, matches func(T) bool) []bool {
	known := make([]int8, len(values)) // 1 or -1 once it is known
	selected := make([]bool, len(index))
	for i, place := range index {
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
func (s *selection) data(field filter.Field, test filter.DataNode) []bool {
	b := s.block
	selected := make([]bool, b.Len())
	ofShape := make([][]bool, len(b.shapes)) // by row
	for i := range b.shapes {
		if found := field.Find(b.shapes[i].skeleton()); found == nil {
			ofShape[i] = make([]bool, b.shapes[i].rows)
		} else if place, err := strconv.Atoi(string(found)); err != nil { // an object or an array
			ofShape[i] = fill(make([]bool, b.shapes[i].rows), test.MatchData(found))
		} else {
			ofShape[i] = b.matches(i, place, test)
		}
	}
	for i := range selected {
		selected[i] = ofShape[b.shapeOf[i]][b.row[i]]
	}
	return selected
}

// text evaluates a test of the target and of all data.
func (s *selection) text(test filter.Text) []bool {
	b := s.block
	var e models.Event
	selected := s.texts(&s.hot.Target, func(target *string) bool { e.Target = target; return test.MatchTarget(&e) })
	ofShape := make([][]bool, len(b.shapes))
	for i := range b.shapes {
		rows := make([]bool, b.shapes[i].rows)
		for _, part := range b.shapes[i].parts {
			if test.MatchTokens(part) {
				fill(rows, true)
				break
			}
		}
		for place := range b.shapes[i].columns {
			for row, is := range b.matches(i, place, test) {
				rows[row] = rows[row] || is
			}
		}
		ofShape[i] = rows
	}
	for i := range selected {
		selected[i] = selected[i] || ofShape[b.shapeOf[i]][b.row[i]]
	}
	return selected
}

// skeleton returns the shape as a JSON text, each value being the number of its place.
func (s *shape) skeleton() []byte {
	var text []byte
	for place := range s.columns {
		text = strconv.AppendInt(append(text, s.parts[place]...), int64(place), 10)
	}
	return append(text, s.parts[len(s.parts)-1]...)
}

// matches evaluates a test of a value for each row of a column of a shape.
func (b *Block) matches(shape, place int, test filter.DataNode) []bool {
	s := &b.shapes[shape]
	c := b.column(s, place)
	selected := make([]bool, s.rows)
	if c.index == nil {
		for row := range selected {
			selected[row] = test.MatchData(c.values[row+1])
		}
		return selected
	}
	selected = pick(c.values, c.index, func(value []byte) bool { return value != nil && test.MatchData(value) })
	if c.ref == refNothing {
		return selected
	}
	known := map[uint32]bool{} // by place in the column of the hot field
	var scratch []byte
	for i, of := range b.shapeOf {
		row := b.row[i]
		if int(of) != shape || c.index[row] != 0 {
			continue
		}
		hotPlace := b.hot.refPlace(c.ref, i+b.first)
		is, ok := known[hotPlace]
		if !ok {
			scratch = b.hot.appendJSON(scratch[:0], c.ref, i+b.first)
			is = test.MatchData(scratch)
			known[hotPlace] = is
		}
		selected[row] = is
	}
	return selected
}

// refPlace returns a number that is the same for events with the same hot field.
func (c *Columns) refPlace(kind refKind, i int) uint32 {
	switch kind {
	case refTime:
		return uint32(i) // times differ
	case refPID:
		return c.PID.Index[i]
	case refNothing:
		return 0
	}
	return c.refTexts(kind).Index[i]
}
