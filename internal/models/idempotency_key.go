package models

import "time"

// KeyLifetime is how long an idempotency key is kept.
const KeyLifetime = 24 * time.Hour

// IdempotencyKey is a key that a client chose for a batch, with the digest of
// that batch and the receipt it got.
type IdempotencyKey struct {
	Key       string    `gorm:"primaryKey;type:varchar(255)"`
	Digest    string    `gorm:"type:varchar(64);not null"`
	Receipt   string    `gorm:"type:text;not null;default:''"` // JSON; empty only inside the transaction that stores the batch
	CreatedAt time.Time `gorm:"not null;index:idx_idempotency_keys_created"`
}
