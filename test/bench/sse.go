package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// sseReader reads Server-Sent Events as in "Interpreting an event stream" of the HTML
// standard, except for lines that end in CR alone, which no server writes.
type sseReader struct {
	lines  *bufio.Reader
	begun  bool
	line   []byte // a line that is longer than the reader's buffer
	event  []byte
	data   []byte
	id     []byte // of the message that is being read
	lastID []byte // for Last-Event-ID when the client reconnects
}

func newSSEReader(r io.Reader) *sseReader {
	return &sseReader{lines: bufio.NewReaderSize(r, streamBuffer)}
}

// next returns the type and data of the next message, valid until the next call. It
// skips messages without data, but keeps their id.
func (r *sseReader) next() (event, data []byte, err error) {
	r.event, r.data = r.event[:0], r.data[:0]
	isAny := false
	for {
		line, err := r.readLine()
		if err != nil {
			return nil, nil, err
		}
		if len(line) == 0 {
			r.lastID = append(r.lastID[:0], r.id...)
			if isAny {
				return r.event, r.data, nil
			}
			r.event = r.event[:0]
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			r.event = append(r.event[:0], value...)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				r.id = append(r.id[:0], value...)
			}
		case "data":
			if isAny {
				r.data = append(r.data, '\n')
			}
			isAny = true
			r.data = append(r.data, value...)
		}
	}
}

// readLine reads a line of any length, without its end.
func (r *sseReader) readLine() ([]byte, error) {
	line, err := r.lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.line = append(r.line[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = r.lines.ReadSlice('\n')
			r.line = append(r.line, line...)
		}
		line = r.line
	}
	if err != nil {
		return nil, err // an incomplete line does not count
	}
	if !r.begun {
		r.begun = true
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
}
