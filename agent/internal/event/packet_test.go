package event

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"
)

// TestPacketIsTheContracts compares a packet with one from the wire contract's fixtures: it
// begins with the members that the old forwarder sends, byte by byte, and ours follow.
func TestPacketIsTheContracts(t *testing.T) {
	localhost := netip.MustParseAddr("127.0.0.1")
	p := &Packet{
		Actor: actor, Time: time.Unix(1795374137, 906492000), Number: 1, Protocol: "DNS", Source: localhost, Destination: localhost,
		SourcePort: 56470, DestPort: 53, Length: 71, Info: "Standard query", Direction: DirectionOut, Interface: "lo", Payload: 29,
		Content: Content{Bytes: []byte{0, 7}, Known: true, Cut: true},
		DNS:     []DNS{{ID: 7, Questions: []DNSRecord{{Name: "example.com", Type: "A"}}}},
	}
	want := `{"timestamp":1795374137.906492,"frame_number":1,"protocol":"DNS","src":"127.0.0.1","dst":"127.0.0.1","src_port":56470,"dst_port":53,"length":71,` +
		`"info":"53 74 61 6E 64 61 72 64 20 71 75 65 72 79","info_raw":"Standard query",` +
		`"direction":"out","interface":"lo","payloadLength":29,"content":"00 07","contentTruncated":true,` +
		`"dns":[{"id":7,"response":false,"questions":[{"name":"example.com","type":"A"}]}],"metadata":` + string(actor.AppendJSON(nil)) + `}`
	if got := string(p.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPacketWithoutAddresses(t *testing.T) {
	p := &Packet{Time: time.Unix(5, 1000), Protocol: "ARP", SourcePort: -1, DestPort: -1, Length: 42, VLAN: 7, TCP: &TCPHeader{Flags: "SYN", Sequence: 1 << 31}, ServerName: "a\x00"}
	var got map[string]any
	if err := json.Unmarshal(p.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"timestamp": 5.000001, "src": "", "dst": "", "src_port": nil, "dst_port": nil, "vlan": 7.0,
		"tcpFlags": "SYN", "tcpSequence": float64(1 << 31), "tlsServerName": "a\x00", "info": "", "info_raw": "",
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s: %v, want %v", key, value, want)
		}
	}
}
