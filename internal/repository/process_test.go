package repository_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// acted returns an event of a process.
func acted(sessionID string, pid int64, name string, at time.Time) models.Event {
	e := newEvent(sessionID, at)
	e.PID, e.ProcessName = &pid, &name
	return e
}

// processes formats a session's processes, in the order of pid and start.
func processes(t *testing.T, db *database.DB, sessionID string) []string {
	t.Helper()
	var found []models.Process
	if err := db.Read(t.Context()).Where("session_id = ?", sessionID).Order("pid, started_at").Find(&found).Error; err != nil {
		t.Fatal(err)
	}
	texts := []string{}
	for _, p := range found {
		parent := "-"
		if p.ParentPID != nil {
			parent = fmt.Sprint(*p.ParentPID)
		}
		texts = append(texts, fmt.Sprintf("%d %s %q start %d %v parent %s seen %d to %d %v", p.PID, p.Name, p.CommandLine,
			p.StartedAt.Sub(noon)/time.Second, p.StartKnown, parent, p.FirstSeen.Sub(noon)/time.Second, p.LastSeen.Sub(noon)/time.Second, p.EventCounts))
	}
	return texts
}

func wantProcesses(t *testing.T, db *database.DB, sessionID string, want ...string) {
	t.Helper()
	if got := processes(t, db, sessionID); !slices.Equal(got, want) {
		t.Errorf("the processes of %s are\n%q, want\n%q", sessionID, got, want)
	}
}

func TestProcessesAreKeptUp(t *testing.T) {
	later := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		createSession(t, db, "other")
		packet := newEvent("s", noon)
		packet.EventType = "x"
		typed := acted("s", 4, "a.exe", later(9))
		typed.EventType = "x"
		appendEvents(t, db, []models.Event{acted("s", 4, "a.exe", later(5)), acted("s", 4, "a.exe", later(3)), packet, typed, acted("other", 4, "a.exe", later(1)), acted("s", 0, "", later(1))})
		wantProcesses(t, db, "s",
			`0  "" start 1 false parent - seen 1 to 1 map[file_operation:1]`,
			`4 a.exe "" start 3 false parent - seen 3 to 9 map[file_operation:2 x:1]`)
		wantProcesses(t, db, "other", `4 a.exe "" start 1 false parent - seen 1 to 1 map[file_operation:1]`)

		// More events of it, and another name for the same pid.
		appendEvents(t, db, []models.Event{acted("s", 4, "a.exe", later(1)), acted("s", 4, "b.exe", later(20)), acted("s", 4, "b.exe", later(21))})
		// The start of a process that has already acted, in one group with an event of
		// that process.
		pid, parent := int64(9), int64(4)
		created := models.Incoming{Event: acted("s", 4, "b.exe", later(22)), Processes: []models.ProcessFact{
			{PID: pid, StartedAt: later(22), ProcessInfo: models.ProcessInfo{Image: "/bin/c", CommandLine: "c -d", ParentPID: &parent}},
		}}
		child := models.Incoming{Event: acted("s", 9, "c", later(23))}
		if _, err := appendBatch(t.Context(), repository.NewEvents(db), models.Batch{Events: []models.Incoming{child, created}}); err != nil {
			t.Fatal(err)
		}
		wantProcesses(t, db, "s",
			`0  "" start 1 false parent - seen 1 to 1 map[file_operation:1]`,
			`4 a.exe "" start 3 false parent - seen 1 to 9 map[file_operation:3 x:1]`,
			`4 b.exe "" start 20 false parent - seen 20 to 22 map[file_operation:3]`,
			`9 c "c -d" start 22 true parent 4 seen 22 to 23 map[file_operation:1]`)

		// Several names of one pid at the same microsecond are separate processes, and
		// no error.
		appendEvents(t, db, []models.Event{acted("other", 7, "x", noon), acted("other", 7, "y", noon), acted("other", 7, "z", noon)})
		if got := processes(t, db, "other"); len(got) != 4 {
			t.Errorf("got %q", got)
		}
	})
}

// TestProcessesOfAGroupAreFoundAgain checks that all of the many processes in one group
// are found again in the next one.
func TestProcessesOfAGroupAreFoundAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		for range 3 {
			var events []models.Event
			for pid := range int64(150) {
				events = append(events, acted("s", pid, fmt.Sprint(pid), noon))
			}
			if _, err := appendBatch(t.Context(), repository.NewEvents(db), batchOf(events...)); err != nil {
				t.Fatal(err)
			}
		}
		got := processes(t, db, "s")
		if len(got) != 150 {
			t.Fatalf("there are %d processes, want 150", len(got))
		}
		for pid, text := range got {
			if want := fmt.Sprintf(`%d %d "" start 0 false parent - seen 0 to 0 map[file_operation:3]`, pid, pid); text != want {
				t.Errorf("got %s, want %s", text, want)
			}
		}
	})
}

