package main

import (
	"bytes"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// Where events come in.
const (
	eventPath  = "/api/events"
	batchPath  = "/api/events/batch"
	flowPath   = "/api/http/events"
	packetPath = "/api/net/events"
)

// timeForm is how a client writes an event's time: placeholder stands for it in
// a text, write puts microseconds since 1970 in its place.
type timeForm struct {
	placeholder string
	write       func(dst []byte, micros int64)
}

var isoTime = timeForm{"2000-01-01T00:00:00.000000Z", func(dst []byte, micros int64) {
	var text [40]byte // not in place: on its way AppendFormat writes more than it leaves
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

// request is a whole HTTP request as it goes over the wire. Each time that it is
// sent its events get new times, later than all before: as in real life they
// then go to the end of every index.
type request struct {
	bytes []byte
	times []int // where the events' times are
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

// placeholders finds the times in a text, which begins at offset.
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

// clone gives a request that can be sent beside r.
func (r request) clone() request {
	if len(r.times) > 0 {
		r.bytes = bytes.Clone(r.bytes)
	}
	return r
}

// setTime gives all of the request's events the same time.
func (r *request) setTime(micros int64) {
	for _, at := range r.times {
		r.form.write(r.bytes[at:at+len(r.form.placeholder)], micros)
	}
}

// eventSpacing is the time from one event to the next, in microseconds.
const eventSpacing = 10

// setTimes gives the events the next times after last.
func (r *request) setTimes(last *atomic.Int64) {
	micros := last.Add(eventSpacing*int64(len(r.times))) - eventSpacing*int64(len(r.times))
	for _, at := range r.times {
		micros += eventSpacing
		r.form.write(r.bytes[at:at+len(r.form.placeholder)], micros)
	}
}
