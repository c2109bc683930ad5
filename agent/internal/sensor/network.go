//go:build linux

package sensor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"ospulse/agent/internal/event"
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

// dnsPort is the port of name servers.
const dnsPort = 53

func (d *decoder) network(r *record, c *call, emit func(*event.Event)) {
	made := &networkEvent{}
	n := &made.data
	n.Actor, n.Result, n.Time = d.actor(r), result(r, c), d.wall(r.time)
	n.Operation, n.Handle, n.NewHandle = c.op, -1, -1
	if op := socketOperation[c.op]; op != "" {
		n.Operation = op
	}
	switch c.name {
	case uringName:
		n.Ring = event.UringOperation(r.args[0])
	case aioName:
		if n.Aio = event.AioOperation(r.args[0]); len(r.messages) > 0 {
			n.Content = d.content(r)
		}
	}
	n.Transfer = c.kind == kindTransfer || c.kind == kindNetTransfer
	made.event = event.Event{Type: event.TypeNetwork, Time: n.Time, Data: n}

	if i := c.args[argFd]; i >= 0 {
		n.Handle = int(int32(r.args[i]))
	}
	var socket socketInfo
	if r.socket.set {
		socket = r.socket.socketInfo()
	}
	if c.flags&callReturnsFD != 0 && r.ret >= 0 {
		n.NewHandle = int(r.ret)
	}
	if r.resultSocket.set {
		socket = r.resultSocket.socketInfo()
	}
	n.Protocol, n.Local, n.Remote = socket.protocol, socket.local, socket.remote
	if len(r.messages) > 0 && r.messages[0].addr.set {
		addr := sockaddr(r.messages[0].addr.body)
		switch {
		case addr.IsZero():
		case c.op == "Bind":
			if n.Local.IsZero() || r.ret < 0 {
				n.Local = addr
			}
		default:
			n.Remote = addr
		}
	}
	if n.Transfer {
		n.Content = d.content(r)
	}
	n.Bytes = max(r.ret, 0)
	if c.flags&callMessages != 0 && r.ret > 0 {
		n.Messages, n.Bytes = int(r.ret), int64(r.args[5])
		n.Content.Cut = n.Content.Cut || n.Messages > 1
	}
	if n.Transfer && d.speaksDNS(&socket, n.Local, n.Remote) {
		n.DNS = d.dns(r, n, socket.sock)
	}
	emit(&made.event)
	if socket.protocol == "tcp" {
		switch {
		case n.Transfer, n.Aio == "PWRITE":
			d.http.plain(d, r, c, &socket, emit)
		case n.Operation == "Close":
			d.http.closed(d, r, &socket, emit)
		case n.Operation == "Connect":
			d.http.remember(r.tid, &socket)
		}
	}
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

// dns parses the DNS messages of a transfer. Over TCP, a message follows its length, which
// many programs read separately.
func (d *decoder) dns(r *record, n *event.Network, sock uint64) (all []event.DNS) {
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
		if m, ok := dnsOf(body); ok {
			all = append(all, m)
		}
	}
	return all
}

// dnsOf parses a DNS message, which may be truncated. It returns false if the header is
// incomplete.
func dnsOf(body []byte) (event.DNS, bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(body)
	if err != nil {
		return event.DNS{}, false
	}
	m := event.DNS{ID: int(header.ID), Response: header.Response, Truncated: header.Truncated}
	if m.Response {
		m.Code = rcode(header.RCode)
	}
	for {
		q, err := parser.Question()
		if err != nil {
			break // the end, or malformed: keep the questions so far
		}
		m.Questions = append(m.Questions, event.DNSRecord{Name: name(q.Name), Type: typeName(q.Type)})
	}
	if parser.SkipAllQuestions() != nil {
		return m, true
	}
	for {
		a, err := parser.Answer()
		if err != nil {
			return m, true
		}
		m.Answers = append(m.Answers, event.DNSRecord{
			Name: name(a.Header.Name), Type: typeName(a.Header.Type), TTL: a.Header.TTL, Data: dnsData(a.Body),
		})
	}
}

func name(n dnsmessage.Name) string {
	s := n.String()
	if len(s) > 1 {
		s = strings.TrimSuffix(s, ".")
	}
	return s
}

func typeName(t dnsmessage.Type) string { return strings.TrimPrefix(t.String(), "Type") }

func rcode(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeSuccess:
		return "NOERROR"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	default:
		return fmt.Sprintf("RCODE%d", c)
	}
}

func dnsData(body dnsmessage.ResourceBody) string {
	switch b := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return name(b.CNAME)
	case *dnsmessage.NSResource:
		return name(b.NS)
	case *dnsmessage.PTRResource:
		return name(b.PTR)
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", b.Pref, name(b.MX))
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, name(b.Target))
	case *dnsmessage.TXTResource:
		return strings.Join(b.TXT, "")
	case *dnsmessage.SOAResource:
		return name(b.NS) + " " + name(b.MBox)
	case *dnsmessage.UnknownResource:
		var out bytes.Buffer
		fmt.Fprintf(&out, "%x", b.Data)
		return out.String()
	default:
		return ""
	}
}
