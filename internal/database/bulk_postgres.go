package database

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// rollbackTimeout limits a rollback. A connection that takes longer is closed, which also
// rolls back.
const rollbackTimeout = time.Second

// copyFrom is the number of rows from which COPY costs less than prepared statements,
// which save a round trip.
const copyFrom = 12

// postgresBulk inserts many rows by COPY. Its transaction begins with the first
// statements, in the same round trip.
type postgresBulk struct {
	dialect *postgresDialect
	conn    *pgx.Conn
	waiting *pgx.Batch // sent before the next statements; nil if empty

	settings   syncSettings // read when the transaction began
	durability models.Durability
}

func (d *postgresDialect) bulk(ctx context.Context, driverConn any, fn func(Bulk) error) error {
	conn := driverConn.(*stdlib.Conn).Conn()
	b := &postgresBulk{dialect: d, conn: conn}
	err := fn(b)
	if err == nil && (b.waiting != nil || conn.PgConn().TxStatus() != 'I') { // fn did not finish it
		err = b.Finish(ctx)
	}
	if err != nil && !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		if _, rollbackErr := conn.Exec(ctx, "ROLLBACK"); rollbackErr != nil {
			return errors.Join(err, rollbackErr, conn.Close(ctx))
		}
	}
	return err
}

func (b *postgresBulk) Run(ctx context.Context, statements ...Statement) error {
	batch := b.batch()
	for _, s := range statements {
		queued := batch.Queue(b.dialect.numbered(s.Text), s.Args...)
		if s.Dest == nil {
			continue
		}
		queued.Query(func(rows pgx.Rows) error {
			for rows.Next() {
				if err := rows.Scan(s.Dest...); err != nil {
					return err
				}
				s.Row()
			}
			return rows.Err()
		})
	}
	return b.send(ctx)
}

func (b *postgresBulk) Finish(ctx context.Context, statements ...Statement) error {
	for _, s := range statements {
		b.batch().Queue(b.dialect.numbered(s.Text), s.Args...)
	}
	b.batch().Queue("COMMIT")
	return b.send(ctx)
}

// batch returns the batch to be sent next, so that the caller can add to it.
func (b *postgresBulk) batch() *pgx.Batch {
	if b.waiting == nil {
		b.waiting = &pgx.Batch{}
		if b.conn.PgConn().TxStatus() == 'I' {
			b.waiting.Queue("BEGIN")
			b.waiting.Queue(beginDurable, b.dialect.sync).QueryRow(func(row pgx.Row) error { return row.Scan(b.settings.dest()...) })
			if plant.Is("acknowledge before the commit is durable") {
				b.waiting.Queue("SET LOCAL synchronous_commit = off")
			}
		}
	}
	return b.waiting
}

func (b *postgresBulk) send(ctx context.Context) error {
	batch := b.waiting
	b.waiting = nil
	err := b.conn.SendBatch(ctx, batch).Close() // calls the Row of each statement
	if err == nil && b.durability == "" {
		b.durability, err = b.dialect.note(&b.settings)
	}
	return err
}

func (b *postgresBulk) Durability() models.Durability { return b.durability }

func (b *postgresBulk) Insert(ctx context.Context, table string, columns []string, n int, row func(i int) []any) error {
	if n < copyFrom {
		b.insert(table, columns, n, row)
		return nil
	}
	rows := copyReader{n: n, row: row, buf: make([]byte, 0, 64<<10)}
	text := "COPY " + table + " (" + strings.Join(columns, ",") + ") FROM STDIN BINARY"
	tag, err := b.conn.PgConn().CopyFrom(ctx, &rows, text)
	if err == nil && tag.RowsAffected() != int64(n) {
		err = fmt.Errorf("COPY stored %d of %d rows", tag.RowsAffected(), n)
	}
	return err
}

// insert adds prepared statements to the next batch.
func (b *postgresBulk) insert(table string, columns []string, n int, row func(i int) []any) {
	for done := 0; done < n; {
		size := insertSize(n - done)
		key := insertKey{table, len(columns), size}
		text, ok := b.dialect.texts.Load(key)
		if !ok {
			text = b.dialect.numbered(insertText(table, columns, size))
			b.dialect.texts.Store(key, text)
		}
		args := make([]any, 0, size*len(columns))
		for i := range size {
			for _, value := range row(done + i) {
				if json, ok := value.(models.JSON); ok {
					value = []byte(json)
				}
				args = append(args, value)
			}
		}
		b.batch().Queue(text.(string), args...)
		done += size
	}
}

// numbered replaces each ? by $1, $2 …, as PostgreSQL requires. It caches the result,
// because the same few statements repeat.
func (d *postgresDialect) numbered(statement string) string {
	if text, ok := d.texts.Load(statement); ok {
		return text.(string)
	}
	text := statement
	for n := 1; strings.Contains(text, "?"); n++ {
		text = strings.Replace(text, "?", "$"+strconv.Itoa(n), 1)
	}
	d.texts.Store(statement, text)
	return text
}

// copyReader encodes rows in the binary format of COPY while they are read (see "Binary
// Format" in the manual's chapter on COPY).
type copyReader struct {
	n    int
	row  func(i int) []any
	next int    // next row to encode
	buf  []byte // encoded; buf[read:] is not read yet
	read int
	done bool
}

// copyStart is the signature, without flags and header extension. copyEnd takes the place
// of a row's number of columns.
const (
	copyStart = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	copyEnd   = "\xff\xff"
)

// postgresEpoch is the origin of PostgreSQL's timestamps.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

func (r *copyReader) Read(p []byte) (int, error) {
	if r.read == len(r.buf) {
		if r.done {
			return 0, io.EOF
		}
		r.read, r.buf = 0, r.buf[:0]
		if r.next == 0 {
			r.buf = append(r.buf, copyStart...)
		}
		for ; r.next < r.n && len(r.buf) < len(p); r.next++ {
			var err error
			if r.buf, err = appendRow(r.buf, r.row(r.next)); err != nil {
				return 0, err
			}
		}
		if r.next == r.n {
			r.done = true
			r.buf = append(r.buf, copyEnd...)
		}
	}
	n := copy(p, r.buf[r.read:])
	r.read += n
	return n, nil
}

// appendRow appends a Row.
func appendRow(out []byte, values []any) ([]byte, error) {
	out = binary.BigEndian.AppendUint16(out, uint16(len(values)))
	for _, value := range values {
		switch v := value.(type) {
		case nil:
			out = binary.BigEndian.AppendUint32(out, ^uint32(0))
		case string:
			out = append(appendSize(out, len(v)), v...)
		case []byte:
			out = append(appendSize(out, len(v)), v...)
		case models.JSON:
			out = append(append(appendSize(out, 1+len(v)), jsonbVersion), v...)
		case int64:
			out = binary.BigEndian.AppendUint64(appendSize(out, 8), uint64(v))
		case bool:
			out = append(appendSize(out, 1), 0)
			if v {
				out[len(out)-1] = 1
			}
		case time.Time:
			out = binary.BigEndian.AppendUint64(appendSize(out, 8), uint64(v.UnixMicro()-postgresEpoch.UnixMicro()))
		default:
			return out, fmt.Errorf("a value of type %T cannot be copied", value)
		}
	}
	return out, nil
}

// jsonbVersion is the first byte of a jsonb value in binary COPY.
const jsonbVersion = 1

// appendSize begins a value of n bytes.
func appendSize(out []byte, n int) []byte { return binary.BigEndian.AppendUint32(out, uint32(n)) }
