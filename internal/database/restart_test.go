package database_test

import (
	"io"
	"log/slog"
	"sync"
	"testing"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/test/pgtest"
)

// TestRestartOfServerCostsNoRead checks that a restart of the server, which breaks
// every connection of the pool, fails no later request.
func TestRestartOfServerCostsNoRead(t *testing.T) {
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const size = 4
	db, err := database.Open(t.Context(), database.Options{
		URL: server.URL("postgres"), PoolSize: size, AllowWeak: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	useAll := func() {
		t.Helper()
		var reads sync.WaitGroup
		for range size {
			reads.Go(func() {
				err := db.Read(t.Context()).Transaction(func(tx *gorm.DB) error {
					return tx.Exec("SELECT pg_sleep(0.02)").Error
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		reads.Wait()
	}
	for range 2 {
		useAll()
		useAll()
		if err := server.Stop(pgtest.Immediate); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		useAll()
	}
}
