//go:build linux

package sensor

import (
	"container/list"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/syscalls"
)

// Limits on the connections that the parser assembles. What is dropped because of a limit is
// reported as events_lost.
const (
	maxConnections = 4096
	maxKept        = 32 << 20 // bytes that the parser keeps, of all connections
)

// The operations of TLS records.
const (
	tlsRead    = 0
	tlsWritten = 1
	tlsFreed   = 2
)

// connectionKey identifies a connection by the address of its struct sock, or by a process
// and the address of what its library for TLS has of it.
type connectionKey struct {
	pid     uint32 // 0 for a struct sock
	pointer uint64
}

// connection is a connection that speaks HTTP, or may. The parser has its data.
type connection struct {
	id     uint64 // its name for the parser
	tls    bool
	socket socketInfo
	// actor, at and sessions belong to the latest record.
	actor    event.Process
	at       time.Time
	sessions uint64
	isAsked  bool          // the parser knows the connection
	isMissed bool          // the parser did not get all of its data
	isEnded  bool          // the parser has been told that it ended, or was dropped
	kept     int           // bytes that the parser keeps, as it last said
	place    *list.Element // in httpConnections.used
}

// httpConnections passes the data of connections to the parser, and reports the flows in its
// answers.
type httpConnections struct {
	connections map[connectionKey]*connection
	used        *list.List // keys of connections, most recently used first
	kept        int        // bytes, of all connections
	lastID      uint64
	// lastSocket is the socket that each thread used last. The thread's TLS runs over it, unless
	// the kernel side knows the socket, which sockets has by its address.
	lastSocket map[uint32]socketInfo
	sockets    map[uint64]socketInfo
}

func newHTTPConnections() *httpConnections {
	return &httpConnections{
		connections: map[connectionKey]*connection{}, used: list.New(),
		lastSocket: map[uint32]socketInfo{}, sockets: map[uint64]socketInfo{},
	}
}

// connection returns the connection with the key. It adds one if there is none.
func (h *httpConnections) connection(d *decoder, key connectionKey) *connection {
	if c := h.connections[key]; c != nil {
		h.used.MoveToFront(c.place)
		return c
	}
	if len(h.connections) >= maxConnections {
		h.dropOldest(d)
	}
	h.lastID++
	c := &connection{id: h.lastID, place: h.used.PushFront(key)}
	h.connections[key] = c
	return c
}

// dropOldest drops the least recently used connection.
func (h *httpConnections) dropOldest(d *decoder) {
	key, _ := h.used.Back().Value.(connectionKey)
	h.end(d, key, parser.Dropped)
}

// end removes a connection. The parser reports what is known of it.
func (h *httpConnections) end(d *decoder, key connectionKey, kind parser.Kind) {
	c := h.connections[key]
	h.keep(c, 0)
	c.isEnded = true
	h.used.Remove(c.place)
	delete(h.connections, key)
	if c.isAsked {
		h.ask(d, c, &parser.Question{Kind: kind})
	}
}

// keep records how many bytes the parser keeps of a connection.
func (h *httpConnections) keep(c *connection, kept int) {
	if !c.isEnded {
		h.kept += kept - c.kept
		c.kept = kept
	}
}

// ask asks the parser about a connection, and reports the flows in its answers.
func (h *httpConnections) ask(d *decoder, c *connection, q *parser.Question) {
	q.Connection, q.Missed = c.id, c.isMissed
	c.isMissed = false
	flow := event.HTTP{Actor: c.actor, Time: c.at, TLS: c.tls, Server: c.socket.remote, Client: c.socket.local}
	lost := uint64(0) // messages, which are one event: a program may send many in one piece
	isAsked := d.ask(q, c.sessions, c.at, func(a *parser.Answer, err error, emit func(*event.Event)) {
		switch {
		case err != nil:
			c.isMissed = true
		case a.Flow != nil:
			f := flow
			if f.Serving, f.Request, f.Response, f.SwitchedTo = a.Flow.Serving, a.Flow.Request, a.Flow.Response, a.Flow.Switched; f.Serving {
				f.Server, f.Client = f.Client, f.Server
			}
			emit(&event.Event{Type: event.TypeHTTP, Time: f.Time, Data: &f})
		case a.Lost:
			lost++
		}
		if lost > 0 && (err != nil || a.Last) {
			emit(&event.Event{Type: event.TypeLost, Time: flow.Time, Data: &event.Lost{
				Count: lost, Reason: event.ReasonHTTP, From: flow.Time, To: flow.Time, CPU: -1,
			}})
		}
		if err == nil && a.Last {
			h.keep(c, a.Kept)
		}
		for h.kept > maxKept && h.used.Len() > 1 {
			h.dropOldest(d)
		}
	})
	c.isAsked = c.isAsked || isAsked
}

