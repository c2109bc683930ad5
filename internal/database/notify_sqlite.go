package database

import (
	"context"

	"gorm.io/gorm"
)

// listen receives nothing: SQLite has no notifications.
func (*sqliteDialect) listen(ctx context.Context, _ string, _ func(), _ func(string)) { <-ctx.Done() }

func (*sqliteDialect) notify(*gorm.DB, string, []string) error { return nil }
