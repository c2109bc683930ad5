package database

import (
	"context"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

func (d *sqliteDialect) durability() models.Durability { return d.commits }

// checkDurability returns the result of Open, which cannot change.
func (*sqliteDialect) checkDurability(context.Context, *gorm.DB) error { return nil }

// makeDurable does nothing: the connection syncs every commit.
func (*sqliteDialect) makeDurable(*gorm.DB) error { return nil }

// sqliteDurability returns what a commit survives in a database whose folder has a
// weakness; "" for none.
func sqliteDurability(weakness string) models.Durability {
	if weakness != "" {
		return models.WeakDurability("the data folder " + weakness)
	}
	return models.DurabilityDisk
}
