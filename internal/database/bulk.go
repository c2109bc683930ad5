package database

import (
	"context"

	"gorm.io/gorm"
)

// Statement is one SQL statement with a ? for each argument. The rows of its
// result, if it has any, are scanned into Dest one after the other, and Row is
// called after each. Dest holds pointers to the types that database/sql scans
// into; a pointer to a pointer takes NULL.
type Statement struct {
	Text string
	Args []any
	Dest []any
	Row  func()
}

// Bulk is a transaction for the few statements that run for every group of
// events, by the fastest means that the database has and without GORM's share of
// the cost. Values are of the types string, []byte, int64, bool, time.Time,
// models.JSON, or nil.
type Bulk interface {
	// Run runs statements in their order. PostgreSQL gets them together, in one
	// round trip.
	Run(ctx context.Context, statements ...Statement) error
	// Insert adds n rows to a table; row gives the columns' values of row i, and
	// may give the same slice again.
	Insert(ctx context.Context, table string, columns []string, n int, row func(i int) []any) error
}

// Bulk runs fn in one transaction, committed when fn returns nil and rolled back
// otherwise. Errors are translated as GORM's are.
func (db *DB) Bulk(ctx context.Context, fn func(Bulk) error) error {
	pool, err := db.write.DB()
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err == nil {
		defer conn.Close()
		err = conn.Raw(func(driverConn any) error { return db.dialect.bulk(ctx, driverConn, fn) })
	}
	if translator, ok := db.write.Dialector.(gorm.ErrorTranslator); ok && err != nil {
		return translator.Translate(err)
	}
	return err
}
