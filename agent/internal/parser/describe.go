//go:build linux

package parser

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket/layers"

	"ospulse/agent/internal/dns"
	"ospulse/agent/internal/event"
)

// Ports of name services.
const (
	portDNS  = 53
	portMDNS = 5353
)

// dnsHeader is the size of the smallest DNS message.
const dnsHeader = 12

// maxInfo is after how many bytes a list in Info ends; the event has it whole elsewhere.
const maxInfo = 1024

// describe returns what the headers of a packet say.
func describe(p *decoded, contentBytes int) *event.Packet {
	e := &event.Packet{
		Source: p.From.Addr(), Destination: p.To.Addr(), SourcePort: -1, DestPort: -1, VLAN: p.vlan, Payload: max(p.payloadLength, 0),
	}
	if p.hasPorts {
		e.SourcePort, e.DestPort = int(p.From.Port()), int(p.To.Port())
	} else if p.about.Protocol != 0 && p.about.Protocol != ProtoICMP { // tshark shows the ports of the quoted packet too
		e.SourcePort, e.DestPort = int(p.about.From.Port()), int(p.about.To.Port())
	}
	if contentBytes > 0 {
		kept := p.payload[:min(len(p.payload), contentBytes)]
		e.Content = event.Content{Bytes: bytes.Clone(kept), Known: true, Cut: p.payloadLength > len(kept)}
	}
	switch {
	case p.arp != nil:
		e.Protocol, e.Info = "ARP", arpInfo(p.arp)
	case !p.From.IsValid():
		e.Protocol = etherName(p.etherType)
		e.Info = "Ethertype " + e.Protocol
	case p.offset > 0:
		e.Protocol = ipName(p)
		e.Info = fmt.Sprintf("Fragmented IP protocol (proto=%d, off=%d, ID=%04x)", p.Protocol, p.offset, p.fragment.ID)
	case p.tcp != nil:
		e.TCP = &event.TCPHeader{Flags: tcpFlags(p.tcp), Sequence: p.tcp.Seq, Ack: p.tcp.Ack, Window: int(p.tcp.Window)}
		e.Protocol, e.Info = "TCP", tcpInfo(p, e.TCP)
	case p.Protocol == ProtoUDP && p.hasPorts:
		e.Protocol = "UDP"
		e.Info = strconv.Itoa(e.SourcePort) + " → " + strconv.Itoa(e.DestPort) + " Len=" + strconv.Itoa(p.payloadLength)
	case p.Protocol == ProtoICMP:
		e.Protocol, e.Info = "ICMP", p.icmp
		if p.From.Addr().Is6() {
			e.Protocol = "ICMPv6"
		}
	default:
		e.Protocol = layers.IPProtocol(p.Protocol).String()
		e.Info = "IP protocol " + strconv.Itoa(int(p.Protocol))
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

func ipName(p *decoded) string {
	if p.From.Addr().Is6() {
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
func tcpInfo(p *decoded, h *event.TCPHeader) string {
	out := make([]byte, 0, 96)
	number := func(name string, n uint64) { out = strconv.AppendUint(append(out, name...), n, 10) }
	number("", uint64(p.From.Port()))
	number(" → ", uint64(p.To.Port()))
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

// name completes an event by what the payload of the packet says.
func name(e *event.Packet, p *decoded) {
	b, service := p.payload, nameService(p)
	switch {
	case p.tcp == nil && (p.Protocol != ProtoUDP || !p.hasPorts || p.offset > 0):
	case p.tcp == nil && service != "":
		if m, ok := dns.Parse(b); ok {
			names(e, service, &m)
		}
	case p.tcp != nil && service != "" && len(b) >= 2+dnsHeader && int(binary.BigEndian.Uint16(b)) <= len(b)-2:
		for message := range messages(b) {
			if m, ok := dns.Parse(message); ok {
				names(e, "DNS", &m)
			}
		}
	case p.tcp != nil:
		segment(e, b)
	}
}

// nameService returns the name service that a port belongs to; "" if there is none.
func nameService(p *decoded) string {
	switch from, to := p.From.Port(), p.To.Port(); {
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
