package jsonscan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Find returns the raw value of an object's key, the first one of duplicates. It
// returns nil if there is none, or if the value is not an object. Unlike Get it does
// not decode keys, and stops at the first match.
func Find(object []byte, key string) []byte {
	rest := trimLeft(object)
	if len(rest) == 0 || rest[0] != '{' {
		return nil
	}
	for rest = trimLeft(rest[1:]); len(rest) > 0 && rest[0] == '"'; {
		n := stringLen(rest)
		literal := rest[:n]
		if rest = trimLeft(rest[n:]); len(rest) == 0 {
			return nil
		}
		value, after := split(trimLeft(rest[1:])) // past the colon
		if literalIs(literal, key) {
			return value
		}
		if rest = trimLeft(after); len(rest) > 0 {
			rest = trimLeft(rest[1:]) // past the comma or the brace
		}
	}
	return nil
}

// literalIs reports whether a string literal decodes to text.
func literalIs(literal []byte, text string) bool {
	if len(literal) < 2 {
		return false
	}
	inner := literal[1 : len(literal)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == text
	}
	var scratch [128]byte
	return string(AppendUnquoted(scratch[:0], inner)) == text
}

// Element returns the raw value of an array's element, counted from 0. It returns nil
// if there is none, or if the value is not an array.
func Element(array []byte, index int) []byte {
	rest := trimLeft(array)
	if len(rest) == 0 || rest[0] != '[' {
		return nil
	}
	for rest = trimLeft(rest[1:]); len(rest) > 0 && rest[0] != ']'; index-- {
		value, after := split(rest)
		if index == 0 {
			return value
		}
		if rest = trimLeft(after); len(rest) > 0 {
			rest = trimLeft(rest[1:]) // past the comma or the bracket
		}
	}
	return nil
}

// NextToken returns the first key, string, number or word in text, at any depth and as
// written, and the text after it. The token is nil if there is none.
func NextToken(text []byte) (token, rest []byte) {
	for len(text) > 0 && text[0] != '"' && endsWord(text[0]) {
		text = text[1:]
	}
	switch {
	case len(text) == 0:
		return nil, nil
	case text[0] == '"':
		n := stringLen(text)
		return text[:n], text[n:]
	}
	n := 1
	for n < len(text) && !endsWord(text[n]) {
		n++
	}
	return text[:n], text[n:]
}

func endsWord(c byte) bool {
	switch c {
	case '"', '{', '}', '[', ']', ',', ':', ' ', '\t', '\n', '\r':
		return true
	}
	return false
}

// AppendUnquoted appends the decoded inside of a string literal, as Unquote decodes it.
func AppendUnquoted(out, inner []byte) []byte {
	for len(inner) > 0 {
		plain := bytes.IndexByte(inner, '\\')
		if plain < 0 || plain == len(inner)-1 {
			return append(out, inner...)
		}
		out = append(out, inner[:plain]...)
		c := inner[plain+1]
		inner = inner[plain+2:]
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			unit, ok := hex4(inner)
			if !ok {
				continue
			}
			inner = inner[4:]
			if isHighSurrogate(unit) {
				if low, ok := lowSurrogate(inner); ok {
					unit = utf16.DecodeRune(unit, low)
					inner = inner[6:]
				}
			}
			out = utf8.AppendRune(out, unit) // U+FFFD for a lone surrogate
		default:
			out = append(out, c)
		}
	}
	return out
}
