package repository_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/segment"
	"ospulse/internal/wire"
	"ospulse/test/dbtest"
	"ospulse/test/odd"
	"ospulse/test/s3test"
)

// seal seals what a session has of a segment.
func seal(t testing.TB, db *database.DB, sessionID string, number, upTo int64) {
	t.Helper()
	if stay, err := repository.NewSegments(db).Seal(t.Context(), sessionID, number, upTo); err != nil || stay != "" {
		t.Fatalf("segment %d up to %d was not sealed: %s %v", number, upTo, stay, err)
	}
}

// index stores the segment of rows.
func index(t testing.TB, db *database.DB, sessionID string, number int64) {
	t.Helper()
	segments := repository.NewSegments(db)
	s := models.Segment{SessionID: sessionID, Number: number, EventCount: models.SegmentEvents}
	hot := &segment.Columns{}
	err := segments.EachHot(t.Context(), sessionID, nil, s.FirstSeq()-1, s.LastSeq(), models.Span{}, hot.Append)
	if err == nil {
		s.Columns, err = segment.EncodeColumns(hot)
	}
	s.Skip = segment.HotSkip(hot)
	s.FirstTime, s.LastTime = time.UnixMicro(slices.Min(hot.Micros)).UTC(), time.UnixMicro(slices.Max(hot.Micros)).UTC()
	if err = errors.Join(err, segments.Create(t.Context(), []models.Segment{s})); err != nil {
		t.Fatal(err)
	}
}

