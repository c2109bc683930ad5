package repository

import (
	"context"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Leases stores leases. It uses the database's clock, because the clocks of backends may
// differ.
type Leases struct{ db *database.DB }

// NewLeases returns the leases of db.
func NewLeases(db *database.DB) *Leases { return &Leases{db} }

// Take acquires or renews a lease for the holder, from now on. It returns false if
// another holder has the lease.
func (r *Leases) Take(ctx context.Context, name, holder string, lasts time.Duration) (taken bool, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		taken, err = takeLease(tx, r.db, name, holder, lasts)
		return err
	})
	return taken, translate(r.db, err, "the lease")
}

func takeLease(tx *gorm.DB, db *database.DB, name, holder string, lasts time.Duration) (bool, error) {
	now := nowMicros(db)
	done := tx.Exec("INSERT INTO leases (name, holder, until) VALUES (?, ?, "+now+" + ?) ON CONFLICT (name) DO UPDATE"+
		" SET holder = excluded.holder, until = excluded.until WHERE leases.holder = excluded.holder OR leases.until <= "+now,
		name, holder, lasts.Microseconds())
	return done.RowsAffected == 1, done.Error
}

// Release ends a lease if the holder has it.
func (r *Leases) Release(ctx context.Context, name, holder string) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Where("name = ? AND holder = ?", name, holder).Delete(&models.Lease{}).Error
	})
	return translate(r.db, err, "the lease")
}

// nowMicros returns the SQL for the time by the database's clock, in microseconds since
// 1970.
func nowMicros(db *database.DB) string {
	if db.Dialect() == "postgres" {
		return "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint"
	}
	return "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
}
