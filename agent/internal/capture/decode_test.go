//go:build linux

package capture

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"ospulse/agent/internal/parser"
)

// bytesOf reads hex, with or without spaces.
func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ethernet returns a frame with the link-layer header of Ethernet and loopback.
func ethernet(data []byte) *frame {
	f := &frame{Frame: parser.Frame{Data: data, Length: len(data), Network: min(14, len(data))}, ifindex: loopback}
	if len(data) >= 14 {
		f.EtherType = uint16(data[12])<<8 | uint16(data[13])
	}
	return f
}

const (
	macs = "00 00 00 00 00 00 00 00 00 00 00 00 "
	// a SYN, recorded on loopback
	synFrame = macs + "08 00 45 00 00 3c 1c 46 40 00 40 06 20 74 7f 00 00 01 7f 00 00 01" +
		"88 1a 6f 1b 8e bf 4c 27 00 00 00 00 a0 02 ff d7 fe 30 00 00 02 04 ff d7 04 02 08 0a 8e bf 4c 27 00 00 00 00 01 03 03 0a"
	queryFrame = macs + "08 00 45 00 00 39 00 01 00 00 40 11 7c b1 7f 00 00 01 7f 00 00 01" +
		"dc 96 00 35 00 25 00 00 00 07 01 00 00 01 00 00 00 00 00 00 07 65 78 61 6d 70 6c 65 03 63 6f 6d 00 00 01 00 01"
	answerFrame = macs + "08 00 45 00 00 49 00 01 00 00 40 11 7c a1 7f 00 00 01 7f 00 00 01" +
		"00 35 dc 96 00 35 00 00 00 07 81 80 00 01 00 01 00 00 00 00 07 65 78 61 6d 70 6c 65 03 63 6f 6d 00 00 01 00 01" +
		"c0 0c 00 01 00 01 00 00 00 3c 00 04 5d b8 d8 22"
	// an ICMP error about a packet from port 50272 to 5353
	unreachableFrame = macs + "08 00 45 c0 00 3c 00 01 00 00 40 01 7b ef 7f 00 00 01 7f 00 00 01" +
		"03 03 00 00 00 00 00 00 45 00 00 20 00 01 00 00 40 11 00 00 7f 00 00 01 7f 00 00 01 c4 60 14 e9 00 0c 00 00 78 78 78 78"
	arpFrame = "ff ff ff ff ff ff 02 fc 00 00 00 01 08 06 00 01 08 00 06 04 00 01 02 fc 00 00 00 01 c0 00 02 02 00 00 00 00 00 00 c0 00 02 01"
	// IPv6, destination options, then UDP of 2 bytes
	optionsFrame = macs + "86 dd 60 00 00 00 00 12 3c 40 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01" +
		"11 00 01 04 00 00 00 00 30 39 00 07 00 0a 00 00 68 69"
	// the first and the last part of a UDP packet over IPv6
	firstPart = macs + "86 dd 60 00 00 00 00 18 2c 40 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01" +
		"11 00 00 01 00 00 00 2a 30 39 00 07 00 12 00 00 61 61 61 61 61 61 61 61"
	lastPart = macs + "86 dd 60 00 00 00 00 0a 2c 40 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01" +
		"11 00 00 10 00 00 00 2a 62 62"
)

// parsed parses a frame in this process.
func parsed(f *frame, contentBytes int) (p *parser.Packet) {
	q := parser.NewFrames(contentBytes, nil)
	q.AddFrame(&f.Frame)
	parser.NewWorker().Answer(q, func(a *parser.Answer) { p = a.Packet })
	return p
}

