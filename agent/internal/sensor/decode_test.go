//go:build linux

package sensor

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/event"
)

var update = flag.Bool("update", false, "rewrite testdata/records; needs root")

// recordedBoot is the boot time of the recordings.
var recordedBoot = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func recordedDecoder() *decoder {
	look := func() (uint64, time.Time) { return 0, recordedBoot }
	return newDecoder(clock.New(look), 32, func(uint32) string { return "" }, &cgroups{byID: map[uint64]cgroup{}})
}

// TestRecordAsRoot records the kernel side's records of the programs in testdata, and the
// events that the decoder makes of them; only with -update.
func TestRecordAsRoot(t *testing.T) {
	if !*update {
		return
	}
	programs := build(t)
	server := testServer(false)
	defer server.Close()
	for name, argv := range map[string][]string{
		"files":     {programs + "/files"},
		"processes": {programs + "/processes"},
		"sockets":   {programs + "/sockets"},
		"http":      {"/usr/bin/curl", "-s", server.URL + "/chunked", server.URL + "/gzip", server.URL + "/missing"},
	} {
		s := newSensor(t, Options{ContentBytes: 32, TLS: true})
		var raw bytes.Buffer
		s.tap = func(record []byte) {
			raw.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(record))))
			raw.Write(record)
		}
		cmd, release := held(t, t.TempDir(), argv...)
		w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, func(*event.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		release()
		_ = cmd.Wait() // some programs fail on purpose
		closeWatch(t, w)
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(raw.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		write(t, "testdata/records/"+name+".gz", packed.Bytes())
		write(t, "testdata/records/"+name+".ndjson", decodeAll(t, raw.Bytes()))
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// records splits a recording.
func records(raw []byte) [][]byte {
	var all [][]byte
	for len(raw) >= 4 {
		n := binary.LittleEndian.Uint32(raw)
		all = append(all, raw[4:4+n])
		raw = raw[4+n:]
	}
	return all
}

func decodeAll(t testing.TB, raw []byte) []byte {
	t.Helper()
	d := recordedDecoder()
	var out []byte
	for _, record := range records(raw) {
		if err := d.decode(record, func(e *event.Event) { out = append(e.AppendJSON(out), '\n') }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func recording(t testing.TB, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func recordings(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/records/*.gz")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	return paths
}

// TestDecodeRecorded decodes recordings, without a kernel.
func TestDecodeRecorded(t *testing.T) {
	for _, path := range recordings(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			got := bytes.Split(decodeAll(t, recording(t, path)), []byte("\n"))
			text, err := os.ReadFile(strings.TrimSuffix(path, ".gz") + ".ndjson")
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Split(text, []byte("\n"))
			for i := range min(len(got), len(want)) {
				if !bytes.Equal(got[i], want[i]) {
					t.Fatalf("event %d:\n got %s\nwant %s", i, got[i], want[i])
				}
				if len(got[i]) > 0 && !json.Valid(got[i]) {
					t.Errorf("event %d is not valid JSON: %s", i, got[i])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d events, want %d", len(got), len(want))
			}
		})
	}
}

// TestDecodingIsQuick bounds the allocations per event: the reader has to keep up with the
// kernel.
func TestDecodingIsQuick(t *testing.T) {
	all := records(recording(t, "testdata/records/files.gz"))
	d := recordedDecoder()
	var out []byte
	allocs := testing.AllocsPerRun(10, func() {
		for _, record := range all {
			if err := d.decode(record, func(e *event.Event) { out = e.AppendJSON(out[:0]) }); err != nil {
				t.Fatal(err)
			}
		}
	})
	if per := allocs / float64(len(all)); per > 6 {
		t.Errorf("%.1f allocations per event", per)
	}
}

func BenchmarkDecode(b *testing.B) {
	all := records(recording(b, "testdata/records/files.gz"))
	d := recordedDecoder()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		for _, record := range all {
			if err := d.decode(record, func(e *event.Event) { out = e.AppendJSON(out[:0]) }); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*len(all))/b.Elapsed().Seconds(), "events/s")
}

// FuzzDecode decodes arbitrary bytes: all events are valid JSON.
func FuzzDecode(f *testing.F) {
	for _, path := range recordings(f) {
		all := records(recording(f, path))
		for i := 0; i < len(all); i += 7 {
			f.Add(all[i], all[len(all)-1-i])
		}
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		d := recordedDecoder()
		for _, raw := range [][]byte{one, two} {
			_ = d.decode(raw, func(e *event.Event) {
				if text := e.AppendJSON(nil); !json.Valid(text) {
					t.Errorf("invalid JSON: %s", text)
				}
			})
		}
	})
}

// flows feeds a dialogue to an assembler, in pieces, and returns the flows. A piece begins
// with > if the program wrote it; else with <.
func flows(pieces ...string) []*event.HTTP {
	d := recordedDecoder()
	var out []*event.HTTP
	emit := func(e *event.Event) { out = append(out, e.Data.(*event.HTTP)) }
	for _, piece := range pieces {
		written, data := piece[0] == '>', piece[1:]
		r := &record{ret: int64(len(data)), args: [6]uint64{0x1000}, kind: recordTLS, pid: 7}
		if written {
			r.op = tlsWritten
		}
		if data == "" {
			r.op = tlsFreed
			d.http.tls(d, r, emit)
		}
		for part := range slices.Chunk([]byte(data), chunkSize) { // as the kernel side sends it
			r.messages = []message{{data: section{body: part, set: true}}}
			d.http.tls(d, r, emit)
			r.args[1] += chunkSize
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

// TestHTTPBounds: the data kept of unfinished requests is bounded, for each connection and
// for all. What is dropped is reported to the sessions of its connection.
func TestHTTPBounds(t *testing.T) {
	d := recordedDecoder()
	lost := map[uint64]uint64{} // by session
	emit := func(e *event.Event) {
		l, ok := e.Data.(*event.Lost)
		if !ok || l.Reason != event.ReasonHTTP {
			t.Fatalf("reported: %s", e.AppendJSON(nil))
		}
		lost[d.record.sessions] += l.Count
	}
	send := func(connection, sessions uint64, data string) {
		d.record = record{kind: recordTLS, op: tlsWritten, pid: 7, sessions: sessions, ret: int64(len(data)), args: [6]uint64{connection}}
		for part := range slices.Chunk([]byte(data), chunkSize) {
			d.record.messages = []message{{data: section{body: part, set: true}}}
			d.http.tls(d, &d.record, emit)
			d.record.args[1] += chunkSize
		}
	}
	head := "BREW /pot HTTP/1.1\r\nA: " + strings.Repeat("a", maxHead-100)
	const connections = maxKept/(maxHead-200) + 20
	for i := range uint64(connections) {
		send(i+1, 1<<(i%2), head)
	}
	if d.http.kept > maxKept {
		t.Errorf("%d bytes are kept", d.http.kept)
	}
	if dropped := uint64(connections - len(d.http.connections)); dropped < 15 || lost[1]+lost[2] != dropped || lost[1] == 0 || lost[2] == 0 {
		t.Errorf("%d connections were dropped; reported losses: %v", dropped, lost)
	}
	clear(lost)
	send(connections, 2, head[:200]) // the head is too long now
	if lost[2] != 1 {
		t.Errorf("losses reported for a head that is too long: %v", lost)
	}
	clear(lost)
	for i := range uint64(2 * maxConnections) {
		send(1<<20+i, 4, "hello, this is no HTTP\r\n")
	}
	if n := len(d.http.connections); n != maxConnections || d.http.used.Len() != n || lost[4] != 0 {
		t.Errorf("%d connections; losses reported for those that are not HTTP: %v", n, lost)
	}
	for key, c := range d.http.connections {
		d.http.end(key, c)
	}
	if d.http.kept != 0 {
		t.Errorf("%d bytes are kept without a connection", d.http.kept)
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
