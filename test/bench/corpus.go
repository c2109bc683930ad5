package main

import (
	"bytes"
	"embed"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"
)

// recordings are the events of the activities in testdata, see record.go.
//
//go:embed testdata/*.ndjson.zst
var recordings embed.FS

// programs are the recorded activities whose events are mostly system calls. The
// remaining one, httpFlows, has flows with their bodies.
var programs = []string{"shell", "python", "package", "build"}

const httpFlows = "http"

// folderPlaceholder is the name of the folder in which the activities ran.
const folderPlaceholder = "ospulse-000000"

// corpus is an endless sequence of real events: the recordings, repeated. Each
// repetition has later times, other process IDs and another name of the work folder.
// Otherwise a store that compresses would find exact copies, which no agent sends.
type corpus struct {
	events []recorded
	began  int64 // time of the first event in microseconds
	length int64 // of a repetition in microseconds
}

// recorded is an event as the agent posted it. marks are the parts that differ in each
// repetition.
type recorded struct {
	text  []byte
	marks []mark
}

// mark is a part of a text that keeps its width.
type mark struct {
	at, width int
	value     int64 // microseconds after the corpus began, or a process ID
	write     func(c *corpus, dst []byte, value, repetition int64)
}

// newCorpus reads recordings. The first repetition begins a day before now, so that no
// event comes from the future.
func newCorpus(now time.Time, names ...string) (*corpus, error) {
	c := &corpus{began: now.Add(-24 * time.Hour).UnixMicro()}
	var first, last int64
	for _, name := range names {
		packed, err := recordings.ReadFile("testdata/" + name + ".ndjson.zst")
		if err != nil {
			return nil, err
		}
		text, err := decompress(packed)
		if err != nil {
			return nil, fmt.Errorf("read the recording %s: %w", name, err)
		}
		c.events = slices.Grow(c.events, bytes.Count(text, []byte("\n")))
		for line := range bytes.Lines(text) {
			if bytes.HasPrefix(line, []byte(`{"event_type":"session_`)) {
				continue // the end would end the session that is measured
			}
			e, at, err := newRecorded(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				return nil, fmt.Errorf("read the recording %s: %w", name, err)
			}
			if first == 0 {
				first = at
			}
			first, last = min(first, at), max(last, at)
			c.events = append(c.events, e)
		}
	}
	for _, e := range c.events {
		for i := range e.marks {
			if m := &e.marks[i]; m.width == len(isoTime.placeholder) {
				m.value -= first
			}
		}
	}
	c.length = last - first + time.Second.Microseconds()
	return c, nil
}

// newRecorded finds the marks of an event, and its time. The mark of that time is the
// first.
func newRecorded(text []byte) (e recorded, at int64, err error) {
	e.text = text
	width := len(isoTime.placeholder)
	for i := range occurrences(text, `":"20`) {
		i += len(`":"`)
		t, err := time.Parse(time.RFC3339Nano, string(text[i:min(i+width, len(text))]))
		if err != nil {
			continue // another text
		}
		e.marks = append(e.marks, mark{i, width, t.UnixMicro(), writeTime})
	}
	if len(e.marks) == 0 {
		return e, 0, fmt.Errorf("an event has no time: %.200s", text)
	}
	for _, key := range []string{`rocessId":`, `hreadId":`} {
		for i := range occurrences(text, key) {
			i += len(key)
			digits := text[i : i+bytes.IndexAny(text[i:], ",}")]
			if len(digits) < 4 {
				continue // 0, 1 and the like are the same on every machine
			}
			pid, err := strconv.ParseInt(string(digits), 10, 64)
			if err != nil {
				return e, 0, err
			}
			e.marks = append(e.marks, mark{i, len(digits), pid, writePID})
		}
	}
	folder := folderPlaceholder[:len(folderPlaceholder)-folderDigits]
	for i := range occurrences(text, folderPlaceholder) {
		e.marks = append(e.marks, mark{i + len(folder), folderDigits, 0, writeFolder})
	}
	return e, e.marks[0].value, nil
}

// occurrences returns the offsets of part in text.
func occurrences(text []byte, part string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 0; ; at += len(part) {
			i := bytes.Index(text[at:], []byte(part))
			if i < 0 || !yield(at+i) {
				return
			}
			at += i
		}
	}
}

func writeTime(c *corpus, dst []byte, value, repetition int64) {
	isoTime.write(dst, c.began+value+repetition*c.length)
}

const folderDigits = 6

func writeFolder(_ *corpus, dst []byte, _, repetition int64) {
	copy(dst, fmt.Appendf(nil, "%0*d", folderDigits, repetition%1_000_000))
}

// writePID maps process IDs of n digits to others of n digits, one to one.
func writePID(_ *corpus, dst []byte, value, repetition int64) {
	const prime = 7919
	low := int64(1)
	for range len(dst) - 1 {
		low *= 10
	}
	strconv.AppendInt(dst[:0], low+(value-low+prime*repetition)%(9*low), 10)
}

// vary writes the marks of a text for a repetition.
func (c *corpus) vary(text []byte, marks []mark, repetition int64) {
	for _, m := range marks {
		m.write(c, text[m.at:m.at+m.width], m.value, repetition)
	}
}

// appendLine appends event i of the sequence as a line.
func (c *corpus) appendLine(dst []byte, i int64) []byte {
	e := c.events[i%int64(len(c.events))]
	at := len(dst)
	dst = append(dst, e.text...)
	c.vary(dst[at:], e.marks, i/int64(len(c.events)))
	return append(dst, '\n')
}

// appendTime appends the time of event i of the sequence.
func (c *corpus) appendTime(dst []byte, i int64) []byte {
	n := int64(len(c.events))
	micros := c.began + c.events[i%n].marks[0].value + i/n*c.length
	return time.UnixMicro(micros).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
}

// requests returns requests with the given number of events each. It leaves out the
// rest of the events.
func (c *corpus) requests(path string, each int) []request {
	var all []request
	for events := range slices.Chunk(c.events, each) {
		if len(events) < each {
			break
		}
		var body []byte
		var marks []mark
		for _, e := range events {
			for _, m := range e.marks {
				m.at += len(body)
				marks = append(marks, m)
			}
			body = append(append(body, e.text...), '\n')
		}
		all = append(all, newRecordedRequest(path, c, body, marks))
	}
	return all
}
