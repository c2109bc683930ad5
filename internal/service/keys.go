package service

import (
	"context"
	"log/slog"
	"time"

	"ospulse/internal/models"
)

// KeyRepository keeps idempotency keys.
type KeyRepository interface {
	DeleteKeys(ctx context.Context, before time.Time) error
}

// ForgetKeys deletes idempotency keys that are too old, now and once an hour,
// until ctx ends.
func ForgetKeys(ctx context.Context, keys KeyRepository, clock Clock, log *slog.Logger) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		if err := keys.DeleteKeys(ctx, clock.now().Add(-models.KeyLifetime)); err != nil && ctx.Err() == nil {
			log.Warn("old idempotency keys could not be deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
