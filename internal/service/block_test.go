package service

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/models"
)

// blockRepo is a bucket that can be offline, and has some blocks to move.
type blockRepo struct {
	isDown        atomic.Bool
	toMove, moved atomic.Int64
	sweeps        atomic.Int64
}

func (r *blockRepo) Check(context.Context) error {
	if r.isDown.Load() {
		return models.Errorf(models.CodeUnavailable, "away")
	}
	return nil
}

func (r *blockRepo) Move(ctx context.Context) (int, error) {
	if r.toMove.Load() == 0 {
		return 0, nil
	}
	if err := r.Check(ctx); err != nil {
		return 0, err
	}
	r.toMove.Add(-1)
	r.moved.Add(1)
	return 1, nil
}

func (r *blockRepo) Sweep(context.Context, time.Duration) (int, error) {
	r.sweeps.Add(1)
	return 0, nil
}

// freeLease is a lease that nobody else wants.
type freeLease struct{}

func (freeLease) Take(context.Context, string, string, time.Duration) (bool, error) { return true, nil }
func (freeLease) Release(context.Context, string, string) error                     { return nil }

// TestOfflineBucketIsLoggedOnce checks that the worker logs the end and the return of a
// bucket once each, whether or not there are blocks to move, moves what has waited, and
// sweeps every hour.
func TestOfflineBucketIsLoggedOnce(t *testing.T) {
	for name, toMove := range map[string]int64{"nothing to move": 0, "blocks to move": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				repo := &blockRepo{}
				repo.isDown.Store(true)
				repo.toMove.Store(toMove)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					NewBlocks(repo, freeLease{}, 0, slog.New(slog.NewTextHandler(&log, nil))).Run(ctx)
				}()
				<-time.After(time.Minute)
				synctest.Wait()
				if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "away") || repo.moved.Load() != 0 {
					t.Errorf("offline for a minute: moved %d, logged\n%s", repo.moved.Load(), got)
				}
				repo.isDown.Store(false)
				<-time.After(time.Minute)
				synctest.Wait()
				if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "again") || repo.moved.Load() != toMove {
					t.Errorf("online for a minute: moved %d, logged\n%s", repo.moved.Load(), got)
				}
				<-time.After(3 * time.Hour)
				cancel()
				<-done
				if got := repo.sweeps.Load(); got != 4 {
					t.Errorf("swept %d times in three hours", got)
				}
			})
		})
	}
}
