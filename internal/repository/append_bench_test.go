package repository_test

import (
	"fmt"
	"testing"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// BenchmarkAppend measures groups of small events.
func BenchmarkAppend(b *testing.B) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		for _, size := range []int{1, 25, 1000} {
			b.Run(fmt.Sprintf("%s/%d-events", name, size), func(b *testing.B) {
				db := dbtest.Open(b, options(b))
				events := repository.NewEvents(db)
				createSession(b, db, "s")
				pid, text := int64(4711), `C:\Users\analyst\Desktop\note.txt`
				event := newEvent("s", noon)
				event.PID, event.ProcessName, event.Target, event.Operation = &pid, &text, &text, &text
				event.Data = models.JSON(`{"handle":"0x1b4","filePath":"C:\\Windows\\System32\\UIAutomationCore.dll","bytesTransferred":4,"content":"92 B7 DC 01","timestamp":"2026-11-22T18:57:39.966Z","operation":"ReadFile","metadata":{"sessionId":"mws78o95-pb4w1knlzuc","processName":"cmd.exe","processId":102}}`)
				batch := make([]models.Event, size)
				for b.Loop() {
					for i := range batch {
						batch[i] = event
					}
					if _, err := appendBatch(b.Context(), events, batchOf(batch...)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}
