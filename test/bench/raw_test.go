package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/wire"
)

func TestBareTable(t *testing.T) {
	s := store{options: database.Options{Path: filepath.Join(t.TempDir(), "test.db"), PoolSize: 2, Log: slog.New(slog.DiscardHandler)}}
	events, err := allOf(wire.Events(newGenerator().batch(4), time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]any
	var want []string
	for i := range events {
		rows = append(rows, eventRow(&events[i].Event))
		want = append(want, string(events[i].Data))
	}
	done := errors.New("done")
	once := func(ctx context.Context, pool *sql.DB, rows *rowSource) (worker, error) {
		write, err := insertRows(2, 2)(ctx, pool, rows)
		return func() (int, error) {
			if rows.seq.Load() > 0 {
				return 0, done
			}
			return write()
		}, err
	}
	written, err := writeRows(t.Context(), s, &rowSource{table: bareTable, rows: rows, began: time.Now()}, window{length: time.Hour}, 1, once)
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	got := column[string](t, s, "SELECT data FROM bare_events WHERE session_id = 'unassigned' AND event_type = 'file_operation' AND NOT is_sent AND created_at = updated_at AND created_at = timestamp")
	slices.Sort(got)
	slices.Sort(want)
	if written.acknowledged != 4 || !slices.Equal(got, want) {
		t.Errorf("%d rows were written; the table has %q, want %q", written.acknowledged, got, want)
	}
	if each, err := s.bytesEach(t.Context(), 4); err != nil || each < 1000 {
		t.Errorf("%g bytes each, %v", each, err)
	}
}
