package database_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// TestCommitThatWaitsForStandbyStaysHidden checks that PostgreSQL does not cancel a
// commit that waits for a synchronous standby when the program gives it up. Until the
// standby has it, the commit is invisible and its row locks are held.
func TestCommitThatWaitsForStandbyStaysHidden(t *testing.T) {
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	db, err := database.Open(t.Context(), database.Options{
		URL: server.URL("postgres"), PoolSize: 4, AllowWeak: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statements ...string) {
		t.Helper()
		for _, sql := range statements {
			if err := server.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec("CREATE TABLE t (n int)", "ALTER SYSTEM SET synchronous_standby_names = 'away'", "SELECT pg_reload_conf()")
	count := func() (n int) {
		t.Helper()
		if err := db.Read(t.Context()).Raw("SELECT count(*) FROM t").Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		return n
	}
	waiting := func() (n int) {
		t.Helper()
		if err := db.Read(t.Context()).Raw("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		return n
	}

	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	var committed chan error
	commit := func() {
		committed = make(chan error, 1)
		go func() {
			committed <- db.Bulk(ctx, func(tx database.Bulk) error {
				return tx.Finish(ctx, database.Statement{Text: "INSERT INTO t VALUES (1)"})
			})
		}()
	}
	commit()
	made := 0 // commits before the server applied the setting
	wait.For(t, "a commit waits", func() bool {
		select {
		case err := <-committed:
			if err != nil {
				t.Fatal(err)
			}
			made++
			commit()
		default:
		}
		return waiting() == 1
	})
	giveUp()
	if err := <-committed; err == nil {
		t.Fatal("a commit that no standby has is taken for made")
	}
	// The server would report a cancelled commit at once. Allow it some time.
	for range 20 {
		if n := count(); n != made || waiting() != 1 {
			t.Fatalf("%d rows of a commit that no standby has are visible, and %d commits wait", n-made, waiting())
		}
		<-time.After(10 * time.Millisecond)
	}
	exec("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
	wait.For(t, "the commit is visible", func() bool { return count() == made+1 })
}