// TestSealKeepsColumns checks that PostgreSQL does not write the columns of a segment again when
// the segment is sealed. It has them in chunks of another table.
func TestSealKeepsColumns(t *testing.T) {
	db := dbtest.Open(t, dbtest.Postgres(t))
	createSession(t, db, "s")
	var events []models.Incoming
	for range models.SegmentEvents {
		in, err := wire.Event(fmt.Appendf(nil, `{"event_type":"file_operation","source":"s","data":{"filePath":"%s"}}`, rand.Text()), noon)
		if err != nil {
			t.Fatal(err)
		}
		in.SessionID = "s"
		events = append(events, in)
	}
	if _, err := appendBatch(t.Context(), repository.NewEvents(db), models.Batch{Events: events}); err != nil {
		t.Fatal(err)
	}
	index(t, db, "s", 0)
	values := func() (ids []int64) {
		var table string
		err := db.Read(t.Context()).Raw("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'segments'::regclass").Scan(&table).Error
		if err = errors.Join(err, db.Read(t.Context()).Raw("SELECT DISTINCT chunk_id FROM "+table).Scan(&ids).Error); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	before := values()
	seal(t, db, "s", 0, models.SegmentEvents)
	if after := values(); !slices.ContainsFunc(before, func(id int64) bool { return slices.Contains(after, id) }) {
		t.Errorf("the columns were written again: the segment had the values %d, and now %d", before, after)
	}
}

// formsOf are the names of sessions with the same events in different forms. With a
// bucket, the blocks of one are in it.
func formsOf(db *database.DB) []string {
	if db.Objects() != nil {
		return []string{"hot", "moved", "sealed", "mixed"}
	}
	return []string{"hot", "sealed", "mixed"}
}

// storeForms stores events in a session of each form, with 9/10 of the last segment of
// the mixed one sealed.
func storeForms(t testing.TB, db *database.DB, suffix string, bodies []string) {
	t.Helper()
	n := int64(len(bodies))
	for _, name := range formsOf(db) {
		id := name + suffix
		createSession(t, db, id)
		var events []models.Incoming
		for _, body := range bodies {
			in, err := wire.Event([]byte(body), noon)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			in.SessionID = id
			events = append(events, in)
		}
		sealed := n
		switch name {
		case "hot":
			sealed = 0
		case "mixed":
			sealed = n * 9 / 10
		}
		add := func(some []models.Incoming) {
			if len(some) == 0 {
				return
			}
			if _, err := appendBatch(t.Context(), repository.NewEvents(db), models.Batch{Events: some}); err != nil {
				t.Fatal(err)
			}
		}
		add(events[:sealed])
		for number := int64(0); number*models.SegmentEvents < sealed; number++ {
			if name == "mixed" && number == 1 { // it has rows between sealed segments
				index(t, db, id, number)
			} else {
				seal(t, db, id, number, min((number+1)*models.SegmentEvents, sealed))
			}
		}
		add(events[sealed:])
		if name == "moved" {
			moveBlocks(t, db)
		}
	}
}

// reads are all ways to read the events of a session. They return what they read, and
// leave out what differs between sessions with the same events.
func reads(db *database.DB, where *filter.Filter, n int64) map[string]func(ctx context.Context, id string) (any, error) {
	events, segments, transfers := repository.NewEvents(db), repository.NewSegments(db), repository.NewTransfers(db)
	strip := func(found []models.Event, err error) ([]models.Event, error) {
		for i := range found {
			found[i].ID, found[i].SessionID = 0, ""
			found[i].CreatedAt, found[i].UpdatedAt = time.Time{}, time.Time{}
			found[i].Timestamp = found[i].Timestamp.UTC()
		}
		return found, err
	}
	page := models.EventPage{After: n / 4, Before: n - n/5, Limit: int(n)/3 + 1}
	down := models.EventPage{After: n / 5, Before: n - n/7, Limit: int(n)/3 + 1, Descending: true}
	all := models.EventPage{Limit: int(n) + 1}
	list := func(page models.EventPage) func(ctx context.Context, id string) (any, error) {
		return func(ctx context.Context, id string) (any, error) { return strip(events.List(ctx, id, where, page)) }
	}
	span := models.Span{From: time.Date(2026, 11, 22, 12, 0, 1, 0, time.UTC), To: time.Date(2026, 11, 22, 12, 0, 2, 700_000_000, time.UTC)}
	hot := func(span models.Span) func(ctx context.Context, id string) (any, error) {
		return func(ctx context.Context, id string) (found any, err error) {
			var list []models.Event
			err = segments.EachHot(ctx, id, where, n/6, n-n/6, span, func(e *models.Event) {
				list = append(list, models.Event{Seq: e.Seq, Timestamp: e.Timestamp.UTC(), EventType: e.EventType, Source: e.Source, Operation: e.Operation, ProcessName: e.ProcessName, Target: e.Target, PID: e.PID})
			})
			return list, err
		}
	}
	return map[string]func(ctx context.Context, id string) (any, error){
		"List": list(all), "List, a page": list(page), "List, downwards": list(down), "List, the end": list(models.EventPage{After: n - 3, Limit: 10}),
		"ListWhole": func(ctx context.Context, id string) (any, error) {
			found, isCut, err := events.ListWhole(ctx, id, where, page, int(n)*50)
			found, err = strip(found, err)
			return append(found, models.Event{Source: fmt.Sprint(isCut)}), err
		},
		"ListBySeq": func(ctx context.Context, id string) (any, error) {
			return strip(events.ListBySeq(ctx, id, n/3, n, int(n)))
		},
		"ListSeqs": func(ctx context.Context, id string) (any, error) {
			return strip(events.ListSeqs(ctx, id, []int64{n, n + 7, 1}))
		},
		"ListOfType": func(ctx context.Context, id string) (any, error) {
			return strip(events.ListOfType(ctx, id, "FOO", n, 5))
		},
		"ListEnds": func(ctx context.Context, id string) (any, error) { return strip(events.ListEnds(ctx, id, 1, 5, 100)) },
		"Get":      func(ctx context.Context, id string) (any, error) { return getEvent(ctx, events, id, n/2) },
		"Get, no event": func(ctx context.Context, id string) (any, error) {
			_, err := events.Get(ctx, id, n+1)
			return models.ErrorCode(err), nil
		},
		"Count": func(ctx context.Context, id string) (any, error) {
			return events.Count(ctx, id, where, models.EventPage{})
		},
		"Count, a page": func(ctx context.Context, id string) (any, error) { return events.Count(ctx, id, where, page) },
		"CountByType": func(ctx context.Context, id string) (any, error) {
			counts, _, err := events.CountByType(ctx, id, n/9, n-2)
			return counts, err
		},
		"ListMissing": func(ctx context.Context, id string) (any, error) {
			spans, _, err := events.ListMissing(ctx, id, 0, n+5, 10)
			return spans, err
		},
		"Span": func(ctx context.Context, id string) (any, error) {
			first, last, err := events.Span(ctx, id)
			return fmt.Sprint(first.UTC(), last.UTC()), err
		},
		"EachHot": hot(models.Span{}), "EachHot, a span": hot(span),
		"EachPart": func(ctx context.Context, id string) (any, error) {
			var found bytes.Buffer
			err := events.EachPart(ctx, id, where, models.EventPart{Types: []string{"file_operation", "FOO"}, Keys: []string{"a", "filePath", "b", "metadata"}, After: n / 8, UpTo: n - 1}, func(e *models.Event, values [][]byte) {
				fmt.Fprintf(&found, "%d %s %q\n", e.Seq, e.EventType, values)
			})
			return found.String(), err
		},
		"ReadEvents": func(ctx context.Context, id string) (any, error) {
			found, err := transfers.ReadEvents(ctx, id, where, models.EventRange{After: n / 5, UpTo: n - 1, EventType: "file_operation"}, int(n), int(n)*40, nil)
			return strip(found, err)
		},
	}
}

func getEvent(ctx context.Context, events *repository.Events, id string, seq int64) (any, error) {
	e, err := events.Get(ctx, id, seq)
	if err != nil {
		return nil, err
	}
	return fmt.Sprintf("%d %s %s %s %v", e.Seq, e.EventType, e.Data, e.DataRaw, e.IsSent), nil
}

// TestSealedEventsReadTheSame checks that every way to read events returns the same for
// rows, sealed segments and a mixture, with any filter.
func TestSealedEventsReadTheSame(t *testing.T) {
	dbs := openWithBucket(t, s3test.Start(t))
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		if run++; run > 6 { // each has 150 comparisons on two databases
			return
		}
		bodies := make([]string, rapid.IntRange(2, 30).Draw(rt, "events"))
		for i := range bodies {
			bodies[i] = odd.Event(rt)
		}
		filters := []*filter.Filter{nil}
		for range 4 {
			if where, err := filter.Parse(odd.Filter(rt, 2)); err == nil {
				filters = append(filters, where)
			}
		}
		for _, db := range dbs {
			suffix := strconv.Itoa(run)
			storeForms(t, db, suffix, bodies)
			for _, where := range filters {
				compareForms(t, db, suffix, where, int64(len(bodies)))
			}
		}
	})
}

