package jsonscan

import (
	"bytes"
	"iter"
)

// The functions in this file read text that Check has accepted. With other text they
// return some value, never panic, and always end.

// Kind returns the first byte of a value, which identifies its kind: one of { [ " - 0…9
// t f n. It is 0 for an empty text.
func Kind(value []byte) byte {
	value = trimLeft(value)
	if len(value) == 0 {
		return 0
	}
	return value[0]
}

// KindName returns the name of a value's kind, for error texts.
func KindName(value []byte) string {
	switch Kind(value) {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	case 0:
		return "nothing"
	default:
		return "a number"
	}
}

// Members yields the keys (decoded) and values (raw text) of an object in order, with
// duplicates. It yields nothing for other values. The slices share the text's memory.
func Members(object []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		rest := trimLeft(object)
		if len(rest) == 0 || rest[0] != '{' {
			return
		}
		for rest = trimLeft(rest[1:]); len(rest) > 0 && rest[0] == '"'; {
			key, after := split(rest)
			after = trimLeft(after)
			if len(after) == 0 {
				return
			}
			value, after := split(trimLeft(after[1:])) // past the colon
			if !yield(Unquote(key), value) {
				return
			}
			if rest = trimLeft(after); len(rest) > 0 {
				rest = trimLeft(rest[1:]) // past the comma or the brace
			}
		}
	}
}

// Get returns the raw value of an object's key, the last one of duplicates. It returns
// nil if there is none, or if the value is not an object.
func Get(object []byte, key string) []byte {
	var found []byte
	for k, v := range Members(object) {
		if k == key {
			found = v
		}
	}
	return found
}

// Unquote decodes a string literal. Lone surrogates become U+FFFD. It returns "" for
// other values.
func Unquote(literal []byte) string {
	literal = bytes.TrimSpace(literal)
	if len(literal) < 2 || literal[0] != '"' {
		return ""
	}
	inner := literal[1 : len(literal)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	return string(AppendUnquoted(make([]byte, 0, len(inner)), inner))
}

func trimLeft(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\n' || text[0] == '\r') {
		text = text[1:]
	}
	return text
}

// split returns the value at the beginning of a text, and the rest.
func split(text []byte) (value, rest []byte) {
	depth := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '"':
			i += stringLen(text[i:])
			if depth == 0 {
				return text[:i], text[i:]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return text[:i], text[i:]
			}
			if depth--; depth == 0 {
				return text[:i+1], text[i+1:]
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return text[:i], text[i:]
			}
		}
		i++
	}
	return text, nil
}

// stringLen returns the length of the string literal at the beginning of text.
func stringLen(text []byte) int {
	for i := 1; i < len(text); {
		j := bytes.IndexByte(text[i:], '"')
		if j < 0 {
			break
		}
		i += j
		backslashes := 0
		for text[i-1-backslashes] == '\\' {
			backslashes++
		}
		i++
		if backslashes%2 == 0 {
			return i
		}
	}
	return len(text)
}

// Empty reports whether a value is missing or null.
func Empty(value []byte) bool { return value == nil || Kind(value) == 'n' }
