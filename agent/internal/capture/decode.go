package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Numbers of IP protocols (IANA).
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
	protoRaw    = 255 // a raw socket, whose program builds the packets
)

// loopback is the index of the loopback interface in every namespace.
const loopback = 1

// ends are the protocol and the two ends of a packet. A port is 0 if the protocol has none.
// ICMP counts as one protocol for both versions of IP, and the identifier of an echo counts
// as the port of the end that sends the request.
type ends struct {
	protocol uint8
	from, to netip.AddrPort
}

func (e ends) reversed() ends { return ends{e.protocol, e.to, e.from} }

// frame is a packet from the kernel.
type frame struct {
	time      time.Time
	data      []byte // from the link layer's header on, may be cut; part of the ring's memory
	network   int    // offset of the network layer in data
	length    int    // on the wire
	etherType uint16
	linkType  uint16 // ARPHRD_…
	ifindex   int
	outgoing  bool
	vlan      int // the tag that the kernel removed from the header; 0: none
}

// flow returns the same value for both directions.
func (e ends) flow() ends {
	if e.from.Compare(e.to) > 0 {
		return e.reversed()
	}
	return e
}

// packet is a decoded frame. It is valid until the decoder decodes the next frame.
type packet struct {
	ends
	etherType uint16
	vlan      int
	hasPorts  bool

	fragment fragment // not zero if this is a fragment of a packet
	offset   int      // of the fragment in bytes; only the first fragment has ports

	arp  *layers.ARP
	tcp  *layers.TCP
	icmp string // description of an ICMP message
	// about are the ends of the packet that an ICMP error is about.
	about ends

	payload       []byte // the captured part
	payloadLength int    // on the wire
}

// fragment identifies a fragmented packet.
type fragment struct {
	from, to netip.Addr
	protocol uint8
	id       uint32
}

// decoder reads frames. It is used by one goroutine.
type decoder struct {
	packet packet
	arp    layers.ARP
	vlan   layers.Dot1Q
	ip4    layers.IPv4
	ip6    layers.IPv6
	tcp    layers.TCP
	udp    layers.UDP
}

// cut is the feedback for gopacket's decoders.
type cut struct{}

// SetTruncated does nothing: most packets are truncated on purpose.
func (cut) SetTruncated() {}

// maxTags is how many nested VLAN tags are decoded.
const maxTags = 4

// decode decodes a frame up to the first part that is cut or malformed. The packet refers to
// memory of the decoder and of the frame.
func (d *decoder) decode(f *frame) *packet {
	guarded(func() { d.read(f) })
	return &d.packet
}

// guarded calls read and ignores a panic: a fault of gopacket must not end the agent. The
// parts decoded before the panic stay.
func guarded(read func()) {
	defer func() { _ = recover() }()
	read()
}

func (d *decoder) read(f *frame) {
	p := &d.packet
	*p = packet{etherType: f.etherType, vlan: f.vlan}
	if f.network < 0 || f.network > len(f.data) {
		return
	}
	body := f.data[f.network:]
	length := f.length - f.network // of body, on the wire
	if f.vlan != 0 {
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
	p := &d.packet
	if d.ip4.DecodeFromBytes(body, cut{}) != nil || d.ip4.Version != 4 {
		return
	}
	p.from, p.to = address(d.ip4.SrcIP), address(d.ip4.DstIP)
	p.protocol = uint8(d.ip4.Protocol)
	if d.ip4.Length != 0 { // 0: longer than the header can say, as on loopback
		length = int(d.ip4.Length)
	}
	p.offset = int(d.ip4.FragOffset) * 8
	if p.offset > 0 || d.ip4.Flags&layers.IPv4MoreFragments != 0 {
		p.fragment = fragment{p.from.Addr(), p.to.Addr(), p.protocol, uint32(d.ip4.Id)}
	}
	d.transport(d.ip4.Payload, length-int(d.ip4.IHL)*4)
}

// version6 reads an IPv6 packet with its extension headers (RFC 8200).
func (d *decoder) version6(body []byte, length int) {
	p := &d.packet
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
	p.from, p.to = address(d.ip6.SrcIP), address(d.ip6.DstIP)
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
				p.fragment = fragment{p.from.Addr(), p.to.Addr(), body[0], binary.BigEndian.Uint32(body[4:])}
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
	p.protocol = next
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
	p := &d.packet
	p.payload, p.payloadLength = body, max(length, len(body))
	if p.protocol == protoICMPv6 {
		p.protocol = protoICMP
		if p.offset == 0 {
			d.icmp6(body)
		}
		return
	}
	if p.offset > 0 {
		return
	}
	switch p.protocol {
	case protoTCP:
		if !d.ports(body) || d.tcp.DecodeFromBytes(body, cut{}) != nil {
			return
		}
		p.tcp, p.payload = &d.tcp, d.tcp.Payload
		p.payloadLength -= int(d.tcp.DataOffset) * 4
	case protoUDP:
		const udpBytes = 8
		if !d.ports(body) || d.udp.DecodeFromBytes(body, cut{}) != nil {
			return
		}
		p.payload = body[udpBytes:]
		p.payloadLength -= udpBytes
	case protoSCTP:
		d.ports(body)
	case protoICMP:
		d.icmp4(body)
	}
}

// ports reads the ports, which begin the headers of TCP, UDP and SCTP.
func (d *decoder) ports(body []byte) bool {
	if len(body) < 4 {
		return false
	}
	p := &d.packet
	p.hasPorts = true
	p.from = netip.AddrPortFrom(p.from.Addr(), binary.BigEndian.Uint16(body))
	p.to = netip.AddrPortFrom(p.to.Addr(), binary.BigEndian.Uint16(body[2:]))
	return true
}

func (d *decoder) icmp4(body []byte) {
	var icmp layers.ICMPv4
	if icmp.DecodeFromBytes(body, cut{}) != nil {
		return
	}
	p := &d.packet
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
	p := &d.packet
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
	p := &d.packet
	p.icmp = fmt.Sprintf("%s id=0x%04x, seq=%d", what, id, seq)
	if asks {
		p.from = netip.AddrPortFrom(p.from.Addr(), id)
	} else {
		p.to = netip.AddrPortFrom(p.to.Addr(), id)
	}
}

// quoted4 returns the ends of the packet whose first bytes an ICMP error contains.
func quoted4(b []byte) ends {
	if len(b) < 20 || b[0]>>4 != 4 {
		return ends{}
	}
	return quoted(b[9], address(b[12:16]), address(b[16:20]), b[min(len(b), int(b[0]&15)*4):])
}

func quoted6(b []byte) ends {
	if len(b) < 40 || b[0]>>4 != 6 {
		return ends{}
	}
	return quoted(b[6], address(b[8:24]), address(b[24:40]), b[40:])
}

func quoted(protocol uint8, from, to netip.AddrPort, body []byte) ends {
	e := ends{protocol, from, to}
	switch {
	case len(body) < 8:
	case protocol == protoTCP || protocol == protoUDP || protocol == protoSCTP:
		e.from = netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(body))
		e.to = netip.AddrPortFrom(to.Addr(), binary.BigEndian.Uint16(body[2:]))
	case protocol == protoICMP || protocol == protoICMPv6:
		e.protocol = protoICMP
		e.from = netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(body[4:])) // of an echo
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
