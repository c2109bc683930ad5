//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// tailBytes is how much of the end of a program's output is kept, in bytes.
const tailBytes = 64 << 10

// printBytesPerSecond is the long-run limit for a program's output. Without it, a program
// that only prints would use a whole CPU of the agent.
const printBytesPerSecond = 16 << 20

// tail reads a program's output and keeps its end.
type tail struct {
	r, w *os.File
	done chan struct{} // nil before started; closed at the end of the output

	mu    sync.Mutex
	ring  []byte
	count int64
}

func newTail() (*tail, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create a pipe: %w", err)
	}
	return &tail{r: r, w: w}, nil
}

// started closes the agent's write end of the pipe and starts the goroutine that reads.
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

// close waits until all output is read, and closes the pipe. If a process still holds the
// write end, close gives up after a second.
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
