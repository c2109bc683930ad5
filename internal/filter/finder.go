package filter

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// finder tells fast that a pattern is nowhere in a JSON text. It looks for the
// longest literal part as JSON writes it, by Horspool's algorithm ("Practical fast
// searching in strings", 1980): the byte at the end of the window says how far it
// can go on.
type finder struct {
	literal []byte // lower-case
	skip    [256]uint8
	number  bool // the literal may be part of a number, which can be written otherwise
}

func newFinder(p Pattern) *finder {
	longest := ""
	for _, part := range p.Parts {
		if part[0] != AnyText[0] && len(part) > len(longest) {
			longest = part
		}
	}
	f := &finder{literal: appendEscaped(nil, longest), number: strings.Trim(longest, "-.0123456789") == ""}
	size := min(len(f.literal), math.MaxUint8)
	for i := range f.skip {
		f.skip[i] = uint8(size)
	}
	for i := len(f.literal) - size; i < len(f.literal)-1; i++ {
		distance, c := uint8(len(f.literal)-1-i), f.literal[i]
		f.skip[c] = distance
		if 'a' <= c && c <= 'z' {
			f.skip[c-'a'+'A'] = distance
		}
	}
	return f
}

// maybe reports whether the pattern may be in a JSON text; false is certain.
func (f *finder) maybe(data []byte) bool {
	return f.number || f.contains(data) || hasOtherEscapes(data)
}

func (f *finder) contains(data []byte) bool {
	last := len(f.literal) - 1
	for end := last; end < len(data); end += int(f.skip[data[end]]) {
		if hasPrefixFold(viewOf(data[end-last:]), viewOf(f.literal)) {
			return true
		}
	}
	return false
}

// hasOtherEscapes reports whether a JSON text may write a character in another way
// than appendEscaped does.
func hasOtherEscapes(data []byte) bool {
	for {
		i := bytes.IndexByte(data, '\\')
		if i < 0 || i+1 == len(data) {
			return false
		}
		if c := data[i+1]; c == 'u' || c == '/' {
			return true
		}
		data = data[i+2:]
	}
}

// appendEscaped writes the inside of a JSON string with no escape but those that
// must be.
func appendEscaped(out []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, '\\', 'b')
		case '\f':
			out = append(out, '\\', 'f')
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			if c < ' ' {
				out = fmt.Appendf(out, `\u%04x`, c)
			} else {
				out = append(out, c)
			}
		}
	}
	return out
}
