package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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

// rowSource is an endless source of rows of a table. It is safe for concurrent use.
type rowSource struct {
	table rawTable
	rows  [][]any
	began time.Time
	seq   atomic.Int64
}

// rawTable is a table, and the columns of it that are written.
type rawTable struct {
	name    string
	columns []string
	create  string // SQL, with %s for the types of the key, of times and of data; "" if it exists
}

// eventsTable is the backend's own table. bareTable is the table of the specification,
// with no index but its key: the least that storing events as rows can cost.
var (
	eventsTable = rawTable{name: "events", columns: eventColumns}
	bareTable   = rawTable{
		name:    "bare_events",
		columns: []string{"session_id", "event_type", "timestamp", "source", "data", "is_sent", "created_at", "updated_at"},
		create: "CREATE TABLE bare_events (id %s, session_id varchar(255) NOT NULL, event_type varchar(100) NOT NULL, timestamp %s NOT NULL, " +
			"source varchar(100) NOT NULL, data %s NOT NULL, is_sent boolean NOT NULL, created_at %[2]s, updated_at %[2]s)",
	}
)

// appendRow adds the values of the next row to dst.
func (s *rowSource) appendRow(dst []any) []any {
	seq := s.seq.Add(1)
	at := len(dst)
	dst = append(dst, s.rows[seq%int64(len(s.rows))]...)
	now := s.began.Add(time.Duration(seq) * eventSpacing * time.Microsecond)
	row := dst[at:]
	row[1], row[3], row[15], row[16] = seq, now, now, now
	if len(s.table.columns) == len(eventColumns) {
		return dst
	}
	for i, name := range s.table.columns { // the same order, so nothing is read after it was overwritten
		row[i] = row[slices.Index(eventColumns, name)]
	}
	return dst[:at+len(s.table.columns)]
}

// rawWriter makes a worker that writes rows to a database.
type rawWriter func(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error)

// writeRaw measures writers of rows to a fresh database with the backend's tables,
// indexes and pragmas.
func (l *lab) writeRaw(ctx context.Context, dialect string, table rawTable, rows [][]any, connections int, newWriter rawWriter) (f figures, err error) {
	err = l.withStore(ctx, dialect, func(s store) error {
		t, err := writeRows(ctx, s, &rowSource{table: table, rows: rows, began: time.Now()}, window{warmUp: warmUp, length: l.time}, connections, newWriter)
		if err != nil {
			return err
		}
		f = newFigures(t, l.time)
		f.bytesEach, err = s.bytesEach(ctx, t.acknowledged)
		return err
	})
	return f, err
}

func writeRows(ctx context.Context, s store, source *rowSource, w window, connections int, newWriter rawWriter) (_ *tally, err error) {
	db, err := database.Open(ctx, s.options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx); err != nil {
		return nil, err
	}
	pools, err := db.Pools()
	if err != nil {
		return nil, err
	}
	if source.table.create != "" {
		types := []any{"integer PRIMARY KEY AUTOINCREMENT", "datetime", "text"}
		if db.Dialect() == postgres {
			types = []any{"bigserial PRIMARY KEY", "timestamptz", "jsonb"}
		}
		if _, err := pools["write"].ExecContext(ctx, fmt.Sprintf(source.table.create, types...)); err != nil {
			return nil, err
		}
	}
	var workers []worker
	for range connections {
		work, err := newWriter(ctx, pools["write"], source)
		if err != nil {
			return nil, err
		}
		workers = append(workers, work)
	}
	tallies, err := drive(ctx, w, workers)
	return merge(tallies), err
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
			_, err := tx.CopyFrom(ctx, pgx.Identifier{rows.table.name}, rows.table.columns,
				pgx.CopyFromSlice(each, func(int) ([]any, error) { return rows.appendRow(row), nil }))
			return err
		})
		return each, err
	})
}

// commitPostgres writes one row a transaction.
func commitPostgres(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error) {
	text := insertText(rows.table, 1, "$%d")
	return withPgx(func(ctx context.Context, conn *pgx.Conn, rows *rowSource) (int, error) {
		_, err := conn.Exec(ctx, text, rows.appendRow(nil)...)
		return 1, err
	})(ctx, pool, rows)
}

// insertRows writes to SQLite by INSERTs of perInsert rows each; inserts of them are a
// transaction.
func insertRows(perInsert, inserts int) rawWriter {
	return func(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error) {
		insert, err := pool.PrepareContext(ctx, insertText(rows.table, perInsert, "?"))
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
	insert, err := pool.PrepareContext(ctx, insertText(rows.table, 1, "?")) //nolint:sqlclosecheck // it is closed with its pool
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
func insertText(table rawTable, n int, parameter string) string {
	values := make([]string, n)
	for i := range values {
		parameters := make([]string, len(table.columns))
		for j := range parameters {
			parameters[j] = parameter
			if strings.Contains(parameter, "%d") {
				parameters[j] = fmt.Sprintf(parameter, i*len(table.columns)+j+1)
			}
		}
		values[i] = "(" + strings.Join(parameters, ",") + ")"
	}
	return "INSERT INTO " + table.name + " (" + strings.Join(table.columns, ",") + ") VALUES " + strings.Join(values, ",")
}
