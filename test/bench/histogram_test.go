package main

import (
	"math"
	"testing"
	"time"
)

func TestHistogramIsFineEnough(t *testing.T) {
	for value := time.Duration(1); value < maxLatency; value += 1 + value/97 {
		var h histogram
		h.add(value)
		got := h.percentile(0.5)
		if off := math.Abs(float64(got-value)) / float64(value); off > 0.01 {
			t.Fatalf("%d is counted as %d", value, got)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var lower, upper histogram // 1 to 1000 ms, in two halves
	for ms := range 500 {
		lower.add(time.Duration(ms+1) * time.Millisecond)
		upper.add(time.Duration(ms+501) * time.Millisecond)
	}
	lower.merge(&upper)
	for share, want := range map[float64]time.Duration{0: time.Millisecond, 0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := lower.percentile(share); math.Abs(float64(got-want)) > 0.01*float64(want) {
			t.Errorf("%g of all stay within %s, want %s", share, got, want)
		}
	}
}

func TestPercentileOfExtremes(t *testing.T) {
	var h histogram
	if got := h.percentile(0.99); got != 0 {
		t.Errorf("of nothing it is %s", got)
	}
	h.add(-1)
	h.add(time.Hour)
	if got := h.percentile(0); got != 0 {
		t.Errorf("what took no time took %s", got)
	}
	if got := h.percentile(1); got < 68*time.Second || got > 69*time.Second {
		t.Errorf("what took too long took %s", got)
	}
}
