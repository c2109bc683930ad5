package service_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
	"ospulse/test/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// BenchmarkAnalysis measures a histogram and a facet of a session of a million events,
// with its segments and, while it has none, from the events.
func BenchmarkAnalysis(b *testing.B) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		b.Run(name, func(b *testing.B) {
			db := dbtest.Open(b, options(b))
			sessions, events := repository.NewSessions(db), repository.NewEvents(db)
			file := &models.TargetFile{SHA256: strings.Repeat("0", 64)}
			if err := sessions.Create(b.Context(), &models.Session{ID: "s", FileSHA256: &file.SHA256}, file, func() error { return nil }); err != nil {
				b.Fatal(err)
			}
			at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
			for range 200 {
				batch := models.Batch{Events: make([]models.Incoming, 5000)}
				for i := range batch.Events {
					at = at.Add(200 * time.Microsecond)
					batch.Events[i].RequestHint = "s"
					e := &batch.Events[i].Event
					pid, process := int64(100+i%24), fmt.Sprintf("process%d.exe", i%24)
					operation, target := []string{"ReadFile", "WriteFile"}[i%2], fmt.Sprintf(`C:\Users\w%d\x%d.dll`, i%400, i%377)
					*e = models.Event{
						SessionID: "s", Timestamp: at, EventType: []string{models.TypeFile, models.TypePacket, models.TypeHTTP}[i%3], Source: "bench",
						PID: &pid, ProcessName: &process, Operation: &operation, Target: &target,
						Data: models.JSON(fmt.Sprintf(`{"filePath": %q, "operation": %q, "content": %q}`, target, operation, strings.Repeat("AB ", 80))),
					}
				}
				if _, err := events.Append(b.Context(), models.Group{Batches: []models.Batch{batch}}); err != nil {
					b.Fatal(err)
				}
			}
			analysis := service.NewAnalysis(repository.NewSegments(db), events, sessions, slog.New(slog.DiscardHandler))
			where, err := filter.Parse("type = " + models.TypeFile)
			if err != nil {
				b.Fatal(err)
			}
			measure := func(by string) {
				b.Run("histogram/"+by, func(b *testing.B) {
					for b.Loop() {
						if _, err := analysis.Histogram(b.Context(), "s", nil, models.Span{}, 100); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run("facet/"+by, func(b *testing.B) {
					for b.Loop() {
						if _, err := analysis.Facet(b.Context(), "s", "extension", nil, 20); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run("filtered/"+by, func(b *testing.B) {
					for b.Loop() {
						if _, err := analysis.Facet(b.Context(), "s", "process", where, 20); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			measure("events")
			if err := analysis.MakeSegments(b.Context()); err != nil {
				b.Fatal(err)
			}
			measure("segments")
		})
	}
}
