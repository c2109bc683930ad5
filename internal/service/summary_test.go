package service_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
	"ospulse/test/dbtest"
)

// counting counts how many events are read for counts.
type counting struct {
	*repository.Events
	counted, listed int64
}

func (c *counting) CountByType(ctx context.Context, sessionID string, after, upTo int64) (counts map[string]int64, expired int64, err error) {
	c.counted += upTo - after
	return c.Events.CountByType(ctx, sessionID, after, upTo)
}

func (c *counting) ListOfType(ctx context.Context, sessionID, eventType string, before int64, limit int) ([]models.Event, error) {
	events, err := c.Events.ListOfType(ctx, sessionID, eventType, before, limit)
	c.listed += int64(len(events))
	return events, err
}

// grow adds events to a session until it has n, directly in the database. They have
// three types in turn, and each hundredth reports a loss of two.
func grow(t testing.TB, db *database.DB, sessionID string, n int64) {
	t.Helper()
	exec(t, db, "INSERT INTO events (session_id, seq, event_type, timestamp, timestamp_source, source, data, is_sent, created_at, updated_at) "+
		"WITH RECURSIVE n(i) AS (SELECT event_count + 1 FROM sessions WHERE id = ? UNION ALL SELECT i + 1 FROM n WHERE i < CAST(? AS bigint)) "+
		"SELECT s.id, i, CASE WHEN i % 100 = 0 THEN 'events_lost' WHEN i % 2 = 0 THEN 'a' ELSE 'b' END, s.created_at, 'agent', 'x', '{\"count\":2}', (1 = 1), s.created_at, s.created_at FROM n, sessions s WHERE s.id = ?",
		sessionID, n, sessionID)
	exec(t, db, "UPDATE sessions SET event_count = ? WHERE id = ?", n, sessionID)
}

// exec runs a statement directly in the database.
func exec(t testing.TB, db *database.DB, text string, args ...any) {
	t.Helper()
	err := db.BulkBeside(t.Context(), func(tx database.Bulk) error {
		return tx.Run(t.Context(), database.Statement{Text: text, Args: args})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newSession(t testing.TB, db *database.DB, id string) {
	t.Helper()
	file := &models.TargetFile{SHA256: strings.Repeat("a", 64)}
	if err := repository.NewSessions(db).Create(t.Context(), &models.Session{ID: id, FileSHA256: &file.SHA256}, file, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestSummaryCountsWhatIsNew checks that repeated summaries on any backend read each
// event about once, and that the result is the same as a count of all events.
func TestSummaryCountsWhatIsNew(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		newSession(t, db, "s")
		sessions, events := repository.NewSessions(db), &counting{Events: repository.NewEvents(db)}
		durability := func() models.Durability { return "" }
		const size, gap = 60_000, 55_000
		grow(t, db, "s", size)
		exec(t, db, "DELETE FROM events WHERE session_id = 's' AND (seq BETWEEN 49999 AND 50003 OR seq = ?)", int64(gap+1))
		missing := int64(6)
		for i := range int64(10) {
			n := size + (i+1)*1000
			grow(t, db, "s", n)
			session, err := sessions.Get(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			got, err := service.NewSummaries(events, repository.NewRetention(db), service.NewReads(1, time.Minute), durability).Summary(t.Context(), session) // a new service without anything in memory
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := events.Events.CountByType(t.Context(), "s", 0, n)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got.EventCounts, want) {
				t.Errorf("%d events: counts are %v, want %v", n, got.EventCounts, want)
			}
			c := got.Completeness
			if c.Expected != n || c.Present != n-missing || c.Complete || c.Lost != 2*want[models.TypeEventsLost] || len(c.Losses) != models.MaxLosses {
				t.Errorf("%d events: %d of %d, %d lost in %d reports", n, c.Present, c.Expected, c.Lost, len(c.Losses))
			}
			if want := []models.SeqSpan{{First: 49_999, Last: 50_003}, {First: gap + 1, Last: gap + 1}}; !slices.Equal(c.Missing, want) {
				t.Errorf("%d events: %v are missing, want %v", n, c.Missing, want)
			}
		}
		if most := int64(size + 10*1000 + 10*models.SegmentEvents); events.counted > most {
			t.Errorf("%d events were counted, of %d", events.counted, size+10*1000)
		}
		if most := int64(size/100 + 10*(models.MaxLosses+400)); events.listed > most {
			t.Errorf("%d reports were read, of %d", events.listed, size/100)
		}
	})
}

// TestTotalsGoWithTheirSession checks that the totals of a deleted session are not used
// for another session with its ID.
func TestTotalsGoWithTheirSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		newSession(t, db, "s")
		events := repository.NewEvents(db)
		totals := &models.SessionTotals{SessionID: "s", Seq: 10, EventCounts: map[string]int64{"a": 10}, Missing: []models.SeqSpan{{First: 1, Last: 2}}, Lost: 3}
		older := &models.SessionTotals{SessionID: "s", Seq: 5, EventCounts: map[string]int64{"a": 5}}
		for _, save := range []*models.SessionTotals{totals, older} {
			if err := events.SaveTotals(t.Context(), save, 0); err != nil {
				t.Fatal(err)
			}
		}
		if got, _, err := events.Totals(t.Context(), "s"); err != nil || !reflect.DeepEqual(got, totals) {
			t.Errorf("got %+v, %v", got, err)
		}
		exec(t, db, "DELETE FROM sessions WHERE id = 's'")
		if got, _, err := events.Totals(t.Context(), "s"); err != nil || got.Seq != 0 || len(got.EventCounts) != 0 {
			t.Errorf("after the session: %+v, %v", got, err)
		}
		if err := events.SaveTotals(t.Context(), totals, 0); models.ErrorCode(err) != models.CodeConflict {
			t.Errorf("totals of a session that is gone: %v", err)
		}
	})
}

// BenchmarkSummary measures a summary of a session of 300,000 events.
func BenchmarkSummary(b *testing.B) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		db := dbtest.Open(b, options(b))
		newSession(b, db, "s")
		grow(b, db, "s", 300_000)
		session, err := repository.NewSessions(db).Get(b.Context(), "s")
		if err != nil {
			b.Fatal(err)
		}
		events := repository.NewEvents(db)
		summaries := service.NewSummaries(events, repository.NewRetention(db), service.NewReads(1, time.Minute), func() models.Durability { return "" })
		b.Run(fmt.Sprint(name, "/totals"), func(b *testing.B) {
			for range b.N {
				if _, err := summaries.Summary(b.Context(), session); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint(name, "/count of all, as before"), func(b *testing.B) {
			for range b.N {
				if _, _, err := events.CountByType(b.Context(), "s", 0, 300_000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
