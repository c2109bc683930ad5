package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
)

// Bulk is a transaction for the few statements that run for every event, by the
// fastest means that the database has and without GORM's share of the cost.
type Bulk interface {
	// QueryRow runs a statement, with ? for each argument, and scans its row into
	// dest; found is false when it gives none.
	QueryRow(ctx context.Context, statement string, args []any, dest ...any) (found bool, err error)
	// Exec runs a statement, with ? for each argument.
	Exec(ctx context.Context, statement string, args ...any) error
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
	err = db.dialect.bulk(ctx, pool, fn)
	if translator, ok := db.write.Dialector.(gorm.ErrorTranslator); ok && err != nil {
		return translator.Translate(err)
	}
	return err
}

// postgresBulk inserts by COPY.
type postgresBulk struct{ tx pgx.Tx }

func (postgresDialect) bulk(ctx context.Context, pool *sql.DB, fn func(Bulk) error) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driverConn any) error {
		return pgx.BeginFunc(ctx, driverConn.(*stdlib.Conn).Conn(), func(tx pgx.Tx) error { return fn(postgresBulk{tx}) })
	})
}

func (b postgresBulk) QueryRow(ctx context.Context, statement string, args []any, dest ...any) (found bool, err error) {
	err = b.tx.QueryRow(ctx, numbered(statement), args...).Scan(dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (b postgresBulk) Exec(ctx context.Context, statement string, args ...any) error {
	_, err := b.tx.Exec(ctx, numbered(statement), args...)
	return err
}

// numbered writes each ? as PostgreSQL does: $1, $2 …
func numbered(statement string) string {
	for n := 1; strings.Contains(statement, "?"); n++ {
		statement = strings.Replace(statement, "?", "$"+strconv.Itoa(n), 1)
	}
	return statement
}

func (b postgresBulk) Insert(ctx context.Context, table string, columns []string, n int, row func(i int) []any) error {
	copied, err := b.tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromSlice(n, func(i int) ([]any, error) { return row(i), nil }))
	if err == nil && copied != int64(n) {
		err = fmt.Errorf("COPY stored %d of %d rows", copied, n)
	}
	return err
}

// insertSizes are how many rows go into one INSERT of SQLite, each a prepared
// statement; their columns stay below the 32766 parameters that SQLite takes.
var insertSizes = []int{64, 8, 1} //nolint:gochecknoglobals // a constant

// statements keeps the prepared statements of SQLite's one writing connection. A
// transaction holds that connection, so what it misses is prepared for the next
// one before that begins.
type statements struct {
	mu       sync.Mutex
	prepared map[string]*sql.Stmt // nil until it is
}

// prepare prepares what was missed. It holds no lock meanwhile: a transaction
// that holds the connection may want it.
func (s *statements) prepare(ctx context.Context, pool *sql.DB) error {
	for _, text := range s.missed() {
		statement, err := pool.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.prepared[text] != nil { // another was as fast
			err = statement.Close()
		} else {
			s.prepared[text] = statement
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *statements) missed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var texts []string
	for text, statement := range s.prepared {
		if statement == nil {
			texts = append(texts, text)
		}
	}
	return texts
}

// get gives a statement for use in tx.
func (s *statements) get(ctx context.Context, tx *sql.Tx, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if statement := s.prepared[text]; statement != nil {
		return tx.StmtContext(ctx, statement), nil
	}
	if s.prepared == nil {
		s.prepared = map[string]*sql.Stmt{}
	}
	s.prepared[text] = nil
	return tx.PrepareContext(ctx, text) // it is closed with tx
}

// sqliteBulk inserts by prepared statements of many rows.
type sqliteBulk struct {
	tx         *sql.Tx
	statements *statements
}

func (d *sqliteDialect) bulk(ctx context.Context, pool *sql.DB, fn func(Bulk) error) error {
	if err := d.statements.prepare(ctx, pool); err != nil {
		return err
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(sqliteBulk{tx, &d.statements}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (b sqliteBulk) QueryRow(ctx context.Context, text string, args []any, dest ...any) (found bool, err error) {
	statement, err := b.statements.get(ctx, b.tx, text)
	if err != nil {
		return false, err
	}
	err = statement.QueryRowContext(ctx, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (b sqliteBulk) Exec(ctx context.Context, text string, args ...any) error {
	statement, err := b.statements.get(ctx, b.tx, text)
	if err == nil {
		_, err = statement.ExecContext(ctx, args...)
	}
	return err
}

func (b sqliteBulk) Insert(ctx context.Context, table string, columns []string, n int, row func(i int) []any) error {
	args := make([]any, 0, insertSizes[0]*len(columns))
	for done := 0; done < n; {
		size := insertSizes[slices.IndexFunc(insertSizes, func(size int) bool { return size <= n-done })]
		statement, err := b.statements.get(ctx, b.tx, insertText(table, columns, size))
		if err != nil {
			return err
		}
		args = args[:0]
		for i := range size {
			args = append(args, row(done+i)...)
		}
		if _, err := statement.ExecContext(ctx, args...); err != nil {
			return err
		}
		done += size
	}
	return nil
}

// insertText gives an INSERT of n rows. Table and columns are constants of this
// program.
func insertText(table string, columns []string, n int) string {
	row := "(?" + strings.Repeat(",?", len(columns)-1) + ")"
	return "INSERT INTO " + table + " (" + strings.Join(columns, ",") + ") VALUES " + row + strings.Repeat(","+row, n-1)
}
