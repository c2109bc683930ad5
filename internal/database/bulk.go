package database

import (
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

// Statement is an SQL statement with a ? for each argument. Bulk scans each row of its
// result into Dest and then calls Row. Dest holds pointers to types that database/sql
// scans into; a pointer to a pointer accepts NULL.
type Statement struct {
	Text string
	Args []any
	Dest []any
	Row  func()
}

// Bulk is a transaction for the few statements that run for each group of events. It uses
// the fastest interface of the database's driver, without GORM's overhead. Values have
// the types string, []byte, int64, bool, time.Time or models.JSON, or are nil.
type Bulk interface {
	// Run runs statements in order. PostgreSQL gets them in one round trip.
	Run(ctx context.Context, statements ...Statement) error
	// Finish runs statements like Run, and commits in the same round trip. It is the last
	// call.
	Finish(ctx context.Context, statements ...Statement) error
	// Durability returns what the commit will survive. It is valid after the first Run.
	Durability() models.Durability
	// Insert inserts n rows into a table. row returns the column values of row i, and may
	// reuse its slice. On PostgreSQL a few rows wait for the next statements, whose error
	// may be theirs.
	Insert(ctx context.Context, table string, columns []string, n int, row func(i int) []any) error
}

// Bulk runs fn in a transaction. Finish commits it, or Bulk does when fn returns nil;
// otherwise Bulk rolls back. It translates errors as GORM does. It is for ingest: on
// PostgreSQL it has its own connections, and on SQLite it waits for at most one
// transaction of Write.
func (db *DB) Bulk(ctx context.Context, fn func(Bulk) error) error {
	return db.bulk(ctx, db.ingest, fn)
}

// BulkBeside is Bulk for everything except ingest: it takes turns with Write.
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

// insertSizes are the numbers of rows of one INSERT, each a prepared statement. Their
// parameters stay below the limits of 32,766 on SQLite and 65,535 on PostgreSQL.
var insertSizes = []int{64, 32, 16, 8, 4, 2, 1} //nolint:gochecknoglobals // a constant

// insertSize returns the largest of insertSizes that is at most n.
func insertSize(n int) int {
	return insertSizes[slices.IndexFunc(insertSizes, func(size int) bool { return size <= n })]
}

// insertKey identifies an INSERT of n rows into some columns of a table. Lists of columns
// of one table differ in their length.
type insertKey struct {
	table      string
	columns, n int
}

// insertText returns an INSERT of n rows. Table and columns are constants of this
// program.
func insertText(table string, columns []string, n int) string {
	row := "(?" + strings.Repeat(",?", len(columns)-1) + ")"
	return "INSERT INTO " + table + " (" + strings.Join(columns, ",") + ") VALUES " + row + strings.Repeat(","+row, n-1)
}
