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
			if limit != 1 && limit < firstStep || limit > maxStep {
				t.Fatalf("a step of %d", limit)
			}
			if limit > 1 && !resting.IsZero() && time.Since(resting) < shortestRest {
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

// TestStepsOfADistantDatabase checks that a database which takes long for any number of
// rows does not make the steps so small that the deletion takes for ever, and that large
// rows still do.
func TestStepsOfADistantDatabase(t *testing.T) {
	for name, tt := range map[string]struct {
		step, row time.Duration
		rows      int
		atMost    time.Duration
	}{
		"a slow disk":               {100 * time.Millisecond, 0, 3000, 10 * time.Second},
		"far away":                  {300 * time.Millisecond, 10 * time.Microsecond, 100_000, 2 * time.Minute},
		"far away, with large rows": {300 * time.Millisecond, 300 * time.Millisecond, 100, 2 * time.Minute},
		"nearby, with large rows":   {time.Millisecond, 300 * time.Millisecond, 100, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, left, longest := time.Now(), tt.rows, time.Duration(0)
				_, err := inSteps(t.Context(), func(limit int) (int64, error) {
					n := min(limit, left)
					took := time.Duration(n) * tt.row
					<-time.After(tt.step + took)
					if left < tt.rows { // the size of the first rows is unknown
						longest = max(longest, took)
					}
					left -= n
					return int64(n), nil
				})
				if took := time.Since(began); err != nil || took > tt.atMost || longest > max(2*tt.row, longStep) {
					t.Errorf("it took %s, the rows of one step up to %s, %v", took, longest, err)
				}
			})
		})
	}
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
