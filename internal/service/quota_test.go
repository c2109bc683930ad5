package service

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/models"
)

// TestQuotas checks that a sender gets its rate of events and of bytes over time, that the
// largest batch passes, and that senders do not share a quota.
func TestQuotas(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		events, bytes       float64 // the quota
		batchEvents, batchB int     // each batch
		burst, rate         int     // batches at once, and in each second after that
	}{
		"events":             {1000, 0, 100, 1 << 20, 100, 10},
		"bytes":              {0, 1 << 20, 100, 1 << 18, 64, 4}, // the largest batch of 16 MB is more than ten seconds
		"the first to end":   {1000, 1 << 20, 100, 1 << 19, 32, 2},
		"a large batch fits": {1, 0, 10_000, 1, 1, 0},
	} {
		q := NewQuotas(test.events, test.bytes, 10_000, 16<<20)
		taken := func(sender string, at time.Time) (n int) {
			for ; n < 1000; n++ {
				if err := q.Take(sender, test.batchEvents, test.batchB, at); models.ErrorCode(err) == models.CodeOverloaded {
					break
				}
			}
			return n
		}
		if got := taken("a", now); got != test.burst {
			t.Errorf("%s: %d batches at once, want %d", name, got, test.burst)
		}
		if got := taken("a", now.Add(time.Second)); got != test.rate {
			t.Errorf("%s: %d batches in a second, want %d", name, got, test.rate)
		}
		if got := taken("b", now.Add(time.Second)); got != test.burst {
			t.Errorf("%s: another sender gets %d batches, want %d", name, got, test.burst)
		}
	}
	q := NewQuotas(1, 0, 1, 1)
	for i := range maxQuotaSenders + 10 {
		_ = q.Take(fmt.Sprint(i), 1, 1, now)
	}
	if len(q.senders) > maxQuotaSenders {
		t.Errorf("%d senders are remembered", len(q.senders))
	}
	if none := NewQuotas(0, 0, 1, 1); none.Take("a", 1_000_000, 1<<30, now) != nil {
		t.Error("without a quota something is refused")
	}
}

// TestQuotasAtOnce checks that many requests at once get what the quota allows, and no more.
func TestQuotasAtOnce(t *testing.T) {
	q := NewQuotas(100, 0, 1, 1)
	var all sync.WaitGroup
	var taken atomic.Int64
	now := time.Now()
	for i := range 8 {
		all.Go(func() {
			for j := range 1000 {
				if q.Take("mad", 1, 1, now) == nil {
					taken.Add(1)
				}
				_ = q.Take(fmt.Sprint(i, j), 1, 1, now)
			}
		})
	}
	all.Wait()
	if want := int64(100 * quotaBurst.Seconds()); taken.Load() != want {
		t.Errorf("%d of %d events are taken", taken.Load(), want)
	}
}
