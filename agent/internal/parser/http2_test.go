//go:build linux

package parser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"ospulse/agent/internal/event"
)

// peer writes the frames of one side of a connection.
type peer struct {
	out     bytes.Buffer
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// newPeer returns the side of a client, or of a server, that has begun.
func newPeer(isClient bool) *peer {
	p := &peer{}
	if isClient {
		p.out.WriteString(http2.ClientPreface)
	}
	p.framer, p.encoder = http2.NewFramer(&p.out, nil), hpack.NewEncoder(&p.block)
	_ = p.framer.WriteSettings() // into memory, as all frames
	return p
}

// take returns what the peer has written since the last call.
func (p *peer) take() string {
	defer p.out.Reset()
	return p.out.String()
}

// encode returns a header block. A field is a name, a space and a value.
func (p *peer) encode(fields ...string) []byte {
	p.block.Reset()
	for _, field := range fields {
		name, value, _ := strings.Cut(field, " ")
		_ = p.encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *peer) headers(id uint32, isEnd bool, fields ...string) *peer {
	_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(fields...), EndStream: isEnd, EndHeaders: true})
	return p
}

func (p *peer) get(id uint32, path string) *peer {
	return p.headers(id, true, ":method GET", ":scheme https", ":authority h.test", ":path "+path, "accept */*")
}

func (p *peer) post(id uint32, path string) *peer {
	return p.headers(id, false, ":method POST", ":scheme https", ":authority h.test", ":path "+path)
}

func (p *peer) ok(id uint32, isEnd bool, more ...string) *peer {
	return p.headers(id, isEnd, append([]string{":status 200"}, more...)...)
}

func (p *peer) data(id uint32, isEnd bool, text string) *peer {
	_ = p.framer.WriteData(id, isEnd, []byte(text))
	return p
}

// line describes a flow.
func line(f *event.HTTP) string {
	text := f.Request.Method + " " + f.Request.Target
	if f.Serving {
		text = "serving " + text
	}
	body := func(b *event.Body) string {
		out := string(b.Bytes)
		if b.Truncated {
			out += "…" + strconv.FormatInt(b.Size, 10)
		}
		return out
	}
	if b := &f.Request.Body; len(b.Bytes) > 0 || b.Truncated {
		text += " (" + body(b) + ")"
	}
	if r := f.Response; r != nil {
		text += " " + strconv.Itoa(r.StatusCode) + " " + body(&r.Body)
	}
	for _, h := range f.Request.Trailer {
		text += " " + h.Name + ": " + h.Value
	}
	if f.Response != nil {
		for _, h := range f.Response.Trailer {
			text += " " + h.Name + ": " + h.Value
		}
	}
	if f.SwitchedTo != "" {
		text += " to " + f.SwitchedTo
	}
	return text
}

// talk feeds pieces as flows does. It returns the flows as text, and "lost" for each loss. A
// piece ~N is N bytes that the program wrote and the agent missed; =N that it read.
func talk(pieces ...string) (got []string) {
	w := NewWorker()
	for _, piece := range pieces {
		data := []byte(piece[1:])
		q := Question{Kind: Piece, Written: piece[0] == '>' || piece[0] == '~', Total: int64(len(data)), Data: data}
		switch {
		case piece[0] == '~' || piece[0] == '=':
			q.Total, _ = strconv.ParseInt(piece[1:], 10, 64) // a test's own number
			q.Data = nil
		case len(data) == 0:
			q.Kind = Closed
		}
		take := func(a *Answer) {
			if a.Lost {
				got = append(got, "lost")
			}
			if f := a.Flow; f != nil {
				got = append(got, line(&event.HTTP{Serving: f.Serving, Request: f.Request, Response: f.Response, SwitchedTo: f.Switched}))
			}
		}
		if len(q.Data) <= chunkSize {
			w.Answer(&q, take)
			continue
		}
		for q.Data = range slices.Chunk(data, chunkSize) {
			w.Answer(&q, take)
			q.Offset += chunkSize
		}
	}
	return got
}

