package repository_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// imported returns n events of a session as a bundle has them.
func imported(sessionID string, n int) []models.Event {
	events := make([]models.Event, n)
	for i := range events {
		events[i] = newEvent(sessionID, noon.Add(time.Duration(i)*time.Second))
		events[i].Seq, events[i].IsSent = int64(i+1), true
		events[i].CreatedAt, events[i].UpdatedAt = noon, noon.Add(time.Minute)
	}
	text, pid := "x", int64(4)
	events[0].TimestampText, events[0].PID, events[0].ProcessName, events[0].Operation, events[0].Target, events[0].Preview = &text, &pid, &text, &text, &text, &text
	events[0].DataRaw = []byte(`"\u0000"`)
	return events
}

func count(t *testing.T, db *database.DB, model any, where ...any) int64 {
	t.Helper()
	var n int64
	query := db.Read(t.Context()).Model(model)
	if len(where) > 0 {
		query = query.Where(where[0], where[1:]...)
	}
	if err := query.Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func TestImportStoresASessionAsItIs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		transfers := repository.NewTransfers(db)
		if err := transfers.BeginImport(t.Context(), "s", noon); err != nil {
			t.Fatal(err)
		}
		var hidden models.Session
		if err := db.Read(t.Context()).Where("id = ?", "s").Take(&hidden).Error; err != nil || hidden.ImportingSince == nil || !hidden.ImportingSince.Equal(noon) {
			t.Fatalf("%+v, %v", hidden, err)
		}
		if err := transfers.BeginImport(t.Context(), "s", noon); models.ErrorCode(err) != models.CodeConflict {
			t.Errorf("begun twice: %v", err)
		}
		want := imported("s", 2500)
		later := noon.Add(time.Hour)
		if err := transfers.AddEvents(t.Context(), "s", want, later); err != nil {
			t.Fatal(err)
		}
		parent := int64(1)
		processes := []models.Process{
			{SessionID: "s", PID: 4, StartedAt: noon, FirstSeen: noon, LastSeen: later, EventCounts: map[string]int64{"x": 2}},
			{SessionID: "s", PID: 4, StartedAt: later, StartKnown: true, FirstSeen: noon, LastSeen: later, EventCounts: map[string]int64{},
				ProcessInfo: models.ProcessInfo{ParentPID: &parent, ParentStartedAt: &later, Name: "n", Image: "i", CommandLine: "c"}},
		}
		if err := transfers.AddProcesses(t.Context(), "s", processes, later); err != nil {
			t.Fatal(err)
		}
		if err := db.Read(t.Context()).Where("id = ?", "s").Take(&hidden).Error; err != nil || !hidden.ImportingSince.Equal(later) {
			t.Errorf("the import did not note that it got further: %v, %v", hidden.ImportingSince, err)
		}
		file := &models.TargetFile{SHA256: strings.Repeat("a", 64), SizeBytes: 5, CreatedAt: noon}
		session := &models.Session{
			ID: "s", Name: "n", Notes: "o", Tags: []string{"t"}, FileName: "f", FileSHA256: &file.SHA256, FileSizeBytes: 5, Mode: models.ModePIDs, ChosenPIDs: []int64{7},
			EventCount: 2500, CreatedAt: noon.Add(-time.Hour), UpdatedAt: noon.Add(-time.Minute), MonitoringStarted: &noon, MonitoringEnded: &later,
		}
		if err := transfers.FinishImport(t.Context(), session, file, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		session.FindingVersion = 1           // they were counted
		session.Durability = db.Durability() // that of this database, not of the bundle's origin
		got, err := repository.NewSessions(db).Get(t.Context(), "s")
		if err != nil || !reflect.DeepEqual(got, session) {
			t.Errorf("the session is\n%+v, want\n%+v, %v", got, session, err)
		}
		var events []models.Event
		if err := db.Read(t.Context()).Where("session_id = ?", "s").Order("seq").Find(&events).Error; err != nil {
			t.Fatal(err)
		}
		for i := range events {
			events[i].ID = 0
		}
		if !reflect.DeepEqual(events, want) {
			t.Errorf("%d events, the first\n%+v, want\n%+v", len(events), events[0], want[0])
		}
		read, err := transfers.ReadProcesses(t.Context(), "s", nil, 10)
		for i := range read {
			read[i].ID = 0
		}
		if err != nil || !reflect.DeepEqual(read, processes) {
			t.Errorf("the processes are\n%+v, want\n%+v, %v", read, processes, err)
		}
		// The import is finished.
		if err := transfers.AddEvents(t.Context(), "s", want[:1], later); models.ErrorCode(err) != models.CodeConflict {
			t.Errorf("added to what is finished: %v", err)
		}
		if err := transfers.FinishImport(t.Context(), session, nil, nil); models.ErrorCode(err) != models.CodeConflict {
			t.Errorf("finished twice: %v", err)
		}
		if err := transfers.AbortImport(t.Context(), "s"); err != nil || count(t, db, &models.Event{}) != 2500 || count(t, db, &models.Session{}, "id = ?", "s") != 1 {
			t.Errorf("what is finished was aborted: %v", err)
		}
	})
}

func TestAbortedImportLeavesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "other")
		appendEvents(t, db, []models.Event{acted("other", 4, "a", noon)})
		transfers := repository.NewTransfers(db)
		sessions := count(t, db, &models.Session{})
		if err := transfers.BeginImport(t.Context(), "s", noon); err != nil {
			t.Fatal(err)
		}
		if err := transfers.AddEvents(t.Context(), "s", imported("s", 2500), noon); err != nil {
			t.Fatal(err)
		}
		if err := transfers.AddProcesses(t.Context(), "s", []models.Process{{SessionID: "s", PID: 1, StartedAt: noon, FirstSeen: noon, LastSeen: noon}}, noon); err != nil {
			t.Fatal(err)
		}
		if err := transfers.AddFindings(t.Context(), "s", []models.Finding{{RuleID: "a", Level: "low", Count: 1, Seqs: []int64{1}, FirstAt: noon, LastAt: noon}}, noon); err != nil {
			t.Fatal(err)
		}
		if err := transfers.AbortImport(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, &models.ImportedFinding{}); n != 0 {
			t.Errorf("%d findings are left", n)
		}
		if e, p, s := count(t, db, &models.Event{}), count(t, db, &models.Process{}), count(t, db, &models.Session{}); e != 1 || p != 1 || s != sessions {
			t.Errorf("%d events, %d processes, %d sessions of %d are left", e, p, s, sessions)
		}
		// Nothing can be added any more, and a new import can begin.
		if err := transfers.AddEvents(t.Context(), "s", imported("s", 1), noon); models.ErrorCode(err) != models.CodeConflict {
			t.Error(err)
		}
		if err := transfers.BeginImport(t.Context(), "s", noon); err != nil {
			t.Error(err)
		}
		// An import that was considered abandoned cannot continue.
		if err := db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Model(&models.Session{}).Where("id = ?", "s").UpdateColumn("deleting_since", noon).Error
		}); err != nil {
			t.Fatal(err)
		}
		if err := transfers.AddEvents(t.Context(), "s", imported("s", 1), noon); models.ErrorCode(err) != models.CodeConflict {
			t.Error(err)
		}
	})
}

// TestReadEvents checks that pages are limited in events and in bytes, and have no
// gaps.
func TestReadEvents(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		batch := imported("s", 50)
		for i := range batch {
			batch[i].Data = models.JSON(fmt.Sprintf(`"%s"`, strings.Repeat("x", 1000)))
			if i%10 == 9 {
				batch[i].EventType = "y"
			}
		}
		stored := appendEvents(t, db, batch)
		transfers := repository.NewTransfers(db)
		read := func(after, upTo int64, eventType string, limit, maxBytes int) []models.Event {
			t.Helper()
			events, err := transfers.ReadEvents(t.Context(), "s", nil, models.EventRange{After: after, UpTo: upTo, EventType: eventType}, limit, maxBytes, nil)
			if err != nil {
				t.Fatal(err)
			}
			return events
		}
		all := read(0, 50, "", 100, 1<<20)
		for i, got := range all {
			want := stored[i]
			want.Preview, want.IsSent, want.UpdatedAt = nil, false, time.Time{} // not read
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("event %d is\n%+v, want\n%+v", i, got, want)
			}
		}
		for name, tt := range map[string]struct {
			events []models.Event
			want   []int64 // first, last, number
		}{
			"all":           {all, []int64{1, 50, 50}},
			"limited":       {read(10, 50, "", 7, 1<<20), []int64{11, 17, 7}},
			"a few bytes":   {read(0, 50, "", 100, 3500), []int64{1, 4, 4}},
			"one at least":  {read(5, 50, "", 100, 1), []int64{6, 6, 1}},
			"up to":         {read(40, 45, "", 100, 1<<20), []int64{41, 45, 5}},
			"of a type":     {read(0, 49, "y", 100, 1<<20), []int64{10, 40, 4}},
			"after the end": {read(50, 50, "", 100, 1<<20), nil},
		} {
			var got []int64
			if n := len(tt.events); n > 0 {
				got = []int64{tt.events[0].Seq, tt.events[n-1].Seq, int64(n)}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
		}
		if events := read(0, 50, "", 100, 1<<20); len(events) != 50 {
			t.Error("a page that was cut short holds its connection")
		}
	})
}

func TestReadProcesses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		var events []models.Event
		for pid := range int64(7) {
			events = append(events, acted("s", pid, "a", noon), acted("s", pid, "b", noon.Add(time.Second)))
		}
		appendEvents(t, db, events)
		var got []string
		var after *models.Process
		for {
			page, err := repository.NewTransfers(db).ReadProcesses(t.Context(), "s", after, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, p := range page {
				got = append(got, fmt.Sprint(p.PID, p.Name))
			}
			after = &page[len(page)-1]
		}
		want := []string{}
		for pid := range 7 {
			want = append(want, fmt.Sprint(pid, "a"), fmt.Sprint(pid, "b"))
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
