package main

import (
	"math/bits"
	"time"
)

// Each power of two has bucketsEach buckets, so the middle of a bucket is within 0.4 % of
// every value in it.
const (
	bucketBits  = 7
	bucketsEach = 1 << bucketBits
	maxLatency  = 1 << 36 // nanoseconds, 69 s; longer latencies count as that
)

// histogram counts latencies in a fixed size.
type histogram [(36 - bucketBits + 1) * bucketsEach]uint32

func (h *histogram) add(latency time.Duration) {
	h[bucket(uint64(max(0, min(latency, maxLatency-1))))]++
}

// merge adds what another histogram counted.
func (h *histogram) merge(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// percentile returns the latency that a share (0 to 1) of all does not exceed, or 0 if
// the histogram is empty.
func (h *histogram) percentile(share float64) time.Duration {
	var total uint64
	for _, n := range h {
		total += uint64(n)
	}
	rank := max(1, uint64(share*float64(total)+0.999999))
	var seen uint64
	for i, n := range h {
		if seen += uint64(n); n > 0 && seen >= rank {
			return middle(i)
		}
	}
	return 0
}

// bucket returns the bucket of a value: exact below 2*bucketsEach, then the
// value's highest bits.
func bucket(value uint64) int {
	shift := max(0, bits.Len64(value)-bucketBits-1)
	return shift*bucketsEach + int(value>>shift)
}

// middle returns the middle of a bucket.
func middle(i int) time.Duration {
	shift := max(0, i/bucketsEach-1)
	lowest := uint64(i-shift*bucketsEach) << shift
	return time.Duration(lowest + (1<<shift)/2)
}
