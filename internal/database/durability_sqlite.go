package database

import (
	"context"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

func (d *sqliteDialect) durability() models.Durability { return d.commits }

// checkDurability has nothing to look at: what Open saw cannot change.
func (*sqliteDialect) checkDurability(context.Context, *gorm.DB) error { return nil }

// makeDurable has nothing to do: the connection syncs every commit.
func (*sqliteDialect) makeDurable(*gorm.DB) error { return nil }

// sqliteDurability tells what a commit to a SQLite database survives whose folder
// has a weakness, or none ("").
func sqliteDurability(weakness string) models.Durability {
	if weakness != "" {
		return models.WeakDurability("the data folder " + weakness)
	}
	return models.DurabilityDisk
}
