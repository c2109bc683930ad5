package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"ospulse/internal/models"
)

// ForgettingRepository keeps what is of use for some time only.
type ForgettingRepository interface {
	DeleteKeys(ctx context.Context, before time.Time) error
	DeleteMarks(ctx context.Context, before time.Time) error
}

// Forget deletes idempotency keys and writers' marks that are too old, now and
// once an hour, until ctx ends.
func Forget(ctx context.Context, from ForgettingRepository, clock Clock, log *slog.Logger) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		now := clock.now()
		err := errors.Join(from.DeleteKeys(ctx, now.Add(-models.KeyLifetime)), from.DeleteMarks(ctx, now.Add(-models.MarkLifetime)))
		if err != nil && ctx.Err() == nil {
			log.Warn("old idempotency keys and marks could not be deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
