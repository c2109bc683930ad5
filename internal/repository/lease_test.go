package repository_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

func TestLease(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		leases := repository.NewLeases(db)
		take := func(name, holder string, lasts time.Duration) bool {
			t.Helper()
			taken, err := leases.Take(t.Context(), name, holder, lasts)
			if err != nil {
				t.Fatal(err)
			}
			return taken
		}
		release := func(name, holder string) {
			t.Helper()
			if err := leases.Release(t.Context(), name, holder); err != nil {
				t.Fatal(err)
			}
		}
		if !take("a", "1", time.Minute) || !take("a", "1", time.Hour) || take("a", "2", time.Hour) || !take("b", "2", time.Hour) {
			t.Error("two have it, or its holder has not")
		}
		release("a", "2") // "2" does not hold the lease
		if take("a", "2", time.Hour) {
			t.Error("another one released it")
		}
		release("a", "1")
		if !take("a", "2", 0) || !take("a", "3", time.Hour) || take("a", "2", time.Hour) {
			t.Error("it is not free after its release, or after its time")
		}

		var winners atomic.Int32
		var backends sync.WaitGroup
		for _, holder := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
			backends.Go(func() {
				if taken, err := leases.Take(t.Context(), "c", holder, time.Hour); err != nil {
					t.Error(err)
				} else if taken {
					winners.Add(1)
				}
			})
		}
		backends.Wait()
		if n := winners.Load(); n != 1 {
			t.Errorf("%d of 8 got it", n)
		}
	})
}
