//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"ospulse/test/freeport"
	"ospulse/test/testbed"
)

// startToReady measures the time from the agent's start to the first answer of /health.
func startToReady(ctx context.Context, l *lab) (s sample, err error) {
	dir, err := os.MkdirTemp(l.dir, "start-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	port, err := freeport.Get(ctx)
	if err != nil {
		return s, err
	}
	began := time.Now()
	agent, err := l.startAgent(ctx, dir, port, l.sink.URL, stageOptions{content: 256})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, agent.Stop()) }()
	text, err := testbed.Call(ctx, http.MethodGet, agent.URL+"/health", "", nil)
	s.Value = time.Since(began).Seconds()
	if err != nil {
		return s, err
	}
	var health struct{ Sensor string }
	if err := json.Unmarshal(text, &health); err != nil {
		return s, err
	}
	if health.Sensor != "ebpf" {
		s.Faults = append(s.Faults, "the sensor is "+strconv.Quote(health.Sensor)+", not ebpf")
	}
	return s, nil
}

const (
	minIdle   = 3 * time.Second
	idleParts = 6 // each has its own rate
	// idleNoise is added to both rates before they are compared, in events a second, so
	// that a few events on a quiet machine do not count as growth.
	idleNoise = 20
)

// idle watches the whole machine while only the agent, the backend and the system's own
// programs run. If OS-Pulse reported its own actions, the event rate would grow.
func idle(ctx context.Context, l *lab) (sample, error) {
	return l.withStage(ctx, stageOptions{content: 256, isReal: true}, func(st *stage) (s sample, err error) {
		var rates []float64
		id, err := st.session(ctx, nil, func(id string) (err error) {
			rates, err = st.rates(ctx, id, l.idle/idleParts)
			return err
		})
		if err != nil {
			return s, err
		}
		own, total, err := st.ownEvents(ctx, id)
		if err != nil {
			return s, err
		}
		s.Events = total
		if own > 0 {
			s.Faults = append(s.Faults, fmt.Sprintf("%d events tell of OS-Pulse itself", own))
		}
		s.Value = growth(rates)
		var texts []string
		for _, rate := range rates {
			texts = append(texts, strconv.FormatFloat(rate, 'f', 1, 64))
		}
		s.Notes = append(s.Notes, fmt.Sprintf("events/s of an idle machine in each %s: %s; slope %+.1f/s a minute; %d of %d events tell of OS-Pulse itself",
			l.idle/idleParts, strings.Join(texts, ", "), slope(rates, (l.idle/idleParts).Minutes()), own, total))
		return s, nil
	})
}

// rates returns the events a second that arrive of a session in each of idleParts parts.
func (st *stage) rates(ctx context.Context, session string, part time.Duration) (rates []float64, err error) {
	before, err := st.arrived(ctx, session)
	if err != nil {
		return nil, err
	}
	for range idleParts {
		if err := pause(ctx, part); err != nil {
			return nil, err
		}
		now, err := st.arrived(ctx, session)
		if err != nil {
			return nil, err
		}
		rates = append(rates, float64(now.Events-before.Events)/part.Seconds())
		before = now
	}
	return rates, nil
}

// ownEvents counts the events of a session that are about the agent or the backend.
func (st *stage) ownEvents(ctx context.Context, session string) (own, total int, err error) {
	err = st.export(ctx, session, func(line []byte) error {
		var told struct {
			Data struct {
				PID int `json:"processId"`
			}
		}
		if err := json.Unmarshal(line, &told); err != nil {
			return fmt.Errorf("read %.200s: %w", line, err)
		}
		total++
		if told.Data.PID == st.agent.Pid || told.Data.PID == st.backend.Pid {
			own++
		}
		return nil
	})
	return own, total, err
}

// growth returns the ratio of the last third of the rates to the first third.
func growth(rates []float64) float64 {
	third := len(rates) / 3
	var first, last float64
	for i := range third {
		first += rates[i]
		last += rates[len(rates)-1-i]
	}
	return (last/float64(third) + idleNoise) / (first/float64(third) + idleNoise)
}

// slope returns the growth of the rates per unit of time, by least squares. step is the
// time between two rates.
func slope(rates []float64, step float64) float64 {
	middle, mean := float64(len(rates)-1)/2, 0.0
	for _, rate := range rates {
		mean += rate / float64(len(rates))
	}
	var above, below float64
	for i, rate := range rates {
		x := float64(i) - middle
		above += x * (rate - mean)
		below += x * x
	}
	return above / below / step
}