// TestProcessNamesWithoutEnd checks that a pid which keeps changing its name causes no
// error.
func TestProcessNamesWithoutEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		for round := range 3 {
			var events []models.Event
			for i := range 400 {
				events = append(events, acted("s", 4, fmt.Sprintf("%d-%d", round, i), noon))
			}
			if _, err := appendBatch(t.Context(), repository.NewEvents(db), batchOf(events...)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestMarkedGroupIsStoredOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		events := repository.NewEvents(db)
		put := func(writer string, first int64, batches int) error {
			group := models.Group{Mark: models.Mark{Writer: writer, First: first}}
			for range batches {
				group.Batches = append(group.Batches, batchOf(newEvent("s", noon), acted("s", 4, "a", noon)))
			}
			_, err := events.Append(t.Context(), named(group))
			return err
		}
		stored := func() int {
			t.Helper()
			found, err := events.ListBySeq(t.Context(), "s", 0, 1000, 1000)
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		}
		if last, err := events.LastStored(t.Context(), "w"); last != 0 || err != nil {
			t.Errorf("a new writer has %d, %v", last, err)
		}
		for _, step := range []struct {
			writer  string
			first   int64
			batches int
			refused bool
		}{{"w", 1, 3, false}, {"w", 1, 3, true}, {"w", 3, 2, true}, {"w", 4, 1, false}, {"other", 1, 1, false}, {"w", 9, 1, false}, {"w", 5, 1, true}} {
			before := stored()
			err := put(step.writer, step.first, step.batches)
			if errors.Is(err, models.ErrAlreadyStored) != step.refused || (err != nil) != step.refused {
				t.Errorf("%+v: %v", step, err)
			}
			if step.refused != (stored() == before) {
				t.Errorf("%+v: %d events before, %d after", step, before, stored())
			}
		}
		if last, err := events.LastStored(t.Context(), "w"); last != 9 || err != nil {
			t.Errorf("the writer has %d, %v, want 9", last, err)
		}
		wantProcesses(t, db, "s", `4 a "" start 0 false parent - seen 0 to 0 map[file_operation:6]`)
	})
}

// TestEveryEventCountsForAProcess checks that every event is counted for a process,
// however many processes a pid has, whether or not an event has its process's start,
// and however many pids a group has.
func TestEveryEventCountsForAProcess(t *testing.T) {
	for name, event := range map[string]func(round, i int) models.Incoming{
		"names without end": func(round, i int) models.Incoming {
			return acting(4, fmt.Sprintf("%d-%d", round, i), time.Time{})
		},
		"the same names again": func(_, i int) models.Incoming { return acting(4, fmt.Sprint(i), time.Time{}) },
		"starts, the same again": func(_, i int) models.Incoming {
			return acting(4, "a", noon.Add(time.Duration(i)*time.Second))
		},
		"starts, backwards": func(round, i int) models.Incoming {
			return acting(int64(i%3), "a", noon.Add(-time.Duration(round*700+i)*time.Second))
		},
		"many pids": func(_, i int) models.Incoming { return acting(int64(i), "a", time.Time{}) },
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, db *database.DB) {
				createSession(t, db, "s")
				const rounds, each = 3, 700
				for round := range rounds {
					batch := models.Batch{}
					for i := range each {
						batch.Events = append(batch.Events, event(round, i))
					}
					if _, err := appendBatch(t.Context(), repository.NewEvents(db), batch); err != nil {
						t.Fatal(err)
					}
				}
				processes, _, err := repository.NewProcesses(db).List(t.Context(), "s", 10_000)
				if err != nil {
					t.Fatal(err)
				}
				total := int64(0)
				for i := range processes {
					for _, n := range processes[i].EventCounts {
						total += n
					}
				}
				if total != rounds*each {
					t.Errorf("%d processes have %d events, want %d", len(processes), total, rounds*each)
				}
				if name == "starts, the same again" && len(processes) != each {
					t.Errorf("there are %d processes, want %d", len(processes), each)
				}
			})
		})
	}
}

// acting returns an event of a process, with the process's start unless it is zero.
func acting(pid int64, name string, startedAt time.Time) models.Incoming {
	in := models.Incoming{Event: acted("s", pid, name, noon)}
	if !startedAt.IsZero() {
		in.Processes = []models.ProcessFact{{PID: pid, StartedAt: startedAt, Acted: true, ProcessInfo: models.ProcessInfo{Name: name}}}
	}
	return in
}
