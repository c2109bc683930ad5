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
		s.decided = func(isRequest bool) { c.decided(isRequest == (s == &c.read)) }
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
		if q.Kind == Dropped && (c.known && len(c.pending) > 0 || c.read.isMidway() || c.written.isMidway()) {
			c.lost()
		}
		c.stream(!c.serving).end() // requests
		c.stream(c.serving).end()
		delete(w.connections, q.Connection)
		return 0
	}
	return c.kept()
}

// kept returns how much memory the connection keeps.
func (c *connection) kept() int {
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
func (c *connection) decided(serving bool) {
	if c.known {
		return // the other stream decided before
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
	c.report(r, nil)
}

func requestOf(m *httpMessage) event.Request {
	return event.Request{
		Method: m.first[0], Target: m.first[1], Version: m.first[2], Header: m.header, Body: decodeBody(m.header, m.body),
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
	code, _ := strconv.Atoi(m.first[1]) // parseFirst accepts only numbers
	if code >= 100 && code < 200 && code != 101 {
		return // the final response follows
	}
	var request event.Request
	if len(c.pending) > 0 {
		request = c.pending[0]
		c.pending = c.pending[1:]
	} else if m := c.unfinished(); m != nil { // some servers answer before they have the whole request
		request = requestOf(m)
		request.Body.Truncated = true
		request.Body.Bytes = slices.Clone(request.Body.Bytes)
		c.early = true
	}
	c.report(request, &event.Response{
		Version: m.first[0], StatusCode: code, Reason: m.first[2], Header: m.header, Body: decodeBody(m.header, m.body),
	})
	if code == 101 || request.Method == http.MethodConnect && code/100 == 2 {
		c.read.state, c.written.state = opaque, opaque
	}
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

// report answers with a flow. response is nil if the flow is a request.
func (c *connection) report(request event.Request, response *event.Response) {
	c.answer(&Answer{Flow: &Flow{c.serving, request, response}})
}
