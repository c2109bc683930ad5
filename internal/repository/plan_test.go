package repository

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/test/dbtest"
)

// TestPollEndsOnABusyMachine checks that a poll needs few transactions however long each
// of them takes. A poll of 1,187 events needed 1,100 of them, 18 s, and then failed.
func TestPollEndsOnABusyMachine(t *testing.T) {
	steps := 0
	for events, step := 1200, minSentStep; events > 0; steps++ {
		events -= step
		step = nextSentStep(step, time.Second)
	}
	if steps > 40 {
		t.Errorf("1,200 events take %d transactions", steps)
	}
}

// TestEndsGoByIndexes checks that the frequent queries for active sessions and for a
// session's end read neither all sessions nor all events of one.
func TestEndsGoByIndexes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		query, text := plan(t, db, func(tx *gorm.DB) *gorm.DB {
			return view{tx: tx, sessionID: "s"}.rows(filter.OfTypes(nil, models.TypeSessionEnd), models.EventPage{After: 3}, nil).Order("seq DESC").Limit(20).Find(&[]models.Event{})
		})
		if !strings.Contains(text, "idx_events_session_seq") || strings.Contains(strings.ToUpper(text), "SORT") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("%s\n%s", query, text)
		}
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			sessions := make([]models.Session, 5000)
			for i := range sessions {
				sessions[i].ID = fmt.Sprint(i)
			}
			if err := tx.CreateInBatches(sessions, 500).Error; err != nil {
				return err
			}
			return tx.Exec("ANALYZE").Error
		})
		if err != nil {
			t.Fatal(err)
		}
		if query, text = plan(t, db, func(tx *gorm.DB) *gorm.DB { return active(tx).Find(&[]models.Session{}) }); !strings.Contains(text, "idx_sessions_live") {
			t.Errorf("%s\n%s", query, text)
		}
	})
}

// plan returns a query and the database's plan for it.
func plan(t *testing.T, db *database.DB, build func(tx *gorm.DB) *gorm.DB) (query, steps string) {
	t.Helper()
	query = db.Read(t.Context()).ToSQL(build)
	explain := "EXPLAIN QUERY PLAN "
	if db.Dialect() == "postgres" {
		explain = "EXPLAIN "
	}
	var plan []map[string]any
	if err := db.Read(t.Context()).Raw(explain + query).Scan(&plan).Error; err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, step := range plan {
		for column, text := range step {
			if s, ok := text.(string); ok && (column == "detail" || column == "QUERY PLAN") {
				lines = append(lines, s)
			}
		}
	}
	return query, strings.Join(lines, "\n")
}

// TestPartGoesByItsBounds checks that a query for a part reads nothing outside its
// bounds, whatever the filter.
func TestPartGoesByItsBounds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == "postgres" { // for an empty table it would choose a sequential scan
			if err := db.Write(t.Context(), func(tx *gorm.DB) error {
				return tx.Exec("INSERT INTO events (session_id, seq, event_type, timestamp, source, data, pid) " +
					"SELECT 'unassigned', n, 'type' || n % 10, to_timestamp(n), 's', '{}', n % 100 FROM generate_series(1, 50000) n").Error
			}); err != nil {
				t.Fatal(err)
			}
			if err := db.Read(t.Context()).Exec("ANALYZE events").Error; err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range []string{"", "word", "pid = 5", "process: x and time > 1970-01-01T00:00:10Z"} {
			where, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, types := range [][]string{{"type1"}, {"type1", "type2"}} {
				query, steps := plan(t, db, func(tx *gorm.DB) *gorm.DB {
					return view{tx: tx, sessionID: models.UnassignedID}.rows(filter.OfTypes(where, types...), models.EventPage{After: 20000, Before: 28193}, nil).Order("seq").Find(&[]models.Event{})
				})
				if !strings.Contains(steps, "seq>? AND seq<?") && !strings.Contains(steps, "seq > 20000) AND (seq < 28193)") {
					t.Errorf("%s: %s\n%s", text, query, steps)
				}
			}
		}
	})
}

// TestFilterGoesByTheIndexOfSeq checks that the rows behind the segments are found by
// their Seq, whatever the filter.
func TestFilterGoesByTheIndexOfSeq(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == "postgres" { // for an empty table it would choose a sequential scan
			if err := db.Write(t.Context(), func(tx *gorm.DB) error {
				return tx.Exec("INSERT INTO events (session_id, seq, event_type, timestamp, source, data, pid, process_name) " +
					"SELECT 'unassigned', n, 'type' || n % 100, to_timestamp(n), 's', '{}', n % 100, 'p' || n % 100 FROM generate_series(1, 50000) n").Error
			}); err != nil {
				t.Fatal(err)
			}
			if err := db.Read(t.Context()).Exec("ANALYZE events").Error; err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range []string{
			`type = type1`,
			`type: type1 and target: *x*`,
			`process: (p7) and not (pid = 1 or type: x)`,
			`pid = 5 and data.a = 1`,
			`time > 1970-01-01T05:33:10Z and word`,
		} {
			where, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			query, steps := plan(t, db, func(tx *gorm.DB) *gorm.DB {
				return view{tx: tx, sessionID: models.UnassignedID}.rows(where, models.EventPage{After: 49_000}, nil).Order("seq").Limit(10).Find(&[]models.Event{})
			})
			if !strings.Contains(steps, "idx_events_session_seq") || !strings.Contains(steps, "seq>?") && !strings.Contains(steps, "(seq > 49000)") {
				t.Errorf("%s: %s\n%s", text, query, steps)
			}
		}
	})
}
