//go:build linux

package parser

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

// maxHead bounds the size of a first line with its headers, and what a stream keeps until
// it is classified. maxForeign bounds what a stream keeps that does not begin as HTTP/1
// does: the response may still be HTTP/1.
const (
	maxHead    = 64 << 10
	maxFields  = 1000 // of a head: many short ones take long to compare with each other
	maxForeign = 4 << 10
)

// The kernel side sends the data of a call in at most maxChunks pieces of chunkSize bytes.
const (
	chunkSize = 16384
	maxChunks = 8
)

// streamState is the position of a stream within a message.
type streamState uint8

const (
	inHead streamState = iota
	inBody             // of a known length
	inChunkSize
	inChunk
	inTrailer
	inRest   // the body ends with the connection
	opaque   // not understood, or a tunnel
	switched // the connection speaks another protocol from here on
	framed   // HTTP/2
	// States before the connection is known to speak HTTP. Either direction can show it.
	undecided // the first line is incomplete; head holds the bytes so far
	foreign   // the first line is not HTTP/1; head holds the beginning
)

// httpMessage is a request or a response that is being read.
type httpMessage struct {
	request  bool
	first    [3]string // method, target, version; or version, code, reason
	header   event.Header
	trailer  event.Header // of HTTP/2
	body     event.Body
	bodyless bool
}

// stream reads one direction of a connection: HTTP/1 messages, one after another. The
// length of missed data (a gap) is known. A gap in a body truncates the body. A gap
// elsewhere makes the stream opaque until data begins with a message again.
type stream struct {
	state   streamState
	head    []byte // an incomplete head or line
	left    int64  // bytes of the body or the chunk to come
	due     int64  // bytes to come of the call whose pieces arrive
	message *httpMessage
	// answerTo returns the method of the request that a response answers; nil if the
	// stream holds requests.
	answerTo func() string
	// done is called with each complete message.
	done func(*httpMessage)
	// decided is called when an undecided stream turns out to be HTTP.
	decided func(v verdict)
	// midway is called when an undecided stream turns out to be HTTP/2 without its beginning.
	midway func()
	frames *frames // reads the stream if it is framed
	// dropped is called when a head is longer than maxHead, or has more than maxFields.
	dropped func()
	// joined says that the beginning of an undecided stream was missed: each of its pieces
	// may begin with a message.
	joined bool
}

// prefaceLine is the first line of http2.ClientPreface, without its last byte.
const prefaceLine = "PRI * HTTP/2.0\r"

// verdict is the class of a stream, by its first line.
type verdict uint8

const (
	isOpen verdict = iota
	isRequest
	isResponse
	isPreface // of HTTP/2
	isOther
)

// judge classifies a stream by its beginning: an HTTP/1 request line or status line, after
// any empty lines, or the first line of HTTP/2. It is stricter than judge_some of the kernel side, which decides how
// much data to send.
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
	case string(line) == prefaceLine:
		return isPreface
	case !ok:
		return isOther
	case m.request:
		return isRequest
	default:
		return isResponse
	}
}

// isToken reports whether s is a token (RFC 9110, 5.6.2), as a method must be.
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

// feed reads the next bytes of the stream.
func (s *stream) feed(b []byte) {
	if (s.state == undecided || s.state == foreign) && beginsHeaders(b) {
		s.midway()
		return
	}
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
			if beginsHeaders(s.head) {
				s.midway()
			}
			return
		case inHead:
			b = s.feedHead(b)
		case inBody, inChunk:
			n := min(int64(len(b)), s.left)
			s.take(b[:n], n)
			b = b[n:]
		case inRest:
			s.message.addBody(b)
			return
		case inChunkSize, inTrailer:
			b = s.feedLine(b)
		case opaque, switched:
			return
		case framed:
			s.frames.feed(b)
			return
		}
	}
}

// feedFirst collects the first line until judge can classify it. It returns the bytes to
// read in the new state.
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
		s.decided(v)
		return begun
	}
}

// giveUp marks the stream as foreign and keeps at most maxForeign bytes of its beginning.
func (s *stream) giveUp() {
	if s.joined {
		s.head = nil
		return
	}
	s.state = foreign
	s.head = bytes.Clone(s.head[:min(len(s.head), maxForeign)])
}

