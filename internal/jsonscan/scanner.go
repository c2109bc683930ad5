package jsonscan

// Scanner reads a JSON text once, from its start to its end, checking it as Check
// does. The caller goes along with it: at each value it calls Value, Object or
// Array, as it likes. After a syntax error nothing is read any more; End tells.
type Scanner struct {
	scanner
	depth int
	err   error
}

// NewScanner gives a scanner at the text's value.
func NewScanner(text []byte) *Scanner {
	s := &Scanner{scanner: scanner{text: text, lossless: true}}
	s.space()
	return s
}

// Kind is the first byte of the value to come, which tells what it is, or would
// be: one of { [ " - 0…9 t f n. It is 0 at the end and after an error.
func (s *Scanner) Kind() byte {
	if s.err != nil {
		return 0
	}
	return s.next()
}

// Value reads a value of any kind and gives its text, nil if it is malformed.
func (s *Scanner) Value() []byte {
	return s.read(func() error { return s.value(s.depth) })
}

// Object reads an object and gives its text, nil if it is malformed. For each
// member it calls member, which must read the value, and only that. The key is
// decoded, and valid until member returns. A value of another kind is read as
// Value does, without a call.
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

// Array reads an array as Object reads an object.
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

// Lossless does what read does, and reports whether jsonb would carry all that it
// read.
func (s *Scanner) Lossless(read func()) bool {
	before := s.lossless
	s.lossless = true
	read()
	lossless := s.lossless
	s.lossless = before && lossless
	return lossless
}

// End sees that the text has no more than the one value, and gives the error that
// ended the reading, a *SyntaxError.
func (s *Scanner) End() error {
	if s.err != nil {
		return s.err
	}
	if s.space(); s.pos < len(s.text) {
		s.err = s.fault("unexpected " + s.found() + " after the value")
	}
	return s.err
}

// read gives the text that value reads.
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
