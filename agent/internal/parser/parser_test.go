//go:build linux

package parser

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"ospulse/agent/internal/event"
	"ospulse/test/wait"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(Serve())
	}
	goleak.VerifyTestMain(m)
}

// result is the end of a question.
type result struct {
	flows int
	err   error
}

// newParser returns a Parser, and a channel that tells about the ends of its workers.
func newParser(t *testing.T) (*Parser, chan struct{}) {
	t.Helper()
	t.Setenv(testSetting, "1")
	ended := make(chan struct{}, 100)
	p := New(slog.New(slog.DiscardHandler), &sync.Mutex{}, func() { ended <- struct{}{} })
	return p, ended
}

// ask asks about a request that a program wrote, and returns the result later.
func ask(p *Parser, connection uint64, request string) chan result {
	out := make(chan result, 1)
	var r result
	err := p.Ask(&Question{Kind: Piece, Connection: connection, Written: true, Total: int64(len(request)), Data: []byte(request)}, func(a *Answer, err error) {
		if err != nil {
			out <- result{err: err}
			return
		}
		if a.Flow != nil {
			r.flows++
		}
		if a.Last {
			out <- r
		}
	})
	if err != nil {
		out <- result{err: err}
	}
	return out
}

// request returns a request of so many bytes.
func request(path string, size int) string {
	head := "POST " + path + " HTTP/1.1\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	return head + strings.Repeat("x", size)
}

// TestFailures: what waits when the worker fails gets an error, and the next worker answers.
func TestFailures(t *testing.T) {
	for name, path := range map[string]string{"panic": "/parser-panic", "hang": "/parser-hang"} {
		t.Run(name, func(t *testing.T) {
			p, ended := newParser(t)
			defer p.Close()
			p.Start()
			if r := wait.Receive(t, "an answer", ask(p, 1, request("/first", 100))); r != (result{flows: 1}) {
				t.Fatalf("%+v", r)
			}
			bad, after := ask(p, 1, request(path, 100)), ask(p, 2, request("/after", 100))
			for _, c := range []chan result{bad, after} {
				if r := wait.Receive(t, "an error", c); !errors.Is(r.err, ErrFailed) {
					t.Errorf("%+v", r)
				}
			}
			wait.Receive(t, "the end of the worker", ended)
			wait.For(t, "the next worker answers", func() bool {
				return wait.Receive(t, "an answer", ask(p, 3, request("/later", 100))) == result{flows: 1}
			})
		})
	}
}

// TestFull: the Parser refuses questions when too many wait, and Close ends those that wait.
func TestFull(t *testing.T) {
	p, _ := newParser(t)
	all := []chan result{ask(p, 1, request("/parser-hang", 100))}
	for refused := false; !refused; {
		c := ask(p, 2, request("/", 16<<10))
		select {
		case r := <-c:
			refused = errors.Is(r.err, ErrFull)
		default:
			all = append(all, c)
		}
	}
	if n := len(all) * (16 << 10); n < maxWaiting/2 || n > maxWaiting {
		t.Errorf("%d bytes waited", n)
	}
	p.mu.Lock()
	if p.bytes > maxWaiting {
		t.Errorf("%d bytes wait", p.bytes)
	}
	p.mu.Unlock()
	if err := p.Ask(&Question{Kind: Closed, Connection: 2}, func(*Answer, error) {}); err != nil {
		t.Error("the end of a connection:", err)
	}
	p.Close()
	for _, c := range all {
		if r := wait.Receive(t, "an error", c); !errors.Is(r.err, ErrFailed) {
			t.Errorf("%+v", r)
		}
	}
}

// TestMessages: an answer that is written and read is the same.
func TestMessages(t *testing.T) {
	header := event.Header{{Name: "A", Value: "b"}, {Name: "\xff", Value: ""}}
	from, to := netip.MustParseAddrPort("[2001:db8::1]:1000"), netip.MustParseAddrPort("[2001:db8::2]:443")
	packet := &Packet{
		Ends: Ends{ProtoTCP, from, to}, About: Ends{Protocol: ProtoUDP, From: netip.MustParseAddrPort("192.0.2.1:53")},
		Fragment: Fragment{from.Addr(), to.Addr(), 44, 1<<32 - 1}, IsLater: true, IsFirst: true, IsFinal: true,
		Event: &event.Packet{
			Source: from.Addr(), Destination: to.Addr(), SourcePort: 1000, DestPort: -1, Protocol: "TLS", Info: "Client Hello", ServerName: "a.test", VLAN: 7,
			TCP: &event.TCPHeader{Flags: "SYN", Sequence: 1<<32 - 1, Ack: 1, Window: 65535}, Payload: 9,
			Content: event.Content{Bytes: []byte("abc"), Known: true, Cut: true}, DNS: []event.DNS{{ID: 7}, {ID: 8}},
		},
	}
	for _, a := range []Answer{
		{Last: true, Kept: 5},
		{Lost: true},
		{Fault: "why"},
		{Packet: packet, Last: true},
		{Flow: &Flow{Serving: true, Request: event.Request{Method: "GET", Target: "/", Version: "HTTP/1.1", Header: header}}},
		{Flow: &Flow{Response: &event.Response{
			StatusCode: 200, Reason: "OK", Version: "HTTP/1.0", Header: header,
			Body: event.Body{Bytes: []byte("text"), Size: 9, Truncated: true, Encoding: "gzip", Encoded: 7},
		}}},
		{DNS: &event.DNS{
			ID: 7, Response: true, Code: "NOERROR", Truncated: true, Questions: []event.DNSRecord{{Name: "a.test", Type: "A"}},
			Answers: []event.DNSRecord{{Name: "a.test", Type: "A", Data: "192.0.2.1", TTL: 1<<32 - 1}},
		}},
	} {
		raw := a.append(nil)
		body, err := readMessage(bytes.NewReader(raw), nil, maxAnswer)
		var got Answer
		if err = errors.Join(err, got.read(body)); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("got %+v, %v; want %+v", got, err, a)
		}
	}
	q := Question{Kind: Piece, Connection: 1 << 63, Written: true, Missed: true, Offset: 3, Total: 1 << 40, Data: []byte("abc")}
	var got Question
	if err := got.read(q.append(nil)[sizeBytes:]); err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("got %+v, %v; want %+v", got, err, q)
	}
}

