//go:build linux

package parser

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"ospulse/agent/internal/event"
)

// maxPending is the most unanswered requests of a connection.
const maxPending = 64

// connection is a connection that speaks HTTP, or may.
type connection struct {
	known   bool // it speaks HTTP, and serving is set
	serving bool // the process is the server
	read    stream
	written stream
	pending []event.Request
	http2   *http2Connection // nil for HTTP/1
	// early reports that the request that is being read has been answered already.
	early bool
	// answer takes the answers to the latest question.
	answer func(*Answer)
}

// newConnection returns an undecided connection.
func newConnection() *connection {
	c := &connection{}
	for _, s := range []*stream{&c.read, &c.written} {
		s.state = undecided
		s.decided = func(v verdict) { c.decided(v, (v != isResponse) == (s == &c.read)) }
		s.midway = c.midway
		s.dropped = c.lost
	}
	return c
}

// http answers a question about a connection.
func (w *Worker) http(q *Question, answer func(*Answer)) (kept int) {
	c := w.connections[q.Connection]
	if c == nil {
		c = newConnection()
		w.connections[q.Connection] = c
	}
	c.answer = answer
	if c.http2 != nil {
		c.http2.reported = 0
	}
	if q.Missed {
		c.missed()
	}
	switch q.Kind {
	case Piece:
		c.stream(q.Written).piece(q.Offset, q.Total, q.Data)
	case Copied:
		c.written.gap(q.Total)
	case Ended:
		c.read.end()
	case Closed, Dropped:
		if q.Kind == Dropped && c.isMidway() {
			c.lost()
		}
		c.stream(!c.serving).end() // requests
		c.stream(c.serving).end()
		delete(w.connections, q.Connection)
		return 0
	}
	return c.kept()
}

// isMidway reports whether the connection has requests or parts of messages that are not
// reported yet, or more that refers to what it keeps.
func (c *connection) isMidway() bool {
	if c.http2 != nil {
		return !c.http2.isLost
	}
	return c.known && len(c.pending) > 0 || c.read.isMidway() || c.written.isMidway()
}

// kept returns how much memory the connection keeps.
func (c *connection) kept() int {
	if c.http2 != nil {
		return c.http2.keptBytes()
	}
	n := cap(c.read.head) + cap(c.written.head)
	for _, s := range []*stream{&c.read, &c.written} {
		if m := s.message; m != nil {
			n += cap(m.body.Bytes) + headerSize(m.header)
		}
	}
	for i := range c.pending {
		r := &c.pending[i]
		n += cap(r.Body.Bytes) + len(r.Target) + headerSize(r.Header)
	}
	return n
}

// headerSize returns the memory of a header: short fields take more of it than their text.
func headerSize(h event.Header) int {
	n := cap(h) * int(unsafe.Sizeof(event.HeaderField{}))
	for i := range h {
		n += len(h[i].Name) + len(h[i].Value)
	}
	return n
}

// missed handles the loss of data of unknown length. Each further piece may begin with a
// message.
func (c *connection) missed() {
	if c.http2 != nil {
		c.http2.lose()
		return
	}
	for _, s := range []*stream{&c.read, &c.written} {
		if s.due = 0; c.known {
			s.lose()
		} else {
			s.head, s.state, s.joined = nil, undecided, true
		}
	}
	c.pending, c.early = nil, false
}

// decided records that the connection speaks HTTP, and which side the process is on. It
// then reads what the other stream has kept.
func (c *connection) decided(v verdict, serving bool) {
	if c.known {
		return // the other stream decided before
	}
	if v == isPreface {
		c.serving = serving
		c.beginHTTP2()
		return
	}
	c.known, c.serving = true, serving
	requests, responses := c.stream(!serving), c.stream(serving)
	requests.done = c.request
	responses.done = c.response
	responses.answerTo = c.answered
	for _, s := range []*stream{requests, responses} {
		switch early := s.head; s.state {
		case undecided:
			if s.head, s.state = nil, inHead; s.joined {
				s.state = opaque
			}
			s.feed(early)
		case foreign:
			s.head, s.state = nil, opaque
			if s == requests {
				c.pending = append(c.pending, rawRequest(early))
			}
		}
	}
}

// beginHTTP2 reads both streams as HTTP/2 from now on.
func (c *connection) beginHTTP2() {
	c.known, c.http2 = true, newHTTP2(c)
	requests, responses := c.stream(!c.serving), c.stream(c.serving)
	requests.frames, responses.frames = c.http2.requests, c.http2.responses
	for _, s := range []*stream{requests, responses} {
		early := s.head
		if s.state == foreign && len(early) == maxForeign {
			c.http2.lose()
		}
		s.head, s.message, s.state = nil, nil, framed
		s.feed(early)
	}
}

