package main

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/wire"
)

func TestVerifyFindsWhatIsMissing(t *testing.T) {
	o := database.Options{Path: filepath.Join(t.TempDir(), "test.db"), PoolSize: 2, Log: slog.New(slog.DiscardHandler)}
	db, err := database.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	pools, err := db.Pools()
	if err != nil {
		t.Fatal(err)
	}
	pool := pools["write"]
	if err := verify(t.Context(), o, 0); err != nil {
		t.Fatal(err)
	}

	// Two events, and a session that counts them.
	rows, err := rowsOf(wire.Events(newGenerator().batch(2), time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	write, err := insertRows(2, 1)(t.Context(), pool, &rowSource{table: eventsTable, rows: rows, began: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write(); err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		t.Helper()
		if _, err := pool.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO sessions (id, file_name, event_count) VALUES ('started', '', 2)")
	if err := verify(t.Context(), o, 2); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		acknowledged int64
		change, undo string
	}{
		"an event was lost":         {3, "SELECT 1", "SELECT 1"},
		"an event is there twice":   {1, "SELECT 1", "SELECT 1"},
		"a session counts too many": {2, "UPDATE sessions SET event_count = 3 WHERE id = 'started'", "UPDATE sessions SET event_count = 2 WHERE id = 'started'"},
		"events of no session":      {2, "UPDATE sessions SET event_count = 1", "UPDATE sessions SET event_count = CASE id WHEN 'started' THEN 2 ELSE 0 END"},
	} {
		exec(c.change)
		if err := verify(t.Context(), o, c.acknowledged); err == nil {
			t.Errorf("%s, and nobody noticed", name)
		}
		exec(c.undo)
	}

	// A sealed segment has the events that are no rows.
	exec("INSERT INTO segments (session_id, number, first_time, last_time, event_count, is_sealed, columns) VALUES ('started', 0, 0, 0, 3, true, x''), ('started', 1, 0, 0, 2, false, x'')")
	exec("UPDATE sessions SET event_count = 5 WHERE id = 'started'")
	if err := verify(t.Context(), o, 5); err != nil {
		t.Error(err)
	}
}
