//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// tailBytes is how much of what a program prints is kept: the end of it.
const tailBytes = 64 << 10

// printBytesPerSecond is how fast a program may print in the long run: one that does
// nothing else would take a processor of the agent's with it.
const printBytesPerSecond = 16 << 20

// tail reads what a program prints.
type tail struct {
	r, w *os.File
	done chan struct{} // nil until it is read

	mu    sync.Mutex
	ring  []byte
	count int64
}

func newTail() (*tail, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	return &tail{r: r, w: w}, nil
}

// started closes this program's end for writing, and begins to read.
func (t *tail) started() {
	_ = t.w.Close()
	t.done = make(chan struct{})
	go t.read()
}

func (t *tail) read() {
	defer close(t.done)
	buffer := make([]byte, 64<<10)
	const window = printBytesPerSecond / 16
	begin, read := time.Now(), 0
	for {
		n, err := t.r.Read(buffer)
		t.add(buffer[:n])
		if err != nil {
			return
		}
		if read += n; read >= window {
			time.Sleep(time.Until(begin.Add(time.Second / 16)))
			begin, read = time.Now(), 0
		}
	}
}

func (t *tail) add(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count += int64(len(p))
	t.ring = append(t.ring, p...)
	if len(t.ring) > 2*tailBytes {
		t.ring = append(t.ring[:0], t.ring[len(t.ring)-tailBytes:]...)
	}
}

// close ends the reading: once all that was printed is read, if all who could
// write are gone.
func (t *tail) close() {
	if t.done == nil {
		_ = t.w.Close()
	} else {
		_ = t.r.SetReadDeadline(time.Now().Add(time.Second))
		<-t.done
	}
	_ = t.r.Close()
}

func (t *tail) last(n int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte{}, t.ring[max(0, len(t.ring)-n):]...)
}

func (t *tail) total() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}
