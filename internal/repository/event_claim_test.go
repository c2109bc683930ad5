package repository_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/database/migrations"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// TestClaimsOfAnOlderVersion checks that after an upgrade polls return what they have not
// returned before it, and nothing else.
func TestClaimsOfAnOlderVersion(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		const n = models.SegmentEvents + 10
		unsent := map[string][]int64{"all": nil, "some": {n, 2000, 7}, "none": nil}
		for id := range unsent {
			createSession(t, db, id)
			batch := make([]models.Event, n)
			for i := range batch {
				batch[i] = newEvent(id, noon.Add(time.Duration(i)*time.Second))
			}
			appendEvents(t, db, batch)
			if id == "none" {
				unsent[id] = []int64{n, n - 1, n - 2}
			}
		}
		migration, err := migrations.Files.ReadFile(db.Dialect() + "/0008_claims.sql")
		if err != nil {
			t.Fatal(err)
		}
		err = db.Write(t.Context(), func(tx *gorm.DB) error {
			sent := "UPDATE events SET is_sent = TRUE WHERE session_id = 'all' OR session_id = 'some' AND seq NOT IN (4106, 2000, 7)"
			return errors.Join(tx.Exec(sent).Error, tx.Exec(string(migration)).Error)
		})
		if err != nil {
			t.Fatal(err)
		}
		events := repository.NewEvents(db)
		for id, want := range unsent {
			got, err := events.ClaimUnsent(t.Context(), id, models.EventFilter{Limit: 3})
			if err != nil || !slices.Equal(got, want) && len(got)+len(want) > 0 {
				t.Errorf("session %s: %d are unsent, want %d; %v", id, got, want, err)
			}
		}
		if got, err := events.ClaimUnsent(t.Context(), "some", models.EventFilter{Limit: 3}); err != nil || len(got) > 0 {
			t.Errorf("%d are claimed again; %v", got, err)
		}
	})
}