// lines returns what a read returned as JSON, a line for each event.
func lines(t *testing.T, v any) (lines []string) {
	t.Helper()
	add := func(v any) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(text))
	}
	if events, ok := v.([]models.Event); ok {
		for i := range events {
			add(events[i])
		}
	} else {
		add(v)
	}
	return lines
}

func compareForms(t *testing.T, db *database.DB, suffix string, where *filter.Filter, n int64) {
	t.Helper()
	for name, read := range reads(db, where, n) {
		want, err := read(t.Context(), "hot"+suffix)
		if err != nil {
			t.Fatalf("%s of rows fails on %s: %v", name, db.Dialect(), err)
		}
		for _, form := range formsOf(db)[1:] {
			got, err := read(t.Context(), form+suffix)
			if err != nil {
				t.Fatalf("%s with %s of the %s session on %s: %v", name, where, form, db.Dialect(), err)
			}
			if reflect.DeepEqual(got, want) { // faster than lines
				continue
			}
			if got, want := lines(t, got), lines(t, want); !slices.Equal(got, want) {
				for i := 0; i < min(len(got), len(want)); i++ {
					if got[i] != want[i] {
						t.Fatalf("%s with %s of the %s session on %s: line %d is\n%.1000s, in rows\n%.1000s", name, where, form, db.Dialect(), i, got[i], want[i])
					}
				}
				t.Fatalf("%s with %s of the %s session on %s has %d lines, that of rows %d", name, where, form, db.Dialect(), len(got), len(want))
			}
		}
	}
}

