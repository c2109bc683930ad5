package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"ospulse/test/testbed"
)

const (
	keyedRequests = 1000 // a second
	keyedPosters  = 32   // connections, enough that one is free even if answers are slow
	keyedPairs    = 60   // of turns: many short ones, so that a machine that is slow for a while affects both sides
	keyedTurn     = 12   // turns take this part of the time of a measurement
	maxKeyCost    = 1.03 // of the processor time without keys
)

// keyScenarios send the events of an agent to two backends in turn: one requires keys, and
// the other one is open.
func keyScenarios() []scenario {
	g := newGenerator()
	var all []scenario
	for _, of := range []struct {
		name, path string
		events     int
		body       func() []byte
	}{
		{"single", eventPath, 1, g.event},
		{"batch 10", batchPath, 10, func() []byte { return g.batch(10) }},
	} {
		name := fmt.Sprintf("keys, %s at %d/s", of.name, keyedRequests)
		bodies := make([][]byte, variants)
		for i := range bodies {
			bodies[i] = of.body()
		}
		var open figures // of the last measurement
		limit := limit{"no keys, " + of.name, func(context.Context, *lab) (figures, error) { return open, nil }}
		all = append(all, scenario{
			name: name, unit: aRequest, goals: goals{minPerSecond: 0.9 * keyedRequests}, // a turn ends with its last answer
			measure: func(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
				m, open, err = l.costOfKeys(ctx, dialect, name, of.events, func(header string) []request {
					requests := make([]request, len(bodies))
					for i := range bodies {
						requests[i] = newRequest(of.path, header, bodies[i], isoTime)
					}
					return requests
				})
				return m, err
			},
			against: []comparison{{limit: limit, byCPU: true, max: maxKeyCost}, {limit: limit, byP50: true}},
		})
	}
	return all
}

// costOfKeys measures both backends in alternating turns, and checks that they stored every
// event. The figures are medians of the turns.
func (l *lab) costOfKeys(ctx context.Context, dialect, name string, events int, requests func(header string) []request) (m measurement, without figures, err error) {
	open, keyed := &keySide{events: events}, &keySide{events: events}
	err = l.withSide(ctx, dialect, open, func() error {
		open.requests = requests("")
		return l.withSide(ctx, dialect, keyed, func() error {
			key, err := agentKey(ctx, keyed.backend.URL)
			if err != nil {
				return err
			}
			keyed.requests = requests("Authorization: Bearer " + key + "\r\n")
			sides := []*keySide{open, keyed}
			for _, s := range sides {
				if s.clients, err = (load{s.requests, events, keyedPosters}).dial(ctx, s.backend.URL); err != nil {
					return err
				}
				if err := s.turn(ctx, warmUp, false); err != nil {
					return err
				}
			}
			for range keyedPairs {
				for _, s := range sides {
					if err := s.turn(ctx, l.time/keyedTurn, true); err != nil {
						return err
					}
				}
				slices.Reverse(sides)
			}
			return nil
		})
	})
	if err != nil {
		return m, without, err
	}
	m.PerSecond, m.P50Millis, m.P99Millis, m.BackendCPU = testbed.Median(keyed.rates), testbed.Median(keyed.p50), testbed.Median(keyed.p99), testbed.Median(keyed.cpu)
	ratios := make([]float64, len(keyed.cpu))
	for i := range ratios {
		if open.cpu[i] > 0 { // it is known
			ratios[i] = keyed.cpu[i] / open.cpu[i]
		}
	}
	without = figures{perSecond: testbed.Median(open.rates), p50Millis: testbed.Median(open.p50), p99Millis: testbed.Median(open.p99), cpuMicros: testbed.Median(open.cpu), cpuRatio: testbed.Median(ratios)}
	l.note(dialect, "%s: medians of %d pairs of turns, and the range of half of them: CPU of the backend, as a ratio to that without keys, %s; p50 %s ms, without keys %s; p99 %s ms, without keys %s", name, keyedPairs,
		spread(ratios), spread(keyed.p50), spread(open.p50), spread(keyed.p99), spread(open.p99))
	return m, without, nil
}

