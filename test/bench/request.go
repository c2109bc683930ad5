package main

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// Paths that take events.
const (
	eventPath  = "/api/events"
	batchPath  = "/api/events/batch"
	flowPath   = "/api/http/events"
	packetPath = "/api/net/events"
)

// timeForm is the format of an event's time. placeholder marks its place in a text, and
// write overwrites it with a time in microseconds since 1970.
type timeForm struct {
	placeholder string
	write       func(dst []byte, micros int64)
}

var isoTime = timeForm{"2000-01-01T00:00:00.000000Z", func(dst []byte, micros int64) {
	var text [40]byte // not in place, because AppendFormat writes beyond its result
	copy(dst, time.UnixMicro(micros).UTC().AppendFormat(text[:0], "2006-01-02T15:04:05.000000Z"))
}}

var millisTime = timeForm{"1000000000000", func(dst []byte, micros int64) {
	strconv.AppendInt(dst[:0], micros/1000, 10)
}}

var secondsTime = timeForm{"1000000000.000000", func(dst []byte, micros int64) {
	const seconds = len("1000000000")
	strconv.AppendInt(dst[:1], micros, 10) // one to the right, to make room for the point
	copy(dst, dst[1:1+seconds])
	dst[seconds] = '.'
}}

// request is a whole HTTP request as it goes over the wire. Each time it is sent, its
// events get later times than all before, so that they go to the end of every index as
// in production.
type request struct {
	bytes []byte
	times []int // offsets of the events' times
	form  timeForm

	corpus *corpus // if the events are recorded; it sets their times
	marks  []mark
}

// newRequest makes a request; header lines end in "\r\n".
func newRequest(path, header string, body []byte, form timeForm) request {
	head := requestHead(path, "Content-Type: application/json\r\n"+header, body)
	r := request{bytes: append(head, body...), form: form}
	for at := range occurrences(body, form.placeholder) {
		r.times = append(r.times, len(head)+at)
	}
	return r
}

// newRecordedRequest makes a request of recorded events.
func newRecordedRequest(path string, c *corpus, body []byte, marks []mark) request {
	contentType := "application/x-ndjson"
	if path == eventPath {
		contentType = "application/json"
	}
	head := requestHead(path, "Content-Type: "+contentType+"\r\n", body)
	for i := range marks {
		marks[i].at += len(head)
	}
	return request{bytes: append(head, body...), corpus: c, marks: marks}
}

func requestHead(path, header string, body []byte) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: OS-Pulse-Bench/1.0\r\n%sContent-Length: %d\r\n\r\n", path, header, len(body))
}

// clone returns a copy that can be sent concurrently with r. It reuses the memory of buf.
func (r request) clone(buf []byte) request {
	r.bytes = append(buf[:0], r.bytes...)
	return r
}

// setTime sets the same time in all events of the request.
func (r *request) setTime(micros int64) {
	for _, at := range r.times {
		r.form.write(r.bytes[at:at+len(r.form.placeholder)], micros)
	}
}

// eventSpacing is the time from one event to the next, in microseconds.
const eventSpacing = 10

// setTimes sets the next times after last in the events.
func (r *request) setTimes(last *atomic.Int64) {
	micros := last.Add(eventSpacing*int64(len(r.times))) - eventSpacing*int64(len(r.times))
	for _, at := range r.times {
		micros += eventSpacing
		r.form.write(r.bytes[at:at+len(r.form.placeholder)], micros)
	}
}
