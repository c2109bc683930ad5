//go:build linux

package parser

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ospulse/agent/internal/event"
)

// flows feeds a dialogue to an assembler, in pieces, and returns the flows. A piece begins
// with > if the program wrote it; else with <.
func flows(pieces ...string) []*event.HTTP {
	w := NewWorker()
	var out []*event.HTTP
	take := func(a *Answer) {
		if f := a.Flow; f != nil {
			out = append(out, &event.HTTP{Serving: f.Serving, Request: f.Request, Response: f.Response, SwitchedTo: f.Switched})
		}
	}
	for _, piece := range pieces {
		data := []byte(piece[1:])
		q := Question{Kind: Piece, Written: piece[0] == '>', Total: int64(len(data))}
		if len(data) == 0 {
			q.Kind = Closed
			w.Answer(&q, take)
		}
		for q.Data = range slices.Chunk(data, chunkSize) { // as the kernel side sends it
			w.Answer(&q, take)
			q.Offset += chunkSize
		}
	}
	return out
}

// TestPiecesOfCalls: the data of a call arrives in pieces. If a piece is missing or short,
// only its bytes are missing in the body, which is marked as truncated. The data after it is
// read as before.
func TestPiecesOfCalls(t *testing.T) {
	const bodySize = 3*chunkSize + 100
	call := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(bodySize) + "\r\n\r\n" + strings.Repeat("b", bodySize)
	pieces := slices.Collect(slices.Chunk([]byte(call), chunkSize))
	for name, test := range map[string]struct {
		drop, cut int // -1: none
		kept      int
	}{
		"complete":         {-1, -1, bodySize},
		"the second lost":  {1, -1, bodySize - chunkSize},
		"the last lost":    {3, -1, bodySize - len(pieces[3])},
		"the second short": {-1, 1, bodySize - 10},
		"the last short":   {-1, 3, bodySize - 10},
	} {
		t.Run(name, func(t *testing.T) {
			var bodies []event.Body
			s := &stream{answerTo: func() string { return "GET" }, done: func(m *httpMessage) { bodies = append(bodies, m.body) }}
			for range 2 {
				for i, piece := range pieces {
					if i == test.cut {
						piece = piece[:len(piece)-10]
					}
					if i != test.drop {
						s.piece(int64(i*chunkSize), int64(len(call)), piece)
					}
				}
			}
			s.end()
			if len(bodies) != 2 {
				t.Fatalf("%d messages", len(bodies))
			}
			for _, body := range bodies {
				if body.Size != bodySize || len(body.Bytes) != test.kept || body.Truncated != (test.kept < bodySize) {
					t.Errorf("a body of %d bytes, %d kept, truncated %v", body.Size, len(body.Bytes), body.Truncated)
				}
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		var body event.Body
		s := &stream{answerTo: func() string { return "GET" }, done: func(m *httpMessage) { body = m.body }}
		const size = 1 << 20
		head := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
		all := []byte(head + strings.Repeat("b", size))
		for i := range maxChunks {
			s.piece(int64(i*chunkSize), int64(len(all)), all[i*chunkSize:(i+1)*chunkSize])
		}
		if body.Size != size || len(body.Bytes) != event.MaxBody || !body.Truncated {
			t.Errorf("a body of %d bytes, %d kept, truncated %v", body.Size, len(body.Bytes), body.Truncated)
		}
	})
}

// gzipped and chunked encode a body as a server does.
func gzipped(body string) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = io.WriteString(z, body) // into memory
	_ = z.Close()
	return out.String()
}

func chunked(body string, size int) string {
	var out strings.Builder
	for piece := range slices.Chunk([]byte(body), size) {
		fmt.Fprintf(&out, "%x\r\n%s\r\n", len(piece), piece)
	}
	return out.String() + "0\r\n\r\n"
}

func TestHTTPDialogues(t *testing.T) {
	const get = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, test := range []struct {
		name   string
		pieces []string
		want   []string // method target → code body
	}{
		{"length", []string{">" + get, "<HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"}, []string{"GET /x", "GET /x 200 abc"}},
		{
			"pipelined", []string{">" + get + "HEAD /y HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na" +
				"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"},
			[]string{"GET /x", "HEAD /y", "GET /x 200 a", "HEAD /y 200 "},
		},
		{
			"continue", []string{">POST / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", "<HTTP/1.1 100 Continue\r\n\r\n",
				">body", "<HTTP/1.1 204 No Content\r\n\r\n"},
			[]string{"POST / (body)", "POST / (body) 204 "},
		},
		{
			"chunks in pieces", []string{">" + get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3", "<\r\nab", "<c\r\n2;x=y\r\nde\r",
				"<\n0\r\nTrailer: t\r\n", "<\r\n"},
			[]string{"GET /x", "GET /x 200 abcde"},
		},
		{"until the end", []string{">" + get, "<HTTP/1.0 200 OK\r\n\r\nabc", "<def", ">"}, []string{"GET /x", "GET /x 200 abcdef"}},
		{"cut short", []string{">" + get, "<HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", ">"}, []string{"GET /x", "GET /x 200 abc…"}},
		{
			"serving", []string{"<" + get, ">HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
			[]string{"serving GET /x", "serving GET /x 404 "},
		},
		{
			"upgrade", []string{">" + get, "<HTTP/1.1 101 Switching Protocols\r\n\r\n", ">GET is no request here", "<\x81\x05hello"},
			[]string{"GET /x", "GET /x 101 "},
		},
		{
			"tunnel", []string{">CONNECT h:443 HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 Connection established\r\n\r\n", ">\x16\x03\x01", "<\x16\x03\x03",
				">GET /inside HTTP/1.1\r\n\r\n"}, // plaintext requests inside are reported too
			[]string{"CONNECT h:443", "CONNECT h:443 200 ", "GET /inside"},
		},
		{
			"tunnel refused", []string{">CONNECT h:443 HTTP/1.1\r\n\r\n", "<HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", ">" + get, "<HTTP/1.1 204 N\r\n\r\n"},
			[]string{"CONNECT h:443", "CONNECT h:443 407 no", "GET /x", "GET /x 204 "},
		},
		{
			"not modified, then kept alive", []string{">" + get, "<HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", ">" + get,
				"<HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
			[]string{"GET /x", "GET /x 304 ", "GET /x", "GET /x 200 ok"},
		},
		{
			"hints", []string{">" + get, "<HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" +
				"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"},
			[]string{"GET /x", "GET /x 200 a"},
		},
		{
			"pipelined bodies", []string{">POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nonePOST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n" + get,
				"<HTTP/1.1 201 C\r\nContent-Length: 0\r\n\r\nHTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\nHTTP/1.1 404 N\r\n\r\ngone", ">"},
			[]string{"POST /1 (one)", "POST /2 (two)", "GET /x", "POST /1 (one) 201 ", "POST /2 (two) 202 2", "GET /x 404 gone"},
		},
		{
			"chunks of gzip", []string{">" + get, "<HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" +
				chunked(gzipped("some text"), 7)},
			[]string{"GET /x", "GET /x 200 some text"},
		},
		{
			"an answer before its request is complete", []string{">POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nha", "<HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", ">"},
			[]string{"POST /x (ha) 413 ", "POST /x (ha)"},
		},
		{"an answer alone", []string{"<HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"}, []string{"  200 a"}},
		{
			"byte by byte", append(strings.Split(">"+strings.Join(strings.Split("\r\n\nMOVE /a HTTP/1.0\r\n\r\n", ""), "\x00>"), "\x00"), "<HT", "<TP/1.0 200 OK\r\n", "<\r\nmoved", ">"),
			[]string{"MOVE /a", "MOVE /a 200 moved"},
		},
		{"answered before its first line is complete", []string{">GET /lo", "<HTTP/1.1 414 Long\r\nContent-Length: 0\r\n\r\n", ">ng HTTP/1.1\r\n\r\n"}, []string{"GET /lo 414 ", "GET /long"}},
		{"answered as if it were HTTP", []string{">GET /old\r\n", "<HTTP/1.0 200 OK\r\n\r\nold", ">"}, []string{"GET /old (GET /old\r\n) 200 old"}},
		{"lines that are not HTTP", []string{"<220 mail\r\n", ">HELO me\r\n", ">GET / HTTP/1.1\r\n\r\n", "<HTTP/1.1 is what\r\n"}, nil},
		{"another version", []string{">PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "<\x00\x00\x04"}, nil},
		{"not HTTP", []string{">hello", "<GETAWAY"}, nil},
		{"bad chunk", []string{">" + get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}, []string{"GET /x", "GET /x 200 …"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, f := range flows(test.pieces...) {
				line := f.Request.Method + " " + f.Request.Target
				if f.Serving {
					line = "serving " + line
				}
				if b := f.Request.Body; len(b.Bytes) > 0 {
					line += " (" + string(b.Bytes) + ")"
				}
				if r := f.Response; r != nil {
					line += " " + strconv.Itoa(r.StatusCode) + " " + string(r.Body.Bytes)
					if r.Body.Truncated {
						line += "…"
					}
				}
				got = append(got, line)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// FuzzHTTP feeds a dialogue whole and byte by byte: the flows are the same.
func FuzzHTTP(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f.Add("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.0 500 No\r\n\r\nrest")
	f.Add("HEAD / HTTP/1.1\n\n", "HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 9\n\n")
	f.Fuzz(func(t *testing.T, request, response string) {
		if request == "" || response == "" || len(request) > chunkSize || len(response) > chunkSize {
			return
		}
		text := func(fs []*event.HTTP) (out []byte) {
			for _, f := range fs {
				out = append(f.AppendJSON(out), '\n')
				if !json.Valid(f.AppendJSON(nil)) {
					t.Errorf("invalid JSON: %s", f.AppendJSON(nil))
				}
			}
			return out
		}
		whole := text(flows(">"+request, "<"+response, ">"))
		var pieces []string
		for i := range len(request) {
			pieces = append(pieces, ">"+request[i:i+1])
		}
		for i := range len(response) {
			pieces = append(pieces, "<"+response[i:i+1])
		}
		if split := text(flows(append(pieces, ">")...)); !bytes.Equal(whole, split) {
			t.Errorf("whole:\n%s\nin pieces:\n%s", whole, split)
		}
	})
}