// TestHostileAnswers: the agent refuses answers that no worker sends, and lists that would
// take much memory.
func TestHostileAnswers(t *testing.T) {
	flow := func(f Flow) []byte { return (&Answer{Flow: &f}).append(nil)[sizeBytes:] }
	port := (&Answer{Packet: &Packet{
		Ends: Ends{From: netip.MustParseAddrPort("192.0.2.1:1")}, Event: &event.Packet{SourcePort: 1 << 16},
	}}).append(nil)
	list := func(n int64) []byte {
		w := writer{flow(Flow{})[:7]} // up to the number of header fields
		w.number(n)
		return append(w.out, make([]byte, 1<<20)...)
	}
	for name, body := range map[string][]byte{
		"nothing":          {},
		"cut":              flow(Flow{})[:5],
		"more":             append(flow(Flow{}), 0),
		"status":           flow(Flow{Response: &event.Response{StatusCode: 1}}),
		"body too large":   flow(Flow{Request: event.Request{Body: event.Body{Bytes: make([]byte, event.MaxBody+1), Size: event.MaxBody + 1}}}),
		"size of the body": flow(Flow{Request: event.Request{Body: event.Body{Bytes: make([]byte, 9), Size: 8}}}),
		"long list":        list(maxFields + 1),
		"negative list":    list(-1),
		"kept":             (&Answer{Last: true, Kept: maxMemory + 1}).append(nil)[sizeBytes:],
		"a port":           port[sizeBytes:],
		"a short address":  bytes.Replace(port[sizeBytes:], []byte{8, 192, 0, 2, 1}, []byte{6, 192, 0, 2}, 1),
		"id":               (&Answer{DNS: &event.DNS{ID: 1 << 16}}).append(nil)[sizeBytes:],
	} {
		var a Answer
		if err := a.read(body); !errors.Is(err, errMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readMessage(bytes.NewReader([]byte{0, 0, 0, 1}), nil, maxAnswer); !errors.Is(err, errMessage) {
		t.Errorf("a message that is too large: %v", err)
	}
}

// FuzzAnswer reads arbitrary bytes as an answer.
func FuzzAnswer(f *testing.F) {
	f.Add((&Answer{Flow: &Flow{Response: &event.Response{StatusCode: 200}}, Last: true}).append(nil)[sizeBytes:])
	f.Add((&Answer{Packet: &Packet{Event: &event.Packet{DNS: []event.DNS{{}}, TCP: &event.TCPHeader{}}}}).append(nil)[sizeBytes:])
	f.Add((&Answer{DNS: &event.DNS{Questions: []event.DNSRecord{{Name: "a"}}}}).append(nil)[sizeBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		var a, again Answer
		if a.read(body) != nil {
			return
		}
		if err := again.read(a.append(nil)[sizeBytes:]); err != nil || fmt.Sprintf("%+v", a) == "" {
			t.Errorf("%+v: %v", a, err)
		}
	})
}

// TestMissed: after a loss, a connection is read again from the next message that begins a
// piece.
func TestMissed(t *testing.T) {
	w := NewWorker()
	var got []string
	say := func(written, missed bool, data string) {
		w.Answer(&Question{Kind: Piece, Connection: 1, Written: written, Missed: missed, Total: int64(len(data)), Data: []byte(data)}, func(a *Answer) {
			if f := a.Flow; f != nil {
				line := f.Request.Target
				if f.Response != nil {
					line += " " + strconv.Itoa(f.Response.StatusCode)
				}
				got = append(got, line)
			}
		})
	}
	const ok = "HTTP/1.1 204 No Content\r\n\r\n"
	for range 2 { // a worker that does not know the connection, and one that does
		say(true, true, "the rest of a body\r\n")
		say(false, false, ok)
		say(true, false, "more of the rest")
		say(true, false, "GET /next HTTP/1.1\r\n\r\n")
		say(false, false, ok)
	}
	if want := " 204,/next,/next 204"; strings.Join(got, ",") != want+","+want {
		t.Errorf("got %q", got)
	}
}

// TestManyFields: a head with too many fields is given up, and the connection is read again
// from the next request.
func TestManyFields(t *testing.T) {
	w := NewWorker()
	var got []string
	say := func(data string) {
		w.Answer(&Question{Kind: Piece, Connection: 1, Written: true, Total: int64(len(data)), Data: []byte(data)}, func(a *Answer) {
			if a.Lost {
				got = append(got, "lost")
			}
			if a.Flow != nil {
				got = append(got, a.Flow.Request.Target)
			}
		})
	}
	for _, n := range []int{maxFields, maxFields + 1, 1} {
		say(fmt.Sprintf("GET /%d HTTP/1.1\r\n%s\r\n", n, strings.Repeat("a:\r\n", n)))
	}
	if want := "/1000,lost,/1"; strings.Join(got, ",") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}
