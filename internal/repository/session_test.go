package repository_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

func anyState(*models.Session) error { return nil }

func TestHiddenSessionsAreNoCandidates(t *testing.T) {
	hide := map[string]func(*models.Session){
		"deleting":  func(s *models.Session) { s.DeletingSince = &noon },
		"importing": func(s *models.Session) { s.ImportingSince = &noon },
	}
	lives := map[string]func(*models.Session){
		"active":   func(s *models.Session) { s.IsActive, s.MonitoringStarted = true, &noon },
		"starting": func(s *models.Session) { now := time.Now(); s.StartingSince = &now },
		"ended":    func(s *models.Session) { s.IsActive = true }, // the update ends it
	}
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		agent := models.DefaultAgentID
		if _, err := repository.NewAgents(db).Register(t.Context(), "holder", 0, func([]models.Agent, bool) models.Agent {
			return models.Agent{ID: agent, Status: models.AgentUnknown}
		}); err != nil {
			t.Fatal(err)
		}
		// chosen returns the session that an event is stored in, with this hint and without.
		chosen := func(hint string, at time.Time) [2]string {
			t.Helper()
			batch := batchOf(newEvent(hint, at), newEvent("", at))
			if _, err := appendBatch(t.Context(), repository.NewEvents(db), batch); err != nil {
				t.Fatal(err)
			}
			return [2]string{batch.Events[0].SessionID, batch.Events[1].SessionID}
		}
		sessions := repository.NewSessions(db)
		for state, set := range lives {
			id := "s-" + state
			createSession(t, db, id)
			if _, err := sessions.Update(t.Context(), id, func(s *models.Session) error { s.AgentID = &agent; set(s); return nil }); err != nil {
				t.Fatal(err)
			}
			var run models.SessionRun
			if err := db.Read(t.Context()).Last(&run).Error; err != nil {
				t.Fatal(err)
			}
			if state == "ended" {
				if _, err := sessions.Update(t.Context(), id, func(s *models.Session) error { s.IsActive = false; return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if got := chosen(id, run.StartedAt); got != [2]string{id, id} {
				t.Fatalf("%s: the events are in %s while it is visible", state, got)
			}
			for name, hide := range hide {
				if err := db.Write(t.Context(), func(tx *gorm.DB) error {
					var s models.Session
					hide(&s)
					return tx.Model(&models.Session{ID: id}).Select("deleting_since", "importing_since").Updates(&s).Error
				}); err != nil {
					t.Fatal(err)
				}
				if got := chosen(id, run.StartedAt); got != [2]string{models.UnassignedID, models.UnassignedID} {
					t.Errorf("%s, %s: the events are in %s", state, name, got)
				}
				if _, err := sessions.Get(t.Context(), id); models.ErrorCode(err) != models.CodeNotFound {
					t.Errorf("%s, %s: found, %v", state, name, err)
				}
				if _, err := sessions.Update(t.Context(), id, anyState); models.ErrorCode(err) != models.CodeNotFound {
					t.Errorf("%s, %s: updated, %v", state, name, err)
				}
			}
		}
		if all, err := sessions.List(t.Context(), models.SessionFilter{Limit: 10}); err != nil || len(all) != 1 {
			t.Errorf("%d sessions are listed, %v", len(all), err)
		}
		createSession(t, db, "gone")
		appendEvents(t, db, []models.Event{newEvent("gone", noon)})
		if err := sessions.Hide(t.Context(), "gone", noon, anyState); err != nil {
			t.Fatal(err)
		}
		if got := chosen("gone", noon); got[0] != models.UnassignedID {
			t.Errorf("an event of a deleted session is in %s", got[0])
		}
		events, err := repository.NewEvents(db).ListAll(t.Context(), 0, 1<<40, 100)
		if err != nil || slices.ContainsFunc(events, func(e models.Event) bool { return e.SessionID == "gone" }) || len(events) != 14 {
			t.Errorf("%d events of all sessions, %v", len(events), err)
		}
	})
}

// TestSessionDeletedWhileItIsChosen checks, on PostgreSQL, a session that another
// transaction deletes after Append has chosen it and before Append stores the events:
// Append stores nothing.
func TestSessionDeletedWhileItIsChosen(t *testing.T) {
	db := dbtest.Open(t, dbtest.Postgres(t))
	createSession(t, db, "s")
	stored := make(chan error, 1)
	if err := db.Write(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE sessions SET deleting_since = now() WHERE id = 's'").Error; err != nil {
			return err
		}
		go func() {
			_, err := appendBatch(context.WithoutCancel(t.Context()), repository.NewEvents(db), batchOf(newEvent(models.UnassignedID, noon), newEvent("s", noon)))
			stored <- err
		}()
		for waiting := 0; waiting == 0; { // until Append has chosen the session and wants its row
			const blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE sessions SET event_count%'"
			if err := db.Read(t.Context()).Raw(blocked).Scan(&waiting).Error; err != nil { // not in tx, whose view of this table is constant
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-stored; models.ErrorCode(err) != models.CodeNotFound {
		t.Errorf("got %v, want not_found", err)
	}
	if last, err := repository.NewEvents(db).LastID(t.Context()); err != nil || last != 0 {
		t.Errorf("last ID is %d, %v: something was stored", last, err)
	}
	session, err := repository.NewSessions(db).Get(t.Context(), models.UnassignedID)
	if err != nil || session.EventCount != 0 {
		t.Errorf("the counter is at %d, %v", session.EventCount, err)
	}
}

func TestDeleteInSteps(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		sessions := repository.NewSessions(db)
		createSession(t, db, "s")
		createSession(t, db, "other")
		var events []models.Event
		for i := range 25 {
			events = append(events, acted("s", int64(i), "p", noon), acted("other", 1, "p", noon))
		}
		appendEvents(t, db, events)
		unlinked := []string{}
		unlink := func(sha256 string) error { unlinked = append(unlinked, sha256); return nil }
		finish := func() bool {
			t.Helper()
			done, err := sessions.FinishDelete(t.Context(), "s", noon.Add(-time.Hour), unlink)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		for number := range int64(25) {
			segment := &models.Segment{SessionID: "s", Number: number, FirstTime: noon, LastTime: noon, Columns: []byte("x")}
			if err := repository.NewSegments(db).Create(t.Context(), []models.Segment{*segment}); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := sessions.DeleteEvents(t.Context(), "s", 10); n != 0 || err != nil || finish() {
			t.Errorf("of a session that is not deleted %d events went, %v", n, err)
		}
		check := errors.New("no")
		if err := sessions.Hide(t.Context(), "s", noon, func(*models.Session) error { return check }); !errors.Is(err, check) {
			t.Errorf("hidden against the check: %v", err)
		}
		if err := sessions.Hide(t.Context(), "s", noon, anyState); err != nil {
			t.Fatal(err)
		}
		if err := sessions.Hide(t.Context(), "s", noon, anyState); models.ErrorCode(err) != models.CodeNotFound {
			t.Errorf("hidden twice: %v", err)
		}
		if ids, err := sessions.ListDeleting(t.Context(), "", 10); err != nil || !slices.Equal(ids, []string{"s"}) {
			t.Errorf("to delete: %q, %v", ids, err)
		}
		if ids, err := sessions.ListDeleting(t.Context(), "s", 10); err != nil || len(ids) != 0 {
			t.Errorf("to delete after it: %q, %v", ids, err)
		}
		for name, steps := range map[string]func(int) (int64, error){
			"events":    func(limit int) (int64, error) { return sessions.DeleteEvents(t.Context(), "s", limit) },
			"processes": func(limit int) (int64, error) { return sessions.DeleteProcesses(t.Context(), "s", limit) },
			"segments":  func(limit int) (int64, error) { return sessions.DeleteSegments(t.Context(), "s", limit) },
		} {
			if finish() {
				t.Fatal("it went with its " + name)
			}
			var got []int64
			for {
				n, err := steps(10)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				got = append(got, n)
			}
			if !slices.Equal(got, []int64{10, 10, 5}) {
				t.Errorf("%s: steps of %v", name, got)
			}
		}
		if !finish() || len(unlinked) != 0 { // the other session has the same file
			t.Errorf("it did not go, or its file did: %q", unlinked)
		}
		if finish() {
			t.Error("it went twice")
		}
		if n, err := repository.NewEvents(db).Count(t.Context(), "other", nil, models.EventPage{}); n != 25 || err != nil {
			t.Errorf("the other session has %d events, %v", n, err)
		}
		wantProcesses(t, db, "other", `1 p "" start 0 false parent - seen 0 to 0 map[file_operation:25]`)
	})
}

// TestFileIsThereWithItsRow checks that, while a file is deleted and stored
// concurrently, its content exists whenever its row does.
func TestFileIsThereWithItsRow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		sessions := repository.NewSessions(db)
		var content struct {
			sync.Mutex
			there bool
		}
		set := func(there bool) error {
			content.Lock()
			defer content.Unlock()
			content.there = there
			return nil
		}
		file, size := "f", int64(1)
		var clients sync.WaitGroup
		for client := range 4 {
			clients.Go(func() {
				for round := range 25 {
					id := fmt.Sprintf("%d-%d", client, round)
					session := &models.Session{ID: id, FileSHA256: &file, FileSizeBytes: size}
					if err := sessions.Create(t.Context(), session, &models.TargetFile{SHA256: file, SizeBytes: size}, func() error { return set(true) }); err != nil {
						t.Error("create: ", err)
						return
					}
					content.Lock()
					if !content.there {
						t.Error("there is a session whose file has no content")
					}
					content.Unlock()
					if err := sessions.Hide(t.Context(), id, noon, anyState); err != nil {
						t.Error("hide: ", err)
					}
					if done, err := sessions.FinishDelete(t.Context(), id, noon, func(string) error { return set(false) }); err != nil || !done {
						t.Error("delete: ", done, err)
					}
				}
			})
		}
		// Sweeps run in between; the file that they remove is placed again.
		sweeping, stopSweeping := context.WithCancel(t.Context())
		var sweeps sync.WaitGroup
		sweeps.Go(func() {
			rows := repository.NewTargetFiles(db)
			for sweeping.Err() == nil {
				if _, err := rows.DeleteOrphan(t.Context(), file, func(string) error { return set(false) }); err != nil {
					t.Error("sweep: ", err)
				}
			}
		})
		clients.Wait()
		stopSweeping()
		sweeps.Wait()
		if content.there {
			t.Error("the content of no session is left")
		}
		failed := errors.New("the disk is full")
		err := sessions.Create(t.Context(), &models.Session{ID: "s", FileSHA256: &file}, &models.TargetFile{SHA256: file}, func() error { return failed })
		if !errors.Is(err, failed) {
			t.Errorf("place failed, and Create said %v", err)
		}
		if _, err := sessions.Get(t.Context(), "s"); models.ErrorCode(err) != models.CodeNotFound {
			t.Errorf("there is a session without its file: %v", err)
		}
	})
}

func TestStopPendingKeepsADeletedSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		sessions := repository.NewSessions(db)
		createSession(t, db, "s")
		if err := sessions.Hide(t.Context(), "s", noon, func(s *models.Session) error { s.StopPending = true; return nil }); err != nil {
			t.Fatal(err)
		}
		finish := func(giveUp time.Time) bool {
			t.Helper()
			done, err := sessions.FinishDelete(t.Context(), "s", giveUp, func(string) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		if pending, err := sessions.ListStopPending(t.Context(), noon); err != nil || len(pending) != 1 {
			t.Errorf("%d are pending, %v", len(pending), err)
		}
		if is, err := sessions.IsStopPending(t.Context(), "s"); !is || err != nil || finish(noon.Add(-time.Second)) {
			t.Error("it went before the agent was told: ", is, err)
		}
		if err := sessions.SetStopped(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		if is, err := sessions.IsStopPending(t.Context(), "s"); is || err != nil || !finish(noon.Add(-time.Second)) {
			t.Error("it stays after the agent was told: ", is, err)
		}
	})
}

func TestAddProcesses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		appendEvents(t, db, []models.Event{acted("s", 3, "known", noon)})
		var listed []models.Process
		for pid := range int64(120) {
			listed = append(listed, models.Process{PID: pid, ProcessInfo: models.ProcessInfo{Name: fmt.Sprint("p", pid)}})
		}
		processes := repository.NewProcesses(db)
		for range 2 {
			if err := processes.Add(t.Context(), "s", noon.Add(time.Second), listed); err != nil {
				t.Fatal(err)
			}
		}
		found, total, err := processes.List(t.Context(), "s", 1000)
		if err != nil || len(found) != 120 || total != 120 || found[0].Name != "known" || found[119].Name != "p119" || found[119].StartKnown || found[119].EventCounts == nil {
			t.Errorf("%d of %d, %v", len(found), total, err)
		}
		if found, total, err := processes.List(t.Context(), "s", 50); err != nil || len(found) != 50 || total != 120 {
			t.Errorf("the first 50: %d of %d, %v", len(found), total, err)
		}
		appendEvents(t, db, []models.Event{acted("s", 7, "p7", noon.Add(3*time.Second))}) // that process
		if _, total, err := processes.List(t.Context(), "s", 120); err != nil || total != 120 {
			t.Errorf("then there are %d, %v", total, err)
		}
		if err := processes.Add(t.Context(), "nobody", noon, listed); models.ErrorCode(err) != models.CodeNotFound {
			t.Errorf("of a session that is not there: %v", err)
		}
	})
}
