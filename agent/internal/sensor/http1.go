//go:build linux

package sensor

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"ospulse/agent/internal/event"
)

// maxHead bounds what a request line or status line and its headers may take, and
// what is kept of a stream before it is known what it is; maxForeign what is kept of
// one that is not HTTP, in case that its answer is.
const (
	maxHead    = 64 << 10
	maxForeign = 4 << 10
)

// streamState is where in a message a stream is.
type streamState uint8

const (
	inHead streamState = iota
	inBody             // of a known length
	inChunkSize
	inChunk
	inTrailer
	inRest // the body ends with the connection
	opaque // no HTTP any more: upgraded, or not understood
	// Before it is known whether the connection speaks HTTP, which the other side's
	// stream may tell:
	undecided // the first line is not over; head has what came
	foreign   // that is not HTTP's; head has the beginning
)

// message is a request or a response that is being read.
type httpMessage struct {
	request  bool
	first    [3]string // method, target, version; or version, code, reason
	header   event.Header
	body     event.Body
	bodyless bool
}

// stream reads one direction of a connection: messages of HTTP/1, one after the
// other. What was missed (a gap) is known by its length: within a body it makes the
// body truncated, elsewhere it makes the stream opaque until a message begins
// anew.
type stream struct {
	state   streamState
	head    []byte // a part of a head, or of a line
	left    int64  // of the body or the chunk
	due     int64  // of the call whose pieces come
	message *httpMessage
	// answerTo gives the method that a response answers; nil for requests.
	answerTo func() string
	// done takes a message that is complete.
	done func(*httpMessage)
	// decided is called when an undecided stream turns out to be HTTP.
	decided func(isRequest bool)
	// dropped is called when a head is longer than is kept.
	dropped func()
}

// verdict is what a first line says of a stream.
type verdict uint8

const (
	isOpen verdict = iota
	isRequest
	isResponse
	isOther
)

// judge finds out what a stream is by how it begins: after empty lines, a request
// line or a status line of HTTP/1. It is stricter than judge_some of the kernel side,
// which chooses what is kept.
func judge(b []byte) verdict {
	b = bytes.TrimLeft(b, "\r\n")
	if len(b) == 0 {
		return isOpen
	}
	line, _, isWhole := bytes.Cut(b, []byte("\n"))
	if !isWhole {
		method, _, _ := bytes.Cut(line, []byte(" "))
		const version = "HTTP/1"
		if !isToken(string(method)) && !strings.HasPrefix(version, string(method[:min(len(method), len(version))])) || len(line) > maxHead {
			return isOther
		}
		return isOpen
	}
	switch m, ok := parseFirst(strings.TrimSuffix(string(line), "\r")); {
	case !ok:
		return isOther
	case m.request:
		return isRequest
	default:
		return isResponse
	}
}

// isToken reports whether a text is a token (RFC 9110, 5.6.2), as methods are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		isLetter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !isLetter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// feed reads what came next.
func (s *stream) feed(b []byte) {
	if s.state == opaque && s.message == nil {
		if v := judge(b); v == isRequest || v == isResponse {
			s.state = inHead
		}
	}
	for len(b) > 0 {
		switch s.state {
		case undecided:
			b = s.feedFirst(b)
		case foreign:
			s.head = append(s.head, b[:min(len(b), max(0, maxForeign-len(s.head)))]...)
			return
		case inHead:
			b = s.feedHead(b)
		case inBody, inChunk:
			n := min(int64(len(b)), s.left)
			s.take(b[:n], n)
			b = b[n:]
		case inRest:
			s.body(b)
			return
		case inChunkSize, inTrailer:
			b = s.feedLine(b)
		case opaque:
			return
		}
	}
}

// feedFirst collects a first line until it is known what it is; it gives what
// follows.
func (s *stream) feedFirst(b []byte) []byte {
	s.head = append(s.head, b...)
	switch v := judge(s.head); v {
	case isOpen:
		return nil
	case isOther:
		s.giveUp()
		return nil
	default:
		begun := s.head
		s.head, s.state = nil, inHead
		s.decided(v == isRequest)
		return begun
	}
}

// giveUp takes a stream for foreign; of how it begins some is kept.
func (s *stream) giveUp() {
	s.state = foreign
	s.head = bytes.Clone(s.head[:min(len(s.head), maxForeign)])
}