// TestManySegmentsReadTheSame is TestSealedEventsReadTheSame for several segments.
func TestManySegmentsReadTheSame(t *testing.T) {
	const n = 3*models.SegmentEvents + 700
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		bodies := make([]string, n)
		for i := range bodies {
			eventType := []string{"file_operation", "FOO", models.TypeSessionEnd, "a"}[i*i%97%4]
			bodies[i] = fmt.Sprintf(`{"event_type":%q,"timestamp":"2026-11-22T12:00:%02d.%06dZ","source":"s","data":{"filePath":"/tmp/%d","a":%d,"metadata":{"processName":"p%d","processId":%d}}}`,
				eventType, i*3/n, (i*7919)%1_000_000, i%300, i, i%7, i%11)
		}
		storeForms(t, db, "", bodies)
		for _, text := range []string{"", "process: p3 and pid = 5", "pid in (5, 7) and data.a >= 6000 and p3", "process: nowhere", "data.a >= 12900", "time > 2026-11-22T12:00:02.5Z and not p1"} {
			where, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			compareForms(t, db, "", where, n)
		}
	})
}

// TestSealedEventsOfAllSessions checks that the list of all events has sealed ones in
// their place.
func TestSealedEventsOfAllSessions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "s")
		var batch []models.Event
		for i := range 20 {
			batch = append(batch, newEvent([]string{"s", models.UnassignedID}[i%2], noon))
		}
		appendEvents(t, db, batch)
		list := func() (ids []uint64) {
			t.Helper()
			for after := uint64(0); ; {
				found, err := events.ListAll(t.Context(), after, batch[18].ID, 3)
				if err != nil {
					t.Fatal(err)
				}
				if len(found) == 0 {
					return ids
				}
				for i := range found {
					ids = append(ids, found[i].ID)
				}
				after = ids[len(ids)-1]
			}
		}
		want, last := list(), func() uint64 {
			id, err := events.LastID(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		wantLast := last()
		if len(want) != 19 {
			t.Fatalf("%d events are listed", len(want))
		}
		seal(t, db, "s", 0, 10)
		if got := list(); !reflect.DeepEqual(got, want) || last() != wantLast {
			t.Errorf("one session sealed: %v, want %v; the last is %d", got, want, last())
		}
		seal(t, db, models.UnassignedID, 0, 7)
		if got := list(); !reflect.DeepEqual(got, want) || last() != wantLast {
			t.Errorf("both sealed: %v, want %v; the last is %d", got, want, last())
		}
	})
}

// TestSealedEventsAreClaimed checks that a poller gets sealed events too, each once, the
// newest first, and that sealing keeps what was claimed.
func TestSealedEventsAreClaimed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "s")
		var batch []models.Event
		for i := range 12 { // the times are out of order
			batch = append(batch, newEvent("s", noon.Add(time.Duration(i*5%12)*time.Second)))
		}
		appendEvents(t, db, batch)
		claim := func(filter models.EventFilter) []int64 {
			t.Helper()
			seqs, err := events.ClaimUnsent(t.Context(), "s", filter)
			if err != nil {
				t.Fatal(err)
			}
			return seqs
		}
		seqAt := func(second int) int64 { return int64(second*5%12) + 1 } // 5 is its own inverse modulo 12
		check := func(what string, got []int64, seconds ...int) {
			t.Helper()
			want := []int64{}
			for _, second := range seconds {
				want = append(want, seqAt(second))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		check("rows", claim(models.EventFilter{Limit: 2}), 11, 10)
		seal(t, db, "s", 0, 9)
		check("both forms", claim(models.EventFilter{Limit: 3}), 9, 8, 7)
		check("a span", claim(models.EventFilter{Start: noon.Add(2 * time.Second), End: noon.Add(3 * time.Second), Limit: 10}), 3, 2)
		if err := events.Unclaim(t.Context(), "s", []int64{seqAt(9), seqAt(2), seqAt(11)}); err != nil {
			t.Fatal(err)
		}
		seal(t, db, "s", 0, 12)
		check("the rest", claim(models.EventFilter{Limit: 100}), 11, 9, 6, 5, 4, 2, 1, 0)
		check("nothing", claim(models.EventFilter{Limit: 100}))
		if err := events.Unclaim(t.Context(), "s", []int64{seqAt(3)}); err != nil {
			t.Fatal(err)
		}
		if err := repository.NewSegments(db).Unseal(t.Context(), "s", 0); err != nil {
			t.Fatal(err)
		}
		isSent := func() (n int64) {
			t.Helper()
			if err := db.Read(t.Context()).Model(&models.Event{}).Where("session_id = 's' AND is_sent").Count(&n).Error; err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := isSent(); n != 11 {
			t.Errorf("%d of 12 rows are sent, want 11", n)
		}
		check("unsealed", claim(models.EventFilter{Limit: 100}), 3)
		if n := isSent(); n != 12 {
			t.Errorf("%d of 12 rows are sent", n)
		}
	})
}