// forget handles the loss of what the parser kept. It calls lost for each connection with
// data that will not be reported.
func (h *httpConnections) forget(lost func(sessions uint64, at time.Time)) {
	for _, c := range h.connections {
		if c.isMissed = true; c.kept > 0 {
			lost(c.sessions, c.at)
			h.keep(c, 0)
		}
	}
}

// clear removes all connections.
func (h *httpConnections) clear(d *decoder) {
	for key := range h.connections {
		h.end(d, key, parser.Closed)
	}
}

// of sets the actor, time and sessions of the flows that follow.
func (c *connection) of(d *decoder, r *record) {
	c.actor, c.at, c.sessions = d.actor(r), d.wall(r.time), r.sessions
}

// plain handles a transfer on a TCP socket.
func (h *httpConnections) plain(d *decoder, r *record, c *syscalls.Call, socket *socketInfo) {
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
			conn.of(d, r)
			h.ask(d, conn, &parser.Question{Kind: parser.Ended})
		}
		return
	}
	if r.flags&headerTalk == 0 && h.connections[key] == nil {
		return
	}
	conn := h.connection(d, key)
	conn.socket = *socket
	conn.of(d, r)
	h.ask(d, conn, &parser.Question{Kind: parser.Piece, Written: written, Total: r.ret, Data: data})
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
func (h *httpConnections) more(d *decoder, r *record) {
	conn, c := h.connections[connectionKey{pointer: r.args[0]}], r.call()
	if conn == nil || c == nil || len(r.messages) == 0 {
		return
	}
	conn.of(d, r)
	h.ask(d, conn, &parser.Question{
		Kind: parser.Piece, Written: c.Flags&syscalls.Writes != 0, Offset: int64(r.args[1]), Total: r.ret, Data: r.messages[0].data.body,
	})
}

// copied handles bytes of unknown content that the kernel copied into a connection, as
// sendfile does.
func (h *httpConnections) copied(d *decoder, r *record, socket *socketInfo) {
	if conn := h.connections[connectionKey{pointer: socket.sock}]; conn != nil && r.ret > 0 {
		conn.of(d, r)
		h.ask(d, conn, &parser.Question{Kind: parser.Copied, Written: true, Total: r.ret})
	}
}

// tls handles data that went through a library for TLS, and the end of a connection there.
func (h *httpConnections) tls(d *decoder, r *record) {
	key := connectionKey{pid: r.pid, pointer: r.args[0]}
	if r.op == tlsFreed {
		if conn := h.connections[key]; conn != nil {
			conn.of(d, r)
			h.end(d, key, parser.Closed)
		}
		return
	}
	var data []byte
	if len(r.messages) > 0 {
		data = r.messages[0].data.body
	}
	// Go may use the address of an unused connection again.
	if conn := h.connections[key]; conn != nil && r.args[2] != 0 && conn.socket.sock != 0 && conn.socket.sock != r.args[2] {
		h.end(d, key, parser.Closed)
	}
	conn := h.connection(d, key)
	conn.tls = true
	switch {
	case conn.socket.sock != 0:
	case r.flags&headerSocket != 0:
		conn.socket = h.sockets[r.args[2]]
	case r.sessions&^d.withoutTransfers != 0: // otherwise it would be a mere guess
		conn.socket = h.lastSocket[r.tid]
	}
	conn.of(d, r)
	h.ask(d, conn, &parser.Question{Kind: parser.Piece, Written: r.op == tlsWritten, Offset: int64(r.args[1]), Total: r.ret, Data: data})
}

// remember records the socket that a thread uses.
func (h *httpConnections) remember(tid uint32, socket *socketInfo) {
	if len(h.lastSocket) > maxConnections {
		clear(h.lastSocket)
	}
	h.lastSocket[tid] = *socket
	if len(h.sockets) > maxConnections {
		clear(h.sockets)
	}
	h.sockets[socket.sock] = *socket
}

// closed handles the close of a socket.
func (h *httpConnections) closed(d *decoder, r *record, socket *socketInfo) {
	key := connectionKey{pointer: socket.sock}
	if conn := h.connections[key]; conn != nil {
		conn.of(d, r)
		h.end(d, key, parser.Closed)
	}
}

// exited handles the end of a process.
func (h *httpConnections) exited(d *decoder, actor event.Process, at time.Time, sessions uint64) {
	for key, conn := range h.connections {
		if conn.actor.PID == actor.PID {
			conn.actor, conn.at, conn.sessions = actor, at, sessions
			h.end(d, key, parser.Closed)
		}
	}
	delete(h.lastSocket, uint32(actor.PID))
}
