//go:build linux

package capture

import (
	"encoding/binary"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
)

// maxUnparsed is the most packets that wait in Watch.outbox.
const maxUnparsed = 8192

// dnsHeader is the size of the smallest DNS message.
const dnsHeader = 12

// questionOf returns what to ask the parser about the payload of a packet; nil if there is
// nothing that it knows. service is the packet's name service, or "".
func questionOf(p *packet) (q *parser.Question, service string) {
	b := p.payload
	service = nameService(p)
	switch {
	case p.tcp == nil && (p.protocol != protoUDP || !p.hasPorts || p.offset > 0):
	case p.tcp == nil && service != "" && len(b) >= dnsHeader:
		message := binary.BigEndian.AppendUint16(nil, uint16(len(b)))
		return &parser.Question{Kind: parser.DNS, Data: append(message, b...)}, service
	case p.tcp != nil && service != "" && len(b) >= 2+dnsHeader && int(binary.BigEndian.Uint16(b)) <= len(b)-2:
		return &parser.Question{Kind: parser.DNS, Data: b}, "DNS"
	case p.tcp != nil && parser.Begins(b):
		return &parser.Question{Kind: parser.Segment, Data: b}, ""
	}
	return nil, ""
}

// parse asks the parser about the payload of a packet, to complete its event.
func (w *Watch) parse(p *packet, e *event.Packet) {
	q, service := questionOf(p)
	if q == nil {
		return
	}
	err := w.parser.Ask(q, func(a *parser.Answer, err error) {
		switch {
		case !w.asked[e]: // it was passed on
			return
		case err != nil:
			w.unparsed.Add(e.Time, err)
		default:
			complete(e, a, service)
		}
		if err != nil || a.Last {
			delete(w.asked, e)
			w.passOn()
		}
	})
	if err != nil {
		w.unparsed.Add(e.Time, err)
		return
	}
	w.asked[e] = true
}

// complete adds what the parser found in the payload of a packet.
func complete(e *event.Packet, a *parser.Answer, service string) {
	switch {
	case service != "" && a.DNS != nil:
		names(e, service, a.DNS)
	case service == "" && a.Protocol != "":
		e.Protocol, e.Info, e.ServerName = a.Protocol, a.Info, a.ServerName
	}
}

// put passes a packet of a watched process to the sink, after those that wait for the
// parser. If too many wait, they do not any longer.
func (w *Watch) put(e *event.Packet) {
	if len(w.outbox) == 0 && !w.asked[e] {
		w.send(&event.Event{Type: event.TypePacket, Time: e.Time, Data: e})
		return
	}
	w.outbox = append(w.outbox, e)
	if len(w.outbox) > maxUnparsed {
		for _, e := range w.outbox {
			if w.asked[e] {
				delete(w.asked, e)
				w.unparsed.Add(e.Time, parser.ErrFull)
			}
		}
	}
	w.passOn()
}

// passOn passes on the packets before the first one that waits for the parser.
func (w *Watch) passOn() {
	for len(w.outbox) > 0 && !w.asked[w.outbox[0]] {
		e := w.outbox[0]
		w.outbox[0] = nil
		w.outbox = w.outbox[1:]
		w.send(&event.Event{Type: event.TypePacket, Time: e.Time, Data: e})
	}
}
