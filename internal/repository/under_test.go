package repository_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/process"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// familyOf returns the processes of a session and their family.
func familyOf(t testing.TB, db *database.DB, sessionID string) ([]models.Process, *process.Family) {
	t.Helper()
	processes, err := repository.NewProcesses(db).ListFamily(t.Context(), sessionID, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return processes, process.NewFamily(processes)
}

// processBodies returns events of few pids, which are used again, with and without the
// start of their process, its name and its parent.
func processBodies(random *rand.Rand, n int) []string {
	bodies := make([]string, n)
	moment := func(i int) string {
		return noon.Add(time.Duration(i-random.IntN(5)) * 7 * time.Millisecond).Format(time.RFC3339Nano)
	}
	for i := range bodies {
		metadata := []string{}
		if random.IntN(9) > 0 {
			metadata = append(metadata, fmt.Sprintf(`"processId":%d`, random.IntN(7)))
		}
		if random.IntN(4) > 0 {
			metadata = append(metadata, fmt.Sprintf(`"processName":"p%d"`, random.IntN(3)))
		}
		if random.IntN(3) == 0 {
			metadata = append(metadata, fmt.Sprintf(`"processStartTime":%q`, moment(i)))
		}
		if random.IntN(3) == 0 {
			metadata = append(metadata, fmt.Sprintf(`"parentProcessId":%d`, random.IntN(7)))
		}
		data := `"metadata":{` + strings.Join(metadata, ",") + `}`
		eventType := "file_operation"
		if random.IntN(4) == 0 {
			eventType = "process_creation"
			data += fmt.Sprintf(`,"newProcessId":%d,"newProcessStartTime":%q`, random.IntN(9), moment(i))
		}
		bodies[i] = fmt.Sprintf(`{"event_type":%q,"timestamp":%q,"source":"s","data":{%s}}`, eventType, moment(i), data)
	}
	return bodies
}

// TestUnderSelectsTheSameEverywhere checks that the conditions on processes select the
// same events in memory and in both databases, of rows, sealed segments and a mixture,
// whatever the agent reports.
func TestUnderSelectsTheSameEverywhere(t *testing.T) {
	asked, hit, shared := 0, 0, 0
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		for seed := range uint64(8) {
			random := rand.New(rand.NewPCG(seed, 3))
			n, most := 40, 12 // events, and processes to ask for
			if seed == 0 {    // several segments
				n, most = models.SegmentEvents+300, 1
			}
			suffix := fmt.Sprintf("-%d", seed)
			storeForms(t, db, suffix, processBodies(random, n))
			for _, form := range formsOf(db) {
				id := form + suffix
				events, err := repository.NewEvents(db).ListBySeq(t.Context(), id, 0, int64(n), n)
				if err != nil || len(events) != n {
					t.Fatal(len(events), err)
				}
				processes, family := familyOf(t, db, id)
				for _, p := range processes[:min(len(processes), most)] {
					for _, text := range []string{`under("%d")`, `only(%d)`, `not under("%d") and type = file_operation`, `under("%d") and (process: p1 or data.newProcessId: *)`} {
						where, err := filter.Parse(fmt.Sprintf(text, p.ID))
						if err == nil {
							where, err = where.WithProcesses(family)
						}
						if err != nil {
							t.Fatal(err)
						}
						want := selected(where, events)
						asked, hit = asked+n, hit+len(want)
						compareUnder(t, db, id, where, n, want)
					}
					if _, some := family.Descendants(p.ID, false).PIDs(); len(some) > 0 {
						shared++
					}
				}
			}
		}
	})
	if hit < asked/20 || hit > asked*19/20 || shared == 0 {
		t.Errorf("filters select %d of %d events, and %d times a pid was used again: they say little", hit, asked, shared)
	}
}

// compareUnder checks what each read of a session selects.
func compareUnder(t *testing.T, db *database.DB, id string, where *filter.Filter, n int, want []int64) {
	t.Helper()
	events, segments, transfers := repository.NewEvents(db), repository.NewSegments(db), repository.NewTransfers(db)
	seqs := func(found []models.Event, err error) ([]int64, error) {
		seqs := []int64{}
		for i := range found {
			seqs = append(seqs, found[i].Seq)
		}
		return seqs, err
	}
	for name, read := range map[string]func(ctx context.Context) ([]int64, error){
		"List": func(ctx context.Context) ([]int64, error) {
			return seqs(events.List(ctx, id, where, models.EventPage{Limit: n + 1}))
		},
		"ReadEvents": func(ctx context.Context) ([]int64, error) {
			return seqs(transfers.ReadEvents(ctx, id, where, models.EventRange{UpTo: int64(n)}, n, 1<<30, nil))
		},
		"EachHot": func(ctx context.Context) ([]int64, error) {
			found := []int64{}
			err := segments.EachHot(ctx, id, where, 0, int64(n), models.Span{}, func(e *models.Event) { found = append(found, e.Seq) })
			return found, err
		},
	} {
		if got, err := read(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s of %s with %s on %s returns %d events, %.300s, want %d, %.300s: %v", name, id, where, db.Dialect(), len(got), fmt.Sprint(got), len(want), fmt.Sprint(want), err)
		}
	}
	if count, err := events.Count(t.Context(), id, where, models.EventPage{}); err != nil || count != int64(len(want)) {
		t.Fatalf("%s with %s on %s counts %d, want %d: %v", id, where, db.Dialect(), count, len(want), err)
	}
}

// TestProcessVersionGrows checks that a session's ProcessVersion grows with each change
// of its family, and not with other events.
func TestProcessVersionGrows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		createSession(t, db, "other")
		version := func() int64 {
			session, err := repository.NewSessions(db).Get(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			return session.ProcessVersion
		}
		parent := int64(3)
		started := func(pid int64, start time.Time, parentPID *int64) models.Incoming {
			in := acting(pid, "a", start)
			in.SessionID = "s"
			in.Processes[0].ParentPID = parentPID
			return in
		}
		for _, step := range []struct {
			what  string
			event models.Incoming
			grows bool
		}{
			{"a process", models.Incoming{Event: acted("s", 4, "a", noon)}, true},
			{"another event of it", models.Incoming{Event: acted("s", 4, "a", noon.Add(time.Second))}, false},
			{"its start", started(4, noon, nil), true},
			{"its start again", started(4, noon, nil), false},
			{"its parent", started(4, noon, &parent), true},
			{"its parent again", started(4, noon, &parent), false},
			{"another process of its pid", started(4, noon.Add(time.Minute), nil), true},
			{"a process of another session", models.Incoming{Event: acted("other", 5, "a", noon)}, false},
		} {
			before := version()
			if _, err := appendBatch(t.Context(), repository.NewEvents(db), models.Batch{Events: []models.Incoming{step.event}}); err != nil {
				t.Fatal(err)
			}
			if grew := version() > before; grew != step.grows {
				t.Errorf("after %s the version grew: %v", step.what, grew)
			}
		}
		before := version()
		if err := repository.NewProcesses(db).Add(t.Context(), "s", noon, []models.Process{{PID: 99}}); err != nil || version() == before {
			t.Errorf("the agent's list of processes does not count: %v", err)
		}
	})
}
