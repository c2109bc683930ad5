//go:build linux

package parser

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/gopacket/gopacket/layers"

	"ospulse/agent/internal/event"
)

// Numbers of IP protocols (IANA).
const (
	ProtoICMP   = 1 // of both versions of IP
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoSCTP   = 132
	protoICMPv6 = 58
)

// Ends are the protocol and the two ends of a packet. A port is 0 if the protocol has none.
// ICMP counts as one protocol for both versions of IP, and the identifier of an echo counts
// as the port of the end that sends the request.
type Ends struct {
	Protocol uint8
	From, To netip.AddrPort
}

// Reversed returns the ends of a packet in the other direction.
func (e Ends) Reversed() Ends { return Ends{e.Protocol, e.To, e.From} }

// Flow returns the same value for both directions.
func (e Ends) Flow() Ends {
	if e.From.Compare(e.To) > 0 {
		return e.Reversed()
	}
	return e
}

// Fragment identifies a fragmented packet.
type Fragment struct {
	From, To netip.Addr
	Protocol uint8
	ID       uint32
}

// Frame is a packet as it was on the wire.
type Frame struct {
	Data      []byte // from the link layer's header on; may be cut
	Network   int    // offset of the network layer in Data
	Length    int    // on the wire
	EtherType uint16
	VLAN      int // the tag that the kernel removed from the header; 0: none
}

// Packet is what a frame says.
type Packet struct {
	Ends // of the headers that could be read

	// About are the ends of the packet that an ICMP error is about.
	About    Ends
	Fragment Fragment // not zero if this is a fragment of a packet
	IsLater  bool     // a fragment after the first: it has no ports
	IsFirst  bool     // the first packet of a TCP connection
	IsFinal  bool     // the end or the reset of one
	// Event describes the packet. It has no process, time, number, length, direction and
	// interface.
	Event *event.Packet
}

// decoded is a frame whose headers were read. It is valid until the decoder reads the next one.
type decoded struct {
	Ends

	etherType uint16
	vlan      int
	hasPorts  bool

	fragment Fragment // not zero if this is a fragment of a packet
	offset   int      // of the fragment in bytes; only the first fragment has ports

	arp  *layers.ARP
	tcp  *layers.TCP
	icmp string // description of an ICMP message
	// about are the ends of the packet that an ICMP error is about.
	about Ends

	payload       []byte // the captured part
	payloadLength int    // on the wire
}

// decoder reads frames. It is used by one goroutine.
type decoder struct {
	decoded decoded
	arp     layers.ARP
	vlan    layers.Dot1Q
	ip4     layers.IPv4
	ip6     layers.IPv6
	tcp     layers.TCP
	udp     layers.UDP
}

// cut is the feedback for gopacket's decoders.
type cut struct{}

// SetTruncated does nothing: most packets are truncated on purpose.
func (cut) SetTruncated() {}

// maxTags is how many nested VLAN tags are decoded.
const maxTags = 4

// packet returns what a frame says, up to the first part that is cut or malformed. The event
// keeps contentBytes of the payload.
func (d *decoder) packet(f *Frame, contentBytes int) *Packet {
	p := &d.decoded
	guarded(func() { d.read(f) })
	e := describe(p, contentBytes)
	guarded(func() { name(e, p) })
	return &Packet{
		Ends: p.Ends, About: p.about, Fragment: p.fragment, IsLater: p.offset > 0,
		IsFirst: p.tcp != nil && p.tcp.SYN && !p.tcp.ACK, IsFinal: p.tcp != nil && (p.tcp.FIN || p.tcp.RST), Event: e,
	}
}

// guarded calls read and ignores a panic: otherwise a program could end the worker with each
// packet. What was read before the panic stays.
func guarded(read func()) {
	defer func() { _ = recover() }()
	read()
}

// read reads the headers of a frame. What was read refers to memory of the decoder and of the
// frame.
func (d *decoder) read(f *Frame) {
	p := &d.decoded
	*p = decoded{etherType: f.EtherType, vlan: f.VLAN}
	if f.Network < 0 || f.Network > len(f.Data) {
		return
	}
	body := f.Data[f.Network:]
	length := f.Length - f.Network // of body, on the wire
	if f.VLAN != 0 {
		length -= 4
	}
	for range maxTags {
		if t := layers.EthernetType(p.etherType); t != layers.EthernetTypeDot1Q && t != layers.EthernetTypeQinQ {
			break
		}
		if d.vlan.DecodeFromBytes(body, cut{}) != nil {
			return
		}
		p.etherType, p.vlan = uint16(d.vlan.Type), int(d.vlan.VLANIdentifier)
		body, length = d.vlan.Payload, length-4
	}
	switch layers.EthernetType(p.etherType) {
	case layers.EthernetTypeIPv4:
		d.version4(body, length)
	case layers.EthernetTypeIPv6:
		d.version6(body, length)
	case layers.EthernetTypeARP:
		if d.arp.DecodeFromBytes(body, cut{}) == nil && len(d.arp.SourceProtAddress) == 4 && len(d.arp.DstProtAddress) == 4 {
			p.arp = &d.arp
		}
	default:
		p.payload, p.payloadLength = body, max(length, len(body))
	}
}

