//go:build linux

package sensor

import (
	"bytes"
	"container/list"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/syscalls"
)

// Limits on the state of connections. What is dropped because of a limit is reported as
// events_lost.
const (
	maxConnections = 4096
	maxPending     = 64       // unanswered requests of a connection
	maxKept        = 32 << 20 // bytes, of all connections
)

// The kernel side sends the data of a call in at most maxChunks pieces of chunkSize bytes.
const (
	chunkSize = 16384
	maxChunks = 8
)

// The operations of TLS records.
const (
	tlsRead    = 0
	tlsWritten = 1
	tlsFreed   = 2
)

// connectionKey identifies a connection by the address of its struct sock, or by a process
// and the address of its SSL.
type connectionKey struct {
	pid     uint32 // 0 for a struct sock
	pointer uint64
}

// connection is a connection that speaks HTTP, or may.
type connection struct {
	tls     bool
	known   bool // it speaks HTTP, and serving is set
	serving bool // the process is the server
	socket  socketInfo
	read    stream
	written stream
	pending []event.Request
	// early reports that the request that is being read has been answered already.
	early bool
	// actor, at and emit belong to the latest record.
	actor event.Process
	at    time.Time
	emit  func(*event.Event)
	// sessions are the sessions of the latest record.
	sessions uint64
	kept     int           // bytes, as last counted
	place    *list.Element // in httpAssembler.used
}

// httpAssembler assembles flows from the data of connections.
type httpAssembler struct {
	connections map[connectionKey]*connection
	used        *list.List // keys of connections, most recently used first
	kept        int        // bytes, of all connections
	// lastSocket is the socket that each thread used last. The thread's TLS runs over it.
	lastSocket map[uint32]socketInfo
}

func newHTTPAssembler() *httpAssembler {
	return &httpAssembler{connections: map[connectionKey]*connection{}, used: list.New(), lastSocket: map[uint32]socketInfo{}}
}

