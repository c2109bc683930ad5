package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"ospulse/internal/models"
)

// Kind is the type of a column's values. It is the same on both databases.
type Kind string

// The kinds, with the bytes of a value in a Row.
const (
	KindText  Kind = "text"  // UTF-8
	KindJSON  Kind = "json"  // a byte 1, and the text that the database returns
	KindBytes Kind = "bytes" // the bytes
	KindInt   Kind = "int"   // 8 bytes, big-endian, in two's complement
	KindTime  Kind = "time"  // like KindInt: microseconds since 2000-01-01 00:00:00 UTC
	KindBool  Kind = "bool"  // a byte, 0 or 1
)

// Table describes the rows that a copy of a table has.
type Table struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
	// Counter is the column that the database numbers; "" if there is none.
	Counter string `json:"counter,omitempty"`
}

// Column is a column of a Table.
type Column struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// names returns the names of the columns.
func (t *Table) names() []string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return names
}

// Tables returns the tables whose rows a copy of the database must have, each after the
// tables to which it refers: every table of the models, and the applied migrations. It
// leaves out the rows that are about one database and its running backends.
func (db *DB) Tables() ([]Table, error) {
	var all []Table
	for _, model := range append([]any{&schemaMigration{}}, tables()...) {
		switch model.(type) {
		case *models.Installation, *models.Lease, *models.UnusedObject:
			continue
		}
		stmt := &gorm.Statement{DB: db.write}
		if err := stmt.Parse(model); err != nil {
			return nil, err
		}
		table := Table{Name: stmt.Schema.Table}
		for _, name := range stmt.Schema.DBNames {
			field := stmt.Schema.FieldsByDBName[name]
			kind, err := kindOf(field)
			if err != nil {
				return nil, fmt.Errorf("column %s of table %s: %w", name, table.Name, err)
			}
			table.Columns = append(table.Columns, Column{name, kind})
			if field.AutoIncrement {
				table.Counter = name
			}
		}
		all = append(all, table)
	}
	return all, nil
}

func kindOf(field *schema.Field) (Kind, error) {
	t := field.IndirectFieldType
	switch {
	case field.Serializer != nil:
		return KindText, nil
	case t == reflect.TypeFor[models.JSON]():
		return KindJSON, nil
	case t == reflect.TypeFor[time.Time]():
		return KindTime, nil
	case t == reflect.TypeFor[[]byte]():
		return KindBytes, nil
	}
	switch t.Kind() {
	case reflect.String:
		return KindText, nil
	case reflect.Bool:
		return KindBool, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return KindInt, nil
	}
	return "", fmt.Errorf("values of type %s cannot be copied", t)
}

// Row is a row as PostgreSQL's binary COPY writes it: the number of fields in two bytes,
// and for each field its length in four bytes, −1 for NULL, and its bytes. Numbers are
// big-endian. Between CopyStart and CopyEnd, any number of rows is a file that COPY
// reads.
type Row []byte

// CopyStart and CopyEnd surround the rows in a file of binary COPY.
const (
	CopyStart = copyStart
	CopyEnd   = copyEnd
)

// ErrRow means that bytes are not a row.
var ErrRow = errors.New("a row is damaged")

// CutRow splits data after its first row. It returns a nil row if data ends within it.
func CutRow(data []byte) (row Row, rest []byte) {
	const header, size = 2, 4
	if len(data) < header {
		return nil, data
	}
	end := header
	for range binary.BigEndian.Uint16(data) {
		if len(data) < end+size {
			return nil, data
		}
		n := int32(binary.BigEndian.Uint32(data[end:]))
		end += size + int(max(n, 0))
		if len(data) < end {
			return nil, data
		}
	}
	return data[:end], data[end:]
}

