package event

import (
	"net/netip"
	"strconv"
	"time"
)

// Directions of packets, seen from the process.
const (
	DirectionOut = "out"
	DirectionIn  = "in"
)

// Packet is a raw_network_operation: a network packet, in the packet shape of the wire
// contract with more members.
type Packet struct {
	Actor       Process
	Time        time.Time
	Number      uint64     // of the capture, from 1
	Protocol    string     // the highest recognised one: DNS, TLS, TCP …
	Source      netip.Addr // not valid if the packet has none, as in ARP
	Destination netip.Addr
	SourcePort  int // -1: none
	DestPort    int // -1: none
	Length      int // on the wire, in bytes
	Info        string
	Direction   string // DirectionOut or DirectionIn
	Interface   string
	VLAN        int        // 0: none
	TCP         *TCPHeader // nil: not TCP
	Payload     int        // bytes after the headers
	Content     Content    // the first bytes of the payload
	DNS         []DNS
	ServerName  string // the server name in a TLS client's hello
}

// TCPHeader holds the fields of a TCP header other than the ports. Numbers are as on the
// wire: neither relative nor scaled.
type TCPHeader struct {
	Flags    string // "SYN, ACK"
	Sequence uint32
	Ack      uint32
	Window   int
}

// AppendJSON appends the data of the event: the contract's keys, then ours.
func (p *Packet) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.key("timestamp")
	o.out = appendEpoch(o.out, p.Time)
	o.number("frame_number", int64(p.Number))
	o.text("protocol", p.Protocol)
	o.text("src", addressText(p.Source))
	o.text("dst", addressText(p.Destination))
	o.port("src_port", p.SourcePort)
	o.port("dst_port", p.DestPort)
	o.number("length", int64(p.Length))
	o.key("info")
	o.out = append(AppendHex(append(o.out, '"'), []byte(p.Info)), '"')
	o.text("info_raw", p.Info)
	o.some("direction", p.Direction)
	o.some("interface", p.Interface)
	o.positive("vlan", int64(p.VLAN))
	if t := p.TCP; t != nil {
		o.text("tcpFlags", t.Flags)
		o.number("tcpSequence", int64(t.Sequence))
		o.number("tcpAcknowledgment", int64(t.Ack))
		o.number("tcpWindow", int64(t.Window))
	}
	o.number("payloadLength", int64(p.Payload))
	o.content(&p.Content)
	o.dns(p.DNS)
	o.some("tlsServerName", p.ServerName)
	o.metadata(&p.Actor)
	return o.end()
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (o *object) port(name string, port int) {
	o.key(name)
	if port < 0 {
		o.out = append(o.out, "null"...)
		return
	}
	o.out = strconv.AppendInt(o.out, int64(port), 10)
}

// appendEpoch appends the seconds since 1970 with microseconds as a JSON number. The decimal
// text is exact.
func appendEpoch(out []byte, t time.Time) []byte {
	micros := t.UnixMicro()
	if micros < 0 { // a clock that was never set
		micros = 0
	}
	out = strconv.AppendInt(out, micros/1e6, 10)
	return appendDigits(append(out, '.'), int(micros%1e6), 6)
}
