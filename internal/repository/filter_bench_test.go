package repository_test

import (
	"fmt"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/wire"
	"ospulse/test/dbtest"
)

// BenchmarkFilter measures a page of a session of a million events with some 350 bytes
// of data each. Matches are only in the last events, or nowhere, so that without an
// index every event must be read.
func BenchmarkFilter(b *testing.B) {
	const total = 1_000_000
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		b.Run(name, func(b *testing.B) {
			db := dbtest.Open(b, options(b))
			createSession(b, db, "s")
			fillSession(b, db, "s", total)
			for _, tt := range []struct{ name, filter string }{
				{"type", `type = process_creation`},
				{"process-and-time", `process = "svchost.exe" and time > 2026-11-22T12:30:00Z`},
				{"pid", `pid in (102, 4711)`},
				{"text", `needle`},
				{"text-missing", `"nowhere at all"`},
				{"text-common", `UIAutomationCore`},
				{"text-escaped", `"\Windows\"needle"`},
				{"text-wild", `needle*exe`},
				{"target", `target: *needle*`},
				{"path", `data.metadata.processName = "nobody.exe"`},
				{"path-number", `data.bytesTransferred > 1e6`},
				{"path-like", `data.content contains nothing`},
			} {
				b.Run(tt.name, func(b *testing.B) {
					where, err := filter.Parse(tt.filter)
					if err != nil {
						b.Fatal(err)
					}
					events := repository.NewEvents(db)
					for b.Loop() {
						if _, err := events.List(b.Context(), "s", where, models.EventPage{Limit: 100}); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// fillSession stores n events like those of controllers.
func fillSession(b *testing.B, db *database.DB, session string, n int) {
	b.Helper()
	next := noon
	for done := 0; done < n; {
		var batch models.Batch
		for range min(n-done, 5000) {
			next = next.Add(3 * time.Millisecond)
			kind, file := "file_operation", "UIAutomationCore.dll"
			if done%50 == 0 {
				kind = "process_creation"
			}
			if done > n-50 {
				file = "needle.exe"
			}
			body := fmt.Sprintf(`{"event_type":%q,"timestamp":%q,"source":"os-pulse-controller","data":{"handle":"0x%x","filePath":"\\\\?\\C:\\Windows\\System32\\%s",`+
				`"bytesTransferred":%d,"content":"92 B7 DC 01 00 00 00 00 4D 5A 90 00 03 00 00 00 04 00 00 00 FF FF","timestamp":%q,"operation":"ReadFile",`+
				`"metadata":{"sessionId":"mws78o95-pb4w1knlzuc","processName":"svchost%d.exe","processId":%d}}}`,
				kind, models.FormatTime(next), done, file, done%1000, models.FormatTime(next), done%300, done%300)
			in, err := wire.Event([]byte(body), noon)
			if err != nil {
				b.Fatal(err)
			}
			in.SessionID = session
			batch.Events = append(batch.Events, in)
			done++
		}
		if _, err := appendBatch(b.Context(), repository.NewEvents(db), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Read(b.Context()).Exec("ANALYZE").Error; err != nil && db.Dialect() == "postgres" {
		b.Fatal(err)
	}
}
