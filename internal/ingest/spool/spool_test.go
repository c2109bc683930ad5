package spool_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/ingest/spool"
	"ospulse/internal/models"
)

const plenty = 64 << 20

func open(t *testing.T, dir string, maxBytes int64) *spool.Spool {
	t.Helper()
	s, err := spool.Open(t.Context(), dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSpool(t, s) }) // a second Close does nothing
	return s
}

func closeSpool(t *testing.T, s *spool.Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func add(t *testing.T, s *spool.Spool, group models.Group) {
	t.Helper()
	if err := s.Append(t.Context(), group); err != nil {
		t.Fatal(err)
	}
}

// group returns a group of batches, each with some events of one name.
func group(writer string, first int64, eventsEach int, names ...string) models.Group {
	g := models.Group{Mark: models.Mark{Writer: writer, First: first}}
	for _, name := range names {
		batch := models.Batch{Events: make([]models.Incoming, eventsEach)}
		for i := range batch.Events {
			batch.Events[i].EventType = name
			batch.Events[i].Data = models.JSON(`{}`)
		}
		g.Batches = append(g.Batches, batch)
	}
	return g
}

// text formats a group's mark and the names of its batches.
func text(g models.Group) string {
	var names []string
	for _, batch := range g.Batches {
		names = append(names, batch.Events[0].EventType)
	}
	return fmt.Sprintf("%s%d:%s", g.Mark.Writer, g.Mark.First, strings.Join(names, ","))
}

// drain removes and returns everything in the spool.
func drain(t *testing.T, s *spool.Spool, maxEvents int) (groups []string) {
	t.Helper()
	for {
		g, lastID, err := s.Oldest(t.Context(), maxEvents)
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Batches) == 0 {
			wantBacklog(t, s, 0, 0)
			return groups
		}
		groups = append(groups, text(g))
		if err := s.Drop(t.Context(), lastID); err != nil {
			t.Fatal(err)
		}
	}
}

func wantDrained(t *testing.T, s *spool.Spool, maxEvents int, want ...string) {
	t.Helper()
	if got := drain(t, s, maxEvents); !slices.Equal(got, want) {
		t.Errorf("what comes out is %q, want %q", got, want)
	}
}

func wantBacklog(t *testing.T, s *spool.Spool, events int, sizeBytes int64) {
	t.Helper()
	if gotEvents, gotSize := s.Backlog(); gotEvents != events || gotSize != sizeBytes {
		t.Errorf("the backlog is %d events in %d bytes, want %d in %d", gotEvents, gotSize, events, sizeBytes)
	}
}

// file opens one of a spool's files. No spool may have it open.
func file(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// rejected returns the reasons and the bodies in the table rejected.
func rejected(t *testing.T, path string) (reasons, bodies []string) {
	t.Helper()
	db := file(t, path)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT reason, rejected_at, body FROM rejected ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var reason, at, body string
		if err := rows.Scan(&reason, &at, &body); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339, at); err != nil {
			t.Errorf("rejected_at: %v", err)
		}
		reasons, bodies = append(reasons, reason), append(bodies, body)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return reasons, bodies
}

