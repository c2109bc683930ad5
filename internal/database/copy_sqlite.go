package database

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// snapshot reads in one transaction. The WAL grows by what others write until fn returns.
func (*sqliteDialect) snapshot(ctx context.Context, driverConn any, fn func(copier) error) error {
	conn := driverConn.(driver.ExecerContext)
	if _, err := conn.ExecContext(ctx, "BEGIN", nil); err != nil {
		return err
	}
	err := fn(sqliteCopier{driverConn.(driver.QueryerContext)})
	_, rollbackErr := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK", nil)
	if err == nil {
		err = rollbackErr
	}
	return err
}

type sqliteCopier struct{ conn driver.QueryerContext }

// quoted returns a name as SQL.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (c sqliteCopier) copyOut(ctx context.Context, table *Table, emit func(Row) error) error {
	columns := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		columns[i] = "+" + quoted(column.Name) // the driver converts no value of an expression
	}
	var row Row
	return c.query(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM "+quoted(table.Name), nil, len(columns), func(values []driver.Value) (err error) {
		row = binary.BigEndian.AppendUint16(row[:0], uint16(len(values)))
		for i := range values {
			if row, err = table.Columns[i].append(row, values[i]); err != nil {
				return err
			}
		}
		return emit(row)
	})
}

// append appends the field of a value that SQLite stores.
func (c *Column) append(out []byte, value driver.Value) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return binary.BigEndian.AppendUint32(out, ^uint32(0)), nil
	case int64:
		switch c.Kind {
		case KindTime:
			return binary.BigEndian.AppendUint64(appendSize(out, 8), uint64(v-microsToEpoch)), nil
		case KindInt:
			return binary.BigEndian.AppendUint64(appendSize(out, 8), uint64(v)), nil
		case KindBool:
			if v == 0 || v == 1 {
				return append(appendSize(out, 1), byte(v)), nil
			}
		}
	case string:
		return appendText(out, c.Kind, v)
	case []byte:
		return appendText(out, c.Kind, v)
	}
	return nil, fmt.Errorf("column %s has a %T, %v, where a %s belongs", c.Name, value, value, c.Kind)
}

func appendText[T string | []byte](out []byte, kind Kind, text T) ([]byte, error) {
	switch kind {
	case KindJSON:
		return append(append(appendSize(out, 1+len(text)), jsonbVersion), text...), nil
	case KindText, KindBytes:
		return append(appendSize(out, len(text)), text...), nil
	}
	return nil, fmt.Errorf("a text is where a %s belongs", kind)
}

func (c sqliteCopier) counter(ctx context.Context, table *Table) (n int64, err error) {
	args := []driver.NamedValue{{Ordinal: 1, Value: table.Name}}
	err = c.query(ctx, "SELECT CAST(seq AS INTEGER) FROM sqlite_sequence WHERE name = ?", args, 1, func(values []driver.Value) error {
		n, _ = values[0].(int64)
		return nil
	})
	return n, err
}

func (c sqliteCopier) query(ctx context.Context, text string, args []driver.NamedValue, columns int, row func([]driver.Value) error) error {
	rows, err := c.conn.QueryContext(ctx, text, args)
	if err != nil {
		return err
	}
	values := make([]driver.Value, columns)
	for err = rows.Next(values); err == nil; err = rows.Next(values) {
		if err = row(values); err != nil {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

func (b *sqliteBulk) copyOut(ctx context.Context, table *Table, emit func(Row) error) error {
	return sqliteCopier{b.conn.(driver.QueryerContext)}.copyOut(ctx, table, emit)
}

func (b *sqliteBulk) setCounter(ctx context.Context, table *Table, n int64) error {
	return b.Run(ctx,
		Statement{Text: "INSERT INTO sqlite_sequence (name, seq) SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)", Args: []any{table.Name, table.Name}},
		Statement{Text: "UPDATE sqlite_sequence SET seq = ? WHERE name = ? AND seq < ?", Args: []any{n, table.Name, n}})
}

// checkUnused and lockTables have nothing to do: the database was opened for this program
// alone.
func (*sqliteBulk) checkUnused(context.Context) error { return nil }

func (*sqliteBulk) lockTables(context.Context, []Table) error { return nil }

func (b *sqliteBulk) clear(ctx context.Context, tables []Table) error {
	statements := make([]Statement, 0, len(tables))
	for i := range tables { // the tables that refer to others first
		statements = append(statements, Statement{Text: "DELETE FROM " + quoted(tables[len(tables)-1-i].Name)})
	}
	return b.Run(ctx, statements...)
}
