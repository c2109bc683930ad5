package database

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// Vacuum rewrites an SQLite database that was opened with Exclusive. Afterwards the
// database has no free space, and returns later free space to the file system by
// incremental vacuum. Vacuum returns the database's size in bytes before and after. A
// crash leaves the database as it was.
func (db *DB) Vacuum(ctx context.Context) (before, after int64, err error) {
	size := func(n *int64) error {
		return db.write.WithContext(ctx).Raw("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").Scan(n).Error
	}
	err = size(&before)
	if err == nil {
		err = db.write.WithContext(ctx).Connection(func(conn *gorm.DB) error {
			return errors.Join(conn.Exec("PRAGMA auto_vacuum = INCREMENTAL").Error, conn.Exec("VACUUM").Error)
		})
	}
	if err != nil {
		return 0, 0, fmt.Errorf("vacuum the database: %w", err)
	}
	return before, after, size(&after)
}