func TestWhatGoesInComesOutEqual(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 57, 39, 123456000, time.UTC)
	hard := "NUL \x00, <b>&amp;</b>, \u2028\u2029, \"\\\", é😀, \ufffd"
	full := models.Incoming{
		Event: models.Event{
			ID: 1<<64 - 1, SessionID: "s", Seq: 1<<63 - 1, EventType: models.TypeFile,
			Timestamp: at, TimestampSource: models.TimestampFromReceipt, TimestampText: new(`"\u0000"`), Source: hard,
			Data: models.JSON(`{"nul":"\u0000","lone":"\ud800","markup":"<a>&","line":"` + "\u2028" + `","n":12345678901234567890.10}`), DataRaw: []byte(` {"a":1, "a":2}` + "\n"),
			PID: new(int64(-1 << 63)), ProcessName: new(hard), Operation: new("read"), Target: new(`C:\x`), Preview: new(`{"nul`),
			IsSent: true, CreatedAt: at.Add(time.Microsecond), UpdatedAt: at.Add(time.Hour),
		},
		RequestHint: hard, SessionHint: "session",
		Processes: []models.ProcessFact{{PID: 0, StartedAt: at, Acted: true, ProcessInfo: models.ProcessInfo{
			ParentPID: new(int64(0)), ParentStartedAt: new(at.Add(-time.Microsecond)), Name: hard, Image: `C:\y`, CommandLine: `y "z"`,
		}}, {}},
	}
	everyFieldSet(t, reflect.ValueOf(full), "Session", "Facts")
	empty := models.Incoming{Event: models.Event{
		PID: new(int64(0)), ProcessName: new(""), Operation: new(""), Target: new(""), TimestampText: new(""), Data: models.JSON("null"), DataRaw: []byte{},
	}, Processes: []models.ProcessFact{}}
	batch := models.Batch{Events: []models.Incoming{full}, Faults: []models.ItemFault{{Index: 0, Error: hard}, {Index: 7}}, Key: hard, Digest: "d", ReceivedAt: time.Date(2026, 11, 28, 1, 2, 3, 4000, time.UTC), AgentID: hard, OwnSessionsOnly: true}
	everyFieldSet(t, reflect.ValueOf(batch))

	for name, batches := range map[string][]models.Batch{
		"every field set":     {batch},
		"pointers to nothing": {{Events: []models.Incoming{empty}, Faults: []models.ItemFault{}}},
		"nil pointers":        {{Events: []models.Incoming{{Event: models.Event{Data: models.JSON("1")}}}}},
		"a large value":       {{Events: []models.Incoming{{Event: models.Event{Data: models.JSON(`"` + strings.Repeat("<", 1<<20) + `"`)}}}}},
		"several batches":     {{Events: []models.Incoming{full, empty}}, batch, {Events: []models.Incoming{empty}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, plenty)
			want := models.Group{Batches: batches, Mark: models.Mark{Writer: "w", First: 1 << 62}}
			add(t, s, want)
			closeSpool(t, s)
			got, _, err := open(t, dir, plenty).Oldest(t.Context(), 1)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// everyFieldSet fails if a field of the struct is zero, so that a new field must be
// added to the test.
func everyFieldSet(t *testing.T, v reflect.Value, except ...string) {
	t.Helper()
	for field, value := range v.Fields() {
		switch {
		case slices.Contains(except, field.Name):
		case field.Anonymous:
			everyFieldSet(t, value, except...)
		case value.IsZero():
			t.Errorf("%s is not set", field.Name)
		}
	}
}

func TestAnyBatchComesOutEqual(t *testing.T) {
	var (
		number = rapid.Int64()
		str    = rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune{0, '<', '&', '"', '\\', '\u2028', '\ufeff', '\ufffd', '😀'})))
		when   = rapid.Custom(func(rt *rapid.T) time.Time {
			if rapid.Bool().Draw(rt, "no time") {
				return time.Time{}
			}
			// Events have only years 1 to 9999.
			return time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(rt, "µs")).UTC()
		})
		fact = rapid.Custom(func(rt *rapid.T) models.ProcessFact {
			return models.ProcessFact{PID: number.Draw(rt, "pid"), StartedAt: when.Draw(rt, "start"), Acted: rapid.Bool().Draw(rt, "acted"), ProcessInfo: models.ProcessInfo{
				ParentPID: rapid.Ptr(number, true).Draw(rt, "parent"), ParentStartedAt: rapid.Ptr(when, true).Draw(rt, "parent's start"),
				Name: str.Draw(rt, "name"), Image: str.Draw(rt, "image"), CommandLine: str.Draw(rt, "command"),
			}}
		})
		incoming = rapid.Custom(func(rt *rapid.T) models.Incoming {
			in := models.Incoming{Event: models.Event{
				EventType: str.Draw(rt, "type"), Timestamp: when.Draw(rt, "time"), TimestampSource: str.Draw(rt, "from"), TimestampText: rapid.Ptr(str, true).Draw(rt, "time text"), Source: str.Draw(rt, "source"),
				Data: models.JSON(str.Draw(rt, "data")),
				PID:  rapid.Ptr(number, true).Draw(rt, "pid"), ProcessName: rapid.Ptr(str, true).Draw(rt, "process"), Operation: rapid.Ptr(str, true).Draw(rt, "operation"), Target: rapid.Ptr(str, true).Draw(rt, "target"),
			}, RequestHint: str.Draw(rt, "request"), SessionHint: str.Draw(rt, "session"), Processes: rapid.SliceOfN(fact, 0, 3).Draw(rt, "processes")}
			if rapid.Bool().Draw(rt, "raw") {
				in.DataRaw = []byte(str.Draw(rt, "raw data"))
			}
			return in
		})
		fault = rapid.Custom(func(rt *rapid.T) models.ItemFault {
			return models.ItemFault{Index: rapid.Int().Draw(rt, "index"), Error: str.Draw(rt, "error")}
		})
		batch = rapid.Custom(func(rt *rapid.T) models.Batch {
			return models.Batch{Events: rapid.SliceOfN(incoming, 1, 3).Draw(rt, "events"), Faults: rapid.SliceOfN(fault, 0, 2).Draw(rt, "faults"), Key: str.Draw(rt, "key"), Digest: str.Draw(rt, "digest")}
		})
	)
	s := open(t, t.TempDir(), plenty)
	rapid.Check(t, func(rt *rapid.T) {
		want := models.Group{Batches: rapid.SliceOfN(batch, 1, 3).Draw(rt, "batches"), Mark: models.Mark{Writer: str.Draw(rt, "writer"), First: number.Draw(rt, "first")}}
		if err := s.Append(t.Context(), want); err != nil {
			rt.Fatal(err)
		}
		got, lastID, err := s.Oldest(t.Context(), 1)
		if err != nil || !reflect.DeepEqual(got, want) {
			rt.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
		if err := s.Drop(t.Context(), lastID); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestOldestMergesWhatFollows(t *testing.T) {
	for name, tt := range map[string]struct {
		groups    []models.Group
		maxEvents int
		want      []string
	}{
		"an empty spool gives nothing":    {nil, 10, nil},
		"one writer's are one":            {[]models.Group{group("w", 1, 1, "a", "b"), group("w", 3, 1, "c"), group("w", 4, 1, "d")}, 10, []string{"w1:a,b,c,d"}},
		"another writer's are apart":      {[]models.Group{group("v", 1, 1, "a"), group("w", 2, 1, "b"), group("v", 3, 1, "c")}, 10, []string{"v1:a", "w2:b", "v3:c"}},
		"a number that is missing parts":  {[]models.Group{group("w", 1, 1, "a"), group("w", 3, 1, "b"), group("w", 4, 1, "c")}, 10, []string{"w1:a", "w3:b,c"}},
		"a number that comes again parts": {[]models.Group{group("w", 1, 1, "a", "b"), group("w", 2, 1, "c")}, 10, []string{"w1:a,b", "w2:c"}},
		"in the order in which they came": {[]models.Group{group("w", 9, 1, "a"), group("w", 1, 1, "b"), group("w", 2, 1, "c")}, 10, []string{"w9:a", "w1:b,c"}},
		"as many as were asked for":       {[]models.Group{group("w", 1, 2, "a"), group("w", 2, 2, "b"), group("w", 3, 2, "c")}, 4, []string{"w1:a,b", "w3:c"}},
		"none that would lead beyond":     {[]models.Group{group("w", 1, 2, "a"), group("w", 2, 2, "b"), group("w", 3, 1, "c")}, 3, []string{"w1:a", "w2:b,c"}},
		"one alone may be larger":         {[]models.Group{group("w", 1, 1, "a"), group("w", 2, 5, "b"), group("w", 3, 1, "c")}, 3, []string{"w1:a", "w2:b", "w3:c"}},
		"one at a time":                   {[]models.Group{group("w", 1, 1, "a"), group("w", 2, 1, "b")}, 1, []string{"w1:a", "w2:b"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), plenty)
			for _, g := range tt.groups {
				add(t, s, g)
			}
			wantDrained(t, s, tt.maxEvents, tt.want...)
		})
	}
}

func TestOldestTakesNothingAway(t *testing.T) {
	s := open(t, t.TempDir(), plenty)
	add(t, s, group("w", 1, 1, "a"))
	_, lastID, err := s.Oldest(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, group("w", 2, 1, "b")) // arrives while the first is being stored
	g, _, err := s.Oldest(t.Context(), 10)
	if err != nil || text(g) != "w1:a,b" {
		t.Errorf("asked again it gives %s, %v", text(g), err)
	}
	if err := s.Drop(t.Context(), lastID); err != nil {
		t.Fatal(err)
	}
	wantDrained(t, s, 10, "w2:b")
}

// TestLateDropRemovesNothingNew checks that an ID is never reused: a late Drop must not
// remove a newer group.
func TestLateDropRemovesNothingNew(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, plenty)
	add(t, s, group("w", 1, 1, "a"))
	_, lastID, err := s.Oldest(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	drain(t, s, 10)
	closeSpool(t, s)
	s = open(t, dir, plenty)
	add(t, s, group("w", 2, 1, "b"))
	if err := s.Drop(t.Context(), lastID); err != nil {
		t.Fatal(err)
	}
	wantDrained(t, s, 10, "w2:b")
}

func TestBacklog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, plenty)
	wantBacklog(t, s, 0, 0)
	add(t, s, group("w", 1, 3, "a", "b"))
	_, first := s.Backlog()
	add(t, s, group("w", 3, 2, "c"))
	events, size := s.Backlog()
	if events != 8 || first <= 0 || size <= first {
		t.Errorf("it has %d events, in %d bytes after the first group and %d after the second", events, first, size)
	}
	closeSpool(t, s)
	s = open(t, dir, plenty)
	wantBacklog(t, s, events, size)
	_, lastID, err := s.Oldest(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Drop(t.Context(), lastID); err != nil {
		t.Fatal(err)
	}
	wantBacklog(t, s, 2, size-first)
	wantDrained(t, s, 6, "w3:c")
}

func TestFullSpoolTakesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, plenty)
	add(t, s, group("w", 1, 1, "a"))
	_, each := s.Backlog()
	closeSpool(t, s)

	s = open(t, dir, 2*each)
	if s.MaxBytes() != 2*each {
		t.Errorf("MaxBytes is %d, want %d", s.MaxBytes(), 2*each)
	}
	add(t, s, group("w", 2, 1, "b")) // it just fits
	if err := s.Append(t.Context(), group("w", 3, 1, "c")); models.ErrorCode(err) != models.CodeUnavailable {
		t.Errorf("a full spool says %v", err)
	}
	wantBacklog(t, s, 2, 2*each)
	wantDrained(t, s, 10, "w1:a,b")

	add(t, s, group("w", 3, 1, "c")) // there is space again
	wantDrained(t, s, 10, "w3:c")
}

func TestSpoolOfNoBytesGivesWhatWasLeft(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, plenty)
	add(t, s, group("w", 1, 1, "a"))
	closeSpool(t, s)

	s = open(t, dir, 0)
	if err := s.Append(t.Context(), group("w", 2, 1, "b")); models.ErrorCode(err) != models.CodeUnavailable {
		t.Errorf("it says %v", err)
	}
	wantDrained(t, s, 10, "w1:a")
}

