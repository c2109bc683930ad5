package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// answerTimeout is how long answers may take after the end of the measurement.
const answerTimeout = 30 * time.Second

// load is sent by concurrent clients; each waits for its answer. The clients do little
// work, because they share the processors with the backend: requests are made
// beforehand, and of an answer only status and length are read.
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
	micros atomic.Int64 // time of the last event
	pace   *pace        // nil: each request follows the last answer
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

// workers returns one worker per connection. Their work must be done within the given
// time and answerTimeout.
func (c *clients) workers(ctx context.Context, within time.Duration) ([]worker, error) {
	var workers []worker
	for _, conn := range c.conns {
		if err := conn.SetDeadline(time.Now().Add(within + answerTimeout)); err != nil {
			return nil, err
		}
		var buf []byte // of the last request
		answers := bufio.NewReader(conn)
		workers = append(workers, func() (int, error) {
			turn, all := c.turn.Add(1), int64(len(c.load.requests))
			request := c.load.requests[turn%all].clone(buf)
			buf = request.bytes
			switch {
			case request.corpus != nil:
				request.corpus.vary(buf, request.marks, turn/all)
			case c.pace != nil:
				c.pace.wait(ctx)
				request.setTime(time.Now().UnixMicro())
			default:
				request.setTimes(&c.micros)
			}
			if _, err := conn.Write(request.bytes); err != nil {
				return 0, fmt.Errorf("the connection broke: %w", err)
			}
			return c.load.events, readAnswer(answers)
		})
	}
	return workers, nil
}

// pace spaces requests evenly, whatever the latency of the answers, while a connection
// is free.
type pace struct {
	began time.Time
	every time.Duration
	turn  atomic.Int64
}

// wait returns when it is time for the next request, or ctx ends.
func (p *pace) wait(ctx context.Context) {
	at(ctx, p.began.Add(time.Duration(p.turn.Add(1))*p.every), nil)
}
