package models

import "time"

// IdempotencyKey is a key that a client chose for a batch, with the digest and the
// receipt of that batch.
type IdempotencyKey struct {
	Key       string    `gorm:"primaryKey;type:varchar(255)"` // Batch.StoredKey
	Digest    string    `gorm:"type:varchar(64);not null"`
	Receipt   string    `gorm:"type:text;not null;default:''"` // JSON; empty only inside the transaction that stores the batch
	CreatedAt time.Time `gorm:"not null;index:idx_idempotency_keys_created;index:idx_idempotency_keys_session,priority:2"`
	SessionID string    `gorm:"column:session_id;type:varchar(255);not null;default:'';index:idx_idempotency_keys_session,priority:1"` // session of the first event; "" in older rows
}