// TestWriteThatFailsIsUnavailable checks that a full disk is handled like a full spool:
// the sender must retry.
func TestWriteThatFailsIsUnavailable(t *testing.T) {
	s := open(t, t.TempDir(), plenty)
	closeSpool(t, s)
	if err := s.Append(t.Context(), group("w", 1, 1, "a")); models.ErrorCode(err) != models.CodeUnavailable {
		t.Errorf("it says %v", err)
	}
	wantBacklog(t, s, 0, 0)
}

func TestSpoolsShareAFolder(t *testing.T) {
	dir := t.TempDir()
	first, second, third := open(t, dir, plenty), open(t, dir, plenty), open(t, dir, plenty)
	add(t, first, group("first", 1, 1, "a"))
	add(t, second, group("second", 1, 1, "b"))
	add(t, third, group("third", 1, 1, "c"))
	add(t, third, group("third", 2, 1, "d"))
	add(t, third, group("third", 4, 2, "e"))
	for n := 1; n <= 3; n++ { // each has its own
		if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%d.db", n))); err != nil {
			t.Error(err)
		}
	}
	_, firstSize := first.Backlog()
	_, thirdSize := third.Backlog()
	closeSpool(t, first)
	closeSpool(t, third)

	// The next one reuses the first file, and takes over the third.
	next := open(t, dir, plenty)
	wantBacklog(t, next, 5, firstSize+thirdSize)
	last := open(t, dir, plenty)
	wantBacklog(t, last, 0, 0)
	closeSpool(t, next)
	next = open(t, dir, plenty)
	wantDrained(t, next, 10, "first1:a", "third1:c,d", "third4:e")
	wantDrained(t, second, 10, "second1:b")
}

