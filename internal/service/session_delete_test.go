package service

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestStepsFitTheirTime checks that steps grow until they take the permitted time, and
// shrink at once when the rows are larger. There is a rest after each step.
func TestStepsFitTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rows = 20_000
		left, resting, longest, worst := rows, time.Time{}, 0, time.Duration(0)
		step := func(limit int) (int64, error) {
			if limit < firstStep || limit > maxStep {
				t.Fatalf("a step of %d", limit)
			}
			if !resting.IsZero() && time.Since(resting) < shortestRest {
				t.Fatalf("a rest of %s", time.Since(resting))
			}
			n := min(limit, left)
			perRow := 5 * time.Microsecond
			if left < rows/2 {
				perRow = 100 * time.Microsecond // the remaining rows are larger
			}
			<-time.After(time.Duration(n) * perRow)
			if left -= n; left < rows/4 {
				worst = max(worst, time.Duration(n)*perRow)
			}
			longest = max(longest, n)
			resting = time.Now()
			return int64(n), nil
		}
		if n, err := inSteps(t.Context(), step); n != rows || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
		if longest < 500 || worst > 2*stepTime {
			t.Errorf("the longest step had %d rows; when the rows were large one took %s", longest, worst)
		}
	})
}

// TestStepsOnASlowDisk checks that a disk that is slow for any number of rows does not
// make the steps so small that the deletion takes forever.
func TestStepsOnASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, left := time.Now(), 3000
		_, err := inSteps(t.Context(), func(limit int) (int64, error) {
			<-time.After(100 * time.Millisecond)
			n := min(limit, left)
			left -= n
			return int64(n), nil
		})
		if took := time.Since(began); err != nil || took > 10*time.Second {
			t.Errorf("it took %s, %v", took, err)
		}
	})
}

func TestStepsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		if n, err := inSteps(t.Context(), func(int) (int64, error) { return 3, failed }); n != 3 || !errors.Is(err, failed) {
			t.Errorf("%d, %v", n, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n, err := inSteps(ctx, func(int) (int64, error) { cancel(); return 3, nil })
		if n != 3 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d, %v", n, err)
		}
	})
}