// piece reads a piece of what a call moved: data, of which there may be less than
// there was, from offset on, of total bytes. A call's pieces are chunkSize long, and
// at most maxChunks; one that does not come was lost.
func (s *stream) piece(offset, total int64, data []byte) {
	if offset == 0 {
		s.gap(s.due)
		s.due = total
	}
	size := min(chunkSize, total-offset)
	if size < 0 || int64(len(data)) > size {
		s.gap(chunkSize) // no kernel says this
		return
	}
	if missed := s.due - (total - offset); missed > 0 {
		s.gap(missed)
	} else if missed < 0 { // its beginning was lost
		s.gap(offset)
	}
	s.feed(data)
	s.gap(size - int64(len(data)))
	if s.due = total - offset - size; offset == (maxChunks-1)*chunkSize {
		s.gap(s.due)
		s.due = 0
	}
}

// gap tells that n bytes came that nobody saw.
func (s *stream) gap(n int64) {
	for n > 0 {
		switch s.state {
		case inBody, inChunk:
			taken := min(n, s.left)
			s.take(nil, taken)
			n -= taken
		case inRest:
			s.message.body.Size += n
			s.message.body.Truncated = true
			return
		case undecided:
			s.giveUp()
			return
		case foreign:
			return
		default:
			s.lose()
			return
		}
	}
}

// isMidway reports whether a part of a message is there, or of what may be one.
func (s *stream) isMidway() bool {
	return s.message != nil || s.state != foreign && len(s.head) > 0
}

// lose gives up on the message that is being read.
func (s *stream) lose() {
	if s.message != nil {
		s.message.body.Truncated = true
		s.complete()
	}
	s.head = nil
	s.state = opaque
}

// end tells that the connection ended.
func (s *stream) end() {
	s.gap(s.due)
	s.due = 0
	if s.state == undecided || s.state == foreign {
		return
	}
	if s.message != nil {
		if s.state != inRest {
			s.message.body.Truncated = true
		}
		s.complete()
	}
	s.head, s.state = nil, opaque
}

// take takes n bytes of a body or a chunk; b is nil when they were missed.
func (s *stream) take(b []byte, n int64) {
	if b != nil {
		s.body(b)
	} else {
		s.message.body.Size += n
		s.message.body.Truncated = true
	}
	if s.left -= n; s.left > 0 {
		return
	}
	if s.state == inChunk {
		s.state = inChunkSize
		return
	}
	s.complete()
}

// body keeps bytes of the body, as many as there is room for.
func (s *stream) body(b []byte) {
	body := &s.message.body
	body.Size += int64(len(b))
	if room := event.MaxBody - len(body.Bytes); len(b) > room {
		b, body.Truncated = b[:room], true
	}
	body.Bytes = append(body.Bytes, b...)
}

func (s *stream) complete() {
	m := s.message
	s.message, s.head, s.state, s.left = nil, nil, inHead, 0
	s.done(m)
}

// feedHead collects a head and reads it; it gives what follows.
func (s *stream) feedHead(b []byte) []byte {
	if len(s.head) == 0 {
		b = bytes.TrimLeft(b, "\r\n") // allowed before a message
		if len(b) == 0 {
			return nil
		}
	}
	before := len(s.head)
	s.head = append(s.head, b...)
	end, size := headEnd(s.head)
	if end < 0 {
		if len(s.head) > maxHead {
			s.dropped()
			s.lose()
		}
		return nil
	}
	head := string(s.head[:end])
	rest := b[end+size-before:]
	s.head = nil
	m, ok := parseHead(head)
	if !ok || m.request != (s.answerTo == nil) {
		s.lose()
		return nil
	}
	s.message = m
	s.bodyOf(m)
	return rest
}

// headEnd finds the empty line that ends a head: where it begins and how long it
// is; -1 if it is not there yet.
func headEnd(b []byte) (at, size int) {
	for i := 0; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1, 0
		}
		i += n + 1
		switch {
		case bytes.HasPrefix(b[i:], []byte("\n")):
			return i, 1
		case bytes.HasPrefix(b[i:], []byte("\r\n")):
			return i, 2
		}
	}
}

