// Package logging makes the log cheap where it has a line for every request. It
// knows nothing of what is logged.
package logging

import (
	"io"
	"sync"
	"time"
)

// How much of the log of requests is put together, and for how long.
const (
	logBufferBytes = 64 << 10
	logDelay       = 100 * time.Millisecond
)

// DelayedWriter passes lines on a few at a time: a line for each of ten thousand
// requests a second would else cost a tenth of the time that these take. It is safe
// for concurrent use.
type DelayedWriter struct {
	w io.Writer

	mu        sync.Mutex
	lines     []byte
	scheduled bool // to be flushed
}

// NewDelayedWriter gives a writer in front of w.
func NewDelayedWriter(w io.Writer) *DelayedWriter { return &DelayedWriter{w: w} }

// Write takes whole lines; it fails never.
func (d *DelayedWriter) Write(lines []byte) (int, error) {
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
func (d *DelayedWriter) Flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scheduled = false
	d.pass()
}

func (d *DelayedWriter) pass() {
	if len(d.lines) > 0 {
		_, _ = d.w.Write(d.lines) // there is nowhere to complain of a log that cannot be written
		d.lines = d.lines[:0]
	}
}