// TestTakingOverThatIsCutDividesNoWriter checks that an interrupted takeover leaves all
// groups of a writer in one file. If two programs drained some each, the mark of the
// later groups would hide the earlier ones.
func TestTakingOverThatIsCutDividesNoWriter(t *testing.T) {
	for name, tt := range map[string]struct {
		file, trigger string
		want          [2][]string // in each file
	}{
		"in the middle":  {"1.db", "BEFORE INSERT ON groups WHEN NEW.first = 2", [2][]string{{}, {"w1:a,b,c"}}},
		"before it ends": {"2.db", "BEFORE DELETE ON groups", [2][]string{{"w1:a,b,c"}, {"w1:a,b,c"}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, second := open(t, dir, plenty), open(t, dir, plenty)
			for i, name := range []string{"a", "b", "c"} {
				add(t, second, group("w", int64(i+1), 1, name))
			}
			closeSpool(t, first)
			closeSpool(t, second)
			change := func(statement string) {
				t.Helper()
				db := file(t, filepath.Join(dir, tt.file))
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			change("CREATE TRIGGER cut " + tt.trigger + " BEGIN SELECT RAISE(ABORT, 'cut'); END")
			if s, err := spool.Open(t.Context(), dir, plenty); err == nil {
				closeSpool(t, s)
				t.Fatal("nothing was cut")
			}
			change("DROP TRIGGER cut")
			for n, want := range tt.want {
				alone := t.TempDir()
				content, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.db", n+1)))
				if err == nil {
					err = os.WriteFile(filepath.Join(alone, "1.db"), content, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				wantDrained(t, open(t, alone, plenty), 10, want...)
			}
		})
	}
}

// TestTakingOverHasNoLimit checks that a takeover ignores the spool's size limit: all
// left-over groups were acknowledged.
func TestTakingOverHasNoLimit(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir, plenty), open(t, dir, plenty)
	add(t, first, group("v", 1, 1, "a"))
	add(t, second, group("w", 1, 1, "b"))
	closeSpool(t, first)
	closeSpool(t, second)
	wantDrained(t, open(t, dir, 0), 10, "v1:a", "w1:b")
}

func TestUnreadableGroupIsSetAside(t *testing.T) {
	for name, tt := range map[string]struct {
		spoiled string
		want    []string
	}{
		"the oldest":     {"id = 1", []string{"w1:events_lost,b,c"}},
		"between others": {"id = 2", []string{"w1:a", "w2:events_lost,c"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "1.db")
			s := open(t, dir, plenty)
			for i, name := range []string{"a", "b", "c"} {
				add(t, s, group("w", int64(i+1), 1, name))
			}
			closeSpool(t, s)
			db := file(t, path)
			if _, err := db.ExecContext(t.Context(), "UPDATE groups SET body = CAST('garbage' AS BLOB) WHERE "+tt.spoiled); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}

			s = open(t, dir, plenty)
			wantDrained(t, s, 10, tt.want...)
			if n := s.SetAsideEvents(); n != 1 {
				t.Errorf("%d events are set aside, want 1", n)
			}
			closeSpool(t, s)
			if reasons, bodies := rejected(t, path); !slices.Equal(bodies, []string{"garbage"}) || reasons[0] == "" {
				t.Errorf("rejected holds %q, for %q", bodies, reasons)
			}
		})
	}
}

