package database_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/test/dbtest"
)

// TestBulkGoesBeforeOtherWrites checks that ingest waits for at most one other
// transaction, however many wait.
func TestBulkGoesBeforeOtherWrites(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t))
	pools, err := db.Pools()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		var mu sync.Mutex
		var order []string
		note := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		}
		var all sync.WaitGroup
		entered, leave := make(chan struct{}), make(chan struct{})
		check := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		all.Go(func() {
			check(db.Write(t.Context(), func(*gorm.DB) error {
				close(entered)
				<-leave
				return nil
			}))
		})
		<-entered
		waiting := pools["write"].Stats().WaitCount
		var started sync.WaitGroup
		for i := range 20 {
			started.Add(1)
			all.Go(func() {
				started.Done()
				if i%2 == 0 {
					check(db.Write(t.Context(), func(*gorm.DB) error { note("write"); return nil }))
				} else {
					check(db.BulkBeside(t.Context(), func(database.Bulk) error { note("beside"); return nil }))
				}
			})
		}
		started.Wait()
		all.Go(func() {
			check(db.Bulk(t.Context(), func(database.Bulk) error { note("ingest"); return nil }))
		})
		for pools["write"].Stats().WaitCount == waiting { // until at least ingest waits
			<-time.After(time.Millisecond)
		}
		close(leave)
		all.Wait()
		if at := slices.Index(order, "ingest"); at > 1 {
			t.Fatalf("ingest came after %d others: %v", at, order)
		}
	}
}

// TestTurnEndsWithItsContext checks that a wait for the turn to write ends with the
// caller's context.
func TestTurnEndsWithItsContext(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t))
	err := db.Write(t.Context(), func(*gorm.DB) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return errors.Join(
			wantCanceled(db.Write(ctx, func(*gorm.DB) error { return nil })),
			wantCanceled(db.BulkBeside(ctx, func(database.Bulk) error { return nil })),
		)
	})
	if err != nil {
		t.Error(err)
	}
}

func wantCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return errors.Join(errors.New("it did not end with its context"), err)
}

// TestQueriesEndWithTheirContext checks that a query ends with its context, also
// between two rows.
func TestQueriesEndWithTheirContext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
		for name, query := range map[string]string{
			"before the first row": endless + "SELECT i FROM n WHERE i < 0",
			"after the first row":  endless + "SELECT i FROM n WHERE i = 1 OR i < 0",
		} {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(50*time.Millisecond, cancel)
				err := func() error {
					rows, err := db.Read(ctx).Raw(query).Rows()
					if err != nil {
						return err
					}
					defer rows.Close()
					for rows.Next() {
						continue
					}
					return rows.Err()
				}()
				if err := wantCanceled(err); err != nil {
					t.Error(err)
				}
				var one int
				if err := db.Read(t.Context()).Raw("SELECT 1").Scan(&one).Error; err != nil || one != 1 {
					t.Errorf("afterwards: %d, %v", one, err)
				}
			})
		}
	})
}

// TestReadersTakeNoConnectionOfIngest checks that readers leave connections for ingest.
func TestReadersTakeNoConnectionOfIngest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		pools, err := db.Pools()
		if err != nil {
			t.Fatal(err)
		}
		name := "read"
		if pools[name] == nil {
			name = "write"
		}
		for range pools[name].Stats().MaxOpenConnections {
			conn, err := pools[name].Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := db.Bulk(ctx, func(database.Bulk) error { return nil }); err != nil {
			t.Error(err)
		}
		if db.Dialect() == "postgres" {
			if err := errors.Join(db.Ping(ctx), db.CheckSchema(ctx)); err != nil {
				t.Error(err)
			}
		}
	})
}