func TestDecode(t *testing.T) {
	tagged := func(tags, text string) string { // tags after the addresses
		b := bytesOf(t, text)
		return hex.EncodeToString(slices.Concat(b[:12], bytesOf(t, tags), b[12:]))
	}
	long := bytesOf(t, synFrame)
	for _, test := range []struct {
		name   string
		frame  *frame
		change func(*frame)
		want   string // protocol, source and destination with ports, length, payload, info
	}{
		{"loopback", ethernet(long), nil, "TCP 127.0.0.1 34842 127.0.0.1 28443 74 0 34842 → 28443 [SYN] Seq=2394901543 Win=65495 Len=0 MSS=65495 SACK_PERM TSval=2394901543 TSecr=0 WS=1024"},
		{"a VLAN in the header", ethernet(bytesOf(t, tagged("81 00 00 07", synFrame))), nil, "TCP 127.0.0.1 34842 127.0.0.1 28443 78 0 34842 → 28443 [SYN]"},
		{"two VLANs", ethernet(bytesOf(t, tagged("88 a8 00 09 81 00 00 07", synFrame))), nil, "TCP 127.0.0.1 34842 127.0.0.1 28443 82 0 34842 → 28443 [SYN]"},
		{"a VLAN that the kernel took out", ethernet(long), func(f *frame) { f.VLAN, f.Length = 7, f.Length+4 }, "TCP 127.0.0.1 34842 127.0.0.1 28443 78 0 34842 → 28443 [SYN]"},
		{"a link without a header", &frame{Frame: parser.Frame{Data: long[14:], Length: len(long) - 14, EtherType: 0x0800}}, nil, "TCP 127.0.0.1 34842 127.0.0.1 28443 60 0 34842 → 28443 [SYN]"},
		{"a DNS query", ethernet(bytesOf(t, queryFrame)), nil, "DNS 127.0.0.1 56470 127.0.0.1 53 71 29 Standard query 0x0007 A example.com"},
		{"a DNS answer", ethernet(bytesOf(t, answerFrame)), nil, "DNS 127.0.0.1 53 127.0.0.1 56470 87 45 Standard query response 0x0007 A example.com A 93.184.216.34"},
		{"an ICMP error", ethernet(bytesOf(t, unreachableFrame)), nil, "ICMP 127.0.0.1 50272 127.0.0.1 5353 74 32 Destination unreachable (Port)"},
		{"ARP", ethernet(bytesOf(t, arpFrame)), nil, "ARP  -1  -1 42 0 Who has 192.0.2.1? Tell 192.0.2.2"},
		{"extension headers", ethernet(bytesOf(t, optionsFrame)), nil, "UDP ::1 12345 ::1 7 72 2 12345 → 7 Len=2"},
		{"the first part", ethernet(bytesOf(t, firstPart)), nil, "UDP ::1 12345 ::1 7 78 8 12345 → 7 Len=8"},
		{"the last part", ethernet(bytesOf(t, lastPart)), nil, "IPv6 ::1 -1 ::1 -1 64 2 Fragmented IP protocol (proto=17, off=16, ID=002a)"},
		{"an unknown protocol", ethernet(bytesOf(t, macs+"88 b5 01 02 03")), nil, "0x88b5  -1  -1 17 3 Ethertype 0x88b5"},
		{"cut after the ports", ethernet(long), func(f *frame) { f.Data = f.Data[:14+20+4] }, "TCP 127.0.0.1 34842 127.0.0.1 28443 74 40 IP protocol 6"},
		{"cut before the ports", ethernet(long), func(f *frame) { f.Data = f.Data[:14+20+3] }, "TCP 127.0.0.1 -1 127.0.0.1 -1 74 40 IP protocol 6"},
		{"cut in the addresses", ethernet(long), func(f *frame) { f.Data = f.Data[:14+18] }, "IPv4  -1  -1 74 0 Ethertype IPv4"},
		{"no network header", ethernet(long), func(f *frame) { f.Data = f.Data[:10] }, "IPv4  -1  -1 74 0 Ethertype IPv4"},
		{"nothing", &frame{}, nil, "0x0000  -1  -1 0 0 Ethertype 0x0000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.change != nil {
				test.change(test.frame)
			}
			e := parsed(test.frame, 256).Event
			got := strings.Join([]string{e.Protocol, text(e.Source), str(e.SourcePort), text(e.Destination), str(e.DestPort), str(test.frame.Length), str(e.Payload), e.Info}, " ")
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if strings.Contains(test.name, "VLAN") && e.VLAN != 7 {
				t.Errorf("VLAN %d", e.VLAN)
			}
		})
	}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func str(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// hello returns the TLS records with a client's hello that names the server.
func hello(t testing.TB, server string) []byte {
	t.Helper()
	name := slices.Concat([]byte{0, 0, 0, byte(len(server) + 5), 0, byte(len(server) + 3), 0, 0, byte(len(server))}, []byte(server))
	extensions := slices.Concat([]byte{0, 43, 0, 3, 2, 3, 4}, name)
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0, 0, 2, 0x13, 1, 1, 0, 0, byte(len(extensions))}, extensions)
	message := slices.Concat([]byte{1, 0, 0, byte(len(body))}, body)
	return slices.Concat([]byte{22, 3, 1, 0, byte(len(message))}, message)
}

// segment returns a frame with a TCP segment.
func segment(t testing.TB, from, to string, payload []byte, flags ...func(*layers.TCP)) *frame {
	t.Helper()
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(a.Port()), DstPort: layers.TCPPort(b.Port()), Window: 100}
	for _, set := range flags {
		set(tcp)
	}
	return built(t, layers.EthernetTypeIPv4, ip, tcp, gopacket.Payload(payload))
}

func built(t testing.TB, kind layers.EthernetType, parts ...gopacket.SerializableLayer) *frame {
	t.Helper()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	out := gopacket.NewSerializeBuffer()
	all := append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: kind}}, parts...)
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return ethernet(bytes.Clone(out.Bytes()))
}

func TestStreams(t *testing.T) {
	for _, test := range []struct {
		payload        []byte
		protocol, info string
		server         string
	}{
		{hello(t, "example.com"), "TLS", "Client Hello (SNI=example.com)", "example.com"},
		{hello(t, "example.com")[:70], "TLS", "Client Hello", ""},
		{[]byte{22, 3, 3, 0, 4, 2, 0, 0, 0, 20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 1, 7, 22, 3, 3, 0, 4, 1, 0, 0, 0}, "TLS", "Server Hello, Change Cipher Spec, Application Data, Encrypted Handshake Message", ""},
		{[]byte("GET /x HTTP/1.1\r\nHost: a\r\n"), "HTTP", "GET /x HTTP/1.1", ""},
		{[]byte("HTTP/1.1 404 Not Found\r\n"), "HTTP", "HTTP/1.1 404 Not Found", ""},
		{[]byte("SSH-2.0-OpenSSH_9.2\r\n"), "SSH", "Protocol (SSH-2.0-OpenSSH_9.2)", ""},
		{[]byte("GETTING"), "TCP", "1000 → 2000 [PSH, ACK] Seq=5 Ack=6 Win=100 Len=7", ""},
	} {
		f := segment(t, "10.0.0.1:1000", "10.0.0.2:2000", test.payload, func(h *layers.TCP) { h.PSH, h.ACK, h.Seq, h.Ack = true, true, 5, 6 })
		e := parsed(f, 3).Event
		if e.Protocol != test.protocol || e.Info != test.info || e.ServerName != test.server || !e.Content.Cut || !bytes.Equal(e.Content.Bytes, test.payload[:3]) || e.Payload != len(test.payload) {
			t.Errorf("%q: %+v", test.payload, e)
		}
	}
}