// setAside sets aside the event at an index of a group of batches of two events.
func setAside(t *testing.T, s *spool.Spool, mark models.Mark, index int) {
	t.Helper()
	lost := group("", 0, 2, "kept").Batches[0]
	refused := models.Refused{Index: index, Event: lost.Events[index], Reason: "the reason"}
	refused.Event.EventType, refused.Event.SessionID = "refused", "s"
	lost.Events[index] = refused.Report(time.Now())
	if err := s.SetAside(t.Context(), mark, lost, []models.Refused{refused}); err != nil {
		t.Fatal(err)
	}
}

func TestSetAsideKeepsTheEventAndItsPlace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, plenty)
	add(t, s, group("w", 1, 2, "a", "b", "c"))
	add(t, s, group("w", 4, 2, "d"))
	setAside(t, s, models.Mark{Writer: "w", First: 2}, 1)
	setAside(t, s, models.Mark{Writer: "w", First: 4}, 0)
	for range 2 {
		if events, _ := s.Backlog(); events != 8 || s.SetAsideEvents() != 2 {
			t.Errorf("%d events wait, %d are set aside", events, s.SetAsideEvents())
		}
		kept, err := s.ListSetAside(t.Context())
		if err != nil || len(kept) != 2 {
			t.Fatalf("set aside are %+v, %v", kept, err)
		}
		for _, k := range kept {
			if k.Reason != "the reason" || k.Count != 1 || len(k.Events) != 1 || k.Events[0].EventType != "refused" || time.Since(k.At) > time.Hour {
				t.Errorf("set aside is %+v", k)
			}
		}
		closeSpool(t, s)
		s = open(t, dir, plenty)
	}
	// They are stored again after the others, each with its own mark.
	for id := range int64(2) {
		if err := s.Retry(t.Context(), id+1); err != nil {
			t.Fatal(err)
		}
	}
	if events, _ := s.Backlog(); events != 10 || s.SetAsideEvents() != 0 {
		t.Errorf("%d events wait, %d are set aside", events, s.SetAsideEvents())
	}
	if err := s.Retry(t.Context(), 1); err == nil {
		t.Error("what is not there is stored again")
	}
	got := drain(t, s, 10)
	if len(got) != 3 || got[0] != "w1:a,kept,c,events_lost" || !strings.HasPrefix(got[1], "retry-") || !strings.HasSuffix(got[2], "1:refused") || got[1] == got[2] {
		t.Errorf("what comes out is %q", got)
	}
}

