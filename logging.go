package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"ospulse/internal/config"
)

// newLogger gives a logger in the form that is configured.
func newLogger(cfg config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// How much of the log of requests is put together, and for how long.
const (
	logBufferBytes = 64 << 10
	logDelay       = 100 * time.Millisecond
)

// delayedWriter passes lines on a few at a time: a line for each of ten thousand
// requests a second would else cost a tenth of the time that these take.
type delayedWriter struct {
	w io.Writer

	mu        sync.Mutex
	lines     []byte
	scheduled bool // to be flushed
}

// Write takes whole lines; it fails never.
func (d *delayedWriter) Write(lines []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, lines...)
	if len(d.lines) >= logBufferBytes {
		d.pass()
	} else if !d.scheduled {
		d.scheduled = true
		time.AfterFunc(logDelay, d.Flush)
	}
	return len(lines), nil
}

// Flush passes on what is there.
func (d *delayedWriter) Flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scheduled = false
	d.pass()
}

func (d *delayedWriter) pass() {
	if len(d.lines) > 0 {
		_, _ = d.w.Write(d.lines) // there is nowhere to complain of a log that cannot be written
		d.lines = d.lines[:0]
	}
}
