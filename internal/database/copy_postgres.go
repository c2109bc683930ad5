package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// snapshot reads in one transaction, which lasts as long as fn takes.
func (*postgresDialect) snapshot(ctx context.Context, driverConn any, fn func(copier) error) error {
	conn := driverConn.(*stdlib.Conn).Conn()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = tx.Rollback(ctx) // it only read; a connection that fails here is closed
	}()
	// The transaction is idle while target files are copied. A scan begins at the start
	// of its table.
	if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL synchronize_seqscans = off"); err != nil {
		return err
	}
	return fn(postgresCopier{conn})
}

type postgresCopier struct{ conn *pgx.Conn }

// postgresTypes are the types of the kinds. An upgraded database may have other types in
// some columns.
var postgresTypes = map[Kind]string{ //nolint:gochecknoglobals // a constant
	KindText: "text", KindJSON: "jsonb", KindBytes: "bytea", KindInt: "bigint", KindTime: "timestamptz", KindBool: "boolean",
}

func (c postgresCopier) copyOut(ctx context.Context, table *Table, emit func(Row) error) error {
	columns := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		columns[i] = pgx.Identifier{column.Name}.Sanitize() + "::" + postgresTypes[column.Kind]
	}
	rows := rowSplitter{emit: emit}
	text := "COPY (SELECT " + strings.Join(columns, ", ") + " FROM " + pgx.Identifier{table.Name}.Sanitize() + ") TO STDOUT (FORMAT binary)"
	if _, err := c.conn.PgConn().CopyTo(ctx, &rows, text); err != nil {
		return err
	}
	if !rows.ended {
		return errors.New("COPY ended early")
	}
	return nil
}

func (c postgresCopier) counter(ctx context.Context, table *Table) (n int64, err error) {
	var sequence *string
	err = c.conn.QueryRow(ctx, "SELECT pg_get_serial_sequence($1, $2)", table.Name, table.Counter).Scan(&sequence)
	if err != nil || sequence == nil {
		return 0, err
	}
	err = c.conn.QueryRow(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM "+*sequence).Scan(&n)
	return n, err
}

// rowSplitter calls emit with each row of the binary COPY that is written to it.
type rowSplitter struct {
	emit    func(Row) error
	waiting []byte // an incomplete row, or the start
	started bool
	ended   bool
}

func (s *rowSplitter) Write(p []byte) (int, error) {
	data := p
	if len(s.waiting) > 0 {
		s.waiting = append(s.waiting, p...)
		data = s.waiting
	}
	if !s.started && len(data) >= len(CopyStart) {
		if !bytes.HasPrefix(data, []byte(CopyStart)) {
			return 0, errors.New("the server's binary COPY has another header")
		}
		data, s.started = data[len(CopyStart):], true
	}
	for s.started && !s.ended {
		if bytes.HasPrefix(data, []byte(CopyEnd)) {
			s.ended = true
			break
		}
		row, rest := CutRow(data)
		if row == nil {
			break
		}
		if err := s.emit(row); err != nil {
			return 0, err
		}
		data = rest
	}
	s.waiting = append(s.waiting[:0], data...)
	return len(p), nil
}

func (b *postgresBulk) copyOut(ctx context.Context, table *Table, emit func(Row) error) error {
	if b.waiting != nil {
		if err := b.send(ctx); err != nil {
			return err
		}
	}
	return postgresCopier{b.conn}.copyOut(ctx, table, emit)
}

// setCounter makes the next number of a table be greater than n and all that it has.
func (b *postgresBulk) setCounter(ctx context.Context, table *Table, n int64) error {
	column := pgx.Identifier{table.Counter}.Sanitize()
	return b.Run(ctx, Statement{
		Text: "SELECT setval(pg_get_serial_sequence(?, ?), top) FROM (SELECT GREATEST(?::bigint, MAX(" + column + ")) AS top FROM " + pgx.Identifier{table.Name}.Sanitize() + ") AS t WHERE top > 0",
		Args: []any{table.Name, table.Counter, n},
	})
}

func (b *postgresBulk) lockTables(ctx context.Context, tables []Table) error {
	names := make([]string, len(tables))
	for i := range tables {
		names[i] = pgx.Identifier{tables[i].Name}.Sanitize()
	}
	err := b.Run(ctx, Statement{Text: "SET LOCAL lock_timeout = '5s'"}, Statement{Text: "LOCK TABLE " + strings.Join(names, ", ") + " IN ACCESS EXCLUSIVE MODE"},
		Statement{Text: "SET LOCAL lock_timeout = 0"}, Statement{Text: "SET LOCAL statement_timeout = 0"})
	const lockNotAvailable = "55P03"
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == lockNotAvailable {
		err = errInUse
	}
	return err
}

// leaveTime is how long a connection that was closed may stay in PostgreSQL's list: its process
// must end first.
const leaveTime = 10 * time.Second

// checkUnused returns errInUse if a backend is connected to the database.
func (b *postgresBulk) checkUnused(ctx context.Context) error {
	for deadline := time.Now().Add(leaveTime); ; {
		var others []string
		var address string
		err := b.Run(ctx, Statement{
			Text: "SELECT COALESCE(host(client_addr), 'this machine') FROM pg_stat_activity WHERE datname = current_database() AND application_name IN (?, ?) AND pid <> pg_backend_pid()",
			Args: []any{defaultApplication, b.dialect.application}, Dest: []any{&address}, Row: func() { others = append(others, address) },
		})
		if err != nil || len(others) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			slices.Sort(others)
			return fmt.Errorf("%w (from %s)", errInUse, strings.Join(slices.Compact(others), ", "))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		// A transaction sees the list as of its first look.
		if err := b.Run(ctx, Statement{Text: "SELECT pg_stat_clear_snapshot()"}); err != nil {
			return err
		}
	}
}

func (b *postgresBulk) clear(ctx context.Context, tables []Table) error {
	names := make([]string, len(tables))
	for i := range tables {
		names[i] = pgx.Identifier{tables[i].Name}.Sanitize()
	}
	return b.Run(ctx, Statement{Text: "TRUNCATE " + strings.Join(names, ", ")})
}
