package service

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/models"
)

func TestReadsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := NewReads(2, time.Minute)
		block := make(chan struct{})
		var mu sync.Mutex
		running, most, pages := 0, 0, 0
		outcomes := map[models.Code]int{}
		add := func(count *int, n int) {
			mu.Lock()
			defer mu.Unlock()
			*count += n
			most = max(most, running)
		}
		read := func(ctx context.Context) error {
			add(&running, 1)
			defer add(&running, -1)
			select {
			case <-block:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for range 2 + maxWaiting + 3 {
			go func() {
				err := reads.Do(t.Context(), func(ctx context.Context, _ func()) error { return read(ctx) })
				mu.Lock()
				defer mu.Unlock()
				outcomes[models.ErrorCode(err)]++
			}()
		}
		synctest.Wait()
		for range 3 { // they wait without a limit
			go func() {
				if err := reads.Page(t.Context(), read); err == nil {
					add(&pages, 1)
				}
			}()
		}
		synctest.Wait()
		<-time.After(59 * time.Second)
		synctest.Wait()
		if running != 2 || len(outcomes) != 1 || outcomes[models.CodeOverloaded] != 3 {
			t.Errorf("%d reads run, the others: %v", running, outcomes)
		}
		close(block)
		synctest.Wait()
		if most != 2 || pages != 3 || outcomes[""] != 2+maxWaiting {
			t.Errorf("at most %d ran, %d pages were read, and %v", most, pages, outcomes)
		}
	})
}

// TestReadGetsNoTurn checks that a read which waits too long for its turn is refused.
func TestReadGetsNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := NewGate(1, time.Minute, "full")
		leave, err := gate.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := gate.Enter(t.Context()); models.ErrorCode(err) != models.CodeOverloaded || time.Since(began) != time.Minute {
			t.Errorf("%v, after %s", err, time.Since(began))
		}
		leave()
		if len(gate.waiting) != 0 || len(gate.places) != 0 {
			t.Error("a caller is left")
		}
	})
}

func TestReadsEnd(t *testing.T) {
	errOther := errors.New("other")
	for name, tt := range map[string]struct {
		cancelAfter time.Duration
		read        func(ctx context.Context) error
		want        func(err error) bool
	}{
		"in time":       {time.Hour, func(context.Context) error { return nil }, func(err error) bool { return err == nil }},
		"with an error": {time.Hour, func(context.Context) error { return errOther }, func(err error) bool { return err == errOther }}, //nolint:errorlint // the identical error
		"too late": {time.Hour, untilDone, func(err error) bool {
			return models.ErrorCode(err) == models.CodeUnavailable && strings.Contains(err.Error(), "READ_TIMEOUT")
		}},
		"because the client left":  {time.Second, untilDone, func(err error) bool { return errors.Is(err, context.Canceled) }},
		"well, when it was slower": {time.Hour, func(context.Context) error { <-time.After(time.Hour); return nil }, func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(tt.cancelAfter, cancel).Stop()
				defer cancel()
				reads := NewReads(1, time.Minute)
				if err := reads.Do(ctx, func(ctx context.Context, _ func()) error { return tt.read(ctx) }); !tt.want(err) {
					t.Errorf("it ended with %v", err)
				}
				if err := reads.Page(t.Context(), func(context.Context) error { return nil }); err != nil {
					t.Errorf("the next one ended with %v", err)
				}
			})
		})
	}
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestReadThatIsDoneEarly checks that a turn which is released early is released only
// once.
func TestReadThatIsDoneEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := NewReads(1, time.Minute)
		for range 2 {
			err := reads.Do(t.Context(), func(ctx context.Context, done func()) error {
				done()
				return reads.Do(ctx, func(context.Context, func()) error { return nil })
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := len(reads.gate.places); n != 0 {
			t.Errorf("%d turns are taken", n)
		}
	})
}