// spread returns the median of figures, and the range of the half of them around it.
func spread(values []float64) string {
	values = slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%.3f (%.3f to %.3f)", testbed.Median(values), values[len(values)/4], values[(len(values)-1)*3/4])
}

// keySide is one of the two backends, with the figures of its turns.
type keySide struct {
	backend      *testbed.Process
	requests     []request
	clients      *clients
	events       int // in each request
	sent         atomic.Int64
	acknowledged int64 // events

	rates, p50, p99, cpu []float64 // requests a second, milliseconds, microseconds each
}

// withSide starts the backend of a side with a monitored session, calls fn, closes the
// clients, and then checks that the database has what the backend acknowledged.
func (l *lab) withSide(ctx context.Context, dialect string, side *keySide, fn func() error) error {
	return l.withStore(ctx, dialect, func(s store) error {
		err := l.withBackend(ctx, s, func(backend *testbed.Process) error {
			side.backend = backend
			if _, err := startSession(ctx, backend.URL); err != nil {
				return err
			}
			err := fn()
			if side.clients != nil {
				err = errors.Join(err, side.clients.close())
			}
			return err
		})
		if err != nil {
			return err
		}
		return verify(ctx, s.options, side.acknowledged)
	})
}

// turn sends requests at an even rate, whatever the latency of the answers. A latency counts
// from the time at which the request was due, so a backend that falls behind cannot hide it.
func (s *keySide) turn(ctx context.Context, length time.Duration, isMeasured bool) error {
	began, due := time.Now(), atomic.Int64{}
	latencies := make([]histogram, len(s.clients.conns))
	workers := make([]worker, len(s.clients.conns))
	for i, conn := range s.clients.conns {
		if err := conn.SetDeadline(began.Add(length + answerTimeout)); err != nil {
			return err
		}
		workers[i] = s.worker(ctx, conn, func() time.Time { return began.Add(time.Duration(due.Add(1)) * time.Second / keyedRequests) }, &latencies[i])
	}
	used := testbed.ThreadCPU(s.backend.Pid)
	tallies, err := drive(ctx, window{length: length}, workers)
	used = testbed.ThreadCPU(s.backend.Pid) - used
	took := time.Since(began)
	all := merge(tallies)
	s.acknowledged += all.acknowledged
	if err != nil || !isMeasured {
		return err
	}
	for i := range latencies[1:] {
		latencies[0].merge(&latencies[i+1])
	}
	n := float64(all.acknowledged) / float64(s.events)
	s.rates, s.cpu = append(s.rates, n/took.Seconds()), append(s.cpu, micros(used)/n)
	s.p50, s.p99 = append(s.p50, millis(latencies[0].percentile(0.50))), append(s.p99, millis(latencies[0].percentile(0.99)))
	return nil
}

// worker returns a worker that sends the next request when it is due.
func (s *keySide) worker(ctx context.Context, conn net.Conn, nextDue func() time.Time, latencies *histogram) worker {
	var buf []byte // of the last request
	answers := bufio.NewReader(conn)
	return func() (int, error) {
		request := s.requests[s.sent.Add(1)%int64(len(s.requests))].clone(buf)
		buf = request.bytes
		due := nextDue()
		at(ctx, due, nil)
		request.setTime(time.Now().UnixMicro())
		if _, err := conn.Write(request.bytes); err != nil {
			return 0, fmt.Errorf("the connection broke: %w", err)
		}
		if err := readAnswer(answers); err != nil {
			return 0, err
		}
		latencies.add(time.Since(due))
		return s.events, nil
	}
}

// agentKey closes an open backend, and returns the key of its agent.
func agentKey(ctx context.Context, url string) (string, error) {
	var created struct{ Key string }
	for _, body := range []string{`{"name":"bench","role":"admin"}`, `{"name":"bench","role":"agent"}`} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/keys", strings.NewReader(body))
		if err != nil {
			return "", err
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-API-Key", created.Key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		err = json.NewDecoder(response.Body).Decode(&created)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			return "", err
		}
		if response.StatusCode != http.StatusCreated {
			return "", fmt.Errorf("a key is answered %s", response.Status)
		}
	}
	return created.Key, nil
}
