package main

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// takes returns a worker whose pieces of work all take the same time.
func takes(d time.Duration, events int) worker {
	return func() (int, error) {
		<-time.After(d)
		return events, nil
	}
}

func TestDriveCountsWhatIsInsideTheWindow(t *testing.T) {
	for name, c := range map[string]struct {
		each         time.Duration
		counted      float64
		acknowledged int64
	}{
		"pieces that fit":               {100 * time.Millisecond, 100, 150},
		"pieces across the edges":       {300 * time.Millisecond, 100.0 / 3, 50},
		"one piece longer than all":     {4 * time.Second, 2.5, 10},
		"pieces that end with a window": {500 * time.Millisecond, 20, 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ends []time.Duration
				began := time.Now()
				note := func() { ends = append(ends, time.Since(began)) }
				w := window{warmUp: 500 * time.Millisecond, length: time.Second, opened: note, closed: note}
				tallies, err := drive(t.Context(), w, []worker{takes(c.each, 10), takes(c.each, 10)})
				if err != nil {
					t.Fatal(err)
				}
				for _, got := range tallies {
					if math.Abs(got.counted-c.counted) > 1e-6 || got.acknowledged != c.acknowledged {
						t.Errorf("%g events counted, %d acknowledged, want %g, %d", got.counted, got.acknowledged, c.counted, c.acknowledged)
					}
				}
				if total := merge(tallies); math.Abs(total.counted-2*c.counted) > 1e-6 || total.acknowledged != 2*c.acknowledged {
					t.Errorf("together %g and %d", total.counted, total.acknowledged)
				}
				if len(ends) != 2 || ends[0] != w.warmUp || ends[1] != w.warmUp+w.length {
					t.Errorf("the window was open between %v", ends)
				}
			})
		})
	}
}

func TestDriveEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		fail func() error
		want error
	}{
		"of a worker":  {func() error { return broken }, broken},
		"of its owner": {func() error { return nil }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				_, err := drive(ctx, window{length: time.Hour}, []worker{takes(time.Second, 1), func() (int, error) {
					<-time.After(time.Minute)
					if err := c.fail(); err != nil {
						return 0, err
					}
					cancel()
					return 0, nil
				}})
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if took := time.Since(began); took > 2*time.Minute {
					t.Errorf("it went on for %s", took)
				}
				cancel()
			})
		})
	}
}