// TestClaimsOfManySegments checks that polls return each event of a sealed segment, of a
// segment of rows and of rows without a segment once, always the newest ones, and none
// that an older version returned.
func TestClaimsOfManySegments(t *testing.T) {
	const n = 2*models.SegmentEvents + 500
	const old = models.SegmentEvents + 100 // events of the older version
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "s")
		var batch []models.Event
		var unsent []int64
		for i := range int64(n) {
			batch = append(batch, newEvent("s", noon.Add(time.Duration(i*7919%n)*time.Second)))
			if seq := i + 1; seq > old || seq%3 > 0 {
				unsent = append(unsent, seq)
			}
		}
		appendEvents(t, db, batch)
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			return errors.Join(tx.Exec("UPDATE events SET is_sent = TRUE WHERE session_id = 's' AND seq <= ? AND seq % 3 = 0", old).Error,
				tx.Exec("UPDATE sessions SET claims_in_rows = ? WHERE id = 's'", old).Error)
		})
		if err != nil {
			t.Fatal(err)
		}
		seal(t, db, "s", 0, models.SegmentEvents)
		index(t, db, "s", 1)
		newestFirst := func(i, j int64) int { return batch[j-1].Timestamp.Compare(batch[i-1].Timestamp) }
		slices.SortFunc(unsent, newestFirst)
		inSpan := func(seq int64) bool {
			return !batch[seq-1].Timestamp.Before(noon.Add(time.Hour)) && !batch[seq-1].Timestamp.After(noon.Add(time.Hour+time.Minute))
		}
		for poll := 0; ; poll++ {
			filter := models.EventFilter{Limit: 1000}
			want := slices.Clone(unsent[:min(filter.Limit, len(unsent))])
			if poll == 1 {
				filter.Start, filter.End = noon.Add(time.Hour), noon.Add(time.Hour+time.Minute)
				want = slices.DeleteFunc(slices.Clone(unsent), func(seq int64) bool { return !inSpan(seq) })
			}
			got, err := events.ClaimUnsent(t.Context(), "s", filter)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("poll %d: %d events, want %d; %v", poll, len(got), len(want), err)
			}
			if len(got) == 0 {
				break
			}
			unsent = slices.DeleteFunc(unsent, func(seq int64) bool { return slices.Contains(want, seq) })
		}
		var left int64
		if err := db.Read(t.Context()).Model(&models.Event{}).Where("session_id = 's' AND NOT is_sent").Count(&left).Error; err != nil || left > 0 {
			t.Errorf("%d rows are not marked as sent, %v", left, err)
		}
	})
}

// TestUnsealReturnsTheRows checks that unsealed events are the rows that were sealed, with
// all columns.
func TestUnsealReturnsTheRows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		var bodies []string
		for i := range 50 {
			bodies = append(bodies, rapid.Custom(odd.Event).Example(i))
		}
		storeForms(t, db, "", bodies)
		rows := func(id string) (rows []map[string]any) {
			t.Helper()
			if err := db.Read(t.Context()).Table("events").Where("session_id = ?", id).Order("seq").Find(&rows).Error; err != nil {
				t.Fatal(err)
			}
			return rows
		}
		before := rows("hot")
		seal(t, db, "hot", 0, 50)
		if left := rows("hot"); len(left) != 0 {
			t.Fatalf("%d rows are left", len(left))
		}
		segments := repository.NewSegments(db)
		if err := segments.Unseal(t.Context(), "hot", 0); err != nil {
			t.Fatal(err)
		}
		if after := rows("hot"); !reflect.DeepEqual(after, before) {
			t.Errorf("the rows are\n%+v, were\n%+v", after, before)
		}
		if err := segments.Unseal(t.Context(), "hot", 0); err != nil {
			t.Errorf("unsealing again: %v", err)
		}
		for _, table := range []string{"blocks", "segments"} {
			var left int64
			if err := db.Read(t.Context()).Table(table).Where("session_id = 'hot'").Count(&left).Error; err != nil || left != 0 {
				t.Errorf("%s has %d rows: %v", table, left, err)
			}
		}
	})
}

