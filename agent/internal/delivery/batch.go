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

	// maxEventBytes is half of the backend's limit for a request body.
	maxEventBytes = 8 << 20
)

// batch holds events of one session that are sent under one Idempotency-Key. Its events,
// text and key never change after it is sealed.
type batch struct {
	key, session string
	count        int
	from, to     time.Time // of the events
	opened       time.Time
	since        time.Time // opened, or earlier if it reports an earlier loss

	packing sync.Mutex
	raw     []byte // NDJSON; nil after packing
	packed  []byte // raw, compressed with zstd

	// Fields below are guarded by Delivery.mu.
	size     int  // of raw, in bytes
	settled  int  // number of delivered or lost events
	spooled  bool // the spool holds the batch at ref
	ref      ref
	kept     int // bytes in memory until the spool is synced
	finished bool

	// Fields below are owned by the goroutine that sends the batch.
	parts     []part // not sent yet; nil: the whole batch
	lines     [][]byte
	conflicts int // number of conflict answers
	divided   bool
	taken     bool // the backend accepted a part
	broken    int  // number of broke answers to the first part in a row, since brokenSince
	unsure    bool // the first part may be stored: an attempt got no answer

	brokenSince time.Time
}

// part is a range of a batch's events. It has its own key.
type part struct {
	key      string
	from, to int // lines from … to-1
}

// add appends an event as one line. It returns the length of the line in bytes, or 0 if the
// event is too large.
func (b *batch) add(e *event.Event) int {
	start := len(b.raw)
	b.raw = e.AppendJSON(b.raw)
	text := b.raw[start:]
	if len(text) > maxEventBytes {
		b.raw = b.raw[:start]
		return 0
	}
	// JSON allows line breaks between values; NDJSON does not.
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

// left returns the number of events that are neither delivered nor lost.
func (b *batch) left() int { return b.count - b.settled }

// isFull reports whether the batch must be sealed.
func (b *batch) isFull() bool { return b.count >= maxBatchEvents || len(b.raw) >= maxBatchBytes }

// codec compresses and decompresses batches, and pools their buffers.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	buffers sync.Pool // of *[]byte
}

func newCodec() (*codec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("create a zstd encoder: %w", err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(2*maxEventBytes))
	if err != nil {
		return nil, fmt.Errorf("create a zstd decoder: %w", err)
	}
	return &codec{encoder: encoder, decoder: decoder}, nil
}

// buffer returns an empty buffer for a batch's text.
func (c *codec) buffer() []byte {
	if buffer, ok := c.buffers.Get().(*[]byte); ok {
		return (*buffer)[:0]
	}
	return make([]byte, 0, 16<<10)
}

// pack returns the batch's text compressed with zstd. It is safe for concurrent use.
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

// lines returns the events of a batch, each with its line break.
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
