package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Number of different requests of each kind. Compressed batches are many, because their
// times cannot be set when they are sent.
const (
	variants       = 48
	largeVariants  = 4
	packedVariants = 400
)

const (
	largeBatch = 1000 // events
	smallBatch = 25
)

// bodies are the requests that the scenarios send, and the same events as rows
// for the limits of the database.
type bodies struct {
	events, batches, packedBatches, flows, packets, manyPackets []request

	eventRows, flowRows, packetRows [][]any
}

// newBodies makes all requests. They differ between runs only in their times.
func newBodies() (*bodies, error) {
	g := newGenerator()
	b := &bodies{}
	for range variants {
		event, flow := g.event(), g.flow()
		b.events = append(b.events, newRequest(eventPath, "", event, isoTime))
		b.flows = append(b.flows, newRequest(flowPath, "", flow, millisTime))
		b.packets = append(b.packets, newRequest(packetPath, "", g.packets(smallBatch), secondsTime))
		in, err := wire.HTTPFlow(flow, time.Now())
		if err != nil {
			return nil, err
		}
		b.flowRows = append(b.flowRows, eventRow(&in.Event))
	}
	var batch, packets []byte
	for range largeVariants {
		batch, packets = g.batch(largeBatch), g.packets(largeBatch)
		b.batches = append(b.batches, newRequest(batchPath, "", batch, isoTime))
		b.manyPackets = append(b.manyPackets, newRequest(packetPath, "", packets, secondsTime))
	}
	var err error
	if b.eventRows, err = rowsOf(wire.Events(batch, time.Now())); err != nil {
		return nil, err
	}
	if b.packetRows, err = rowsOf(wire.Packets(packets, time.Now())); err != nil {
		return nil, err
	}
	b.packedBatches, err = packed(b.batches)
	return b, err
}

// packed returns compressed variants of batches, each with later times than the last.
func packed(batches []request) ([]request, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	var (
		all  []request
		last atomic.Int64
	)
	last.Store(time.Now().UnixMicro())
	for i := range packedVariants {
		batch := batches[i%len(batches)].clone(nil)
		batch.setTimes(&last)
		_, body, _ := bytes.Cut(batch.bytes, []byte("\r\n\r\n"))
		all = append(all, newRequest(batchPath, "Content-Encoding: zstd\r\n", encoder.EncodeAll(body, nil), isoTime))
	}
	return all, nil
}

func rowsOf(events []models.Incoming, faults []models.ItemFault, err error) ([][]any, error) {
	events, err = allOf(events, faults, err)
	var rows [][]any
	for i := range events {
		rows = append(rows, eventRow(&events[i].Event))
	}
	return rows, err
}

// allOf passes on a decoder's events, and turns a fault into an error.
func allOf(events []models.Incoming, faults []models.ItemFault, err error) ([]models.Incoming, error) {
	if err == nil && len(faults) > 0 {
		err = fmt.Errorf("event %d: %s", faults[0].Index, faults[0].Error)
	}
	if err != nil {
		return nil, err
	}
	return events, nil
}

// generator writes requests of agents, in the shape of test/testdata/fixtures.
type generator struct {
	rand      *rand.Rand
	words     []string
	processes []monitored
}

// monitored is a process that an agent watches. Each has its own agent session.
type monitored struct {
	name, sessionID string
	pid             int
}

// newGenerator returns a generator with a fixed seed.
func newGenerator() *generator {
	g := &generator{rand: rand.New(rand.NewPCG(1, 2))}
	g.words = g.newWords()
	for i := range 24 {
		g.processes = append(g.processes, monitored{g.word() + ".exe", fmt.Sprintf("mws78o95-pb4w1knlz%02d", i), 100 + 4*i})
	}
	return g
}

// newWords returns a few hundred words of random syllables.
func (g *generator) newWords() []string {
	const consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
	words := make([]string, 400)
	for i := range words {
		for range 1 + g.rand.IntN(4) {
			words[i] += string(consonants[g.rand.IntN(len(consonants))]) + string(vowels[g.rand.IntN(len(vowels))])
		}
	}
	return words
}

// word returns a random word. Some are much more frequent, as in any text.
func (g *generator) word() string {
	return g.words[int(float64(len(g.words))*g.rand.Float64()*g.rand.Float64())]
}

// event writes one event of a controller, with the agent's own session ID. A few
// processes cause most events.
func (g *generator) event() []byte {
	p := g.processes[int(float64(len(g.processes))*g.rand.Float64()*g.rand.Float64())]
	content := make([]string, 4+g.rand.IntN(8))
	for i := range content {
		content[i] = fmt.Sprintf("%02X", g.rand.IntN(256))
	}
	return fmt.Appendf(nil, `{"event_type": "file_operation", "timestamp": %q, "source": "os-pulse-controller", "data": {"handle": "%#x", "filePath": "C:\\Users\\%s\\%s.%s", "bytesTransferred": %d, "content": %q, "timestamp": "2026-11-22T18:57:39.966Z", "operation": %q, "metadata": {"sessionId": %q, "processName": %q, "processId": %d}}}`,
		isoTime.placeholder, 0x100+4*g.rand.IntN(200), g.word(), g.word(), g.extension(), len(content), strings.Join(content, " "),
		[]string{"ReadFile", "WriteFile"}[g.rand.IntN(2)], p.sessionID, p.name, p.pid)
}

