package export

import (
	"slices"

	"ospulse/internal/jsonscan"
)

// appendUnique appends valid JSON text without duplicate keys, because Elasticsearch
// refuses documents that have them. The last one stays, as in filters. Objects deeper
// than jsonscan.Scanner reads stay unchanged. The cost is two walks over the text.
func appendUnique(out, text []byte) []byte {
	m := memberList{}
	m.find(jsonscan.NewScanner(text))
	if !slices.Contains(m.hidden, true) {
		return jsonscan.AppendOneLine(out, text)
	}
	m.next = 0
	return m.append(out, jsonscan.NewScanner(text))
}

// memberList numbers the members of all objects of a text in the order of their
// beginnings.
type memberList struct {
	next   int
	after  []int // by member: the number of the first member that is not in it
	hidden []bool
}

// find marks the members whose key occurs again.
func (m *memberList) find(s *jsonscan.Scanner) {
	switch s.Kind() {
	case '{':
		places := map[string]int{}
		s.Object(func(key []byte) {
			place := m.next
			m.next++
			m.after, m.hidden = append(m.after, 0), append(m.hidden, false)
			if earlier, again := places[string(key)]; again {
				m.hidden[earlier] = true
			}
			places[string(key)] = place
			m.find(s)
			m.after[place] = m.next
		})
	case '[':
		s.Array(func() { m.find(s) })
	default:
		s.Value()
	}
}

// append appends the members that are not hidden.
func (m *memberList) append(out []byte, s *jsonscan.Scanner) []byte {
	separator := ""
	switch s.Kind() {
	case '{':
		begun := len(out)
		out = append(out, '{')
		whole := s.Object(func(key []byte) {
			place := m.next
			m.next++
			if m.hidden[place] {
				m.next = m.after[place]
				s.Value()
				return
			}
			out = append(jsonscan.AppendText(append(out, separator...), string(key)), ':')
			separator = ","
			out = m.append(out, s)
		})
		if separator == "" { // empty, or too deep to read
			return jsonscan.AppendOneLine(out[:begun], whole)
		}
		return append(out, '}')
	case '[':
		begun := len(out)
		out = append(out, '[')
		whole := s.Array(func() {
			out = append(out, separator...)
			separator = ","
			out = m.append(out, s)
		})
		if separator == "" {
			return jsonscan.AppendOneLine(out[:begun], whole)
		}
		return append(out, ']')
	default:
		return append(out, s.Value()...)
	}
}
