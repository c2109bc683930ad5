package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	streamBuffer    = 32 << 10
	deliveryTimeout = 30 * time.Second // for the last event, after the last answer
	maxReconnects   = 1000             // of all streams
)

// streams follow a session from its first event. Each checks that it gets every event
// once and in order, and reconnects after a disconnect.
type streams struct {
	ctx         context.Context //nolint:containedctx // the first failed stream cancels it
	end         context.CancelCauseFunc
	url, path   string
	all         []*stream
	following   sync.WaitGroup
	counted     atomic.Int64 // start of the measured time in microseconds; 0 before it is set
	reconnected atomic.Int64
}

// stream is one client.
type stream struct {
	last      atomic.Int64 // seq of the last event
	sent      stamp
	latencies histogram
}

// followSession opens n streams and returns when all are open.
func followSession(ctx context.Context, url, sessionID string, n int) (*streams, error) {
	s := &streams{url: url, path: "/api/sessions/" + sessionID + "/stream?after=0"}
	s.ctx, s.end = context.WithCancelCause(ctx)
	for i := range n {
		one := &stream{}
		messages, hangUp, err := s.dial("")
		if err != nil {
			s.end(fmt.Errorf("stream %d of %d: %w", i+1, n, err)) // no effect if another stream failed first
			s.close()
			return nil, context.Cause(s.ctx)
		}
		s.all = append(s.all, one)
		s.following.Go(func() {
			if err := s.follow(one, messages, hangUp); err != nil {
				s.end(fmt.Errorf("stream %d of %d: %w", i+1, n, err))
			}
		})
	}
	return s, nil
}

// close ends all streams.
func (s *streams) close() {
	s.end(nil)
	s.following.Wait()
}

// countFrom counts the latencies of events that are sent from now on.
func (s *streams) countFrom(now time.Time) { s.counted.Store(now.UnixMicro()) }

// latencies closes the streams and returns the latencies of all. Call await before.
func (s *streams) latencies() (all histogram) {
	s.close()
	for _, one := range s.all {
		all.merge(&one.latencies)
	}
	return all
}

// await returns when every stream has all events up to seq.
func (s *streams) await(seq int64) error {
	ctx, cancel := context.WithTimeout(s.ctx, deliveryTimeout)
	defer cancel()
	for {
		late := slices.IndexFunc(s.all, func(one *stream) bool { return one.last.Load() < seq })
		switch {
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case late < 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("EVENTS ARE MISSING: %s after %d events were stored, stream %d has %d", deliveryTimeout, seq, late+1, s.all[late].last.Load())
		}
		at(ctx, time.Now().Add(5*time.Millisecond), nil)
	}
}

// dial opens a stream that begins after an event, or with the first if lastEventID is "".
func (s *streams) dial(lastEventID string) (messages *sseReader, hangUp func(), err error) {
	conn, err := (&net.Dialer{}).DialContext(s.ctx, "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	hangUp = func() {
		stop()
		_ = conn.Close() // nothing is left to write
	}
	header := ""
	if lastEventID != "" {
		header = "Last-Event-ID: " + lastEventID + "\r\n"
	}
	g := &getter{conn: conn, answers: bufio.NewReaderSize(conn, streamBuffer)}
	a, err := g.get(s.path, "Accept: text/event-stream\r\n"+header)
	if err == nil && !a.chunked {
		err = errors.New("the stream is not chunked")
	}
	if err != nil {
		hangUp()
		return nil, nil, err
	}
	return newSSEReader(a.body(g.answers)), hangUp, nil
}

// follow reads a stream and reconnects until the context ends or a message is wrong.
func (s *streams) follow(one *stream, messages *sseReader, hangUp func()) error {
	for {
		cut, err := s.read(one, messages)
		hangUp()
		if s.ctx.Err() != nil {
			return nil //nolint:nilerr // the streams were closed
		}
		if err != nil {
			return err
		}
		if s.reconnected.Add(1) > maxReconnects {
			return fmt.Errorf("streams are cut off again and again: %w", cut)
		}
		if messages, hangUp, err = s.dial(string(messages.lastID)); err != nil {
			if s.ctx.Err() != nil {
				return nil //nolint:nilerr // the streams were closed
			}
			return fmt.Errorf("come back after event %d: %w", one.last.Load(), err)
		}
	}
}

// read reads messages until the connection breaks (cut) or a message is wrong.
func (s *streams) read(one *stream, messages *sseReader) (cut, wrong error) {
	for {
		event, data, err := messages.next()
		if err != nil {
			return err, nil
		}
		if len(event) > 0 && string(event) != "message" {
			continue // about the session
		}
		if err := one.take(data, time.Now().UnixMicro(), s.counted.Load()); err != nil {
			return nil, err
		}
		if last := strconv.FormatInt(one.last.Load(), 10); string(messages.lastID) != last {
			return nil, fmt.Errorf("WRONG STREAM: the id of a message is %q, its last event is %s", messages.lastID, last)
		}
	}
}

// timestampKey is the key of an event's time.
var timestampKey = []byte(`"timestamp":"`)

// take checks the events of a message and records their latencies. now is when the
// message was read. Events sent before counted do not count, nor any if it is 0.
func (s *stream) take(events []byte, now, counted int64) error {
	last := s.last.Load()
	for rest := events; ; {
		seq, after, err := nextSeq(rest)
		if err != nil {
			return err
		}
		if after == nil {
			break
		}
		if seq != last+1 {
			return fmt.Errorf("WRONG STREAM: event %d is followed by %d", last, seq)
		}
		i := bytes.Index(after, timestampKey)
		if i < 0 {
			return fmt.Errorf("WRONG STREAM: event %d has no timestamp", seq)
		}
		rest = after[i+len(timestampKey):]
		sent, err := s.sent.micros(rest)
		if err != nil {
			return fmt.Errorf("WRONG STREAM: event %d: %w", seq, err)
		}
		if counted > 0 && sent >= counted {
			s.latencies.add(time.Duration(now-sent) * time.Microsecond)
		}
		last = seq
	}
	s.last.Store(last)
	return nil
}

// stamp parses times as the backend writes them, and caches the last second.
type stamp struct {
	text   []byte // 2006-01-02T15:04:05
	second int64  // microseconds
}

// micros parses the time at the beginning of text.
func (s *stamp) micros(text []byte) (int64, error) {
	const layout = "2006-01-02T15:04:05"
	if len(text) <= len(layout) {
		return 0, fmt.Errorf("%q is no time", text)
	}
	if head := text[:len(layout)]; !bytes.Equal(head, s.text) {
		t, err := time.Parse(layout, string(head))
		if err != nil {
			return 0, err
		}
		s.text, s.second = append(s.text[:0], head...), t.UnixMicro()
	}
	if text[len(layout)] != '.' {
		return s.second, nil
	}
	const digits = 6
	fraction, err := strconv.Atoi(string(text[len(layout)+1 : min(len(text), len(layout)+1+digits)]))
	return s.second + int64(fraction), err
}
