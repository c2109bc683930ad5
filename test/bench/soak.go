package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"ospulse/test/testbed"
)

// soakLine is how often the soak reports.
const soakLine = 30 * time.Second

// spans is the number of equal parts of the soak. Memory still grows in the first, so
// the last is compared with the second.
const spans = 10

// soak sends single events and packets concurrently for a long time, and reports whether
// the backend's memory grows.
func (l *lab) soak(ctx context.Context, dialect string, length time.Duration, stdout io.Writer) (err error) {
	store, err := l.newStore(ctx, dialect)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.remove()) }()
	_, err = fmt.Fprintf(stdout, "\n%s: single events c=64 and packets 25 c=4 at once for %s\n\n%8s  %9s  %14s  %11s  %8s  %10s\n",
		dialect, length, "after", "events/s", "p99 ms, single", "resident MB", "heap MB", "goroutines")
	if err != nil {
		return err
	}
	s := soaking{length: length, stdout: stdout}
	err = l.withBackend(ctx, store, func(backend *testbed.Process) error {
		s.backend = backend
		if _, err := startSession(ctx, backend.URL); err != nil {
			return err
		}
		return s.run(ctx, load{l.bodies.events, 1, 64}, load{l.bodies.packets, smallBatch, 4})
	})
	if err != nil {
		return err
	}
	return verify(ctx, store.options, s.acknowledged)
}

// soaking is a running soak.
type soaking struct {
	backend      *testbed.Process
	length       time.Duration
	stdout       io.Writer
	acknowledged int64
}

func (s *soaking) run(ctx context.Context, singles, packets load) (err error) {
	single, err := singles.dial(ctx, s.backend.URL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, single.close()) }()
	packet, err := packets.dial(ctx, s.backend.URL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packet.close()) }()

	workers, err := single.workers(ctx, s.length)
	if err != nil {
		return err
	}
	more, err := packet.workers(ctx, s.length)
	if err != nil {
		return err
	}
	workers = append(workers, more...)
	linesEach := max(1, int(s.length/spans/soakLine))
	line := s.length / time.Duration(spans*linesEach)
	var resident [spans]float64 // MB
	for i := range spans * linesEach {
		tallies, err := drive(ctx, window{length: line}, workers)
		if err != nil {
			return err
		}
		all := merge(tallies)
		s.acknowledged += all.acknowledged
		now := testbed.Megabytes(testbed.ResidentBytes(s.backend.Pid))
		resident[i/linesEach] += now / float64(linesEach)
		heap, goroutines, err := s.runtimeFigures(ctx)
		if err != nil {
			return err
		}
		p99 := merge(tallies[:singles.connections]).latencies.percentile(0.99)
		_, err = fmt.Fprintf(s.stdout, "%8s  %9.0f  %14.2f  %11.1f  %8.1f  %10.0f\n",
			(line * time.Duration(i+1)).Round(time.Second), all.counted/line.Seconds(), millis(p99), now, heap/(1<<20), goroutines)
		if err != nil {
			return err
		}
		if err := s.backend.ForgetLog(); err != nil { // it would fill the disk
			return err
		}
	}
	second, last := resident[1], resident[spans-1]
	_, err = fmt.Fprintf(s.stdout, "\nresident memory: %.1f MB in the second of %d spans, %.1f MB in the last: %+.1f MB\n", second, spans, last, last-second)
	return err
}

// metricLine is a line of /metrics without labels.
var metricLine = regexp.MustCompile(`(?m)^(go_memstats_heap_inuse_bytes|go_goroutines) (\S+)$`)

// runtimeFigures asks the backend for its heap in bytes and its goroutines.
func (s *soaking) runtimeFigures(ctx context.Context) (heap, goroutines float64, err error) {
	text, err := testbed.Call(ctx, http.MethodGet, s.backend.URL+"/metrics", "", http.NoBody)
	if err != nil {
		return 0, 0, err
	}
	found := map[string]float64{}
	for _, match := range metricLine.FindAllSubmatch(text, -1) {
		if found[string(match[1])], err = strconv.ParseFloat(string(match[2]), 64); err != nil {
			return 0, 0, fmt.Errorf("/metrics says %s: %w", match[0], err)
		}
	}
	return found["go_memstats_heap_inuse_bytes"], found["go_goroutines"], nil
}
