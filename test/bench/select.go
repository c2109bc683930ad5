package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// The limits of queries: the same rows by prepared SQL on a connection of the driver,
// without GORM, HTTP and JSON.

// listedColumns are the columns of an event in a list.
const listedColumns = "session_id, seq, event_type, timestamp, timestamp_source, timestamp_text, source, " +
	"pid, process_name, operation, target, preview, created_at, CASE WHEN preview IS NULL THEN data END"

// statement is a SELECT with a ? for each argument. args returns the arguments of one
// run and the expected number of rows, or -1 if that is unknown.
type statement struct {
	text string
	args func(c *contents, random *rand.Rand) (args []any, rows int)
}

// selectPage compares with the SELECT of the first page or of a page at a random position.
func selectPage(name, dialect string, s selection, first bool) comparison {
	return comparison{limit: sqlLimit("SELECT of a "+name, dialect, statement{
		"SELECT " + listedColumns + " FROM events WHERE session_id = ? AND seq > ?" + s.where + " ORDER BY seq LIMIT " + strconv.Itoa(pageSize+1),
		func(c *contents, random *rand.Rand) ([]any, int) {
			after := int64(0)
			if !first {
				after = somewhere(c, random)
			}
			seqs, _ := c.page(s, after, pageSize+1)
			return append([]any{c.id, after}, s.args...), len(seqs)
		},
	}), byP50: true}
}

// groupLimit counts events in the database by GROUP BY.
func groupLimit(name, dialect string, s selection, by ...string) limit {
	columns := strings.Join(by, ", ")
	return sqlLimit("GROUP BY "+name, dialect, statement{
		"SELECT " + columns + ", COUNT(*) FROM events WHERE session_id = ?" + s.where + " GROUP BY " + columns,
		func(c *contents, _ *rand.Rand) ([]any, int) { return append([]any{c.id}, s.args...), -1 },
	})
}

// timeBuckets is the SQL of an event's ten-second bucket.
func timeBuckets(dialect string) string {
	if dialect == postgres {
		return "CAST(EXTRACT(epoch FROM timestamp) AS bigint) / 10"
	}
	return "timestamp / 10000000"
}

// scanLimit reads all columns of a session's events.
func scanLimit(dialect string) limit {
	return limit{"SELECT * of a session", func(ctx context.Context, l *lab) (figures, error) {
		return l.selectOver(ctx, dialect, true, statement{
			"SELECT * FROM events WHERE session_id = ? ORDER BY seq",
			func(c *contents, _ *rand.Rand) ([]any, int) { return []any{c.id}, int(c.events) },
		})
	}}
}

func sqlLimit(name, dialect string, s statement) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		return l.selectOver(ctx, dialect, false, s)
	}}
}

// selectOver repeats a SELECT. It counts rows, or runs if countRows is false.
func (l *lab) selectOver(ctx context.Context, dialect string, countRows bool, s statement) (f figures, err error) {
	a, err := l.archive(ctx, archiveKey{dialect, usualArchive})
	if err != nil {
		return f, err
	}
	err = readDatabase(ctx, a.store, func(pool *sql.DB) error {
		prepared, err := pool.PrepareContext(ctx, forDialect(dialect, s.text))
		if err != nil {
			return err
		}
		defer prepared.Close()
		random := rand.New(rand.NewPCG(5, 6))
		work := func() (int, error) {
			args, want := s.args(a.measured, random)
			n, err := readAll(ctx, prepared, args)
			if err == nil && want >= 0 && n != want {
				err = fmt.Errorf("%s gave %d rows, not %d", s.text, n, want)
			}
			if countRows {
				return n, err
			}
			return 1, err
		}
		tallies, err := drive(ctx, window{warmUp: warmUp, length: l.time}, []worker{work})
		f = newFigures(merge(tallies), l.time)
		return err
	})
	return f, err
}

// readAll reads all rows of a SELECT and returns their number.
func readAll(ctx context.Context, prepared *sql.Stmt, args []any) (n int, err error) {
	rows, err := prepared.QueryContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return 0, err
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}

// forDialect replaces each ? with the database's placeholder.
func forDialect(dialect, text string) string {
	if dialect != postgres {
		return text
	}
	var b strings.Builder
	for i, part := range strings.Split(text, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}
