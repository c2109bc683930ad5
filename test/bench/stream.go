package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"ospulse/test/testbed"
)

const (
	streamedEvents = 5000 // a second, sent to the backend
	streamPosters  = 32   // connections, enough that one is free even if answers are slow
	openStreams    = 50
	idleStreams    = 1000
)

// streamScenarios follow a session live.
func streamScenarios() []scenario {
	return []scenario{
		{
			name: fmt.Sprintf("stream %d events/s to %d", streamedEvents, openStreams), unit: anEvent, measure: delivering,
			goals: goals{maxP99: 50 * time.Millisecond, minPerSecond: 0.98 * streamedEvents},
		},
		{
			name: fmt.Sprintf("stream %d idle", idleStreams), unit: anEvent, measure: idling,
			goals: goals{maxGrownMB: 60},
		},
	}
}

// delivering measures the time from just before an event is sent to the backend until it
// is read from a stream, at an even rate of events.
func delivering(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
	err = l.withStreams(ctx, dialect, openStreams, nil, func(backend *testbed.Process, s *streams) (acknowledged int64, err error) {
		m, err = l.observe(backend, dialect, func(w window) (*tally, error) {
			opened := w.opened
			w.opened = func() { opened(); s.countFrom(time.Now()) }
			t, err := l.post(s.ctx, backend.URL, w)
			if err != nil {
				return nil, err
			}
			acknowledged = t.acknowledged
			if err := s.await(acknowledged); err != nil {
				return nil, err
			}
			t.latencies = s.latencies()
			return t, nil
		})
		if n := s.reconnected.Load(); err == nil && n > 0 {
			l.note(dialect, "streams were cut off %d times, and caught up", n)
		}
		return acknowledged, err
	})
	return m, err
}

// post sends batches at an even rate.
func (l *lab) post(ctx context.Context, url string, w window) (t *tally, err error) {
	batches := make([]request, variants)
	g := newGenerator()
	for i := range batches {
		batches[i] = newRequest(batchPath, "", g.batch(smallBatch), isoTime)
	}
	c, err := load{batches, smallBatch, streamPosters}.dial(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.pace = &pace{began: time.Now(), every: time.Second * smallBatch / streamedEvents}
	workers, err := c.workers(ctx, w.warmUp+w.length)
	if err != nil {
		return nil, err
	}
	tallies, err := drive(ctx, w, workers)
	return merge(tallies), err
}

// idling measures the memory of idle streams, and then checks that an event reaches all.
func idling(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
	var before int64
	note := func(backend *testbed.Process) { before = testbed.ResidentBytes(backend.Pid) }
	err = l.withStreams(ctx, dialect, idleStreams, note, func(backend *testbed.Process, s *streams) (int64, error) {
		at(s.ctx, time.Now().Add(l.time), nil)
		m = measurement{GrownMB: testbed.Megabytes(testbed.ResidentBytes(backend.Pid) - before), PeakMB: testbed.Megabytes(testbed.PeakBytes(backend.Pid))}
		event := bytes.ReplaceAll(newGenerator().event(), []byte(isoTime.placeholder), time.Now().UTC().AppendFormat(nil, time.RFC3339Nano))
		if _, err := testbed.Call(s.ctx, http.MethodPost, backend.URL+eventPath, "application/json", bytes.NewReader(event)); err != nil {
			return 0, err
		}
		return 1, s.await(1)
	})
	return m, err
}

// withStreams calls fn while n streams of a new session are open, on a fresh database,
// and then checks that the database has the acknowledged events. before, if not nil, is
// called before the streams open.
func (l *lab) withStreams(ctx context.Context, dialect string, n int, before func(*testbed.Process), fn func(*testbed.Process, *streams) (acknowledged int64, err error)) error {
	return l.withStore(ctx, dialect, func(s store) error {
		var acknowledged int64
		err := l.withBackend(ctx, s, func(backend *testbed.Process) error {
			sessionID, err := startSession(ctx, backend.URL)
			if err != nil {
				return err
			}
			if before != nil {
				before(backend)
			}
			open, err := followSession(ctx, backend.URL, sessionID, n)
			if err != nil {
				return err
			}
			defer open.close()
			acknowledged, err = fn(backend, open)
			return err
		})
		if err != nil {
			return err
		}
		return verify(ctx, s.options, acknowledged)
	})
}
