package jsonscan

// Scanner reads and checks a JSON text once from start to end. At each value the caller
// calls Value, Object or Array. After a syntax error it reads nothing more, and End
// returns the error.
type Scanner struct {
	scanner
	depth int
	err   error
}

// NewScanner returns a scanner at the text's value.
func NewScanner(text []byte) *Scanner {
	s := &Scanner{scanner: scanner{text: text, lossless: true}}
	s.space()
	return s
}

// Kind returns the first byte of the next value, which identifies its kind: one of { [
// " - 0…9 t f n. It is 0 at the end and after an error.
func (s *Scanner) Kind() byte {
	if s.err != nil {
		return 0
	}
	return s.next()
}

// Value reads a value of any kind and returns its text, nil if it is malformed.
func (s *Scanner) Value() []byte {
	return s.read(func() error { return s.value(s.depth) })
}

// Object reads an object and returns its text, nil if it is malformed. It calls member
// for each member; member must read exactly the value. The key is decoded, and valid
// until member returns. A value of another kind is read like Value, without a call.
func (s *Scanner) Object(member func(key []byte)) []byte {
	if s.Kind() != '{' || s.depth >= maxJSONBDepth {
		return s.Value()
	}
	return s.read(func() error {
		s.depth++
		defer func() { s.depth-- }()
		return s.members(func(key []byte) error {
			member(key)
			return s.err
		})
	})
}

// Array reads an array in the same way as Object reads an object.
func (s *Scanner) Array(element func()) []byte {
	if s.Kind() != '[' || s.depth >= maxJSONBDepth {
		return s.Value()
	}
	return s.read(func() error {
		s.depth++
		defer func() { s.depth-- }()
		return s.elements(func() error {
			element()
			return s.err
		})
	})
}

// Lossless calls read, and reports whether jsonb can store all that it read.
func (s *Scanner) Lossless(read func()) bool {
	before := s.lossless
	s.lossless = true
	read()
	lossless := s.lossless
	s.lossless = before && lossless
	return lossless
}

// End checks that nothing follows the value. It returns the first error, a
// *SyntaxError.
func (s *Scanner) End() error {
	if s.err != nil {
		return s.err
	}
	if s.space(); s.pos < len(s.text) {
		s.err = s.fault("unexpected " + s.found() + " after the value")
	}
	return s.err
}

// read returns the text that value reads.
func (s *Scanner) read(value func() error) []byte {
	if s.err != nil {
		return nil
	}
	start := s.pos
	if s.err = value(); s.err != nil {
		return nil
	}
	return s.text[start:s.pos]
}
