package database_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ospulse/internal/database"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// listen returns a channel with "connected" for each connection, and each payload.
func listen(t *testing.T, db *database.DB, channel string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(ended)
		db.Listen(ctx, channel, func() { heard <- "connected" }, func(payload string) { heard <- payload })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return heard
}

func wantHeard(t *testing.T, heard <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := wait.Receive(t, fmt.Sprintf("%.100q is heard", w), heard); got != w {
			t.Fatalf("heard %.100q, want %.100q", got, w)
		}
	}
}

func TestNotifyIsHeard(t *testing.T) {
	options := dbtest.Postgres(t)
	here, there := dbtest.Open(t, options), dbtest.Open(t, options)
	heard, other := listen(t, there, "a"), listen(t, there, "b")
	wantHeard(t, heard, "connected")
	wantHeard(t, other, "connected")
	longest := strings.Repeat("x", database.MaxPayload)
	for _, payloads := range [][]string{{"1", "it's 2"}, {longest}, nil} {
		if err := here.Notify(t.Context(), "a", payloads...); err != nil {
			t.Fatal(err)
		}
	}
	wantHeard(t, heard, "1", "it's 2", longest)
	if len(other) > 0 {
		t.Errorf("on another channel %q is heard", <-other)
	}

	// A lost connection is opened again, every time.
	for i := range 3 {
		if err := here.Read(t.Context()).Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%(listening)' AND datname = current_database()").Error; err != nil {
			t.Fatal(err)
		}
		wantHeard(t, heard, "connected")
		wantHeard(t, other, "connected")
		again := fmt.Sprint("again ", i)
		if err := here.Notify(t.Context(), "a", again); err != nil {
			t.Fatal(err)
		}
		wantHeard(t, heard, again)
	}
}

// TestNotifyOnSQLite checks that Notify succeeds on SQLite, where nobody receives it.
func TestNotifyOnSQLite(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t))
	heard := listen(t, db, "a")
	if err := db.Notify(t.Context(), "a", "1"); err != nil {
		t.Error(err)
	}
	if len(heard) > 0 {
		t.Errorf("%q is heard", <-heard)
	}
}
