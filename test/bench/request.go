package main

import (
	"bytes"
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
}

// newRequest makes a request; header lines end in "\r\n".
func newRequest(path, header string, body []byte, form timeForm) request {
	r := request{form: form}
	r.bytes = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: OS-Pulse-Bench/1.0\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n",
		path, header, len(body))
	r.times = placeholders(body, form, len(r.bytes))
	r.bytes = append(r.bytes, body...)
	return r
}

// placeholders returns the offsets of the times in a text that begins at offset.
func placeholders(text []byte, form timeForm, offset int) []int {
	var found []int
	for i := 0; ; i += len(form.placeholder) {
		next := bytes.Index(text[i:], []byte(form.placeholder))
		if next < 0 {
			return found
		}
		i += next
		found = append(found, offset+i)
	}
}

// clone returns a copy that can be sent concurrently with r.
func (r request) clone() request {
	if len(r.times) > 0 {
		r.bytes = bytes.Clone(r.bytes)
	}
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
