// Package jsonscan checks JSON text without building values from it, and walks over
// checked text. In one pass it decides whether PostgreSQL's jsonb can store a value
// without loss.
//
// It knows nothing of events. It accepts the same text as encoding/json, except that it
// refuses invalid UTF-8, which encoding/json silently replaces.
package jsonscan

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting of arrays and objects, as in encoding/json.
const MaxDepth = 10000

// Bounds within which jsonb keeps a value exactly. PostgreSQL stores numbers as decimals
// of up to 131072 digits before the point and 16383 after it, and parses nested values
// recursively on a 2 MB stack. SQLite's JSON functions nest up to 1000 levels. These
// bounds stay far below all of them.
const (
	maxJSONBDepth    = 900
	maxJSONBNumber   = 400 // bytes of one number's text
	maxJSONBExponent = 400
)

// SyntaxError is the place and the kind of a syntax error.
type SyntaxError struct {
	Offset int    // bytes before the fault
	Text   string // the kind of the fault
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d", e.Text, e.Offset)
}

// TrimBOM returns text without a leading byte order mark. RFC 8259 (8.1) lets parsers
// ignore it; Check refuses it.
func TrimBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) }

// Check parses text as one JSON value (RFC 8259), with optional white space around it.
// lossless reports whether jsonb can store the whole value: no \u0000, no lone
// surrogate, no duplicate key, and no number or nesting beyond its bounds. The error,
// if any, is a *SyntaxError.
func Check(text []byte) (lossless bool, err error) {
	s := NewScanner(text)
	s.Value()
	return s.lossless, s.End()
}

// scanner checks text from pos, which is between 0 and its length.
type scanner struct {
	text     []byte
	pos      int
	lossless bool
}

func (s *scanner) fault(text string) error { return &SyntaxError{Offset: s.pos, Text: text} }

func (s *scanner) found() string {
	if s.pos >= len(s.text) {
		return "end of the text"
	}
	if c := s.text[s.pos]; c < 0x20 || c >= 0x7f {
		return fmt.Sprintf("byte 0x%02x", c)
	}
	return fmt.Sprintf("%q", s.text[s.pos])
}

func (s *scanner) unexpected(wanted string) error {
	return s.fault("expected " + wanted + ", found " + s.found())
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// next returns the byte at the position, and 0 at the end. A NUL in the text is 0 too,
// but no production accepts it.
func (s *scanner) next() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) value(depth int) error {
	switch c := s.next(); {
	case c == '"':
		_, err := s.str()
		return err
	case c == '{' || c == '[':
		if depth >= MaxDepth {
			return s.fault(fmt.Sprintf("more than %d levels of nesting", MaxDepth))
		}
		if depth >= maxJSONBDepth {
			s.lossless = false
		}
		if c == '{' {
			return s.object(depth + 1)
		}
		return s.array(depth + 1)
	case c == '-' || isDigit(c):
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		return s.unexpected("a value")
	}
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.text[s.pos:], []byte(word)) {
		return s.unexpected("a value")
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) array(depth int) error {
	return s.elements(func() error { return s.value(depth) })
}

// elements reads an array and calls value to read each element.
func (s *scanner) elements(value func() error) error {
	s.pos++ // [
	s.space()
	if s.next() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := value(); err != nil {
			return err
		}
		s.space()
		switch s.next() {
		case ',':
			s.pos++
			s.space()
		case ']':
			s.pos++
			return nil
		default:
			return s.unexpected("',' or ']'")
		}
	}
}

func (s *scanner) object(depth int) error {
	return s.members(func([]byte) error { return s.value(depth) })
}

// members reads an object and calls value to read each value. The key is decoded, and
// valid until value returns.
func (s *scanner) members(value func(key []byte) error) error {
	s.pos++ // {
	s.space()
	if s.next() == '}' {
		s.pos++
		return nil
	}
	var keys keySet
	for {
		if s.next() != '"' {
			return s.unexpected("a key in double quotes")
		}
		start := s.pos
		escaped, err := s.str()
		if err != nil {
			return err
		}
		key := s.text[start+1 : s.pos-1]
		if escaped {
			key = []byte(Unquote(s.text[start:s.pos]))
		}
		if s.lossless {
			s.lossless = keys.add(key)
		}
		s.space()
		if s.next() != ':' {
			return s.unexpected("':'")
		}
		s.pos++
		s.space()
		if err := value(key); err != nil {
			return err
		}
		s.space()
		switch s.next() {
		case ',':
			s.pos++
			s.space()
		case '}':
			s.pos++
			return nil
		default:
			return s.unexpected("',' or '}'")
		}
	}
}

