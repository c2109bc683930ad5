package repository_test

import (
	"fmt"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// BenchmarkClaim measures a poll of ten events in a session with many sent events: the
// cost must not grow with their number.
func BenchmarkClaim(b *testing.B) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		for _, sent := range []int{0, 900_000} {
			b.Run(fmt.Sprintf("%s/sent=%d", name, sent), func(b *testing.B) {
				db := dbtest.Open(b, options(b))
				events := repository.NewEvents(db)
				createSession(b, db, "s")
				next := noon
				fill := func(n int) {
					for n > 0 {
						batch := make([]models.Event, min(n, 5000))
						for i := range batch {
							next = next.Add(time.Millisecond)
							batch[i] = newEvent("s", next)
						}
						if _, err := appendBatch(b.Context(), events, batchOf(batch...)); err != nil {
							b.Fatal(err)
						}
						n -= len(batch)
					}
				}
				claim := func(limit int) int {
					ids, err := events.ClaimUnsent(b.Context(), "s", models.EventFilter{Limit: limit})
					if err != nil {
						b.Fatal(err)
					}
					return len(ids)
				}
				fill(sent)
				for sent > 0 && claim(1000) > 0 {
					continue
				}
				for b.Loop() {
					b.StopTimer()
					fill(10)
					b.StartTimer()
					if n := claim(10); n != 10 {
						b.Fatalf("claimed %d", n)
					}
				}
			})
		}
	}
}