// midway gives up a connection that speaks HTTP/2, whose beginning was missed.
func (c *connection) midway() {
	c.beginHTTP2()
	c.http2.lose()
}

// rawRequest returns a request for bytes that were answered as one but do not begin with an
// HTTP/1 request line: HTTP/0.9, or garbage.
func rawRequest(b []byte) event.Request {
	line, _, _ := strings.Cut(strings.TrimLeft(string(b), "\r\n"), "\n")
	method, target, _ := strings.Cut(strings.TrimSpace(line), " ")
	if !isToken(method) {
		method, target = "", ""
	}
	return event.Request{Method: method, Target: target, Body: event.Body{Bytes: bytes.Clone(b), Size: int64(len(b)), Truncated: true}}
}

// lost reports that data of the connection was dropped.
func (c *connection) lost() { c.answer(&Answer{Lost: true}) }

func (c *connection) stream(written bool) *stream {
	if written {
		return &c.written
	}
	return &c.read
}

// request handles a complete request.
func (c *connection) request(m *httpMessage) {
	r := requestOf(m)
	switch {
	case c.early:
	case len(c.pending) < maxPending:
		c.pending = append(c.pending, r)
	default:
		c.lost() // its response will be paired with another request
	}
	c.early = false
	c.report(r, nil, "")
}

func requestOf(m *httpMessage) event.Request {
	return event.Request{
		Method: m.first[0], Target: m.first[1], Version: m.first[2],
		Header: m.header, Trailer: m.trailer, Body: decodeBody(m.header, m.body),
	}
}

// partOf returns what has come of a request.
func partOf(m *httpMessage) event.Request {
	r := requestOf(m)
	r.Body.Truncated = true
	r.Body.Bytes = slices.Clone(r.Body.Bytes)
	return r
}

func responseOf(m *httpMessage) *event.Response {
	code, _ := strconv.Atoi(m.first[1]) // the callers accept only numbers
	return &event.Response{
		Version: m.first[0], StatusCode: code, Reason: m.first[2], Header: m.header, Trailer: m.trailer, Body: decodeBody(m.header, m.body),
	}
}

// unfinished returns the request that is being read; nil if there is none, or if it has been
// answered.
func (c *connection) unfinished() *httpMessage {
	requests := c.stream(!c.serving)
	switch {
	case c.early:
		return nil
	case requests.message == nil && requests.state == inHead && len(requests.head) > 0: // answered before its head was complete
		if m, ok := parseHead(string(requests.head)); ok {
			return m
		}
		raw := rawRequest(requests.head)
		return &httpMessage{request: true, first: [3]string{raw.Method, raw.Target, ""}}
	default:
		return requests.message
	}
}

// response handles a complete response.
func (c *connection) response(m *httpMessage) {
	response := responseOf(m)
	code := response.StatusCode
	if code >= 100 && code < 200 && code != http.StatusSwitchingProtocols {
		return // the final response follows
	}
	var request event.Request
	if len(c.pending) > 0 {
		request = c.pending[0]
		c.pending = c.pending[1:]
	} else if m := c.unfinished(); m != nil { // some servers answer before they have the whole request
		request = partOf(m)
		c.early = true
	}
	switch {
	case code == http.StatusSwitchingProtocols:
		to := response.Header.Get("Upgrade")
		c.report(request, response, to)
		c.switchTo(to, request)
	case request.Method == http.MethodConnect && code/100 == 2:
		c.report(request, response, "")
		c.read.state, c.written.state = opaque, opaque
	default:
		c.report(request, response, "")
	}
}

// switchTo handles the end of HTTP/1 on the connection. HTTP/2 answers the request that asked
// for it (RFC 7540, 3.2).
func (c *connection) switchTo(protocol string, request event.Request) {
	if !strings.EqualFold(protocol, "h2c") {
		c.read.state, c.written.state = switched, switched
		return
	}
	c.beginHTTP2()
	c.http2.newest = 1
	c.http2.exchanges[1] = &exchange{request: request, isAsked: true}
}

// answered returns the method of the request that the next response answers; "" if unknown.
func (c *connection) answered() string {
	if len(c.pending) > 0 {
		return c.pending[0].Method
	}
	if m := c.unfinished(); m != nil {
		return m.first[0]
	}
	return ""
}

// report answers with a flow. response is nil if the flow is a request. switched is the
// protocol of the connection from here on; "": HTTP.
func (c *connection) report(request event.Request, response *event.Response, switched string) {
	c.answer(&Answer{Flow: &Flow{c.serving, request, response, switched}})
}
