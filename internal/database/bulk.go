package database

import (
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"

	"ospulse/internal/models"
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
	// Finish runs statements, as Run does, and commits, all in one round trip.
	// Nothing is to follow.
	Finish(ctx context.Context, statements ...Statement) error
	// Durability tells what the commit will survive. It is known after the first Run.
	Durability() models.Durability
	// Insert adds n rows to a table; row gives the columns' values of row i, and
	// may give the same slice again. On PostgreSQL a few rows wait for the next
	// statements, whose error may be theirs.
	Insert(ctx context.Context, table string, columns []string, n int, row func(i int) []any) error
}

// Bulk runs fn in one transaction, committed by Finish or else when fn returns
// nil, and rolled back otherwise. Errors are translated as GORM's are. Bulk is for
// ingest: on PostgreSQL it has connections of its own, and on SQLite it waits for at
// most one transaction of Write.
func (db *DB) Bulk(ctx context.Context, fn func(Bulk) error) error {
	return db.bulk(ctx, db.ingest, fn)
}

// BulkBeside is Bulk for all that is not ingest: it takes its turn with Write.
func (db *DB) BulkBeside(ctx context.Context, fn func(Bulk) error) error {
	if err := db.takeTurn(ctx); err != nil {
		return err
	}
	defer db.leaveTurn()
	return db.bulk(ctx, db.write, fn)
}

func (db *DB) bulk(ctx context.Context, g *gorm.DB, fn func(Bulk) error) error {
	pool, err := g.DB()
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

// insertSizes are how many rows go into one INSERT, each size a prepared
// statement; their columns stay below the 32766 parameters that SQLite takes, and
// the 65535 of PostgreSQL.
var insertSizes = []int{64, 32, 16, 8, 4, 2, 1} //nolint:gochecknoglobals // a constant

// insertSize gives the largest of these that is not above n.
func insertSize(n int) int {
	return insertSizes[slices.IndexFunc(insertSizes, func(size int) bool { return size <= n })]
}

// insertKey stands for an INSERT of n rows into a table, always the same columns.
type insertKey struct {
	table string
	n     int
}

// insertText gives an INSERT of n rows. Table and columns are constants of this
// program.
func insertText(table string, columns []string, n int) string {
	row := "(?" + strings.Repeat(",?", len(columns)-1) + ")"
	return "INSERT INTO " + table + " (" + strings.Join(columns, ",") + ") VALUES " + row + strings.Repeat(","+row, n-1)
}
