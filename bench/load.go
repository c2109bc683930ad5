package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// answerTimeout is how long one measurement's answers may take beyond its end.
const answerTimeout = 30 * time.Second

// load is what some clients send at once, each waiting for its answer. The
// generator shares the processors with what it measures, so it does little:
// requests are made beforehand, and of an answer it reads the status and the
// length.
type load struct {
	requests    []request // sent in turn
	events      int       // in each request
	connections int
}

// clients are the connections of a load.
type clients struct {
	load   load
	conns  []net.Conn
	turn   atomic.Int64 // requests so far
	micros atomic.Int64 // the time that the last event was given
}

// dial opens the connections.
func (l load) dial(ctx context.Context, url string) (*clients, error) {
	c := &clients{load: l}
	c.micros.Store(time.Now().UnixMicro())
	for range l.connections {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *clients) close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// workers gives one worker a connection. All of their work must be done within
// the given time.
func (c *clients) workers(within time.Duration) ([]worker, error) {
	var workers []worker
	for _, conn := range c.conns {
		if err := conn.SetDeadline(time.Now().Add(within + answerTimeout)); err != nil {
			return nil, err
		}
		requests := slices.Clone(c.load.requests)
		for i := range requests {
			requests[i] = requests[i].clone()
		}
		answers := bufio.NewReader(conn)
		workers = append(workers, func() (int, error) {
			request := &requests[c.turn.Add(1)%int64(len(requests))]
			request.setTimes(&c.micros)
			if _, err := conn.Write(request.bytes); err != nil {
				return 0, fmt.Errorf("the connection broke: %w", err)
			}
			return c.load.events, readAnswer(answers)
		})
	}
	return workers, nil
}

// readAnswer reads an answer up to its end. Any status but 200 is an error.
func readAnswer(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	isOK := bytes.HasPrefix(line, []byte("HTTP/1.1 200 "))
	status := ""
	if !isOK {
		status = string(bytes.TrimSpace(line))
	}
	length := -1
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return fmt.Errorf("half an answer: %w", err)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return fmt.Errorf("the answer has the length %q", line)
			}
		}
	}
	if !isOK {
		body, _ := io.ReadAll(io.LimitReader(r, int64(min(max(length, 0), 500)))) // what there is of it
		return fmt.Errorf("the answer is %s: %s", status, body)
	}
	if length < 0 {
		return errors.New("the answer has no Content-Length")
	}
	if _, err := r.Discard(length); err != nil {
		return fmt.Errorf("half an answer: %w", err)
	}
	return nil
}
