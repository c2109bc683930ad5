package database_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/test/pgtest"
)

// A commit that waits for a synchronous standby is not cancelled when the program
// gives it up: until the standby has it, nobody sees it, and whoever wants the same
// row waits.
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
	until := func(what string, isSo func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !isSo(); <-time.After(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not within a minute: ", what)
			}
		}
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
	made := 0 // commits before the server took up the setting
	until("a commit waits", func() bool {
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
	// Were it cancelled, the server would say so at once: give it the time.
	for range 20 {
		if n := count(); n != made || waiting() != 1 {
			t.Fatalf("%d rows of a commit that no standby has are visible, and %d commits wait", n-made, waiting())
		}
		<-time.After(10 * time.Millisecond)
	}
	exec("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
	until("the commit is visible", func() bool { return count() == made+1 })
}
