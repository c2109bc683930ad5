package filter

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// finder detects fast that a JSON text does not contain a pattern. It searches for the
// longest literal part in its JSON form with Horspool's algorithm ("Practical fast
// searching in strings", 1980): the last byte of the window decides how far to skip.
type finder struct {
	literal []byte // lower-case
	skip    [256]uint8
	number  bool // the literal may be part of a number, which JSON can write in several ways
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

// maybe reports whether a JSON text may contain the pattern; false is certain.
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

// hasOtherEscapes reports whether a JSON text may write a character differently from
// appendEscaped.
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

// appendEscaped appends the inside of a JSON string with only the required escapes.
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
