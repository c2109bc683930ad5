package telemetry

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pieces records each write.
type pieces struct {
	mu  sync.Mutex
	got []string
	err error // result of every write
}

func (p *pieces) Write(piece []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, string(piece))
	return len(piece), p.err
}

func (p *pieces) want(t *testing.T, when string, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if fmt.Sprintf("%.99q", p.got) != fmt.Sprintf("%.99q", want) || strings.Join(p.got, "") != strings.Join(want, "") {
		t.Errorf("%s these pieces are passed on: %.99q, want %.99q", when, p.got, want)
	}
}

func write(t *testing.T, d *DelayedWriter, lines string) {
	t.Helper()
	if n, err := d.Write([]byte(lines)); n != len(lines) || err != nil {
		t.Errorf("Write took %d of %d bytes, %v", n, len(lines), err)
	}
}

func TestDelayedWriterPassesLinesOnAfterADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pieces{}
		d := &DelayedWriter{w: p}
		write(t, d, "1\n")
		<-time.After(logDelay / 2)
		write(t, d, "2\n3\n")
		<-time.After(logDelay/2 - 1)
		p.want(t, "before the delay")
		<-time.After(1)
		synctest.Wait()
		p.want(t, "after the delay", "1\n2\n3\n") // counted from the first line

		<-time.After(time.Hour)
		p.want(t, "while nothing is written", "1\n2\n3\n")
		write(t, d, "4\n")
		<-time.After(logDelay)
		synctest.Wait()
		p.want(t, "after the next delay", "1\n2\n3\n", "4\n")
	})
}

func TestDelayedWriterPassesOnAtOnceWhatIsMuch(t *testing.T) {
	for name, size := range map[string]int{"as much as is put together": 1, "more than that": 2 * logBufferBytes} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pieces{}
				d := &DelayedWriter{w: p}
				first, second, third := "1\n", strings.Repeat("2", logBufferBytes-4)+"\n", strings.Repeat("3", size-1)+"\n"
				write(t, d, first)
				write(t, d, second)
				p.want(t, "one byte before it is much")
				write(t, d, third)
				all := first + second + third
				p.want(t, "when it is much", all)
				write(t, d, "4\n")
				p.want(t, "right after that", all)
				<-time.After(logDelay)
				synctest.Wait()
				p.want(t, "after the delay", all, "4\n")
			})
		})
	}
}

func TestDelayedWriterFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pieces{}
		d := &DelayedWriter{w: p}
		d.Flush()
		p.want(t, "of nothing")
		write(t, d, "1\n")
		d.Flush()
		p.want(t, "by Flush", "1\n")
		write(t, d, "2\n")
		<-time.After(2 * logDelay)
		synctest.Wait()
		p.want(t, "after the delay", "1\n", "2\n")
	})
}

// TestDelayedWriterFailsNever checks that a log that cannot be written fails no
// request.
func TestDelayedWriterFailsNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pieces{err: errors.New("the disk is full")}
		d := &DelayedWriter{w: p}
		write(t, d, "1\n")
		d.Flush()
		write(t, d, "2\n")
		d.Flush()
		p.want(t, "to one that fails", "1\n", "2\n")
	})
}

func TestDelayedWriterLosesNothingOfSeveralAtOnce(t *testing.T) {
	const writers, each = 8, 3000 // more than one piece holds
	p := &pieces{}
	d := &DelayedWriter{w: p}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				write(t, d, fmt.Sprintf("writer %d line %d\n", w, i))
				if i%1000 == 0 {
					d.Flush()
				}
			}
		})
	}
	writing.Wait()
	d.Flush()
	var next [writers]int
	for line := range strings.Lines(strings.Join(p.got, "")) {
		var w, i int
		if _, err := fmt.Sscanf(line, "writer %d line %d\n", &w, &i); err != nil || w >= writers || i != next[w] {
			t.Fatalf("%q is passed on, %v", line, err)
		}
		next[w]++
	}
	for w := range next {
		if next[w] != each {
			t.Errorf("%d lines of writer %d are passed on, want %d", next[w], w, each)
		}
	}
	for _, piece := range p.got {
		if !strings.HasSuffix(piece, "\n") || strings.HasPrefix(piece, "line") {
			t.Errorf("a piece ends within a line: %.40q…", piece)
		}
	}
}
