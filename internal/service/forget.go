package service

import (
	"context"
	"log/slog"
	"time"
)

// ForgettingRepository keeps what is of use for some time only.
type ForgettingRepository interface {
	DeleteKeys(ctx context.Context, before time.Time) error
}

// Forget deletes idempotency keys that are older than keep, now and once an hour,
// until ctx ends.
func Forget(ctx context.Context, from ForgettingRepository, keep time.Duration, clock Clock, log *slog.Logger) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		if err := from.DeleteKeys(ctx, clock.now().Add(-keep)); err != nil && ctx.Err() == nil {
			log.Warn("old idempotency keys could not be deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
