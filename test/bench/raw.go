package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// eventColumns are the columns that the backend fills, in the order of eventRow.
var eventColumns = []string{
	"session_id", "seq", "event_type", "timestamp", "timestamp_source", "timestamp_text", "source", "data", "data_raw",
	"pid", "process_name", "operation", "target", "preview", "is_sent", "created_at", "updated_at",
}

// eventRow returns an event's row in the session "unassigned", which every database
// has. rowSource.appendRow sets seq and times.
func eventRow(e *models.Event) []any {
	row := []any{models.UnassignedID, int64(0), e.EventType, time.Time{}, e.TimestampSource, nil, e.Source, string(e.Data), nil,
		nil, nil, nil, nil, nil, false, time.Time{}, time.Time{}}
	if e.PID != nil {
		row[9] = *e.PID
	}
	for i, text := range []*string{e.ProcessName, e.Operation, e.Target, e.Preview} {
		if text != nil {
			row[10+i] = *text
		}
	}
	return row
}

// rowSource is an endless source of rows. It is safe for concurrent use.
type rowSource struct {
	rows  [][]any
	began time.Time
	seq   atomic.Int64
}

// appendRow adds the values of the next row to dst.
func (s *rowSource) appendRow(dst []any) []any {
	seq := s.seq.Add(1)
	at := len(dst)
	dst = append(dst, s.rows[seq%int64(len(s.rows))]...)
	now := s.began.Add(time.Duration(seq) * eventSpacing * time.Microsecond)
	dst[at+1], dst[at+3], dst[at+15], dst[at+16] = seq, now, now, now
	return dst
}

// rawWriter makes a worker that writes rows to a database.
type rawWriter func(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error)

// writeRaw measures writers of rows to a fresh database with the backend's tables,
// indexes and pragmas.
func (l *lab) writeRaw(ctx context.Context, dialect string, rows [][]any, connections int, newWriter rawWriter) (f figures, err error) {
	store, err := l.newStore(ctx, dialect)
	if err != nil {
		return f, err
	}
	db, err := database.Open(ctx, store.options)
	if err != nil {
		return f, errors.Join(err, store.remove())
	}
	defer func() { err = errors.Join(err, db.Close(), store.remove()) }()
	if err := db.Migrate(ctx); err != nil {
		return f, err
	}
	pools, err := db.Pools()
	if err != nil {
		return f, err
	}
	source := &rowSource{rows: rows, began: time.Now()}
	var workers []worker
	for range connections {
		work, err := newWriter(ctx, pools["write"], source)
		if err != nil {
			return f, err
		}
		workers = append(workers, work)
	}
	tallies, err := drive(ctx, window{warmUp: warmUp, length: l.time}, workers)
	return newFigures(merge(tallies), l.time), err
}

// withPgx makes a rawWriter of a function that uses a connection of pgx.
func withPgx(write func(ctx context.Context, conn *pgx.Conn, rows *rowSource) (int, error)) rawWriter {
	return func(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error) {
		return func() (n int, err error) {
			conn, err := pool.Conn(ctx)
			if err != nil {
				return 0, err
			}
			defer conn.Close()
			err = conn.Raw(func(driverConn any) error {
				n, err = write(ctx, driverConn.(*stdlib.Conn).Conn(), rows)
				return err
			})
			return n, err
		}, nil
	}
}

// copyRows writes by COPY, with the given number of rows a transaction.
func copyRows(each int) rawWriter {
	return withPgx(func(ctx context.Context, conn *pgx.Conn, rows *rowSource) (int, error) {
		row := make([]any, 0, len(eventColumns))
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"events"}, eventColumns,
				pgx.CopyFromSlice(each, func(int) ([]any, error) { return rows.appendRow(row), nil }))
			return err
		})
		return each, err
	})
}

// commitPostgres writes one row a transaction.
func commitPostgres(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error) {
	text := insertText(1, "$%d")
	return withPgx(func(ctx context.Context, conn *pgx.Conn, rows *rowSource) (int, error) {
		_, err := conn.Exec(ctx, text, rows.appendRow(nil)...)
		return 1, err
	})(ctx, pool, rows)
}

// insertRows writes to SQLite by INSERTs of perInsert rows each; inserts of them are a
// transaction.
func insertRows(perInsert, inserts int) rawWriter {
	return func(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error) {
		insert, err := pool.PrepareContext(ctx, insertText(perInsert, "?"))
		if err != nil {
			return nil, err
		}
		args := make([]any, 0, perInsert*len(eventColumns))
		return func() (int, error) {
			tx, err := pool.BeginTx(ctx, nil)
			if err != nil {
				return 0, err
			}
			defer tx.Rollback()
			insert := tx.StmtContext(ctx, insert) //nolint:sqlclosecheck // it ends with its transaction
			for range inserts {
				args = args[:0]
				for range perInsert {
					args = rows.appendRow(args)
				}
				if _, err := insert.ExecContext(ctx, args...); err != nil {
					return 0, err
				}
			}
			return perInsert * inserts, tx.Commit()
		}, nil
	}
}

// commitSQLite writes one row a transaction.
func commitSQLite(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error) {
	insert, err := pool.PrepareContext(ctx, insertText(1, "?")) //nolint:sqlclosecheck // it is closed with its pool
	if err != nil {
		return nil, err
	}
	return func() (int, error) {
		_, err := insert.ExecContext(ctx, rows.appendRow(nil)...)
		return 1, err
	}, nil
}

// insertText returns an INSERT of n rows. parameter is the database's placeholder, with
// %d for its number if it has one.
func insertText(n int, parameter string) string {
	values := make([]string, n)
	for i := range values {
		parameters := make([]string, len(eventColumns))
		for j := range parameters {
			parameters[j] = parameter
			if strings.Contains(parameter, "%d") {
				parameters[j] = fmt.Sprintf(parameter, i*len(eventColumns)+j+1)
			}
		}
		values[i] = "(" + strings.Join(parameters, ",") + ")"
	}
	return "INSERT INTO events (" + strings.Join(eventColumns, ",") + ") VALUES " + strings.Join(values, ",")
}