func TestHTTP2Dialogues(t *testing.T) {
	client := func() *peer { return newPeer(true) }
	server := func() *peer { return newPeer(false) }
	for _, test := range []struct {
		name   string
		pieces func(c, s *peer) []string
		want   []string
	}{
		{"one", func(c, s *peer) []string {
			return []string{">" + c.get(1, "/x").take(), "<" + s.ok(1, false).data(1, true, "abc").take()}
		}, []string{"GET /x", "GET /x 200 abc"}},
		{"serving", func(c, s *peer) []string {
			return []string{">" + s.take(), "<" + c.get(1, "/x").take(), ">" + s.ok(1, true).take()}
		}, []string{"serving GET /x", "serving GET /x 200 "}},
		{"interleaved", func(c, s *peer) []string {
			return []string{
				">" + c.post(1, "/1").get(3, "/3").post(5, "/5").data(1, false, "o").data(5, true, "five").data(1, true, "ne").take(),
				"<" + s.ok(5, false).ok(1, false).data(1, false, "an").data(5, false, "FI").data(1, true, "swer").ok(3, true).data(5, true, "VE").take(),
			}
		}, []string{"GET /3", "POST /5 (five)", "POST /1 (one)", "POST /1 (one) 200 answer", "GET /3 200 ", "POST /5 (five) 200 FIVE"}},
		{"padding and continuation", func(c, s *peer) []string {
			block := c.encode(":method POST", ":scheme https", ":authority h.test", ":path /padded", "a "+strings.Repeat("long", 100))
			_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3], PadLength: 7, Priority: http2.PriorityParam{Weight: 9}})
			_ = c.framer.WriteContinuation(1, false, block[3:40])
			_ = c.framer.WriteContinuation(1, true, block[40:])
			_ = c.framer.WriteDataPadded(1, false, []byte("some "), make([]byte, 200))
			_ = c.framer.WritePing(false, [8]byte{})
			_ = c.framer.WriteWindowUpdate(0, 99)
			_ = c.framer.WriteRawFrame(0xbe, 0, 0, []byte("a frame that nobody knows"))
			_ = c.framer.WriteDataPadded(1, false, nil, nil)
			_ = c.framer.WriteDataPadded(1, true, []byte("data"), make([]byte, 3))
			return []string{">" + c.take(), "<" + s.ok(1, true).take()}
		}, []string{"POST /padded (some data)", "POST /padded (some data) 200 "}},
		{"trailers", func(c, s *peer) []string {
			c.post(1, "/grpc").data(1, false, "q").headers(1, true, "checksum 7")
			s.headers(1, false, ":status 103", "link x").ok(1, false).data(1, false, "r").headers(1, true, "grpc-status 0")
			return []string{">" + c.take(), "<" + s.take()}
		}, []string{"POST /grpc (q) checksum: 7", "POST /grpc (q) 200 r checksum: 7 grpc-status: 0"}},
		{"compressed", func(c, s *peer) []string {
			return []string{">" + c.get(1, "/z").take(), "<" + s.ok(1, false, "content-encoding gzip").data(1, true, gzipped("some text")).take()}
		}, []string{"GET /z", "GET /z 200 some text"}},
		{"reset", func(c, s *peer) []string {
			c.post(1, "/1").data(1, false, "half").get(3, "/3").get(5, "/5")
			s.ok(3, false).data(3, false, "begun")
			_ = c.framer.WriteRSTStream(3, http2.ErrCodeCancel)
			_ = s.framer.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = s.framer.WriteRSTStream(5, http2.ErrCodeRefusedStream)
			out := c.take()
			reset := len(out) - frameHeaderSize - 4
			return []string{">" + out[:reset], "<" + s.take(), ">" + out[reset:], "<" + s.ok(5, true).take(), ">" + c.get(7, "/7").take(), "<" + s.ok(7, true).take()}
		}, []string{"GET /3", "GET /5", "POST /1 (half…4)", "GET /3 200 begun…5", "GET /7", "GET /7 200 "}},
		{"answered early", func(c, s *peer) []string {
			s.headers(1, true, ":status 413")
			_ = s.framer.WriteRSTStream(1, http2.ErrCodeNo)
			return []string{">" + c.post(1, "/x").data(1, false, "ha").take(), "<" + s.take()}
		}, []string{"POST /x (ha…2) 413 ", "POST /x (ha…2)"}},
		{"gone away", func(c, s *peer) []string {
			s.ok(1, false).data(1, false, "a")
			_ = s.framer.WriteGoAway(1, http2.ErrCodeNo, []byte("bye"))
			return []string{">" + c.get(1, "/1").post(3, "/3").take(), "<" + s.data(1, true, "b").take()}
		}, []string{"GET /1", "POST /3 (…0)", "GET /1 200 ab"}},
		{"cut short", func(c, s *peer) []string {
			return []string{">" + c.get(1, "/1").post(3, "/3").take(), "<" + s.ok(1, false).data(1, false, "a").take(), ">"}
		}, []string{"GET /1", "POST /3 (…0)", "GET /1 200 a…1"}},
		{"pushed", func(c, s *peer) []string {
			_ = s.framer.WritePushPromise(http2.PushPromiseParam{
				StreamID: 1, PromiseID: 2, EndHeaders: true, BlockFragment: s.encode(":method GET", ":scheme https", ":authority h.test", ":path /style"),
			})
			return []string{">" + c.get(1, "/x").take(), "<" + s.ok(2, false).data(2, true, "css").ok(1, true).take()}
		}, []string{"GET /x", "GET /style 200 css", "GET /x 200 "}},
		{"tunnel", func(c, s *peer) []string {
			c.headers(1, false, ":method CONNECT", ":authority far.test:443")
			return []string{">" + c.take(), "<" + s.ok(1, false).take(), ">" + c.data(1, true, "inside").take(), "<" + s.data(1, true, "inside").take()}
		}, []string{"CONNECT far.test:443", "CONNECT far.test:443 200 "}},
		{"a stream that switches", func(c, s *peer) []string {
			c.headers(1, false, ":method CONNECT", ":protocol websocket", ":scheme https", ":path /chat", ":authority h.test")
			return []string{">" + c.take(), "<" + s.ok(1, false).data(1, false, "\x81\x05hello").take(), ">" + c.get(3, "/x").take()}
		}, []string{"CONNECT /chat", "CONNECT /chat 200  to websocket", "GET /x"}},
		{"a missed part of a body", func(c, s *peer) []string {
			out := c.post(1, "/x").data(1, false, strings.Repeat("a", 100)+strings.Repeat("b", 100)).take()
			return []string{">" + out[:len(out)-100], "~90", ">" + out[len(out)-10:], ">" + c.data(1, true, "end").take(), "<" + s.ok(1, true).take()}
		}, []string{"POST /x (" + strings.Repeat("a", 100) + "bbbbbbbbbbend…203)", "POST /x (" + strings.Repeat("a", 100) + "bbbbbbbbbbend…203) 200 "}},
		{"missed headers", func(c, s *peer) []string {
			return []string{">" + c.post(1, "/1").data(1, false, "a").take(), "=" + strconv.Itoa(len(s.take())), ">" + c.get(3, "/3").take(), "<" + s.ok(1, true).take(), ">"}
		}, []string{"POST /1 (a…1)", "lost"}},
		{"from the middle", func(c, s *peer) []string {
			c.take()
			s.take()
			return []string{">" + c.get(1, "/1").take(), "<" + s.ok(1, true).take(), ">" + c.get(3, "/3").take(), ">"}
		}, []string{"lost"}},
		{"frames before SETTINGS", func(c, s *peer) []string {
			c.take()
			return []string{">" + http2.ClientPreface + c.get(1, "/1").take()}
		}, []string{"lost"}},
		{"another block within a block", func(c, s *peer) []string {
			_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(":method GET")})
			return []string{">" + c.get(3, "/3").take()}
		}, []string{"lost"}},
		{"a continuation without a block", func(c, s *peer) []string {
			_ = c.framer.WriteContinuation(1, true, c.encode(":method GET", ":path /"))
			return []string{">" + c.get(3, "/3").take()}
		}, []string{"lost"}},
		{"malformed requests", func(c, s *peer) []string {
			c.headers(1, true, ":path /1").headers(3, true, ":method GET").headers(5, true, ":method G T", ":path /")
			return []string{">" + c.get(7, "/7").take(), "<" + s.headers(7, true, ":status 2000").take()}
		}, []string{"lost", "lost", "lost", "GET /7", "lost"}},
		{"upgrade", func(c, s *peer) []string {
			return []string{
				">GET /x HTTP/1.1\r\nHost: h.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
				"<HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + s.ok(1, false).take(),
				">" + c.get(3, "/3").take(), "<" + s.data(1, true, "one").ok(3, true).take(),
			}
		}, []string{"GET /x", "GET /x 101  to h2c", "GET /3", "GET /x 200 one", "GET /3 200 "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := talk(test.pieces(client(), server())...); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestHTTP2JSON checks the event of a response: the fields are those of HTTP/1.
func TestHTTP2JSON(t *testing.T) {
	c := newPeer(true).headers(1, true, ":method GET", ":scheme https", ":authority h.test", ":path /x?q", "cookie a=1", "cookie b=2")
	all := flows(">"+c.take(), "<"+newPeer(false).ok(1, false, "content-type text/plain").data(1, true, "abc").take())
	if len(all) != 2 {
		t.Fatalf("%d flows", len(all))
	}
	all[1].TLS = true
	var got struct {
		Request, Response map[string]any
		SeenAt            string
	}
	if err := json.Unmarshal(all[1].AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	want := `map[body:map[content: size:0 truncated:false type:text] headers:map[cookie:a=1; b=2 host:h.test] host:h.test ` +
		`http_version:HTTP/2.0 method:GET path:/x?q port:443 scheme:https url:https://h.test/x?q] ` +
		`map[body:map[content:abc size:3 truncated:false type:text] headers:map[content-type:text/plain] http_version:HTTP/2.0 reason: status_code:200]`
	if text := fmt.Sprint(got.Request, " ", got.Response); text != want || got.SeenAt != "library" {
		t.Errorf("got  %s, %q\nwant %s", text, got.SeenAt, want)
	}
	if plain := all[0].AppendJSON(nil); bytes.Contains(plain, []byte("seenAt")) {
		t.Errorf("without TLS: %s", plain)
	}
}

// TestHTTP2Limits: a hostile peer costs bounded memory, and what is given up is reported.
func TestHTTP2Limits(t *testing.T) {
	count := func(got []string, text string) (n int) {
		for _, line := range got {
			if strings.HasPrefix(line, text) {
				n++
			}
		}
		return n
	}
	t.Run("a field that is referred to", func(t *testing.T) {
		c := newPeer(true)
		c.headers(1, true, ":method GET", ":path /1", "a "+strings.Repeat("x", 3000)) // now in the table
		block := append(c.encode(":method GET", ":path /3"), bytes.Repeat([]byte{0x80 | 62}, 10_000)...)
		_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndStream: true, EndHeaders: true})
		got := talk(">"+c.take(), ">"+c.get(5, "/5").take())
		if want := []string{"GET /1", "lost", "GET /5"}; !slices.Equal(got, want) {
			t.Errorf("got %.200q", got)
		}
	})
	t.Run("many flows of large fields", func(t *testing.T) {
		c, s := newPeer(true), newPeer(false)
		_ = s.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: maxTable})
		c.encoder.SetMaxDynamicTableSizeLimit(maxTable)
		c.encoder.SetMaxDynamicTableSize(maxTable)
		large := "a " + strings.Repeat("x", 60_000)
		pieces := []string{"<" + s.take(), ">" + c.headers(1, true, ":method GET", ":path /", large).take()}
		for id := uint32(3); c.out.Len() < chunkSize-100; id += 2 {
			c.headers(id, true, ":method GET", ":path /", large)
		}
		n := len(c.out.String())
		got := talk(append(pieces, ">"+c.take())...)
		if flows, lost := count(got, "GET /"), count(got, "lost"); flows < 100 || flows > maxReported/60_000+1 || lost < 200 {
			t.Errorf("%d bytes: %d flows, %d lost", n, flows, lost)
		}
	})
	t.Run("many fields", func(t *testing.T) {
		c := newPeer(true)
		block := append(c.encode(":method GET", ":path /1"), bytes.Repeat([]byte{0x80 | 19}, maxFields)...)
		_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true})
		if got := talk(">"+c.take(), ">"+c.get(3, "/3").take()); !slices.Equal(got, []string{"lost", "GET /3"}) {
			t.Errorf("got %.200q", got)
		}
	})
	t.Run("many streams", func(t *testing.T) {
		c, n := newPeer(true), 0
		for id := uint32(1); id < 2*(maxExchanges+10); id += 2 {
			c.post(id, "/")
			n++
		}
		if got := talk(">" + c.take()); count(got, "lost") != n-maxExchanges {
			t.Errorf("%d of %d lost", count(got, "lost"), n)
		}
	})
	t.Run("a table that is too large", func(t *testing.T) {
		c := newPeer(true)
		c.encoder.SetMaxDynamicTableSizeLimit(1 << 20)
		c.encoder.SetMaxDynamicTableSize(1 << 20)
		if got := talk(">" + c.get(1, "/").take()); !slices.Equal(got, []string{"lost"}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a large frame", func(t *testing.T) {
		if got := talk(">" + http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x01\x00\x01\x01\x04\x00\x00\x00\x01"); !slices.Equal(got, []string{"lost"}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("kept bytes", func(t *testing.T) {
		w, c, kept := NewWorker(), newPeer(true), 0
		say := func(text string) {
			w.Answer(&Question{Kind: Piece, Written: true, Total: int64(len(text)), Data: []byte(text)}, func(a *Answer) { kept = a.Kept })
		}
		say(c.take())
		begun := kept
		for id := uint32(1); id < 200; id += 2 {
			say(c.post(id, "/").take())
			for range 8 {
				say(c.data(id, false, strings.Repeat("x", 16_000)).take())
			}
		}
		if kept < maxExchangeBytes || kept > maxExchangeBytes+1<<20 {
			t.Errorf("%d bytes are kept", kept)
		}
		for id := uint32(1); id < 200; id += 2 {
			_ = c.framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		say(c.take())
		if kept > begun+firstTable*tableFactor+100 {
			t.Errorf("%d bytes are kept at the end, %d at the beginning", kept, begun)
		}
	})
}

// TestSwitched: what follows a switch to another protocol is never read as HTTP.
func TestSwitched(t *testing.T) {
	const ask = "GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	got := talk(">"+ask, "<HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
		">GET /invented HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n", "~100", "=100", ">GET /again HTTP/1.1\r\n\r\n", ">")
	if want := []string{"GET /chat", "GET /chat 101  to websocket"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// FuzzHTTP2 feeds a dialogue whole and byte by byte: the flows are the same.
func FuzzHTTP2(f *testing.F) {
	c, s := newPeer(true), newPeer(false)
	begun, answered := len(c.out.String()), len(s.out.String())
	c.post(1, "/1").get(3, "/3").data(1, false, "a").headers(1, true, "t 1")
	_ = s.framer.WriteDataPadded(1, false, nil, make([]byte, 9))
	s.ok(3, false).ok(1, true).data(3, true, "b")
	_ = s.framer.WriteGoAway(3, 0, nil)
	beginning, answer := c.out.String()[:begun], s.out.String()[:answered]
	f.Add(c.out.String()[begun:], s.out.String()[answered:])
	f.Fuzz(func(t *testing.T, request, response string) {
		if len(request) > chunkSize/2 || len(response) > chunkSize/2 {
			return
		}
		text := func(fs []*event.HTTP) (out []byte) {
			for _, f := range fs {
				if out = append(f.AppendJSON(out), '\n'); !json.Valid(f.AppendJSON(nil)) {
					t.Errorf("invalid JSON: %s", f.AppendJSON(nil))
				}
			}
			return out
		}
		whole := text(flows(">"+beginning+request, "<"+answer+response, ">"))
		var pieces []string
		for _, side := range []string{">" + beginning + request, "<" + answer + response} {
			for i := range len(side) - 1 {
				pieces = append(pieces, side[:1]+side[i+1:i+2])
			}
		}
		if split := text(flows(append(pieces, ">")...)); !bytes.Equal(whole, split) {
			t.Errorf("whole:\n%s\nin pieces:\n%s", whole, split)
		}
	})
}