// extension returns a random file extension. Some are much more frequent.
func (g *generator) extension() string {
	extensions := []string{"dll", "exe", "dat", "txt", "log", "ini", "tmp", "lnk", "xml", "json", "png", "db"}
	return extensions[int(float64(len(extensions))*g.rand.Float64()*g.rand.Float64())]
}

// creation writes the event of a process start.
func (g *generator) creation() []byte {
	p := g.processes[g.rand.IntN(len(g.processes))]
	image := `C:\\Program Files\\` + g.word() + `\\` + g.word() + ".exe"
	return fmt.Appendf(nil, `{"event_type": "process_creation", "timestamp": %q, "source": "os-pulse-controller", "data": {"operation": "NtCreateUserProcess", "image_path": "%s", "command_line": "\"%s\" /%s %s", "current_directory": "C:\\Users\\%s", "process_handle": "%#x", "thread_handle": "%#x", "status": 0, "process_info": {}, "timestamp": "2026-11-22T18:57:39.966Z", "metadata": {"sessionId": %q, "processName": %q, "processId": %d}}}`,
		isoTime.placeholder, image, image, g.word(), g.word(), g.word(), 0x100+4*g.rand.IntN(200), 0x100+4*g.rand.IntN(200), p.sessionID, p.name, p.pid)
}

// batch writes n events as a JSON array.
func (g *generator) batch(n int) []byte { return jsonArray(n, g.event) }

func jsonArray(n int, element func() []byte) []byte {
	elements := make([][]byte, n)
	for i := range elements {
		elements[i] = element()
	}
	return fmt.Appendf(nil, "[%s]", bytes.Join(elements, []byte(",\n")))
}

// packets writes n packets as the network forwarder does.
func (g *generator) packets(n int) []byte {
	packets := make([][]byte, n)
	for i := range packets {
		from, to := 1024+g.rand.IntN(60000), []int{53, 80, 443, 8080}[g.rand.IntN(4)]
		info := fmt.Sprintf("%d -> %d [ACK] Seq=%d Ack=%d Win=65536 Len=%d", from, to, g.rand.IntN(1e6), g.rand.IntN(1e6), g.rand.IntN(1400))
		packets[i] = fmt.Appendf(nil, `{"timestamp": %s, "frame_number": %d, "protocol": "TCP", "src": "192.168.1.%d", "dst": "10.0.%d.%d", "src_port": %d, "dst_port": %d, "length": %d, "info": "% X", "info_raw": %q}`,
			secondsTime.placeholder, i+1, g.rand.IntN(256), g.rand.IntN(256), g.rand.IntN(256), from, to, 54+g.rand.IntN(1400), info, info)
	}
	return fmt.Appendf(nil, `{"events": [%s], "count": %d}`, bytes.Join(packets, []byte(", ")), n)
}

// flow writes one HTTP flow of about 50 KB whose response is a page.
func (g *generator) flow() []byte {
	const pageBytes = 48 << 10
	path := "/" + g.word() + "/" + g.word()
	var page strings.Builder
	page.WriteString("<!doctype html>\n<html>\n<body>\n")
	for page.Len() < pageBytes {
		fmt.Fprintf(&page, "<div class=\"%s\" id=\"%s-%d\">\n  <a href=\"/%s/%s\">%s %s</a>\n  <p>", g.word(), g.word(), g.rand.IntN(1000), g.word(), g.word(), g.word(), g.word())
		for range 20 + g.rand.IntN(60) {
			page.WriteString(g.word() + " ")
		}
		page.WriteString("</p>\n</div>\n")
	}
	page.WriteString("</body>\n</html>\n")
	return fmt.Appendf(nil, `{"timestamp_ms": %s, "kind": "response", "client": null, "server": {"ip": ["10.0.0.7", 443]}, "request": {"method": "GET", "scheme": "https", "host": "www.example.com", "port": 443, "path": %q, "url": "https://www.example.com%s", "http_version": "HTTP/1.1", "headers": {"Host": "www.example.com", "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0", "Accept": "*/*"}, "body": {"type": "text", "content": "", "size": 0, "truncated": false}}, "response": {"status_code": 200, "reason": "OK", "http_version": "HTTP/1.1", "headers": {"content-type": "text/html; charset=utf-8", "content-length": "%d"}, "body": {"type": "text", "content": %s, "size": %d, "truncated": false}}}`,
		millisTime.placeholder, path, path, page.Len(), strconv.Quote(page.String()), page.Len())
}
