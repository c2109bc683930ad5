package repository_test

import (
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// TestListHeads checks that sessions being deleted or imported are hidden from streams,
// and that the heads of the others agree in every query.
func TestListHeads(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		sessions := repository.NewSessions(db)
		now := time.Now().UTC().Truncate(time.Microsecond)
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Create([]*models.Session{
				{ID: "a", EventCount: 3, Name: "named"}, {ID: "b"}, {ID: "c", DeletingSince: &now}, {ID: "d", ImportingSince: &now},
			}).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{"a", "b", "c", "d", "none"}
		whole, err := sessions.ListByID(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		heads, err := sessions.ListHeads(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		var scanned []models.Session
		for after := ""; ; {
			page, err := sessions.ListHeadsAfter(t.Context(), after, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			after = page[0].ID
			scanned = append(scanned, page...)
		}
		scanned = slices.DeleteFunc(scanned, func(s models.Session) bool { return s.ID == models.UnassignedID })
		for name, list := range map[string][]models.Session{"whole": whole, "heads": heads, "scanned": scanned} {
			slices.SortFunc(list, func(a, b models.Session) int { return int(a.ID[0]) - int(b.ID[0]) })
			if len(list) != 2 || list[0].ID != "a" || list[1].ID != "b" || list[0].EventCount != 3 || !list[0].UpdatedAt.Equal(whole[0].UpdatedAt) {
				t.Errorf("%s: got %+v, want a and b", name, list)
			}
		}
		if whole[0].Name != "named" {
			t.Errorf("got %+v, want the whole session", whole[0])
		}
		before := whole[0].UpdatedAt
		if _, err := sessions.Update(t.Context(), "a", func(s *models.Session) error { s.Name = "renamed"; return nil }); err != nil {
			t.Fatal(err)
		}
		if heads, err = sessions.ListHeads(t.Context(), []string{"a"}); err != nil || len(heads) != 1 || !heads[0].UpdatedAt.After(before) {
			t.Errorf("after a change the head is %+v, %v", heads, err)
		}
	})
}