// TestKeptRowsAreNotSealed checks that a worker which listed a session just before does not
// seal it any more once it keeps its rows.
func TestKeptRowsAreNotSealed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		segments := repository.NewSegments(db)
		createSession(t, db, "s")
		appendEvents(t, db, []models.Event{newEvent("s", noon)})
		if err := segments.SetKeepRows(t.Context(), "s", true); err != nil {
			t.Fatal(err)
		}
		if stay, err := segments.Seal(t.Context(), "s", 0, 1); models.ErrorCode(err) != models.CodeConflict {
			t.Errorf("sealing returns %q, %v", stay, err)
		}
		if listed, err := segments.ListToSeal(t.Context(), nil, 10); err != nil || len(listed) != 0 {
			t.Errorf("%d sessions are to be sealed: %v", len(listed), err)
		}
		if err := segments.SetKeepRows(t.Context(), "s", false); err != nil {
			t.Fatal(err)
		}
		if listed, err := segments.ListToSeal(t.Context(), nil, 10); err != nil || len(listed) != 1 {
			t.Errorf("%d sessions are to be sealed: %v", len(listed), err)
		}
		seal(t, db, "s", 0, 1)
	})
}

// TestEventsThatStayRows checks that a segment which lacks an event or is too large is not
// sealed, that the reason says so, and that a sealed segment can be sealed again.
func TestEventsThatStayRows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		segments := repository.NewSegments(db)
		for _, id := range []string{"gap", "large", "good"} {
			createSession(t, db, id)
			events := []models.Event{newEvent(id, noon), newEvent(id, noon), newEvent(id, noon)}
			if id == "large" {
				random := make([]byte, 33<<20)
				if _, err := rand.Read(random); err != nil {
					t.Fatal(err)
				}
				events[1].Data = models.JSON(`"` + base64.StdEncoding.EncodeToString(random) + `"`)
			}
			appendEvents(t, db, events)
		}
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Where("session_id = 'gap' AND seq = 2").Delete(&models.Event{}).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ id, want string }{{"gap", "event 2 is missing"}, {"large", "they are too large for a segment"}, {"good", ""}, {"good", ""}} {
			if stay, err := segments.Seal(t.Context(), tt.id, 0, 3); err != nil || stay != tt.want {
				t.Errorf("%s: %q, %v", tt.id, stay, err)
			}
		}
		found, err := repository.NewEvents(db).ListBySeq(t.Context(), "gap", 0, 3, 5)
		if err != nil || len(found) != 2 {
			t.Errorf("%d events are left: %v", len(found), err)
		}
	})
}

// TestSealingIsExclusive checks that concurrent sealing, unsealing, claiming and appending
// lose and duplicate nothing.
func TestSealingIsExclusive(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events, segments := repository.NewEvents(db), repository.NewSegments(db)
		createSession(t, db, "s")
		const total = 200
		var workers sync.WaitGroup
		appended := make(chan struct{})
		work := func(fn func() error) {
			workers.Go(func() {
				for {
					if err := fn(); err != nil && models.ErrorCode(err) != models.CodeConflict {
						t.Error(err)
						return
					}
					select {
					case <-appended:
						return
					default:
					}
				}
			})
		}
		for range 2 {
			work(func() error {
				session, err := repository.NewSessions(db).Get(t.Context(), "s")
				if err == nil && session.EventCount > 0 {
					_, err = segments.Seal(t.Context(), "s", 0, session.EventCount)
				}
				return err
			})
		}
		work(func() error { return segments.Unseal(t.Context(), "s", 0) })
		claimed := map[int64]int{}
		work(func() error {
			seqs, err := events.ClaimUnsent(t.Context(), "s", models.EventFilter{Limit: 7})
			for _, seq := range seqs {
				claimed[seq]++
			}
			return err
		})
		work(func() error { // every view is complete
			session, err := repository.NewSessions(db).Get(t.Context(), "s")
			if err != nil {
				return err
			}
			found, err := events.List(t.Context(), "s", nil, models.EventPage{Limit: total + 1})
			if err == nil && int64(len(found)) < session.EventCount {
				err = fmt.Errorf("%d of %d events are listed", len(found), session.EventCount)
			}
			for i := range found {
				if err == nil && found[i].Seq != int64(i+1) {
					err = fmt.Errorf("place %d has event %d", i+1, found[i].Seq)
				}
			}
			return err
		})
		for i := range total {
			appendEvents(t, db, []models.Event{newEvent("s", noon.Add(time.Duration(i)*time.Second))})
		}
		close(appended)
		workers.Wait()
		rest, err := events.ClaimUnsent(t.Context(), "s", models.EventFilter{Limit: total})
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range rest {
			claimed[seq]++
		}
		for seq := int64(1); seq <= total; seq++ {
			if claimed[seq] != 1 {
				t.Fatalf("event %d was claimed %d times", seq, claimed[seq])
			}
		}
	})
}

