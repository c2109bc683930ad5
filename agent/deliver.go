//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
)

const (
	maxQueuedBytes = 64 << 20 // of events that wait for the backend
	maxBatchBytes  = 1 << 20
	maxBatchEvents = 5000
	flushAfter     = 100 * time.Millisecond
	retryAfter     = time.Second
	lastTry        = 5 * time.Second // to send what is left at the end
)

// direct delivers events to the backend's batch route from memory, each session's
// in order. What does not fit while the backend is away is counted and told.
type direct struct {
	url, key string
	client   *http.Client
	log      *slog.Logger
	more     chan struct{}

	mu      sync.Mutex
	batches []*batch // the first is being sent, the last may grow
	bytes   int
	sent    uint64
	lost    map[string]*event.Lost // by session, not told yet
	lostSum uint64
	fault   string // why the last try failed
}

// batch is what goes out in one request.
type batch struct {
	session, key string
	lines        []byte
	events       int
	full         bool
}

func newDelivery(cfg config.Config, log *slog.Logger) (*direct, error) {
	return &direct{
		url: cfg.Backend.String() + "/api/events/batch", key: cfg.BackendKey, log: log,
		client: &http.Client{Timeout: 30 * time.Second}, more: make(chan struct{}, 1), lost: map[string]*event.Lost{},
	}, nil
}

func (d *direct) add(session string, e *event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes > maxQueuedBytes {
		d.lostSum++
		if lost := d.lost[session]; lost != nil {
			lost.Count, lost.To = lost.Count+1, e.Time
		} else {
			d.lost[session] = &event.Lost{Count: 1, Reason: event.ReasonSpoolFull, From: e.Time, To: e.Time, CPU: -1}
		}
		return
	}
	if lost := d.lost[session]; lost != nil {
		delete(d.lost, session)
		d.append(session, &event.Event{Type: event.TypeLost, Time: lost.To, Data: lost})
	}
	d.append(session, e)
	select {
	case d.more <- struct{}{}:
	default:
	}
}

func (d *direct) append(session string, e *event.Event) {
	var b *batch
	for i := len(d.batches) - 1; i >= 0 && b == nil; i-- {
		if d.batches[i].session == session {
			b = d.batches[i]
		}
	}
	if b == nil || b.full || len(b.lines) >= maxBatchBytes || b.events >= maxBatchEvents {
		b = &batch{session: session, key: rand.Text()}
		d.batches = append(d.batches, b)
	}
	before := len(b.lines)
	b.lines = append(e.AppendJSON(b.lines), '\n')
	b.events++
	d.bytes += len(b.lines) - before
}

// run sends until ctx ends and what is left then is sent, or cannot be.
func (d *direct) run(ctx context.Context) {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTry, cancel) })()
	for {
		select {
		case <-d.more:
			wait(ctx, flushAfter)
		case <-ctx.Done():
			d.drain(sending)
			return
		}
		d.drain(sending)
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drain sends all that waits, again and again until it is taken or ctx ends.
func (d *direct) drain(ctx context.Context) {
	for ctx.Err() == nil {
		d.mu.Lock()
		if len(d.batches) == 0 {
			for session, lost := range d.lost {
				delete(d.lost, session)
				d.append(session, &event.Event{Type: event.TypeLost, Time: lost.To, Data: lost})
			}
		}
		if len(d.batches) == 0 {
			d.mu.Unlock()
			return
		}
		b := d.batches[0]
		b.full = true
		d.mu.Unlock()
		err := d.post(ctx, b)
		d.mu.Lock()
		if err == nil {
			d.batches = d.batches[1:]
			d.bytes -= len(b.lines)
			d.sent += uint64(b.events)
			d.fault = ""
		} else {
			if d.fault == "" {
				d.log.Warn("the backend does not take events; they wait", "error", err)
			}
			d.fault = err.Error()
		}
		d.mu.Unlock()
		if err != nil {
			wait(ctx, retryAfter)
		}
	}
}

func (d *direct) post(ctx context.Context, b *batch) error {
	target := d.url + "?sessionId=" + url.QueryEscape(b.session)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(b.lines))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	request.Header.Set("Idempotency-Key", b.key)
	if d.key != "" {
		request.Header.Set("Authorization", "Bearer "+d.key)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // for the message only
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("send events: the backend answers %s: %.300s", strconv.Itoa(response.StatusCode), text)
	}
	return nil
}

func (d *direct) status() any {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := 0
	for _, b := range d.batches {
		waiting += b.events
	}
	return map[string]any{"sent": d.sent, "waiting": waiting, "lost": d.lostSum, "error": d.fault}
}