// Fields returns the fields of the row of a table, in the memory of into. A NULL is nil,
// and no other field is.
func (t *Table) Fields(row Row, into [][]byte) ([][]byte, error) {
	whole, rest := CutRow(row)
	if whole == nil || len(rest) > 0 || int(binary.BigEndian.Uint16(row)) != len(t.Columns) {
		return nil, ErrRow
	}
	into = into[:0]
	for rest := row[2:]; len(rest) > 0; {
		n := int32(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		if n < 0 {
			into = append(into, nil)
			continue
		}
		into = append(into, rest[:n:n])
		rest = rest[n:]
	}
	return into, nil
}

// microsToEpoch is the difference between the origins of Go's Unix times and of
// PostgreSQL's.
var microsToEpoch = postgresEpoch.UnixMicro() //nolint:gochecknoglobals // a constant

// Value returns a field as a type that Bulk stores. Times are UTC.
func (c *Column) Value(field []byte) (any, error) {
	if field == nil {
		return nil, nil
	}
	switch {
	case c.Kind == KindText:
		return string(field), nil
	case c.Kind == KindBytes:
		return bytes.Clone(field), nil
	case c.Kind == KindJSON && len(field) > 0 && field[0] == jsonbVersion:
		return models.JSON(field[1:]), nil
	case c.Kind == KindInt && len(field) == 8:
		return int64(binary.BigEndian.Uint64(field)), nil
	case c.Kind == KindTime && len(field) == 8:
		return time.UnixMicro(int64(binary.BigEndian.Uint64(field)) + microsToEpoch).UTC(), nil
	case c.Kind == KindBool && len(field) == 1 && field[0] <= 1:
		return field[0] == 1, nil
	}
	return nil, fmt.Errorf("%w: column %s has no %s", ErrRow, c.Name, c.Kind)
}

// copier reads the tables of one transaction.
type copier interface {
	// copyOut calls emit with each row of a table. A row is valid until emit returns.
	copyOut(ctx context.Context, table *Table, emit func(Row) error) error
	// counter returns the last number that the database gave to a row of the table, or a
	// later one; 0 if it gave none.
	counter(ctx context.Context, table *Table) (int64, error)
}

// Snapshot is the content of a database at one moment.
type Snapshot struct {
	Tables  []Table
	Dialect string
	Version int // of the schema
	copier  copier
	db      *DB
}

// CopyOut calls emit with each row of a table, in no certain order. A row is valid until
// emit returns. Blocks have their data, also if it is in the bucket.
func (s *Snapshot) CopyOut(ctx context.Context, table *Table, emit func(Row) error) error {
	blocks, isBlocks := newBlockCopy(ctx, s.db, table, emit)
	if isBlocks {
		emit = blocks.add
	}
	err := s.copier.copyOut(ctx, table, emit)
	if err == nil && isBlocks {
		err = blocks.flush()
	}
	if err != nil {
		return fmt.Errorf("read the table %s: %w", table.Name, err)
	}
	return nil
}

// Counter returns a number from which the database may number the next rows of a table.
func (s *Snapshot) Counter(ctx context.Context, table *Table) (int64, error) {
	return s.copier.counter(ctx, table)
}

// Snapshot calls fn with the content of the database at one moment. Other programs read
// and write meanwhile. The schema must be that of this program.
func (db *DB) Snapshot(ctx context.Context, fn func(*Snapshot) error) error {
	tables, err := db.Tables()
	if err != nil {
		return err
	}
	pool, err := db.read.DB()
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	version := len(db.loadMigrations())
	return conn.Raw(func(driverConn any) error {
		return db.dialect.snapshot(ctx, driverConn, func(from copier) error {
			found, err := copiedVersion(ctx, from.copyOut, tables)
			if err == nil && found != version {
				err = fmt.Errorf("the database's schema is version %d, and this program has version %d: use the program of its backend", found, version)
			}
			if err != nil {
				return err
			}
			return fn(&Snapshot{Tables: tables, Dialect: db.Dialect(), Version: version, copier: from, db: db})
		})
	})
}

// copiedVersion returns the version of the schema.
func copiedVersion(ctx context.Context, copyOut func(context.Context, *Table, func(Row) error) error, tables []Table) (newest int, err error) {
	applied := Table{Name: tables[0].Name, Columns: []Column{{Name: "version", Kind: KindInt}}}
	err = copyOut(ctx, &applied, func(row Row) error {
		fields, err := applied.Fields(row, nil)
		if err != nil {
			return err
		}
		version, err := applied.Columns[0].Value(fields[0])
		if n, ok := version.(int64); ok {
			newest = max(newest, int(n))
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("read the schema's version: %w", err)
	}
	return newest, err
}