// TestDamagedBlockAffectsItsEventsOnly checks that a damaged block is reported with its
// session and events, and that other events are read.
func TestDamagedBlockAffectsItsEventsOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		bodies := make([]string, models.SegmentEvents+10)
		for i := range bodies {
			bodies[i] = fmt.Sprintf(`{"event_type":"x","timestamp":"2026-11-22T12:00:00Z","source":"s","data":{"a":%d}}`, i)
		}
		storeForms(t, db, "", bodies)
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			var block models.Block
			if err := tx.Where("session_id = 'sealed' AND first_seq = 1").Take(&block).Error; err != nil {
				return err
			}
			block.Data[len(block.Data)/2] ^= 1
			return tx.Model(&block).Update("data", block.Data).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		events := repository.NewEvents(db)
		_, err = events.List(t.Context(), "sealed", nil, models.EventPage{Limit: 5})
		if err == nil || models.ErrorCode(err) != models.CodeInternal || !strings.Contains(err.Error(), "events 1 to 4096 of session sealed cannot be read") {
			t.Errorf("the damage is reported as %v", err)
		}
		found, err := events.List(t.Context(), "sealed", nil, models.EventPage{After: models.SegmentEvents, Limit: 20})
		if err != nil || len(found) != 10 {
			t.Errorf("%d events after the damage: %v", len(found), err)
		}
		damages, err := events.ListDamages(t.Context(), "", 5)
		if err != nil || len(damages) != 1 || damages[0].SessionID != "sealed" || damages[0].SeqSpan != (models.SeqSpan{First: 1, Last: models.SegmentEvents}) || damages[0].Reason == "" {
			t.Errorf("the damages are %+v, %v", damages, err)
		}
	})
}

// TestSkipsAreReadOnce checks that the second search of a session reads no skips, and that
// a session with the same ID that was imported later gets its own.
func TestSkipsAreReadOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		find := func(text string) int {
			where, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			found, err := events.List(t.Context(), "s", where, models.EventPage{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		}
		store := func(operation string) {
			createSession(t, db, "s")
			in, err := wire.Event([]byte(`{"event_type":"file_operation","source":"s","data":{"operation":"`+operation+`"}}`), noon)
			if err != nil {
				t.Fatal(err)
			}
			in.SessionID = "s"
			if _, err := appendBatch(t.Context(), events, models.Batch{Events: []models.Incoming{in}}); err != nil {
				t.Fatal(err)
			}
			seal(t, db, "s", 0, 1)
		}
		store("first")
		if n := find("first"); n != 1 {
			t.Fatalf("found %d events", n)
		}
		err := db.Write(t.Context(), func(tx *gorm.DB) error { // a skip without any item skips everything
			return tx.Exec("UPDATE segments SET skip = ? WHERE session_id = 's'", make([]byte, 64)).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := find("first"); n != 1 {
			t.Errorf("the skip was read again: found %d events", n)
		}
		err = db.Write(t.Context(), func(tx *gorm.DB) error {
			for _, condition := range []string{"blocks WHERE session_id", "segments WHERE session_id", "processes WHERE session_id", "sessions WHERE id"} {
				if err := tx.Exec("DELETE FROM " + condition + " = 's'").Error; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		store("second")
		if n := find("second"); n != 1 {
			t.Errorf("found %d events of the new session", n)
		}
	})
}
