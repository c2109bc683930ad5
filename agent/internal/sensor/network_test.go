//go:build linux

package sensor

import (
	"io"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
)

// answer returns a DNS response.
func answer(t testing.TB) []byte {
	t.Helper()
	host := dnsmessage.MustNewName("www.example.org.")
	alias := dnsmessage.MustNewName("example.org.")
	header := func(name dnsmessage.Name) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 99, Response: true},
		Questions: []dnsmessage.Question{{Name: host, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: header(host), Body: &dnsmessage.CNAMEResource{CNAME: alias}},
			{Header: header(alias), Body: &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 13: 0, 14: 0, 15: 7}}},
			{Header: header(alias), Body: &dnsmessage.MXResource{Pref: 5, MX: host}},
		},
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestDNSOverTCP decodes DNS over TCP, in the pieces in which programs transfer it.
func TestDNSOverTCP(t *testing.T) {
	raw := answer(t)
	size := string([]byte{0, byte(len(raw))})
	for name, test := range map[string]struct {
		pieces []string
		want   int
	}{
		"whole":               {[]string{size + string(raw)}, 1},
		"its length first":    {[]string{size, string(raw)}, 1},
		"two, one after each": {[]string{size, string(raw), size, string(raw)}, 2},
		"whole, then apart":   {[]string{size + string(raw), size, string(raw)}, 2},
		"a part":              {[]string{size + string(raw[:20]), string(raw[20:])}, 0},
		"another length":      {[]string{size, string(raw[:20]), string(raw[20:])}, 0},
		"a byte":              {[]string{"\x00"}, 0},
	} {
		d := recordedDecoder(nil)
		got := 0
		for _, piece := range test.pieces {
			r := &record{messages: []message{{data: section{body: []byte(piece), set: true}}}}
			if len(d.dnsMessages(r, &event.Network{Protocol: "tcp", Bytes: int64(len(piece))}, 1)) > 0 {
				got++
			}
		}
		if got != test.want {
			t.Errorf("%s: %d messages, want %d", name, got, test.want)
		}
	}
}

// TestDNSIsSeenAsRoot watches a program that sends and answers DNS queries.
func TestDNSIsSeenAsRoot(t *testing.T) {
	s := newSensor(t, Options{ContentBytes: 8}) // the event keeps less than a message
	cmd, release := held(t, t.TempDir(), "/usr/bin/unshare", "-n", python(t), "-c", `
import fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 1))   # lo is up
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(('127.0.0.1', 53))
query = struct.pack('>6H', 7, 256, 1, 0, 0, 0) + b'\x04host\x04test\x00' + struct.pack('>2H', 1, 1)
s.sendto(query, ('127.0.0.1', 53))
got, peer = server.recvfrom(512)
server.sendto(got[:2] + struct.pack('>5H', 0x8183, 1, 0, 0, 0) + got[12:], peer)
s.recv(512)
server = socket.create_server(('127.0.0.1', 53))
c = socket.create_connection(('127.0.0.1', 53))
c.sendall(struct.pack('>H', len(query)) + query)
a = server.accept()[0]
a.recv(512)
a.sendall(struct.pack('>H', len(query)) + got[:2] + struct.pack('>5H', 0x8182, 1, 0, 0, 0) + got[12:])
c.recv(2); c.recv(512)
`)
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	var got []string
	for _, e := range l.events {
		if d, ok := e.Data.(*event.Network); ok {
			for _, m := range d.DNS {
				got = append(got, d.Operation+" "+m.Questions[0].Type+" "+m.Questions[0].Name+" "+m.Code)
				if len(d.Content.Bytes) > 8 {
					t.Errorf("the event keeps %d bytes of the content", len(d.Content.Bytes))
				}
			}
		}
	}
	want := []string{"Send A host.test ", "Receive A host.test ", "Send A host.test NXDOMAIN", "Receive A host.test NXDOMAIN",
		"Send A host.test ", "Receive A host.test ", "Send A host.test SERVFAIL", "Receive A host.test SERVFAIL"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestConnectInARaceAsRoot: the kernel's socket decides where a program connected to, and not
// the program's memory, which another thread changes.
func TestConnectInARaceAsRoot(t *testing.T) {
	var ports []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	s := newSensor(t, Options{})
	cmd, release, out := heldWithOutput(t, append([]string{build(t) + "/race"}, ports...)...)
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	want := strings.Fields(string(text))
	var got []string
	for _, e := range l.events {
		if d, ok := e.Data.(*event.Network); ok && d.Operation == "Connect" {
			got = append(got, strconv.Itoa(int(d.Remote.Port.Port())))
			if d.FromMemory {
				t.Error("the address of a connection is from the program's memory")
			}
		}
	}
	if both := slices.Sorted(slices.Values(slices.Clone(want))); both[0] == both[len(both)-1] {
		t.Log("the program connected only to one port") // the race was never won
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzDNS(f *testing.F) {
	f.Add([]byte{0, 12}, answer(f), true)
	f.Add([]byte(nil), append([]byte{0, 12}, answer(f)[:12]...), false)
	f.Fuzz(func(_ *testing.T, one, two []byte, udp bool) {
		d, worker := recordedDecoder(nil), parser.NewWorker()
		protocol := "tcp"
		if udp {
			protocol = "udp"
		}
		for _, piece := range [][]byte{one, two} {
			r := &record{messages: []message{{data: section{body: piece, set: true}}}}
			data := d.dnsMessages(r, &event.Network{Protocol: protocol, Bytes: int64(len(piece))}, 1)
			worker.Answer(&parser.Question{Kind: parser.DNS, Data: data}, func(*parser.Answer) {})
		}
	})
}
