package segment

import (
	"strconv"

	"ospulse/internal/jsonscan"
)

// Members reads some members of the data of a block's events, without the rest of the
// data.
type Members struct {
	block  *Block
	tree   *jsonscan.Tree
	wanted int        // members
	shapes [][]member // by shape; nil until it is used

	data, text []byte // of the last event
}

// member is where the events of a shape have a member.
type member struct {
	column *column // nil if they lack it
	inData bool    // it is an object or an array
}

// Members returns a reader of the members that a tree wants, numbered below wanted.
func (b *Block) Members(tree *jsonscan.Tree, wanted int) *Members {
	return &Members{block: b, tree: tree, wanted: wanted, shapes: make([][]member, len(b.shapes))}
}

// Pick sets values to the members of event i, as tree.Pick does; nil for missing ones.
// They are valid until the next call.
func (m *Members) Pick(i int, values [][]byte) error {
	b := m.block
	place := b.shapeOf[i]
	if m.shapes[place] == nil {
		m.shapes[place] = m.find(&b.shapes[place])
	}
	m.text = m.text[:0]
	inData := false
	for j, member := range m.shapes[place] {
		values[j] = nil
		inData = inData || member.inData
		if c := member.column; c == nil {
			continue
		} else if values[j] = c.at(int(b.row[i])); values[j] == nil {
			from := len(m.text)
			m.text = append(m.text, b.hotValue(c.ref, i)...)
			values[j] = m.text[from:len(m.text):len(m.text)]
		}
	}
	if inData {
		m.data = b.AppendData(m.data[:0], i)
		m.tree.Pick(m.data, values)
	}
	return b.Err()
}

// find returns the members of a shape.
func (m *Members) find(s *shape) []member {
	members := make([]member, m.wanted)
	places := make([][]byte, m.wanted)
	m.tree.Pick(s.skeleton(), places)
	for j, text := range places {
		if text == nil {
			continue
		}
		place, err := strconv.Atoi(string(text))
		if members[j].inData = err != nil; err == nil {
			members[j].column = m.block.column(&s.columns[place], len(s.events))
		}
	}
	return members
}
