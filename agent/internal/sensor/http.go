//go:build linux

package sensor

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"ospulse/agent/internal/event"
)

// Bounds of what is kept of connections.
const (
	maxConnections = 4096
	maxPending     = 64 // requests of a connection that are not answered
)

// The kernel side gives a call's data in pieces of chunkSize, at most maxChunks.
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

// connectionKey names a connection: a struct sock, or an SSL of a process.
type connectionKey struct {
	pid     uint32 // 0 of a struct sock
	pointer uint64
}

// connection is one that speaks HTTP.
type connection struct {
	tls     bool
	known   bool // which side the process is on
	serving bool
	socket  socketInfo
	read    stream
	written stream
	pending []event.Request
	// early says that the request that is being read is answered already.
	early bool
	// Of the event that is being fed:
	actor event.Process
	at    time.Time
	emit  func(*event.Event)
	used  uint64
}

// httpAssembler makes flows of what goes over connections.
type httpAssembler struct {
	connections map[connectionKey]*connection
	// lastSocket is the connection that a thread last used: the one that its TLS
	// runs over.
	lastSocket map[uint32]socketInfo
	turn       uint64
}

func newHTTPAssembler() *httpAssembler {
	return &httpAssembler{connections: map[connectionKey]*connection{}, lastSocket: map[uint32]socketInfo{}}
}

// connection finds a connection, or begins one with its first bytes; nil if they
// are no HTTP.
func (h *httpAssembler) connection(key connectionKey, first []byte, written bool) *connection {
	h.turn++
	c := h.connections[key]
	if c == nil {
		if !beginsHTTP(first) {
			return nil
		}
		if len(h.connections) >= maxConnections {
			h.dropOldest()
		}
		c = &connection{}
		h.connections[key] = c
	}
	c.used = h.turn
	if !c.known {
		c.known = true
		isRequest := string(first[:4]) != "HTTP"
		c.serving = isRequest != written
		requests, responses := &c.written, &c.read
		if c.serving {
			requests, responses = responses, requests
		}
		requests.done = c.request
		responses.done = c.response
		responses.answerTo = c.answered
	}
	return c
}

func (h *httpAssembler) dropOldest() {
	var oldest connectionKey
	turn := ^uint64(0)
	for key, c := range h.connections {
		if c.used < turn {
			oldest, turn = key, c.used
		}
	}
	delete(h.connections, oldest)
}

// with sets what the flows that come now are told with.
func (c *connection) with(actor event.Process, at time.Time, emit func(*event.Event)) {
	c.actor, c.at, c.emit = actor, at, emit
}

func (c *connection) stream(written bool) *stream {
	if written {
		return &c.written
	}
	return &c.read
}

// plain takes a transfer on a TCP connection.
func (h *httpAssembler) plain(d *decoder, r *record, c *call, socket *socketInfo, emit func(*event.Event)) {
	if r.ret < 0 {
		return
	}
	h.remember(r.tid, socket)
	written := c.op == "Send" || c.op == "WriteFile" || c.name == aioName
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
			conn.with(d.actor(r), d.wall(r.time), emit)
			conn.read.end()
		}
		return
	}
	conn := h.connection(key, data, written)
	if conn == nil {
		return
	}
	conn.socket = *socket
	conn.with(d.actor(r), d.wall(r.time), emit)
	conn.stream(written).piece(0, r.ret, data)
}

// peeks reports whether a call leaves the data for the next one.
func peeks(r *record, c *call) bool {
	const msgPeek = 2
	switch c.name {
	case "recvfrom", "recv":
		return r.args[3]&msgPeek != 0
	case "recvmsg":
		return r.args[2]&msgPeek != 0
	default:
		return false
	}
}

// more takes the rest of a large transfer.
func (h *httpAssembler) more(d *decoder, r *record, emit func(*event.Event)) {
	conn, c := h.connections[connectionKey{pointer: r.args[0]}], r.call()
	if conn == nil || c == nil || len(r.messages) == 0 {
		return
	}
	conn.with(d.actor(r), d.wall(r.time), emit)
	conn.stream(c.op == "Send" || c.op == "WriteFile").piece(int64(r.args[1]), r.ret, r.messages[0].data.body)
}

// copied takes bytes that the kernel copied into a connection: sendfile.
func (h *httpAssembler) copied(d *decoder, r *record, socket *socketInfo, emit func(*event.Event)) {
	if conn := h.connections[connectionKey{pointer: socket.sock}]; conn != nil && r.ret > 0 {
		conn.with(d.actor(r), d.wall(r.time), emit)
		conn.written.gap(r.ret)
	}
}