// parseFirst reads a request line or a status line.
func parseFirst(line string) (*httpMessage, bool) {
	if strings.HasPrefix(line, "HTTP/") {
		version, after, _ := strings.Cut(line, " ")
		code, reason, _ := strings.Cut(after, " ")
		if n, err := strconv.Atoi(code); err != nil || n < 100 || n > 999 || !strings.HasPrefix(version, "HTTP/1") {
			return nil, false
		}
		return &httpMessage{first: [3]string{version, code, reason}}, true
	}
	method, after, ok := strings.Cut(line, " ")
	at := strings.LastIndexByte(after, ' ')
	if !ok || !isToken(method) || at < 1 || !strings.HasPrefix(after[at+1:], "HTTP/1") {
		return nil, false
	}
	return &httpMessage{request: true, first: [3]string{method, after[:at], after[at+1:]}}, true
}

// parseHead reads a request line or a status line, and headers.
func parseHead(head string) (*httpMessage, bool) {
	line, rest, _ := strings.Cut(head, "\n")
	m, ok := parseFirst(strings.TrimSuffix(line, "\r"))
	if !ok {
		return nil, false
	}
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && (line[0] == ' ' || line[0] == '\t') && len(m.header) > 0 { // folded
			m.header[len(m.header)-1].Value += " " + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		m.header = append(m.header, event.HeaderField{Name: name, Value: strings.TrimSpace(value)})
	}
	return m, true
}

// bodyOf finds out how the body of a message ends (RFC 9112, 6.3).
func (s *stream) bodyOf(m *httpMessage) {
	method := ""
	if !m.request {
		method = s.answerTo()
		code := m.first[1]
		m.bodyless = method == "HEAD" || code[0] == '1' || code == "204" || code == "304"
		if code == "101" || method == "CONNECT" && code[0] == '2' {
			s.message = nil
			s.done(m)
			s.state = opaque
			return
		}
	}
	length, err := strconv.ParseInt(m.header.Get("Content-Length"), 10, 64)
	coding := strings.ToLower(m.header.Get("Transfer-Encoding"))
	switch {
	case m.bodyless:
		s.complete()
	case strings.HasSuffix(coding, "chunked"):
		s.state = inChunkSize
	case err == nil && length > 0:
		s.state, s.left = inBody, length
	case err == nil || m.request:
		s.complete()
	default:
		s.state = inRest
	}
}

// feedLine collects a line of the chunked coding and reads it; it gives what
// follows.
func (s *stream) feedLine(b []byte) []byte {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if s.head = append(s.head, b...); len(s.head) > maxHead {
			s.lose()
		}
		return nil
	}
	line := strings.TrimRight(string(append(s.head, b[:i]...)), "\r")
	s.head = nil
	rest := b[i+1:]
	if s.state == inTrailer {
		if line == "" {
			s.complete()
		}
		return rest
	}
	if line == "" { // the end of the chunk before
		return rest
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 64)
	switch {
	case err != nil || n < 0:
		s.lose()
		return nil
	case n == 0:
		s.state = inTrailer
	default:
		s.state, s.left = inChunk, n
	}
	return rest
}

// decodeBody undoes a body's compression if what comes out is text; a body that
// is binary all the same stays as it was sent.
func decodeBody(h event.Header, b event.Body) event.Body {
	coding := strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding")))
	if b.Truncated || len(b.Bytes) == 0 {
		return b
	}
	var plain io.Reader
	var err error
	switch coding {
	case "gzip", "x-gzip":
		plain, err = gzip.NewReader(bytes.NewReader(b.Bytes))
	case "deflate":
		if plain, err = zlib.NewReader(bytes.NewReader(b.Bytes)); err != nil { // some send it bare
			plain, err = flate.NewReader(bytes.NewReader(b.Bytes)), nil
		}
	default:
		return b
	}
	if err != nil {
		return b
	}
	const limit = 16 << 20 // of what is counted: a few bytes can make very many
	out := event.Body{Encoding: coding, Encoded: b.Size}
	kept := &limited{max: event.MaxBody}
	n, err := io.Copy(kept, io.LimitReader(plain, limit))
	if err != nil {
		return b
	}
	out.Bytes, out.Size, out.Truncated = kept.bytes, n, n > event.MaxBody
	text := out.Bytes
	for i := 0; out.Truncated && i < utf8.UTFMax-1 && !utf8.Valid(text) && len(text) > 0; i++ {
		text = text[:len(text)-1]
	}
	if !utf8.Valid(text) {
		return b
	}
	return out
}

// limited keeps the first bytes that are written to it.
type limited struct {
	bytes []byte
	max   int
}

func (l *limited) Write(b []byte) (int, error) {
	l.bytes = append(l.bytes, b[:min(len(b), l.max-len(l.bytes))]...)
	return len(b), nil
}
