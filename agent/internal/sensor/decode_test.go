//go:build linux

package sensor

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
)

var update = flag.Bool("update", false, "rewrite testdata/records; needs root")

// recordedBoot is the boot time of the recordings.
var recordedBoot = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

// recordedDecoder returns a decoder of recordings. It reports to emit the events that the parser
// makes, and their sessions.
func recordedDecoder(emit func(e *event.Event, sessions uint64)) *decoder {
	look := func() (uint64, time.Time) { return 0, recordedBoot }
	d := newDecoder(clock.New(look), 32, func(uint32) string { return "" }, &cgroups{byID: map[uint64]cgroup{}}, pending.New(pending.Limit))
	worker := parser.NewWorker()
	d.ask = func(q *parser.Question, sessions uint64, _ time.Time, answered func(*parser.Answer, error, func(*event.Event))) bool {
		worker.Answer(q, func(a *parser.Answer) {
			answered(a, nil, func(e *event.Event) { emit(e, sessions) })
		})
		return true
	}
	return d
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
	var out []byte
	emit := func(e *event.Event) { out = append(e.AppendJSON(out), '\n') }
	d := recordedDecoder(func(e *event.Event, _ uint64) { emit(e) })
	for _, record := range records(raw) {
		if err := d.decode(record, emit); err != nil {
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
	d := recordedDecoder(nil)
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
	d := recordedDecoder(nil)
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
		emit := func(e *event.Event) {
			if text := e.AppendJSON(nil); !json.Valid(text) {
				t.Errorf("invalid JSON: %s", text)
			}
		}
		d := recordedDecoder(func(e *event.Event, _ uint64) { emit(e) })
		for _, raw := range [][]byte{one, two} {
			_ = d.decode(raw, emit)
		}
	})
}

// TestHTTPBounds: the data kept of unfinished requests is bounded, for each connection and
// for all. What is dropped is reported to the sessions of its connection.
func TestHTTPBounds(t *testing.T) {
	lost := map[uint64]uint64{} // by session
	d := recordedDecoder(func(e *event.Event, sessions uint64) {
		l, ok := e.Data.(*event.Lost)
		if !ok || l.Reason != event.ReasonHTTP {
			t.Fatalf("reported: %s", e.AppendJSON(nil))
		}
		lost[sessions] += l.Count
	})
	const chunkSize = 16 << 10
	send := func(connection, sessions uint64, data string) {
		d.record = record{kind: recordTLS, op: tlsWritten, pid: 7, sessions: sessions, ret: int64(len(data)), args: [6]uint64{connection}}
		for part := range slices.Chunk([]byte(data), chunkSize) {
			d.record.messages = []message{{data: section{body: part, set: true}}}
			d.http.tls(d, &d.record)
			d.record.args[1] += chunkSize
		}
	}
	const headSize = 64 << 10
	head := "BREW /pot HTTP/1.1\r\nA: " + strings.Repeat("a", headSize-100)
	const connections = maxKept/(headSize-200) + 20
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
	d.http.clear(d)
	if d.http.kept != 0 {
		t.Errorf("%d bytes are kept without a connection", d.http.kept)
	}
}
