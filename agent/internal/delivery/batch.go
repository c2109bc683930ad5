//go:build linux

package delivery

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/agent/internal/event"
)

const (
	maxBatchEvents = 1000
	maxBatchBytes  = 512 << 10 // of NDJSON, unless one event alone is larger

	// maxEventBytes is half of what the backend takes as one body.
	maxEventBytes = 8 << 20
)

// batch is events of one session that are sent under one Idempotency-Key. What
// it says, its text and its key never change once it is sealed.
type batch struct {
	key, session string
	count        int
	from, to     time.Time // of the events
	opened       time.Time
	since        time.Time // opened, or before, when it has a report of what was lost before

	packing sync.Mutex
	raw     []byte // NDJSON, nil once it is packed
	packed  []byte // the same in zstd

	// Of Delivery, under its lock:
	size     int  // of the text
	settled  int  // events that are delivered or lost
	spooled  bool // it is at ref
	ref      ref
	kept     int // bytes that it takes in memory until the spool is synced
	finished bool

	// Of the one goroutine that sends it:
	parts     []part // what is still to be sent; nil: all
	lines     [][]byte
	conflicts int // that were answered
	divided   bool
	taken     bool // some of its parts were
	broken    int  // how often the backend choked on the first part, without another answer since brokenSince
	unsure    bool // whether the first part is stored, as a try had no answer

	brokenSince time.Time
}

// part is some events of a batch, under a key of their own.
type part struct {
	key      string
	from, to int // lines
}

// add appends an event's text, and gives its length; 0 if it is too large to be
// taken.
func (b *batch) add(e *event.Event) int {
	start := len(b.raw)
	b.raw = e.AppendJSON(b.raw)
	text := b.raw[start:]
	if len(text) > maxEventBytes {
		b.raw = b.raw[:start]
		return 0
	}
	// Between the values of JSON a line may end; of NDJSON it must not.
	for i := bytes.IndexByte(text, '\n'); i >= 0; i = bytes.IndexByte(text, '\n') {
		text[i] = ' '
	}
	b.raw = append(b.raw, '\n')
	if b.count == 0 || e.Time.Before(b.from) {
		b.from = e.Time
	}
	if b.count == 0 || e.Time.After(b.to) {
		b.to = e.Time
	}
	b.count++
	return len(b.raw) - start
}

// left gives how many events are still to be sent.
func (b *batch) left() int { return b.count - b.settled }

// isFull reports whether the batch is to be sealed.
func (b *batch) isFull() bool { return b.count >= maxBatchEvents || len(b.raw) >= maxBatchBytes }

// codec packs and unpacks batches, and lends them memory.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	buffers sync.Pool // of *[]byte
}

func newCodec() (*codec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("make a zstd encoder: %w", err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(2*maxEventBytes))
	if err != nil {
		return nil, fmt.Errorf("make a zstd decoder: %w", err)
	}
	return &codec{encoder: encoder, decoder: decoder}, nil
}

// buffer lends memory for a batch's text.
func (c *codec) buffer() []byte {
	if buffer, ok := c.buffers.Get().(*[]byte); ok {
		return (*buffer)[:0]
	}
	return make([]byte, 0, 16<<10)
}

// pack gives the batch's text in zstd. It is safe for concurrent use.
func (c *codec) pack(b *batch) []byte {
	b.packing.Lock()
	defer b.packing.Unlock()
	if b.packed != nil {
		return b.packed
	}
	b.packed = c.encoder.EncodeAll(b.raw, make([]byte, 0, len(b.raw)/8+64))
	if raw := b.raw; cap(raw) <= 2*maxBatchBytes {
		c.buffers.Put(&raw)
	}
	b.raw = nil
	return b.packed
}

// lines gives the events of a batch, each with its end of line.
func (c *codec) lines(b *batch) ([][]byte, error) {
	if b.lines == nil {
		text, err := c.decoder.DecodeAll(c.pack(b), nil)
		if err != nil {
			return nil, fmt.Errorf("unpack a batch: %w", err)
		}
		lines := make([][]byte, 0, b.count)
		for line := range bytes.Lines(text) {
			lines = append(lines, line)
		}
		if len(lines) != b.count {
			return nil, fmt.Errorf("unpack a batch: it has %d events, not %d", len(lines), b.count)
		}
		b.lines = lines
	}
	return b.lines, nil
}