// connection returns the connection with the key. It adds an undecided one if there is none.
func (h *httpAssembler) connection(d *decoder, key connectionKey) *connection {
	if c := h.connections[key]; c != nil {
		h.used.MoveToFront(c.place)
		return c
	}
	if len(h.connections) >= maxConnections {
		h.dropOldest(d)
	}
	c := &connection{place: h.used.PushFront(key)}
	h.connections[key] = c
	for _, s := range []*stream{&c.read, &c.written} {
		s.state = undecided
		s.decided = func(isRequest bool) { c.decided(isRequest == (s == &c.read)) }
		s.dropped = func() { c.lost(event.ReasonHTTP) }
	}
	return c
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
			s.head, s.state = nil, inHead
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

// dropOldest drops the least recently used connection, and reports what is known of it.
func (h *httpAssembler) dropOldest(d *decoder) {
	oldest := h.used.Back()
	key, _ := oldest.Value.(connectionKey)
	c := h.connections[key]
	current := d.record.sessions
	d.record.sessions = c.sessions // they receive what emit reports
	if c.known && len(c.pending) > 0 || c.read.isMidway() || c.written.isMidway() {
		c.lost(event.ReasonHTTP)
	}
	h.end(key, c)
	d.record.sessions = current
}

// lost reports that data of the connection was dropped.
func (c *connection) lost(reason string) {
	if c.emit != nil {
		c.emit(&event.Event{Type: event.TypeLost, Time: c.at, Data: &event.Lost{Count: 1, Reason: reason, From: c.at, To: c.at, CPU: -1}})
	}
}

// count updates the number of bytes that a connection keeps. It drops the least recently
// used connections while all of them keep more than maxKept.
func (h *httpAssembler) count(d *decoder, c *connection) {
	kept := 0
	for _, s := range []*stream{&c.read, &c.written} {
		kept += len(s.head)
		if s.message != nil {
			kept += len(s.message.body.Bytes)
		}
	}
	for i := range c.pending {
		kept += len(c.pending[i].Body.Bytes) + len(c.pending[i].Target)
	}
	h.kept += kept - c.kept
	c.kept = kept
	for h.kept > maxKept && h.used.Len() > 1 {
		h.dropOldest(d)
	}
}

// with sets the actor, time, sessions and receiver of the flows that follow.
func (c *connection) with(d *decoder, r *record, emit func(*event.Event)) {
	c.actor, c.at, c.emit, c.sessions = d.actor(r), d.wall(r.time), emit, r.sessions
}

func (c *connection) stream(written bool) *stream {
	if written {
		return &c.written
	}
	return &c.read
}

// plain handles a transfer on a TCP socket.
func (h *httpAssembler) plain(d *decoder, r *record, c *syscalls.Call, socket *socketInfo, emit func(*event.Event)) {
	if r.ret < 0 {
		return
	}
	h.remember(r.tid, socket)
	written := c.Flags&syscalls.Writes != 0
	var data []byte
	if len(r.messages) > 0 {
		data = r.messages[0].data.body
	}
	key := connectionKey{pointer: socket.sock}
	if peeks(r, c) {
		return
	}
	if r.ret == 0 {
		if conn := h.connections[key]; conn != nil && !written {
			conn.with(d, r, emit)
			conn.read.end()
		}
		return
	}
	if r.flags&headerTalk == 0 && h.connections[key] == nil {
		return
	}
	conn := h.connection(d, key)
	conn.socket = *socket
	conn.with(d, r, emit)
	conn.stream(written).piece(0, r.ret, data)
	h.count(d, conn)
}

// peeks reports whether a call leaves the data for the next call (MSG_PEEK).
func peeks(r *record, c *syscalls.Call) bool {
	const msgPeek = 2
	switch c.Name {
	case "recvfrom", "recv":
		return r.args[3]&msgPeek != 0
	case "recvmsg":
		return r.args[2]&msgPeek != 0
	default:
		return false
	}
}

// more handles a further piece of a large transfer.
func (h *httpAssembler) more(d *decoder, r *record, emit func(*event.Event)) {
	conn, c := h.connections[connectionKey{pointer: r.args[0]}], r.call()
	if conn == nil || c == nil || len(r.messages) == 0 {
		return
	}
	conn.with(d, r, emit)
	conn.stream(c.Flags&syscalls.Writes != 0).piece(int64(r.args[1]), r.ret, r.messages[0].data.body)
	h.count(d, conn)
}

// copied handles bytes of unknown content that the kernel copied into a connection, as
// sendfile does.
func (h *httpAssembler) copied(d *decoder, r *record, socket *socketInfo, emit func(*event.Event)) {
	if conn := h.connections[connectionKey{pointer: socket.sock}]; conn != nil && r.ret > 0 {
		conn.with(d, r, emit)
		conn.written.gap(r.ret)
	}
}

// tls handles data that went through OpenSSL, and the end of an SSL.
func (h *httpAssembler) tls(d *decoder, r *record, emit func(*event.Event)) {
	key := connectionKey{pid: r.pid, pointer: r.args[0]}
	if r.op == tlsFreed {
		if conn := h.connections[key]; conn != nil {
			conn.with(d, r, emit)
			h.end(key, conn)
		}
		return
	}
	var data []byte
	if len(r.messages) > 0 {
		data = r.messages[0].data.body
	}
	conn := h.connection(d, key)
	conn.tls = true
	if conn.socket.sock == 0 {
		conn.socket = h.lastSocket[r.tid]
	}
	conn.with(d, r, emit)
	conn.stream(r.op == tlsWritten).piece(int64(r.args[1]), r.ret, data)
	h.count(d, conn)
}

// remember records the socket that a thread uses.
func (h *httpAssembler) remember(tid uint32, socket *socketInfo) {
	if len(h.lastSocket) > maxConnections {
		clear(h.lastSocket)
	}
	h.lastSocket[tid] = *socket
}

// closed handles the close of a socket.
func (h *httpAssembler) closed(d *decoder, r *record, socket *socketInfo, emit func(*event.Event)) {
	key := connectionKey{pointer: socket.sock}
	if conn := h.connections[key]; conn != nil {
		conn.with(d, r, emit)
		h.end(key, conn)
	}
}

// exited handles the end of a process.
func (h *httpAssembler) exited(actor event.Process, at time.Time, emit func(*event.Event)) {
	for key, conn := range h.connections {
		if conn.actor.PID == actor.PID {
			conn.actor, conn.at, conn.emit = actor, at, emit
			h.end(key, conn)
		}
	}
	delete(h.lastSocket, uint32(actor.PID))
}

func (h *httpAssembler) end(key connectionKey, conn *connection) {
	conn.stream(!conn.serving).end() // requests
	conn.stream(conn.serving).end()
	h.kept -= conn.kept
	h.used.Remove(conn.place)
	delete(h.connections, key)
}

// request handles a complete request.
func (c *connection) request(m *httpMessage) {
	r := requestOf(m)
	switch {
	case c.early:
	case len(c.pending) < maxPending:
		c.pending = append(c.pending, r)
	default:
		c.lost(event.ReasonHTTP) // its response will be paired with another request
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

// report emits a flow. response is nil if the flow is a request.
func (c *connection) report(request event.Request, response *event.Response) {
	data := &event.HTTP{
		Actor: c.actor, Time: c.at, TLS: c.tls, Serving: c.serving,
		Server: c.socket.remote, Client: c.socket.local, Request: request, Response: response,
	}
	if c.serving {
		data.Server, data.Client = c.socket.local, c.socket.remote
	}
	c.emit(&event.Event{Type: event.TypeHTTP, Time: c.at, Data: data})
}
