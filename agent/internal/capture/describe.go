package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket/layers"

	"ospulse/agent/internal/event"
)

// Ports of name services.
const (
	portDNS  = 53
	portMDNS = 5353
)

// maxInfo is after how many bytes a list in Info ends; the event has it whole elsewhere.
const maxInfo = 1024

// describe returns the event of a packet, without its process, its number, and what the
// parser reads in its payload.
func describe(f *frame, p *packet, contentBytes int) *event.Packet {
	e := &event.Packet{
		Time: f.time, Source: p.from.Addr(), Destination: p.to.Addr(), SourcePort: -1, DestPort: -1,
		Length: f.length, VLAN: p.vlan, Payload: p.payloadLength, Direction: event.DirectionIn,
	}
	if f.outgoing {
		e.Direction = event.DirectionOut
	}
	if p.hasPorts {
		e.SourcePort, e.DestPort = int(p.from.Port()), int(p.to.Port())
	} else if p.about.protocol != 0 && p.about.protocol != protoICMP { // tshark shows the ports of the quoted packet too
		e.SourcePort, e.DestPort = int(p.about.from.Port()), int(p.about.to.Port())
	}
	if contentBytes > 0 {
		kept := p.payload[:min(len(p.payload), contentBytes)]
		e.Content = event.Content{Bytes: bytes.Clone(kept), Known: true, Cut: p.payloadLength > len(kept)}
	}
	switch {
	case p.arp != nil:
		e.Protocol, e.Info = "ARP", arpInfo(p.arp)
	case !p.from.IsValid():
		e.Protocol = etherName(p.etherType)
		e.Info = "Ethertype " + e.Protocol
	case p.offset > 0:
		e.Protocol = ipName(p)
		e.Info = fmt.Sprintf("Fragmented IP protocol (proto=%d, off=%d, ID=%04x)", p.protocol, p.offset, p.fragment.id)
	case p.tcp != nil:
		e.TCP = &event.TCPHeader{Flags: tcpFlags(p.tcp), Sequence: p.tcp.Seq, Ack: p.tcp.Ack, Window: int(p.tcp.Window)}
		e.Protocol, e.Info = "TCP", tcpInfo(p, e.TCP)
	case p.protocol == protoUDP && p.hasPorts:
		e.Protocol = "UDP"
		e.Info = strconv.Itoa(e.SourcePort) + " → " + strconv.Itoa(e.DestPort) + " Len=" + strconv.Itoa(p.payloadLength)
	case p.protocol == protoICMP:
		e.Protocol, e.Info = "ICMP", p.icmp
		if p.from.Addr().Is6() {
			e.Protocol = "ICMPv6"
		}
	default:
		e.Protocol = layers.IPProtocol(p.protocol).String()
		e.Info = "IP protocol " + strconv.Itoa(int(p.protocol))
	}
	return e
}

func etherName(etherType uint16) string {
	switch layers.EthernetType(etherType) {
	case layers.EthernetTypeLinkLayerDiscovery:
		return "LLDP"
	case layers.EthernetTypeIPv4: // too damaged to read its addresses
		return "IPv4"
	case layers.EthernetTypeIPv6:
		return "IPv6"
	case layers.EthernetTypeARP:
		return "ARP"
	default:
		return fmt.Sprintf("0x%04x", etherType)
	}
}

func ipName(p *packet) string {
	if p.from.Addr().Is6() {
		return "IPv6"
	}
	return "IPv4"
}

func arpInfo(a *layers.ARP) string {
	from, to := netip.AddrFrom4([4]byte(a.SourceProtAddress)), netip.AddrFrom4([4]byte(a.DstProtAddress))
	if a.Operation == layers.ARPReply {
		mac := strings.ReplaceAll(fmt.Sprintf("% x", a.SourceHwAddress), " ", ":")
		return from.String() + " is at " + mac
	}
	return "Who has " + to.String() + "? Tell " + from.String()
}

func tcpFlags(t *layers.TCP) string {
	var out strings.Builder
	for _, flag := range [...]struct {
		set  bool
		name string
	}{{t.FIN, "FIN"}, {t.SYN, "SYN"}, {t.RST, "RST"}, {t.PSH, "PSH"}, {t.ACK, "ACK"}, {t.URG, "URG"}, {t.ECE, "ECE"}, {t.CWR, "CWR"}} {
		if flag.set {
			if out.Len() > 0 {
				out.WriteString(", ")
			}
			out.WriteString(flag.name)
		}
	}
	return out.String()
}

// tcpInfo formats a segment as tshark does, with the numbers as on the wire.
func tcpInfo(p *packet, h *event.TCPHeader) string {
	out := make([]byte, 0, 96)
	number := func(name string, n uint64) { out = strconv.AppendUint(append(out, name...), n, 10) }
	number("", uint64(p.from.Port()))
	number(" → ", uint64(p.to.Port()))
	out = append(append(append(out, " ["...), h.Flags...), ']')
	number(" Seq=", uint64(h.Sequence))
	if p.tcp.ACK {
		number(" Ack=", uint64(h.Ack))
	}
	number(" Win=", uint64(h.Window))
	number(" Len=", uint64(max(p.payloadLength, 0)))
	for i := range p.tcp.Options {
		option := &p.tcp.Options[i]
		data := option.OptionData
		switch {
		case option.OptionType == layers.TCPOptionKindMSS && len(data) == 2:
			number(" MSS=", uint64(binary.BigEndian.Uint16(data)))
		case option.OptionType == layers.TCPOptionKindSACKPermitted:
			out = append(out, " SACK_PERM"...)
		case option.OptionType == layers.TCPOptionKindTimestamps && len(data) == 8:
			number(" TSval=", uint64(binary.BigEndian.Uint32(data)))
			number(" TSecr=", uint64(binary.BigEndian.Uint32(data[4:])))
		case option.OptionType == layers.TCPOptionKindWindowScale && len(data) == 1:
			number(" WS=", 1<<min(data[0], 14))
		}
	}
	return string(out)
}

// nameService returns the name service that a port belongs to; "" if there is none.
func nameService(p *packet) string {
	switch from, to := p.from.Port(), p.to.Port(); {
	case from == portDNS || to == portDNS:
		return "DNS"
	case from == portMDNS || to == portMDNS:
		return "MDNS"
	default:
		return ""
	}
}

// names describes a DNS message of a name service.
func names(e *event.Packet, protocol string, m *event.DNS) {
	info := "Standard query"
	if m.Response {
		info = "Standard query response"
	}
	info += fmt.Sprintf(" 0x%04x", m.ID)
	for _, q := range m.Questions {
		info += " " + q.Type + " " + q.Name
	}
	for _, r := range m.Answers {
		if len(info) > maxInfo {
			info += " …"
			break
		}
		info += " " + r.Type + " " + r.Data
	}
	e.Protocol, e.Info, e.DNS = protocol, info, []event.DNS{*m}
}