// piece reads one piece of the total bytes that a call moved: the one at offset. data may
// be shorter than the piece. A call has at most maxChunks pieces of chunkSize bytes. A
// missing piece was lost.
func (s *stream) piece(offset, total int64, data []byte) {
	if offset == 0 {
		s.gap(s.due)
		s.due = total
	}
	size := min(chunkSize, total-offset)
	if size < 0 || int64(len(data)) > size {
		s.gap(chunkSize) // the kernel side never sends this
		return
	}
	if missed := s.due - (total - offset); missed > 0 {
		s.gap(missed)
	} else if missed < 0 { // the call's first pieces were lost
		s.gap(offset)
	}
	s.feed(data)
	s.gap(size - int64(len(data)))
	if s.due = total - offset - size; offset == (maxChunks-1)*chunkSize {
		s.gap(s.due)
		s.due = 0
	}
}

// gap handles n bytes that were missed.
func (s *stream) gap(n int64) {
	for n > 0 {
		switch s.state {
		case inBody, inChunk:
			taken := min(n, s.left)
			s.take(nil, taken)
			n -= taken
		case inRest:
			s.message.skipBody(n)
			return
		case undecided:
			s.giveUp()
			return
		case framed:
			s.frames.gap(n)
			return
		case foreign, switched:
			return
		default:
			s.lose()
			return
		}
	}
}

// isMidway reports whether the stream holds part of a message, or of what may be one.
func (s *stream) isMidway() bool {
	return s.message != nil || s.state != foreign && len(s.head) > 0
}

// lose completes the message that is being read as truncated, and makes the stream opaque.
func (s *stream) lose() {
	if s.message != nil {
		s.message.body.Truncated = true
		s.complete()
	}
	s.head = nil
	if s.state != switched {
		s.state = opaque
	}
}

// end handles the end of the stream.
func (s *stream) end() {
	s.gap(s.due)
	s.due = 0
	switch s.state {
	case undecided, foreign:
		return
	case framed:
		s.frames.owner.finishAll(s.frames.areRequests, !s.frames.areRequests)
		return
	default:
	}
	if s.message != nil {
		if s.state != inRest {
			s.message.body.Truncated = true
		}
		s.complete()
	}
	s.head, s.state = nil, opaque
}

// take consumes n bytes of a body or a chunk; b is nil if they were missed.
func (s *stream) take(b []byte, n int64) {
	if b != nil {
		s.message.addBody(b)
	} else {
		s.message.skipBody(n)
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

// addBody adds bytes to the body of the message, which keeps the first event.MaxBody.
func (m *httpMessage) addBody(b []byte) {
	body := &m.body
	body.Size += int64(len(b))
	if room := event.MaxBody - len(body.Bytes); len(b) > room {
		b, body.Truncated = b[:room], true
	}
	body.Bytes = append(body.Bytes, b...)
}

// skipBody adds n bytes that were missed.
func (m *httpMessage) skipBody(n int64) {
	m.body.Size += n
	m.body.Truncated = true
}

func (s *stream) complete() {
	m := s.message
	s.message, s.head, s.state, s.left = nil, nil, inHead, 0
	s.done(m)
}

// feedHead collects a head and parses it. It returns the bytes after it.
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
	if len(m.header) > maxFields {
		s.dropped()
		s.lose()
		return nil
	}
	s.message = m
	s.bodyOf(m)
	return rest
}

// headEnd returns the position and size of the empty line that ends a head; -1 if b does
// not hold it yet.
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

// parseFirst parses a request line or a status line.
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

// parseHead parses a request line or a status line, and the headers after it.
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

// bodyOf determines how the body of a message ends (RFC 9112, 6.3).
func (s *stream) bodyOf(m *httpMessage) {
	method := ""
	if !m.request {
		method = s.answerTo()
		code := m.first[1]
		m.bodyless = method == "HEAD" || code[0] == '1' || code == "204" || code == "304"
		if code == "101" || method == "CONNECT" && code[0] == '2' {
			s.message, s.state = nil, opaque
			s.done(m)
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

// feedLine collects a line of the chunked coding and parses it. It returns the bytes after
// it.
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
	if line == "" { // ends the previous chunk
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

// decodeBody decompresses a body if the result is text. Otherwise it returns the body as it
// was sent.
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
		if plain, err = zlib.NewReader(bytes.NewReader(b.Bytes)); err != nil { // some servers send no zlib header
			plain, err = flate.NewReader(bytes.NewReader(b.Bytes)), nil
		}
	default:
		return b
	}
	if err != nil {
		return b
	}
	const limit = 16 << 20 // decompressed bytes to count: a small body may expand without bound
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

// limited is a writer that keeps the first max bytes.
type limited struct {
	bytes []byte
	max   int
}

func (l *limited) Write(b []byte) (int, error) {
	l.bytes = append(l.bytes, b[:min(len(b), l.max-len(l.bytes))]...)
	return len(b), nil
}
