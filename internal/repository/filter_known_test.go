package repository_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"ospulse/internal/database"
	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/rules"
	"ospulse/internal/wire"
	"ospulse/test/dbtest"
	"ospulse/test/recording"
)

// routineRules returns the routine rules that come with OS-Pulse.
func routineRules(t testing.TB) []filter.RoutineRule {
	t.Helper()
	all, _, err := detect.Load(rules.Files())
	if err != nil {
		t.Fatal(err)
	}
	return detect.Routine(all)
}

// completed parses a filter and completes it.
func completed(t testing.TB, text string, known *filter.Known) *filter.Filter {
	t.Helper()
	where, err := filter.Parse(text)
	if err == nil {
		where, err = where.WithKnown(known)
	}
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return where
}

// TestRoutineMeansTheSameEverywhere checks that filters for routine events and findings select
// the same events of each recording in memory, in both databases, and in all forms in which
// events are stored, however they are read.
func TestRoutineMeansTheSameEverywhere(t *testing.T) {
	known := &filter.Known{Routine: routineRules(t), Findings: []models.Finding{
		{RuleID: "a", Title: "A title", Level: "high", Tags: []string{"attack.execution", "attack.t1059.004"}, Seqs: []int64{3, 4, 5, 6, 7, 100, 4097}},
		{RuleID: "b", Title: "Another", Level: "low", Tags: []string{"attack.t1003"}, Seqs: []int64{5, 6, 50, 51, 52, 53}},
	}}
	texts := []string{
		"routine = true", "not routine = true", "routine = false", "not routine = true and type = file_operation and process: *", "routine = process_forked_or_ended", "routine: *_read and not routine = locale_read",
		"routine in (packet_without_data, path_searched, socket_made_or_closed)", `finding = true`, `not finding = a and finding: an*`, "technique = T1059", "finding.level >= medium or not routine: *",
	}
	most := map[string]int{"shell": models.SegmentEvents + 400} // of events; 400 of the others
	selecting := map[string]int{}
	dbs := openBoth(t)
	for _, name := range []string{"build", "http", "package", "python", "shell"} {
		bodies := recording.Events(t, name)
		bodies = bodies[:min(len(bodies), max(most[name], 400))]
		events := make([]models.Event, len(bodies))
		for i, body := range bodies {
			in, err := wire.Event([]byte(body), noon)
			if err != nil {
				t.Fatal(err)
			}
			events[i], events[i].Seq = in.Event, int64(i+1)
		}
		for _, db := range dbs {
			storeForms(t, db, name, bodies)
		}
		for i, text := range texts {
			where := completed(t, text, known)
			want := selected(where, events)
			selecting[text] += len(want)
			for _, db := range dbs {
				for _, form := range formsOf(db) {
					if got := listedAll(t, db, form+name, where, len(bodies)); !slices.Equal(got, want) {
						t.Fatalf("%s of %s selects %d events of the %s session on %s, %d by Match", text, name, len(got), form, db.Dialect(), len(want))
					}
				}
				if i < 2 || name == "http" {
					compareForms(t, db, name, where, int64(len(bodies)))
				}
			}
		}
	}
	for _, text := range texts {
		if selecting[text] == 0 {
			t.Errorf("%s selects nothing: the test says nothing about it", text)
		}
	}
}

// listedAll returns the seqs of the events that a filter selects.
func listedAll(t testing.TB, db *database.DB, session string, where *filter.Filter, n int) []int64 {
	t.Helper()
	events, err := repository.NewEvents(db).List(t.Context(), session, where, models.EventPage{Limit: n + 1})
	if err != nil {
		t.Fatal(err)
	}
	seqs := []int64{}
	for i := range events {
		seqs = append(seqs, events[i].Seq)
	}
	return seqs
}

// BenchmarkRoutine measures pages and counts without routine events, in a session of 150,000
// events of a recording, as rows without and with segments, and sealed.
func BenchmarkRoutine(b *testing.B) {
	const n = 150_000
	known := &filter.Known{Routine: routineRules(b), Findings: []models.Finding{{RuleID: "a", Seqs: []int64{1, 2, 77, 5000, 100_000}}}}
	recorded := recording.Events(b, "build")
	var bodies []string
	for len(bodies) < n {
		bodies = append(bodies, recorded[:min(len(recorded), n-len(bodies))]...)
	}
	dbs := map[string]*database.DB{"sqlite": dbtest.Open(b, dbtest.SQLite(b)), "postgres": dbtest.Open(b, dbtest.Postgres(b))}
	for name, db := range dbs {
		createSession(b, db, "s")
		for some := range slices.Chunk(bodies, 1000) {
			var batch models.Batch
			for _, body := range some {
				in, err := wire.Event([]byte(body), noon)
				if err != nil {
					b.Fatal(err)
				}
				in.SessionID = "s"
				batch.Events = append(batch.Events, in)
			}
			if _, err := appendBatch(b.Context(), repository.NewEvents(db), batch); err != nil {
				b.Fatal(err)
			}
		}
		events := repository.NewEvents(db)
		for _, form := range []string{"rows", "segments", "sealed"} {
			for number := int64(0); (number+1)*models.SegmentEvents <= n; number++ {
				switch form {
				case "segments":
					index(b, db, "s", number)
				case "sealed":
					seal(b, db, "s", number, (number+1)*models.SegmentEvents)
				}
			}
			for _, text := range []string{"", "not routine = true", "routine = library_loaded", "not routine = true and process: sh", "finding = true"} {
				label := strings.Join([]string{name, form, strconv.Quote(text)}, "/")
				where, err := filter.Parse(text)
				if err == nil {
					where, err = where.WithKnown(known)
				}
				if err != nil {
					b.Fatal(err)
				}
				b.Run(label+"/page", func(b *testing.B) {
					for i := 0; b.Loop(); i++ {
						after := int64(i*7919) % (n - 10_000)
						if _, err := events.List(b.Context(), "s", where, models.EventPage{After: after, Limit: 100}); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run(label+"/histogram", func(b *testing.B) {
					for b.Loop() {
						if err := repository.NewSegments(db).EachHot(b.Context(), "s", where, 0, n, models.Span{}, func(*models.Event) {}); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run(label+"/count", func(b *testing.B) {
					total := int64(0)
					for b.Loop() {
						if total, err = events.Count(b.Context(), "s", where, models.EventPage{}); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(total), "events")
				})
			}
		}
	}
}