// version4 reads an IPv4 packet.
func (d *decoder) version4(body []byte, length int) {
	p := &d.decoded
	if d.ip4.DecodeFromBytes(body, cut{}) != nil || d.ip4.Version != 4 {
		return
	}
	p.From, p.To = address(d.ip4.SrcIP), address(d.ip4.DstIP)
	p.Protocol = uint8(d.ip4.Protocol)
	if d.ip4.Length != 0 { // 0: longer than the header can say, as on loopback
		length = int(d.ip4.Length)
	}
	p.offset = int(d.ip4.FragOffset) * 8
	if p.offset > 0 || d.ip4.Flags&layers.IPv4MoreFragments != 0 {
		p.fragment = Fragment{p.From.Addr(), p.To.Addr(), p.Protocol, uint32(d.ip4.Id)}
	}
	d.transport(d.ip4.Payload, length-int(d.ip4.IHL)*4)
}

// version6 reads an IPv6 packet with its extension headers (RFC 8200).
func (d *decoder) version6(body []byte, length int) {
	p := &d.decoded
	const fixedBytes = 40
	// gopacket decodes the fixed header only: it rejects jumbograms without the option for
	// their length, which loopback produces.
	if len(body) < fixedBytes || body[0]>>4 != 6 {
		return
	}
	header := [fixedBytes]byte(body)
	next := header[6]
	header[6] = uint8(layers.IPProtocolNoNextHeader)
	if d.ip6.DecodeFromBytes(header[:], cut{}) != nil {
		return
	}
	p.From, p.To = address(d.ip6.SrcIP), address(d.ip6.DstIP)
	length -= fixedBytes
	if declared := int(binary.BigEndian.Uint16(body[4:])); declared != 0 {
		length = declared
	}
	body = body[fixedBytes:]
	if len(body) > length {
		body = body[:max(length, 0)]
	}
	for isExtension(next) {
		if len(body) < 8 {
			return
		}
		size := int(body[1])*8 + 8
		switch layers.IPProtocol(next) {
		case layers.IPProtocolIPv6Fragment:
			size = 8
			place := binary.BigEndian.Uint16(body[2:])
			p.offset = int(place &^ 7)
			if place&^6 != 0 { // it has an offset, or more fragments follow
				p.fragment = Fragment{p.From.Addr(), p.To.Addr(), body[0], binary.BigEndian.Uint32(body[4:])}
			}
		case layers.IPProtocolAH:
			size = int(body[1])*4 + 8
		}
		next = body[0]
		if size > len(body) {
			return
		}
		body, length = body[size:], length-size
		if p.offset > 0 {
			break // the first fragment has the headers that follow
		}
	}
	p.Protocol = next
	d.transport(body, length)
}

func isExtension(next uint8) bool {
	switch layers.IPProtocol(next) {
	case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Fragment,
		layers.IPProtocolIPv6Destination, layers.IPProtocolAH:
		return true
	default:
		return false
	}
}

// transport reads the payload of an IP packet. length is its size on the wire.
func (d *decoder) transport(body []byte, length int) {
	p := &d.decoded
	p.payload, p.payloadLength = body, max(length, len(body))
	if p.Protocol == protoICMPv6 {
		p.Protocol = ProtoICMP
		if p.offset == 0 {
			d.icmp6(body)
		}
		return
	}
	if p.offset > 0 {
		return
	}
	switch p.Protocol {
	case ProtoTCP:
		if !d.ports(body) || d.tcp.DecodeFromBytes(body, cut{}) != nil {
			return
		}
		p.tcp, p.payload = &d.tcp, d.tcp.Payload
		p.payloadLength -= int(d.tcp.DataOffset) * 4
	case ProtoUDP:
		const udpBytes = 8
		if !d.ports(body) || d.udp.DecodeFromBytes(body, cut{}) != nil {
			return
		}
		p.payload = body[udpBytes:]
		p.payloadLength -= udpBytes
	case ProtoSCTP:
		d.ports(body)
	case ProtoICMP:
		d.icmp4(body)
	}
}

