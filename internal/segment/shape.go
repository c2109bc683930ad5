package segment

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// cut cuts a JSON text into the text around its values and the values themselves. A
// value is a string that is no key, a number, or one of the words true, false and null,
// as written. parts has one more entry than values: the text is
// parts[0] + values[0] + parts[1] + … . It works for any text; only a JSON text is cut
// sensibly. The slices share the memory of text, and reuse that of parts and values.
func cut(text []byte, parts, values [][]byte) (_, _ [][]byte) {
	parts, values = parts[:0], values[:0]
	from := 0 // of the current part
	for rest := text; ; {
		token, after := jsonscan.NextToken(rest)
		if token == nil {
			return append(parts, text[from:]), values
		}
		rest = after
		if token[0] == '"' && isKey(after) {
			continue
		}
		end := len(text) - len(after)
		parts = append(parts, text[from:end-len(token)])
		values = append(values, token)
		from = end
	}
}

// isKey reports whether the text after a string makes it a key.
func isKey(after []byte) bool {
	after = bytes.TrimLeft(after, " \t\r\n")
	return len(after) > 0 && after[0] == ':'
}

// shapes collects the data of events.
type shapes struct {
	places map[string]int // of shapes by their parts
	list   []*building
	of     []uint32 // the shape of each event

	key           []byte
	parts, values [][]byte
}

// building is a shape whose values are collected.
type building struct {
	parts  [][]byte
	values []byte // of all rows
	ends   []int  // of each value in values
	hot    []hotTexts
}

// hotTexts are the hot fields of an event as JSON. Empty texts stand for missing fields.
type hotTexts [refKinds]string

func newShapes() *shapes { return &shapes{places: map[string]int{}} }

func (s *shapes) add(e *models.Event) {
	s.parts, s.values = cut(e.Data, s.parts, s.values)
	s.key = s.key[:0]
	for _, part := range s.parts {
		s.key = appendBytes(s.key, part)
	}
	place, known := s.places[string(s.key)]
	if !known {
		place = len(s.list)
		s.places[string(s.key)] = place
		b := &building{parts: make([][]byte, len(s.parts))}
		for i, part := range s.parts {
			b.parts[i] = bytes.Clone(part)
		}
		s.list = append(s.list, b)
	}
	s.of = append(s.of, uint32(place))
	b := s.list[place]
	for _, value := range s.values {
		b.values = append(b.values, value...)
		b.ends = append(b.ends, len(b.values))
	}
	b.hot = append(b.hot, hotOf(e))
}

func hotOf(e *models.Event) (texts hotTexts) {
	texts[refTime] = string(appendTime(nil, e.Timestamp.UnixMicro()))
	texts[refType] = quoted(&e.EventType)
	texts[refSource] = quoted(&e.Source)
	texts[refOperation] = quoted(e.Operation)
	texts[refProcess] = quoted(e.ProcessName)
	texts[refTarget] = quoted(e.Target)
	if e.PID != nil {
		texts[refPID] = strconv.FormatInt(*e.PID, 10)
	}
	return texts
}

func quoted(text *string) string {
	if text == nil {
		return ""
	}
	return string(jsonscan.AppendText(nil, *text))
}

// addTo adds the shapes and their columns to a block.
func (s *shapes) addTo(block *blockBuilder, words *words) {
	block.head = binary.AppendUvarint(block.head, uint64(len(s.list)))
	for _, b := range s.list {
		block.head = binary.AppendUvarint(block.head, uint64(len(b.parts)))
		for _, part := range b.parts {
			block.head = appendBytes(block.head, part)
			words.addTokens(part)
		}
	}
	block.head = appendIndex(block.head, s.of)
	for _, b := range s.list {
		for place := range len(b.parts) - 1 {
			c := b.column(place)
			for value := range c.values {
				words.addTokens(value)
			}
			block.add(c)
		}
	}
}

// value returns the value at a place of a row.
func (b *building) value(row, place int) []byte {
	i := row*(len(b.parts)-1) + place
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	return b.values[from:b.ends[i]]
}

// column returns the column at a place. It refers to the hot field that most of its
// values equal.
func (b *building) column(place int) *column {
	var equal [refKinds]int
	for row := range b.hot {
		value := b.value(row, place)
		for kind, text := range b.hot[row] {
			if string(value) == text {
				equal[kind]++
			}
		}
	}
	ref := refNothing
	for kind, n := range equal {
		if n > equal[ref] {
			ref = refKind(kind)
		}
	}
	var builder columnBuilder
	for row := range b.hot {
		value := b.value(row, place)
		if ref != refNothing && string(value) == b.hot[row][ref] {
			value = nil
		}
		builder.add(value)
	}
	c := builder.column()
	c.ref = ref
	return c
}
