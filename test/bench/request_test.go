package main

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// body returns the body of a request.
func body(r request) []byte {
	_, body, _ := bytes.Cut(r.bytes, []byte("\r\n\r\n"))
	return body
}

func TestEventsGetTheNextTimes(t *testing.T) {
	g := newGenerator()
	one := func(in models.Incoming, err error) ([]models.Incoming, []models.ItemFault, error) {
		return []models.Incoming{in}, nil, err
	}
	for name, c := range map[string]struct {
		body   []byte
		form   timeForm
		decode func([]byte, time.Time) ([]models.Incoming, []models.ItemFault, error)
		events int
		unit   time.Duration // of the time
	}{
		"event": {g.event(), isoTime, func(b []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error) {
			return one(wire.Event(b, now))
		}, 1, time.Microsecond},
		"flow": {g.flow(), millisTime, func(b []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error) {
			return one(wire.HTTPFlow(b, now))
		}, 1, time.Millisecond},
		"batch":   {g.batch(100), isoTime, wire.Events, 100, time.Microsecond},
		"packets": {g.packets(25), secondsTime, wire.Packets, 25, time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest("/", "", c.body, c.form)
			start := time.Date(2026, 11, 23, 9, 32, 36, 999_990_000, time.UTC)
			var last atomic.Int64
			last.Store(start.UnixMicro())
			for range 2 {
				r.setTimes(&last)
			}
			events, faults, err := c.decode(body(r), time.Time{})
			if err != nil || len(faults) > 0 || len(events) != c.events {
				t.Fatalf("%d events, %v, %v: %s", len(events), faults, err, body(r)[:200])
			}
			for i := range events {
				want := start.Add(time.Duration(c.events+i+1) * eventSpacing * time.Microsecond).Truncate(c.unit)
				if got := events[i].Timestamp; !got.Equal(want) || events[i].TimestampSource != models.TimestampFromAgent {
					t.Fatalf("event %d is of %s, want %s", i, got, want)
				}
			}
		})
	}
}

func TestBodiesHaveRealSizes(t *testing.T) {
	g := newGenerator()
	for name, c := range map[string]struct{ size, from, to int }{
		"event": {len(g.event()), 300, 450},
		"flow":  {len(g.flow()), 48 << 10, 56 << 10},
	} {
		if c.size < c.from || c.size > c.to {
			t.Errorf("a %s has %d bytes, want %d to %d", name, c.size, c.from, c.to)
		}
	}
}

func TestEventsGetOneTime(t *testing.T) {
	r := newRequest("/", "", newGenerator().batch(3), isoTime)
	sent := time.Date(2026, 11, 24, 8, 32, 44, 123_456_000, time.UTC)
	r.setTime(sent.UnixMicro())
	events, err := allOf(wire.Events(body(r), time.Time{}))
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for i := range events {
		if !events[i].Timestamp.Equal(sent) {
			t.Errorf("event %d is of %s", i, events[i].Timestamp)
		}
	}
}