// ports reads the ports, which begin the headers of TCP, UDP and SCTP.
func (d *decoder) ports(body []byte) bool {
	if len(body) < 4 {
		return false
	}
	p := &d.decoded
	p.hasPorts = true
	p.From = netip.AddrPortFrom(p.From.Addr(), binary.BigEndian.Uint16(body))
	p.To = netip.AddrPortFrom(p.To.Addr(), binary.BigEndian.Uint16(body[2:]))
	return true
}

func (d *decoder) icmp4(body []byte) {
	var icmp layers.ICMPv4
	if icmp.DecodeFromBytes(body, cut{}) != nil {
		return
	}
	p := &d.decoded
	p.payload, p.payloadLength = icmp.Payload, p.payloadLength-8
	switch icmp.TypeCode.Type() {
	case layers.ICMPv4TypeEchoRequest:
		d.echo("Echo (ping) request", icmp.Id, icmp.Seq, true)
	case layers.ICMPv4TypeEchoReply:
		d.echo("Echo (ping) reply", icmp.Id, icmp.Seq, false)
	default:
		p.icmp = spaced(icmp.TypeCode.String())
		if icmp.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable || icmp.TypeCode.Type() == layers.ICMPv4TypeTimeExceeded {
			p.about = quoted4(icmp.Payload)
		}
	}
}

func (d *decoder) icmp6(body []byte) {
	var icmp layers.ICMPv6
	if len(body) < 8 || icmp.DecodeFromBytes(body, cut{}) != nil {
		return
	}
	p := &d.decoded
	p.payload, p.payloadLength = body[8:], p.payloadLength-8
	id, seq := binary.BigEndian.Uint16(body[4:]), binary.BigEndian.Uint16(body[6:])
	switch icmp.TypeCode.Type() {
	case layers.ICMPv6TypeEchoRequest:
		d.echo("Echo (ping) request", id, seq, true)
	case layers.ICMPv6TypeEchoReply:
		d.echo("Echo (ping) reply", id, seq, false)
	default:
		p.icmp = spaced(icmp.TypeCode.String())
		if icmp.TypeCode.Type() <= layers.ICMPv6TypeParameterProblem {
			p.about = quoted6(body[8:])
		}
	}
}

// echo describes an echo, and stores its identifier as the port of the end that sent the
// request.
func (d *decoder) echo(what string, id, seq uint16, asks bool) {
	p := &d.decoded
	p.icmp = fmt.Sprintf("%s id=0x%04x, seq=%d", what, id, seq)
	if asks {
		p.From = netip.AddrPortFrom(p.From.Addr(), id)
	} else {
		p.To = netip.AddrPortFrom(p.To.Addr(), id)
	}
}

// quoted4 returns the ends of the packet whose first bytes an ICMP error contains.
func quoted4(b []byte) Ends {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Ends{}
	}
	return quoted(b[9], address(b[12:16]), address(b[16:20]), b[min(len(b), int(b[0]&15)*4):])
}

func quoted6(b []byte) Ends {
	if len(b) < 40 || b[0]>>4 != 6 {
		return Ends{}
	}
	return quoted(b[6], address(b[8:24]), address(b[24:40]), b[40:])
}

func quoted(protocol uint8, from, to netip.AddrPort, body []byte) Ends {
	e := Ends{protocol, from, to}
	switch {
	case len(body) < 8:
	case protocol == ProtoTCP || protocol == ProtoUDP || protocol == ProtoSCTP:
		e.From = netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(body))
		e.To = netip.AddrPortFrom(to.Addr(), binary.BigEndian.Uint16(body[2:]))
	case protocol == ProtoICMP || protocol == protoICMPv6:
		e.Protocol = ProtoICMP
		e.From = netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(body[4:])) // of an echo
	}
	return e
}

func address(b []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(b) // the layers give 4 or 16 bytes
	return netip.AddrPortFrom(a.Unmap(), 0)
}

// spaced turns "DestinationUnreachable(Port)" into "Destination unreachable (Port)".
func spaced(name string) string {
	out := make([]byte, 0, len(name)+8)
	for i := range len(name) {
		c := name[i]
		upper := c >= 'A' && c <= 'Z'
		switch {
		case c == '(':
			out = append(out, ' ')
		case upper && i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z':
			out = append(out, ' ')
			c += 'a' - 'A'
		}
		out = append(out, c)
	}
	return string(out)
}
