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

// TestPollGoesByTheIndexOfTheUnsent checks that a poll, with or without a time span,
// uses the index of unsent events. Any other index would read all events that were
// sent.
func TestPollGoesByTheIndexOfTheUnsent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		for name, tt := range map[string]struct {
			span models.EventFilter
			last *claim
		}{
			"newest": {},
			"span":   {span: models.EventFilter{Start: time.UnixMicro(5), End: time.UnixMicro(7)}},
			"next":   {last: &claim{Timestamp: time.UnixMicro(6), Seq: 3}},
		} {
			query, text := plan(t, db, func(tx *gorm.DB) *gorm.DB {
				return unsentRows(tx, "s", tt.span, tt.last).Limit(10).Find(&[]models.Event{})
			})
			if !strings.Contains(text, "idx_events_unsent") || strings.Contains(strings.ToUpper(text), "SORT") || strings.Contains(text, "TEMP B-TREE") {
				t.Errorf("%s: %s\n%s", name, query, text)
			}
		}
	})
}

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
			return view{tx: tx, sessionID: "s"}.rows(filter.OfTypes(nil, models.TypeSessionEnd), models.EventPage{After: 3}).Order("seq DESC").Limit(20).Find(&[]models.Event{})
		})
		if !strings.Contains(text, "idx_events_type") || strings.Contains(strings.ToUpper(text), "SORT") || strings.Contains(text, "TEMP B-TREE") {
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
					return view{tx: tx, sessionID: models.UnassignedID}.rows(filter.OfTypes(where, types...), models.EventPage{After: 20000, Before: 28193}).Order("seq").Find(&[]models.Event{})
				})
				if !strings.Contains(steps, "seq>? AND seq<?") && !strings.Contains(steps, "seq > 20000) AND (seq < 28193)") {
					t.Errorf("%s: %s\n%s", text, query, steps)
				}
			}
		}
	})
}

// TestFilterGoesByTheIndexes checks that a filter's condition on a column can use the
// column's index, whatever the rest of the filter.
func TestFilterGoesByTheIndexes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if db.Dialect() == "postgres" { // for an empty table it would choose a sequential scan
			if err := db.Write(t.Context(), func(tx *gorm.DB) error {
				return tx.Exec("INSERT INTO events (session_id, seq, event_type, timestamp, source, data, pid, process_name) " +
					"SELECT 'unassigned', n, 'type' || n % 100, to_timestamp(n), 's', '{}', n % 100, 'p' || n % 100 FROM generate_series(1, 20000) n").Error
			}); err != nil {
				t.Fatal(err)
			}
			if err := db.Read(t.Context()).Exec("ANALYZE events").Error; err != nil {
				t.Fatal(err)
			}
		}
		byTime := struct{ index, condition string }{"idx_events_", "timestamp"}
		if db.Dialect() == "sqlite" { // never by the index of the time: all rows would then have to be sorted
			byTime.index, byTime.condition = "idx_events_session_seq", "session_id"
		}
		for text, want := range map[string]struct{ index, condition string }{
			`type = type1`:                               {"idx_events_type", "event_type"},
			`type: type1 and target: *x*`:                {"idx_events_type", "event_type"},
			`word process = p7`:                          {"idx_events_process", "process_name"},
			`process: (p7) and not (pid = 1 or type: x)`: {"idx_events_process", "process_name"},
			`pid = 5 and data.a = 1`:                     {"idx_events_pid", "pid"},
			`seq > 19990 and word`:                       {"idx_events_session_seq", "seq"},
			`time > 1970-01-01T05:33:10Z and word`:       byTime,
			`pid = 5 and time > 1970-01-01T00:00:10Z`:    {"idx_events_pid", "pid"},
		} {
			where, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			query, steps := plan(t, db, func(tx *gorm.DB) *gorm.DB {
				return filtered(tx, where).Where("session_id = ?", models.UnassignedID).Order("seq").Limit(10).Find(&[]models.Event{})
			})
			found := false
			for line := range strings.Lines(steps) { // SQLite has both on one line
				found = found || strings.Contains(line, "Index Cond") && strings.Contains(line, want.condition) ||
					strings.Contains(line, want.index) && strings.Contains(line, want.condition+"=?") || strings.Contains(line, want.condition+">?")
			}
			if !found || !strings.Contains(steps, want.index) {
				t.Errorf("%s: %s\n%s", text, query, steps)
			}
		}
	})
}
