package repository_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// BenchmarkSessionList lists 50 of 100,000 sessions: the first ones, ones far down, and
// ones that only a full scan finds.
func BenchmarkSessionList(b *testing.B) {
	const count = 100_000
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		b.Run(name, func(b *testing.B) {
			db := dbtest.Open(b, options(b))
			err := db.Write(b.Context(), func(tx *gorm.DB) error {
				files, sessions := make([]models.TargetFile, count/10), make([]models.Session, count)
				for i := range files {
					files[i] = models.TargetFile{SHA256: fmt.Sprintf("%064x", i*7919*65536*65536), SizeBytes: 1}
				}
				for i := range sessions {
					at := noon.Add(time.Duration(i) * time.Second)
					sessions[i] = models.Session{
						ID: fmt.Sprintf("01a20c%06x-0000-7000-8000-000000000000", i), FileName: fmt.Sprintf("sample-%d.exe", i), CreatedAt: at,
						FileSHA256: &files[i%len(files)].SHA256, MonitoringEnded: &at, Notes: strings.Repeat("a note ", 20), Tags: []string{"malware", fmt.Sprint("t", i%100)},
					}
				}
				if err := tx.CreateInBatches(files, 500).Error; err != nil {
					return err
				}
				return tx.CreateInBatches(sessions, 500).Error
			})
			if err != nil {
				b.Fatal(err)
			}
			if err := db.Write(b.Context(), func(tx *gorm.DB) error { return tx.Exec("ANALYZE").Error }); err != nil {
				b.Fatal(err)
			}
			deep := &models.SessionCursor{CreatedAt: noon.Add(count / 10 * time.Second), ID: "x"}
			for _, bench := range []struct {
				name   string
				filter models.SessionFilter
			}{
				{"first", models.SessionFilter{}},
				{"deep", models.SessionFilter{After: deep}},
				{"span", models.SessionFilter{From: noon.Add(100 * time.Second), To: noon.Add(1000 * time.Second)}},
				{"state", models.SessionFilter{State: models.StateEnded}},
				{"no-state", models.SessionFilter{State: models.StateActive}},
				{"hash", models.SessionFilter{SHA256: fmt.Sprintf("%064x", 77*7919*65536*65536)}},
				{"hash-beginning", models.SessionFilter{SHA256: "0000abcd"}},
				{"level", models.SessionFilter{Level: "high"}},
				{"severe", models.SessionFilter{Severe: true}},
				{"tag", models.SessionFilter{Tag: "t7"}},
				{"text", models.SessionFilter{Text: "SAMPLE-99"}},
				{"no-text", models.SessionFilter{Text: "nowhere"}},
				{"no-file", models.SessionFilter{FileName: "nowhere"}},
			} {
				b.Run(bench.name, func(b *testing.B) {
					bench.filter.Limit = 51
					sessions := repository.NewSessions(db)
					for b.Loop() {
						if _, err := sessions.List(b.Context(), bench.filter); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
