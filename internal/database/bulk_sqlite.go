package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unsafe"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

// sqliteBulk keeps its statements prepared as long as the writing connection lives. It
// calls the driver directly, because database/sql checks and converts each of the many
// arguments. It passes no context that can end: the driver would start a goroutine for
// each statement, and statements wait only for the disk.
type sqliteBulk struct {
	conn     driver.Conn
	prepared map[string]driver.Stmt
	inserts  map[insertKey]driver.Stmt
	args     []driver.NamedValue // of the next statement
	open     bool                // the transaction is not committed yet

	durability models.Durability
}

func (d *sqliteDialect) bulk(ctx context.Context, driverConn any, fn func(Bulk) error) error {
	if conn := driverConn.(driver.Conn); d.writer == nil || d.writer.conn != conn {
		d.writer = &sqliteBulk{durability: d.commits, conn: conn, prepared: map[string]driver.Stmt{}, inserts: map[insertKey]driver.Stmt{}}
	}
	b := d.writer
	err := ctx.Err()
	if err == nil {
		err = b.exec("BEGIN IMMEDIATE")
	}
	if err != nil {
		return err
	}
	b.open = true
	if err = fn(b); err == nil && b.open {
		err = b.Finish(ctx)
	}
	if err != nil && b.open {
		// After some errors SQLite has rolled back itself, and reports that there is no
		// transaction.
		_ = b.exec("ROLLBACK")
	}
	return err
}

// transaction waits for the connection until ctx ends. After that nothing interrupts it:
// database/sql closes an interrupted connection, and the statements prepared on it would
// never be freed.
func (*sqliteDialect) transaction(ctx context.Context, write *gorm.DB, fn func(tx *gorm.DB) error) error {
	return write.WithContext(ctx).Connection(func(conn *gorm.DB) error {
		return conn.WithContext(context.WithoutCancel(ctx)).Transaction(fn)
	})
}

// closeStatements frees the statements prepared on the writing connection if it is still
// the same. Freeing statements of a closed connection crashes.
func (d *sqliteDialect) closeStatements(pool *sql.DB) error {
	conn, err := pool.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driverConn any) error {
		if d.writer == nil || d.writer.conn != driverConn.(driver.Conn) {
			return nil
		}
		var errs []error
		for _, statement := range d.writer.prepared {
			errs = append(errs, statement.Close())
		}
		d.writer = nil
		return errors.Join(errs...)
	})
}

func (b *sqliteBulk) statement(text string) (driver.Stmt, error) {
	if statement := b.prepared[text]; statement != nil {
		return statement, nil
	}
	statement, err := b.conn.Prepare(text)
	if err == nil {
		b.prepared[text] = statement
	}
	return statement, err
}

// bind adds an argument to the next statement.
func (b *sqliteBulk) bind(value any) {
	if text, ok := value.(models.JSON); ok {
		value = unsafe.String(unsafe.SliceData(text), len(text)) // the driver copies it before the statement ends
	}
	b.args = append(b.args, driver.NamedValue{Ordinal: len(b.args) + 1, Value: value})
}

func (b *sqliteBulk) exec(text string) error {
	statement, err := b.statement(text)
	if err != nil {
		b.args = b.args[:0]
		return err
	}
	return b.execStatement(statement)
}

func (b *sqliteBulk) execStatement(statement driver.Stmt) error {
	_, err := statement.(driver.StmtExecContext).ExecContext(context.Background(), b.args)
	b.args = b.args[:0]
	return err
}

func (b *sqliteBulk) Run(_ context.Context, statements ...Statement) error {
	for _, s := range statements {
		for _, arg := range s.Args {
			b.bind(arg)
		}
		if s.Dest == nil {
			if err := b.exec(s.Text); err != nil {
				return err
			}
		} else if err := b.query(s); err != nil {
			return err
		}
	}
	return nil
}

func (b *sqliteBulk) Durability() models.Durability { return b.durability }

func (b *sqliteBulk) Finish(ctx context.Context, statements ...Statement) error {
	err := b.Run(ctx, statements...)
	if err == nil {
		err = b.exec("COMMIT")
	}
	b.open = err != nil
	return err
}

func (b *sqliteBulk) query(s Statement) error {
	statement, err := b.statement(s.Text)
	if err != nil {
		return err
	}
	rows, err := statement.(driver.StmtQueryContext).QueryContext(context.Background(), b.args)
	b.args = b.args[:0]
	if err != nil {
		return err
	}
	values := make([]driver.Value, len(s.Dest))
	for err = rows.Next(values); err == nil; err = rows.Next(values) {
		for i, value := range values {
			if err := scan(s.Dest[i], value); err != nil {
				return errors.Join(err, rows.Close())
			}
		}
		s.Row()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// scan stores a value of the driver in what dest points at. Only a pointer to a pointer
// accepts NULL.
func scan(dest any, value driver.Value) error {
	target := reflect.ValueOf(dest).Elem()
	if target.Kind() == reflect.Pointer {
		if value == nil {
			target.SetZero()
			return nil
		}
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	v := reflect.ValueOf(value)
	if value == nil || v.Type() != target.Type() {
		return fmt.Errorf("a %T cannot be scanned into a %T", value, dest)
	}
	target.Set(v)
	return nil
}

func (b *sqliteBulk) Insert(_ context.Context, table string, columns []string, n int, row func(i int) []any) error {
	for done := 0; done < n; {
		size := insertSize(n - done)
		statement, err := b.insertStatement(table, columns, size)
		if err != nil {
			return err
		}
		for i := range size {
			for _, value := range row(done + i) {
				b.bind(value)
			}
		}
		if err := b.execStatement(statement); err != nil {
			return err
		}
		done += size
	}
	return nil
}

func (b *sqliteBulk) insertStatement(table string, columns []string, n int) (driver.Stmt, error) {
	key := insertKey{table, len(columns), n}
	if statement := b.inserts[key]; statement != nil {
		return statement, nil
	}
	statement, err := b.statement(insertText(table, columns, n))
	if err == nil {
		b.inserts[key] = statement
	}
	return statement, err
}