// TestSetAsideOfAnOlderVersion checks that events set aside by an older version are
// counted, listed and stored again, in whichever file they are.
func TestSetAsideOfAnOlderVersion(t *testing.T) {
	dir := t.TempDir()
	holder := open(t, dir, plenty)
	other := open(t, dir, plenty)
	add(t, other, group("w", 1, 3, "old"))
	closeSpool(t, other)
	db := file(t, filepath.Join(dir, "2.db"))
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE old (id INTEGER PRIMARY KEY, reason TEXT NOT NULL, rejected_at TEXT NOT NULL, body BLOB NOT NULL);
		INSERT INTO old (reason, rejected_at, body) SELECT 'the reason', '2026-01-02T03:04:05Z', body FROM groups;
		INSERT INTO old (reason, rejected_at, body) VALUES ('unreadable', '2026-01-02T03:04:05Z', CAST('garbage' AS BLOB));
		DELETE FROM groups; DROP TABLE rejected; ALTER TABLE old RENAME TO rejected`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	closeSpool(t, holder)
	s := open(t, dir, plenty)
	if n := s.SetAsideEvents(); n != 4 {
		t.Errorf("%d events are set aside, want 3 and what cannot be read", n)
	}
	kept, err := s.ListSetAside(t.Context())
	if err != nil || len(kept) != 2 || len(kept[0].Events) != 3 || kept[0].At.Year() != 2026 || kept[1].Events != nil {
		t.Fatalf("set aside are %+v, %v", kept, err)
	}
	if err := s.Retry(t.Context(), kept[1].ID); err == nil {
		t.Error("what cannot be read is stored again")
	}
	if err := s.Retry(t.Context(), kept[0].ID); err != nil {
		t.Error(err)
	}
	if got := drain(t, s, 10); len(got) != 1 || !strings.HasSuffix(got[0], "1:old") {
		t.Errorf("what comes out is %q", got)
	}
}

func TestOnlyTheOwnerReadsTheFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	dir := filepath.Join(t.TempDir(), "data", "spool")
	add(t, open(t, dir, plenty), group("w", 1, 1, "a"))
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || !slices.Contains(paths, filepath.Join(dir, "1.db-wal")) {
		t.Fatalf("the files are %q, %v: where is the log?", paths, err)
	}
	for _, path := range append(paths, dir) {
		if info, err := os.Stat(path); err != nil {
			t.Error(err)
		} else if info.Mode()&0o077 != 0 {
			t.Errorf("%s is %s", path, info.Mode())
		}
	}
}

// TestDrainedFileIsSmall checks that the spool returns freed space to the disk.
func TestDrainedFileIsSmall(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, plenty)
	g := group("w", 1, 1, "a")
	g.Batches[0].Events[0].Data = bytes.Repeat([]byte("1"), 4<<20)
	add(t, s, g)
	drain(t, s, 10)
	var size int64
	for _, name := range []string{"1.db", "1.db-wal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 1<<20 {
		t.Errorf("the files have %d bytes", size)
	}
}

func TestNothingIsLostBetweenSeveralAtOnce(t *testing.T) {
	const writers, each = 4, 25
	s := open(t, t.TempDir(), plenty)
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				if err := s.Append(t.Context(), group(fmt.Sprint("w", w, "-"), int64(i), 2, "x")); err != nil {
					t.Error(err)
				}
				s.Backlog()
			}
		})
	}
	written := make(chan struct{})
	go func() { writing.Wait(); close(written) }()
	next := map[string]int64{}
	for done := false; ; {
		g, lastID, err := s.Oldest(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Batches) == 0 {
			if done {
				break
			}
			select {
			case <-written: // all files are written by now
				done = true
			default:
				runtime.Gosched()
			}
			continue
		}
		if g.Mark.First != next[g.Mark.Writer] {
			t.Errorf("%s comes, want %d", text(g), next[g.Mark.Writer])
		}
		next[g.Mark.Writer] = g.Mark.First + int64(len(g.Batches))
		if err := s.Drop(t.Context(), lastID); err != nil {
			t.Fatal(err)
		}
	}
	for w := range writers {
		if got := next[fmt.Sprint("w", w, "-")]; got != each {
			t.Errorf("of writer %d came %d groups, want %d", w, got, each)
		}
	}
	wantBacklog(t, s, 0, 0)
}