// keySet finds duplicate keys: it compares a few keys and hashes many, so that even a
// million keys in an object take linear time.
type keySet struct {
	few  [12][]byte
	n    int
	many map[string]struct{}
}

// add reports whether the key is new.
func (k *keySet) add(key []byte) bool {
	if k.many == nil {
		for _, other := range k.few[:k.n] {
			if bytes.Equal(other, key) {
				return false
			}
		}
		if k.n < len(k.few) {
			k.few[k.n] = key
			k.n++
			return true
		}
		k.many = make(map[string]struct{}, 4*len(k.few))
		for _, other := range k.few {
			k.many[string(other)] = struct{}{}
		}
	}
	if _, ok := k.many[string(key)]; ok {
		return false
	}
	k.many[string(key)] = struct{}{}
	return true
}

// str skips a string literal, and reports whether it has an escape.
func (s *scanner) str() (escaped bool, err error) {
	start := s.pos
	s.pos++ // "
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return false, err
			}
		case c < 0x20:
			return false, s.fault(fmt.Sprintf("control character 0x%02x in a string", c))
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRune(s.text[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return false, s.fault("invalid UTF-8 in a string")
			}
			s.pos += size
		}
	}
	s.pos = start
	return false, s.fault("a string that does not end")
}

func (s *scanner) escape() error {
	s.pos++ // \
	switch s.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		s.pos--
		return s.fault("invalid escape in a string")
	}
	unit, ok := hex4(s.text[s.pos+1:])
	if !ok {
		s.pos--
		return s.fault(`invalid \u escape in a string`)
	}
	s.pos += 5
	switch {
	case unit == 0:
		s.lossless = false
	case isHighSurrogate(unit):
		if low, ok := lowSurrogate(s.text[s.pos:]); ok && low != 0 {
			s.pos += 6
		} else {
			s.lossless = false
		}
	case isLowSurrogate(unit):
		s.lossless = false
	}
	return nil
}

func (s *scanner) number() error {
	start := s.pos
	if s.next() == '-' {
		s.pos++
	}
	switch c := s.next(); {
	case c == '0':
		s.pos++
	case isDigit(c):
		s.digits()
	default:
		return s.unexpected("a digit")
	}
	if s.next() == '.' {
		s.pos++
		if !isDigit(s.next()) {
			return s.unexpected("a digit")
		}
		s.digits()
	}
	if c := s.next(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.next(); c == '+' || c == '-' {
			s.pos++
		}
		if !isDigit(s.next()) {
			return s.unexpected("a digit")
		}
		s.digits()
	}
	if s.lossless && !jsonbNumber(s.text[start:s.pos]) {
		s.lossless = false
	}
	return nil
}

func (s *scanner) digits() {
	for isDigit(s.next()) {
		s.pos++
	}
}

// jsonbNumber reports whether jsonb stores the number exactly. A decimal has no
// negative zero, and the number must be within the bounds.
func jsonbNumber(number []byte) bool {
	if len(number) > maxJSONBNumber {
		return false
	}
	mantissa := number
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		mantissa = number[:i]
		exponent := 0
		for _, c := range bytes.TrimLeft(number[i+1:], "+-") {
			exponent = exponent*10 + int(c-'0')
			if exponent > maxJSONBExponent {
				return false
			}
		}
	}
	return number[0] != '-' || bytes.ContainsAny(mantissa, "123456789")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHighSurrogate(unit rune) bool { return 0xd800 <= unit && unit < 0xdc00 }

func isLowSurrogate(unit rune) bool { return 0xdc00 <= unit && unit < 0xe000 }

// lowSurrogate reads the second half of a surrogate pair, \uDC00 to \uDFFF.
func lowSurrogate(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, ok := hex4(text[2:])
	return unit, ok && isLowSurrogate(unit)
}

func hex4(text []byte) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range text[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
