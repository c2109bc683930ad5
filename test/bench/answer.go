package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
)

// answer is an HTTP answer of status 200 up to its body.
type answer struct {
	length  int // of the body; -1 if there is no Content-Length
	chunked bool
	zstd    bool // the body's encoding
}

// readAnswer reads and discards an answer, which must have a Content-Length.
func readAnswer(r *bufio.Reader) error {
	a, err := readHead(r)
	if err != nil {
		return err
	}
	if a.length < 0 {
		return errors.New("the answer has no Content-Length")
	}
	if _, err := r.Discard(a.length); err != nil {
		return fmt.Errorf("half an answer: %w", err)
	}
	return nil
}

// readHead reads an answer up to its body. Any status but 200 is an error with the
// beginning of the body.
func readHead(r *bufio.Reader) (answer, error) {
	a := answer{length: -1}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return a, fmt.Errorf("no answer: %w", err)
	}
	isOK := bytes.HasPrefix(line, []byte("HTTP/1.1 200 "))
	status := ""
	if !isOK {
		status = string(bytes.TrimSpace(line))
	}
	for {
		name, value, err := readHeader(r)
		if err != nil {
			return a, fmt.Errorf("half an answer: %w", err)
		}
		if name == nil {
			break
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if a.length, err = strconv.Atoi(string(value)); err != nil {
				return a, fmt.Errorf("the answer has the length %q", "Content-Length: "+string(value))
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			a.chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Content-Encoding")):
			a.zstd = bytes.EqualFold(value, []byte("zstd"))
		}
	}
	if isOK {
		return a, nil
	}
	var body []byte
	if a.chunked || a.length > 0 {
		body, _ = io.ReadAll(io.LimitReader(a.body(r), 500)) // an error leaves the part that arrived
	}
	return a, fmt.Errorf("the answer is %s: %s", status, body)
}

// readHeader reads one header or trailer. At the end of them name is nil. The slices are
// valid until the next read.
func readHeader(r *bufio.Reader) (name, value []byte, err error) {
	line, err := r.ReadSlice('\n')
	if line = bytes.TrimSpace(line); err != nil || len(line) == 0 {
		return nil, nil, err
	}
	name, value, _ = bytes.Cut(line, []byte(":"))
	return name, bytes.TrimSpace(value), nil
}

// body returns a reader of the body. The caller calls finish after io.EOF.
func (a answer) body(r *bufio.Reader) io.Reader {
	if a.chunked {
		return httputil.NewChunkedReader(r)
	}
	return io.LimitReader(r, int64(a.length))
}

// finish reads the trailers and returns the value of one, or "" if it is missing.
func (a answer) finish(r *bufio.Reader, trailer string) (string, error) {
	found := ""
	for a.chunked {
		name, value, err := readHeader(r)
		if err != nil {
			return "", fmt.Errorf("half an answer: %w", err)
		}
		if name == nil {
			break
		}
		if bytes.EqualFold(name, []byte(trailer)) {
			found = string(value)
		}
	}
	return found, nil
}

// appendBody appends the body to buf and reads the trailers.
func (a answer) appendBody(buf []byte, r *bufio.Reader) ([]byte, error) {
	if !a.chunked && a.length < 0 {
		return nil, errors.New("the answer has no Content-Length")
	}
	body := a.body(r)
	began := len(buf)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("half an answer: %w", err)
		}
	}
	if !a.chunked && len(buf)-began < a.length {
		return nil, fmt.Errorf("half an answer: %w", io.ErrUnexpectedEOF)
	}
	_, err := a.finish(r, "")
	return buf, err
}
