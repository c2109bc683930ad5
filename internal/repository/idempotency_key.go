package repository

import (
	"context"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

const (
	// keysKept is the number of each session's newest keys that are never deleted. A
	// sender that was offline for long repeats only its last batches: our agent sends the
	// batches of a session one after the other.
	keysKept = 64

	// keysAtOnce is the number of keys that one transaction deletes. Incoming events wait
	// for it on SQLite.
	keysAtOnce = 500
)

// DeleteKeys deletes the idempotency keys older than before, except the newest ones of
// each session. It uses short transactions, so that incoming events do not wait.
func (r *Events) DeleteKeys(ctx context.Context, before time.Time) error {
	for after := (time.Time{}); ; {
		var old []models.IdempotencyKey
		err := r.db.Read(ctx).Select("key", "created_at").Where("created_at >= ? AND created_at < ?", after, before).
			Where("EXISTS (SELECT 1 FROM idempotency_keys AS newer WHERE newer.session_id = idempotency_keys.session_id AND newer.created_at > idempotency_keys.created_at ORDER BY newer.created_at LIMIT 1 OFFSET ?)", keysKept-1).
			Order("created_at").Limit(keysAtOnce).Find(&old).Error
		if err != nil || len(old) == 0 {
			return translate(r.db, err, "the key")
		}
		keys := make([]string, len(old))
		for i := range old {
			keys[i] = old[i].Key
		}
		if err := r.db.Write(ctx, func(tx *gorm.DB) error {
			return tx.Where("key IN ?", keys).Delete(&models.IdempotencyKey{}).Error
		}); err != nil {
			return translate(r.db, err, "the key")
		}
		after = old[len(old)-1].CreatedAt
	}
}
