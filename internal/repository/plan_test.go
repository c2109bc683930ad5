package repository

import (
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/database/dbtest"
	"ospulse/internal/models"
)

// A poll must find its events by the index of the unsent, with or without a
// span of time: by any other it would walk over all that was sent.
func TestPollGoesByTheIndexOfTheUnsent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		for name, filter := range map[string]models.EventFilter{
			"newest": {Limit: 10},
			"span":   {Limit: 10, Start: time.UnixMicro(5), End: time.UnixMicro(7)},
		} {
			query := db.Read(t.Context()).ToSQL(func(tx *gorm.DB) *gorm.DB {
				return unsent(tx, "s", filter).Find(&[]models.Event{})
			})
			explain := "EXPLAIN QUERY PLAN "
			if db.Dialect() == "postgres" {
				explain = "EXPLAIN "
			}
			var plan []map[string]any
			if err := db.Read(t.Context()).Raw(explain + query).Scan(&plan).Error; err != nil {
				t.Fatal(err)
			}
			var steps []string
			for _, step := range plan {
				for column, text := range step {
					if s, ok := text.(string); ok && (column == "detail" || column == "QUERY PLAN") {
						steps = append(steps, s)
					}
				}
			}
			text := strings.Join(steps, "\n")
			if !strings.Contains(text, "idx_events_unsent") || strings.Contains(strings.ToUpper(text), "SORT") || strings.Contains(text, "TEMP B-TREE") {
				t.Errorf("%s: %s\n%s", name, query, text)
			}
		}
	})
}