// tls takes what went through OpenSSL.
func (h *httpAssembler) tls(d *decoder, r *record, emit func(*event.Event)) {
	key := connectionKey{pid: r.pid, pointer: r.args[0]}
	if r.op == tlsFreed {
		if conn := h.connections[key]; conn != nil {
			conn.with(d.actor(r), d.wall(r.time), emit)
			h.end(key, conn)
		}
		return
	}
	var data []byte
	if len(r.messages) > 0 {
		data = r.messages[0].data.body
	}
	conn := h.connection(key, data, r.op == tlsWritten)
	if conn == nil {
		return
	}
	conn.tls = true
	if conn.socket.sock == 0 {
		conn.socket = h.lastSocket[r.tid]
	}
	conn.with(d.actor(r), d.wall(r.time), emit)
	conn.stream(r.op == tlsWritten).piece(int64(r.args[1]), r.ret, data)
}

// remember notes the connection that a thread uses.
func (h *httpAssembler) remember(tid uint32, socket *socketInfo) {
	if len(h.lastSocket) > maxConnections {
		clear(h.lastSocket)
	}
	h.lastSocket[tid] = *socket
}

// closed takes the end of a socket.
func (h *httpAssembler) closed(d *decoder, r *record, socket *socketInfo, emit func(*event.Event)) {
	key := connectionKey{pointer: socket.sock}
	if conn := h.connections[key]; conn != nil {
		conn.with(d.actor(r), d.wall(r.time), emit)
		h.end(key, conn)
	}
}

// exited takes the end of a process.
func (h *httpAssembler) exited(actor event.Process, at time.Time, emit func(*event.Event)) {
	for key, conn := range h.connections {
		if conn.actor.PID == actor.PID {
			conn.with(actor, at, emit)
			h.end(key, conn)
		}
	}
	delete(h.lastSocket, uint32(actor.PID))
}

func (h *httpAssembler) end(key connectionKey, conn *connection) {
	requests, responses := &conn.written, &conn.read
	if conn.serving {
		requests, responses = responses, requests
	}
	requests.end()
	responses.end()
	delete(h.connections, key)
}

// request takes a request that is complete.
func (c *connection) request(m *httpMessage) {
	r := requestOf(m)
	if len(c.pending) < maxPending && !c.early {
		c.pending = append(c.pending, r)
	}
	c.early = false
	c.tell(r, nil)
}

func requestOf(m *httpMessage) event.Request {
	return event.Request{
		Method: m.first[0], Target: m.first[1], Version: m.first[2], Header: m.header, Body: decodeBody(m.header, m.body),
	}
}

// unfinished gives the request that is being read; nil if there is none, or it is
// answered.
func (c *connection) unfinished() *httpMessage {
	if c.early {
		return nil
	}
	return c.stream(!c.serving).message
}

// response takes a response that is complete.
func (c *connection) response(m *httpMessage) {
	code, _ := strconv.Atoi(m.first[1]) // it was a number when it was parsed
	if code >= 100 && code < 200 && code != 101 {
		return // the final one follows
	}
	var request event.Request
	if len(c.pending) > 0 {
		request = c.pending[0]
		c.pending = c.pending[1:]
	} else if m := c.unfinished(); m != nil { // some do not wait for all of it
		request = requestOf(m)
		request.Body.Truncated = true
		request.Body.Bytes = slices.Clone(request.Body.Bytes)
		c.early = true
	}
	c.tell(request, &event.Response{
		Version: m.first[0], StatusCode: code, Reason: m.first[2], Header: m.header, Body: decodeBody(m.header, m.body),
	})
	if code == 101 || request.Method == http.MethodConnect && code/100 == 2 {
		c.read.state, c.written.state = opaque, opaque
	}
}

// answered gives the method of the request that the next response answers.
func (c *connection) answered() string {
	if len(c.pending) > 0 {
		return c.pending[0].Method
	}
	if m := c.unfinished(); m != nil {
		return m.first[0]
	}
	return ""
}

func (c *connection) tell(request event.Request, response *event.Response) {
	data := &event.HTTP{
		Actor: c.actor, Time: c.at, TLS: c.tls, Serving: c.serving,
		Server: c.socket.remote, Client: c.socket.local, Request: request, Response: response,
	}
	if c.serving {
		data.Server, data.Client = c.socket.local, c.socket.remote
	}
	c.emit(&event.Event{Type: event.TypeHTTP, Time: c.at, Data: data})
}
