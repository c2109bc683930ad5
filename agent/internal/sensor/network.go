//go:build linux

package sensor

import (
	"encoding/binary"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/syscalls"
)

// networkEvent is an event and its data in one allocation.
type networkEvent struct {
	event event.Event
	data  event.Network
}

// socketOperation maps the operations of calls that work on files and sockets to their names
// for sockets.
var socketOperation = map[string]string{
	"ReadFile":  "Receive",
	"WriteFile": "Send",
	"CloseFile": "Close",
}

// inProgress is -EINPROGRESS, as connect returns it on a socket that does not block.
const inProgress = -115

// dnsPort is the port of name servers.
const dnsPort = 53

func (d *decoder) network(r *record, c *syscalls.Call, emit func(*event.Event)) {
	made := &networkEvent{}
	n := &made.data
	n.Actor, n.Result, n.Time = d.actor(r), result(r, c), d.wall(r.time)
	n.Operation, n.Handle, n.NewHandle = c.Operation, -1, -1
	if op := socketOperation[c.Operation]; op != "" {
		n.Operation = op
	}
	switch c.Name {
	case syscalls.UringName:
		n.Ring = event.UringOperation(r.args[0])
	case syscalls.AioName:
		if n.Aio = event.AioOperation(r.args[0]); len(r.messages) > 0 {
			n.Content = d.content(r)
		}
	}
	n.Transfer = c.Kind == syscalls.Transfer || c.Kind == syscalls.NetTransfer
	made.event = event.Event{Type: event.TypeNetwork, Time: n.Time, Data: n}

	if i := c.Args[syscalls.ArgFd]; i >= 0 {
		n.Handle = int(int32(r.args[i]))
	}
	var socket socketInfo
	if r.socket.set {
		socket = r.socket.socketInfo()
	}
	if c.Flags&syscalls.ReturnsFD != 0 && r.ret >= 0 {
		n.NewHandle = int(r.ret)
	}
	if r.resultSocket.set {
		socket = r.resultSocket.socketInfo()
	}
	n.Protocol, n.Local, n.Remote = socket.protocol, socket.local, socket.remote
	if len(r.messages) > 0 && r.messages[0].addr.set {
		addr := sockaddr(r.messages[0].addr.body)
		// The kernel's socket has the address of a bind or connect that did not fail. Unix
		// sockets have the name that the other end was bound to, which may be relative.
		isDone := r.ret >= 0 || r.ret == inProgress
		switch {
		case addr.IsZero():
		case c.Operation == "Bind" && (n.Local.IsZero() || r.ret < 0):
			n.Local, n.FromMemory = addr, true
		case c.Operation == "Bind":
		case c.Operation == "Connect" && isDone && n.Remote.Port.IsValid():
		default:
			n.Remote, n.FromMemory = addr, true
		}
	}
	if n.Transfer {
		n.Content = d.content(r)
	}
	if c.Name == "setsockopt" {
		n.Option = event.SocketOption(r.args[1], r.args[2])
	}
	n.Bytes = max(r.ret, 0)
	if c.Flags&syscalls.Messages != 0 && r.ret > 0 {
		n.Messages, n.Bytes = int(r.ret), int64(r.args[5])
		n.Content.Cut = n.Content.Cut || n.Messages > 1
	}
	if n.Protocol == "unix" {
		n.Descriptors, n.DescriptorsCut = descriptors(r), len(r.passed) > 0 && r.flags&headerTruncated != 0
		n.FromMemory = n.FromMemory || len(r.passed) > 0
	}
	var names []byte
	if n.Transfer && d.speaksDNS(&socket, n.Local, n.Remote) {
		names = d.dnsMessages(r, n, socket.sock)
	}
	if len(names) == 0 {
		emit(&made.event)
	} else {
		d.askNames(made, names, r.sessions, len(r.messages))
	}
	if socket.protocol == "tcp" {
		switch {
		case n.Transfer, n.Aio == "PWRITE":
			d.http.plain(d, r, c, &socket)
		case n.Operation == "Close":
			d.http.closed(d, r, &socket)
		case n.Operation == "Connect":
			d.http.remember(r.tid, &socket)
		}
	}
}

// descriptors returns the descriptors that a call passed.
func descriptors(r *record) (all []event.Descriptor) {
	for i := range r.passed {
		p := &r.passed[i]
		one := event.Descriptor{FD: int(p.fd)}
		switch {
		case p.socket.set:
			one.Path = socketPath(&p.socket)
		case p.file.set:
			info := p.file.info()
			one.Path, one.Inode, one.Device, one.Outside = info.path, info.inode, info.device, info.outside
		}
		all = append(all, one)
	}
	return all
}

// maxDNSSockets bounds decoder.dnsSockets.
const maxDNSSockets = 1024

// speaksDNS reports whether a transfer is DNS: one of its ports is dnsPort, or its remote
// address is unknown and the socket's last transfer was DNS. A program may receive a response
// without asking for the sender's address.
func (d *decoder) speaksDNS(socket *socketInfo, local, remote event.Address) bool {
	_, known := d.dnsSockets[socket.sock]
	if local.Port.Port() == dnsPort || remote.Port.Port() == dnsPort {
		if len(d.dnsSockets) >= maxDNSSockets {
			clear(d.dnsSockets)
		}
		if !known {
			d.dnsSockets[socket.sock] = 0
		}
		return true
	}
	if remote.IsZero() {
		return known
	}
	delete(d.dnsSockets, socket.sock) // the address was reused, or the socket has a new peer
	return false
}

// dnsMessages returns the DNS messages of a transfer, each after its length in two bytes, as
// over TCP. Many programs transfer that length separately.
func (d *decoder) dnsMessages(r *record, n *event.Network, sock uint64) (all []byte) {
	for i := range r.messages {
		body := r.messages[i].data.body
		if n.Protocol == "tcp" {
			announced := d.dnsSockets[sock]
			d.dnsSockets[sock] = 0
			switch {
			case announced > 0 && n.Bytes == announced:
			case len(body) < 2:
				continue
			default:
				size := int64(binary.BigEndian.Uint16(body))
				if n.Bytes == 2 {
					d.dnsSockets[sock] = size
					continue
				}
				if n.Bytes < 2+size {
					continue
				}
				body = body[2:min(len(body), 2+int(size))]
			}
		}
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(body))), body...)
	}
	return all
}

// askNames emits a transfer with the DNS messages that the parser reads in data, at most
// count. If the parser fails, the event has none.
func (d *decoder) askNames(made *networkEvent, data []byte, sessions uint64, count int) {
	n := &made.data
	d.ask(&parser.Question{Kind: parser.DNS, Data: data}, sessions, n.Time, func(a *parser.Answer, err error, emit func(*event.Event)) {
		if err == nil && a.DNS != nil && len(n.DNS) < count {
			n.DNS = append(n.DNS, *a.DNS)
		}
		if err != nil || a.Last {
			emit(&made.event)
		}
	})
}
