package filter

import (
	"bytes"
	"strings"
	"unicode/utf8"
	"unsafe"

	"ospulse/internal/jsonscan"
)

// Pattern is a text with wildcards. It ignores the case of the letters A to Z.
type Pattern struct {
	// Parts holds literal texts, lower-case, and the wildcards AnyText and AnyChar.
	Parts []string
}

// The wildcards. They contain a byte that no UTF-8 text has.
const (
	AnyText = "\xff*" // any text, even an empty one
	AnyChar = "\xff?" // one character
)

// parsePattern parses * and ? as wildcards, and [*] and [?] as literal characters.
func parsePattern(text string) (p Pattern, wild bool) {
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			p.Parts = append(p.Parts, lower(literal.String()))
			literal.Reset()
		}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case strings.HasPrefix(text[i:], "[*]"), strings.HasPrefix(text[i:], "[?]"):
			literal.WriteByte(text[i+1])
			i += 2
		case c == '*':
			flush()
			wild = true
			if n := len(p.Parts); n == 0 || p.Parts[n-1] != AnyText {
				p.Parts = append(p.Parts, AnyText)
			}
		case c == '?':
			flush()
			wild = true
			p.Parts = append(p.Parts, AnyChar)
		default:
			literal.WriteByte(c)
		}
	}
	flush()
	return p, wild
}

// literalPattern returns a pattern without wildcards.
func literalPattern(text string) Pattern {
	if text == "" {
		return Pattern{}
	}
	return Pattern{Parts: []string{lower(text)}}
}

// String returns the pattern in the syntax of parsePattern.
func (p Pattern) String() string {
	var b strings.Builder
	for _, part := range p.Parts {
		switch part {
		case AnyText:
			if strings.HasSuffix(b.String(), "[") {
				b.WriteByte('*') // [**] is not a literal, unlike [*]
			}
			b.WriteByte('*')
		case AnyChar:
			b.WriteByte('?')
		default:
			b.WriteString(strings.NewReplacer("*", "[*]", "?", "[?]").Replace(part))
		}
	}
	return b.String()
}

// literal returns the text of a pattern without wildcards.
func (p Pattern) literal() (string, bool) {
	switch {
	case len(p.Parts) == 0:
		return "", true
	case len(p.Parts) == 1 && p.Parts[0][0] != 0xff:
		return p.Parts[0], true
	}
	return "", false
}

// Matches reports whether the pattern matches the whole text. After a failure it
// extends only the last AnyText, which finds a match if there is one. The cost is at
// most the product of the lengths.
func (p Pattern) Matches(text string) bool {
	part, pos := 0, 0
	retry, retryPos := 0, 0 // the part after the last AnyText, and the last position where it was tried
	for {
		if part < len(p.Parts) && p.Parts[part] == AnyText {
			part++
			retry, retryPos = part, pos
			if part == len(p.Parts) {
				return true
			}
		} else if size := p.match(part, text[pos:]); size >= 0 {
			if part == len(p.Parts) {
				return true
			}
			part, pos = part+1, pos+size
			continue
		} else {
			if retry == 0 || retryPos == len(text) {
				return false
			}
			_, size := utf8.DecodeRuneInString(text[retryPos:])
			part, retryPos = retry, retryPos+size
		}
		if p.Parts[part] != AnyChar { // skip to the next occurrence of the literal
			found := indexFold(text[retryPos:], p.Parts[part])
			if found < 0 {
				return false
			}
			retryPos += found
		}
		pos = retryPos
	}
}

// match returns how many bytes at the text's beginning match a part that is not
// AnyText, or -1. After the last part, only the empty text matches.
func (p Pattern) match(part int, text string) int {
	switch {
	case part == len(p.Parts):
		if text == "" {
			return 0
		}
	case p.Parts[part] == AnyChar:
		if text != "" {
			_, size := utf8.DecodeRuneInString(text)
			return size
		}
	case hasPrefixFold(text, p.Parts[part]):
		return len(p.Parts[part])
	}
	return -1
}

// Anywhere returns the pattern that matches every text which contains a match of this
// one.
func (p Pattern) Anywhere() Pattern {
	parts := make([]string, 0, len(p.Parts)+2)
	if len(p.Parts) == 0 || p.Parts[0] != AnyText {
		parts = append(parts, AnyText)
	}
	parts = append(parts, p.Parts...)
	if parts[len(parts)-1] != AnyText {
		parts = append(parts, AnyText)
	}
	return Pattern{Parts: parts}
}

// indexFold returns the index of a lower-case literal in a text of any case, or -1.
func indexFold(text, literal string) int {
	if literal == "" {
		return 0
	}
	first := literal[0]
	for i := 0; i+len(literal) <= len(text); i++ {
		if fold(text[i]) == first && hasPrefixFold(text[i+1:], literal[1:]) {
			return i
		}
	}
	return -1
}

func hasPrefixFold(text, literal string) bool {
	if len(text) < len(literal) {
		return false
	}
	for i := range len(literal) {
		if fold(text[i]) != literal[i] {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// lower lowers the letters A to Z, and no others.
func lower(text string) string {
	b := []byte(text)
	for i, c := range b {
		b[i] = fold(c)
	}
	return string(b)
}

// unquoted returns the text of a string literal: its own bytes if it has no escape.
func unquoted(scratch, literal []byte) []byte {
	if len(literal) < 2 {
		return nil
	}
	inner := literal[1 : len(literal)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	return jsonscan.AppendUnquoted(scratch, inner)
}

// viewOf returns bytes as a string without a copy. They must not change while it is in
// use.
func viewOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
