package repository_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/wire"
	"ospulse/test/dbtest"
	"ospulse/test/odd"
)

// openBoth opens a database of each kind.
func openBoth(t testing.TB) map[string]*database.DB {
	return map[string]*database.DB{"sqlite": dbtest.Open(t, dbtest.SQLite(t)), "postgres": dbtest.Open(t, dbtest.Postgres(t))}
}

// storeBodies stores events in a session of every database, and returns them as stored.
func storeBodies(t testing.TB, dbs map[string]*database.DB, session string, bodies []string) []models.Event {
	t.Helper()
	var stored []models.Event
	for _, db := range dbs {
		createSession(t, db, session)
		var batch models.Batch
		for _, body := range bodies {
			in, err := wire.Event([]byte(body), noon)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			in.SessionID = session
			batch.Events = append(batch.Events, in)
		}
		if _, err := appendBatch(t.Context(), repository.NewEvents(db), batch); err != nil {
			t.Fatal(err)
		}
		stored = stored[:0]
		for i := range batch.Events {
			stored = append(stored, batch.Events[i].Event)
		}
	}
	return stored
}

// selected returns the seqs of the events that a filter selects in memory.
func selected(where *filter.Filter, events []models.Event) []int64 {
	seqs := []int64{}
	for i := range events {
		if where.Match(&events[i]) {
			seqs = append(seqs, events[i].Seq)
		}
	}
	return seqs
}

// listed returns the seqs of the events that a filter selects in a database.
func listed(t testing.TB, db *database.DB, session string, where *filter.Filter) []int64 {
	t.Helper()
	events, err := repository.NewEvents(db).List(t.Context(), session, where, models.EventPage{Limit: 1000})
	if err != nil {
		t.Fatalf("%s fails with %s: %v", db.Dialect(), where, err)
	}
	seqs := []int64{}
	for i := range events {
		seqs = append(seqs, events[i].Seq)
	}
	return seqs
}

// checkAgreement checks that a filter selects the same events in memory and in both
// databases.
func checkAgreement(t testing.TB, dbs map[string]*database.DB, session, text string, where *filter.Filter, events []models.Event) []int64 {
	t.Helper()
	want := selected(where, events)
	for name, db := range dbs {
		got := listed(t, db, session, where)
		if slices.Equal(got, want) {
			continue
		}
		for i := range events {
			if seq := events[i].Seq; slices.Contains(got, seq) != slices.Contains(want, seq) {
				t.Errorf("Match says %v of\n%s\n%.1000s\n%+v", slices.Contains(want, seq), text, events[i].Data, events[i])
			}
		}
		t.Fatalf("%q selects %v in %s, %v by Match", text, got, name, want)
	}
	return want
}

// TestFilterMeansTheSameEverywhere checks that Match and both databases agree for any
// event and any filter, and that no statement fails.
func TestFilterMeansTheSameEverywhere(t *testing.T) {
	dbs := openBoth(t)
	session, refused, tried, asked, hit := 0, 0, 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		session++
		id := "s" + strconv.Itoa(session)
		bodies := make([]string, 12)
		for i := range bodies {
			bodies[i] = odd.Event(rt)
		}
		filters := make([]string, 12)
		for i := range filters {
			filters[i] = odd.Filter(rt, 2)
		}
		events := storeBodies(t, dbs, id, bodies)
		for _, text := range filters {
			tried++
			where, err := filter.Parse(text)
			if err != nil { // such as a colon in an unquoted text
				refused++
				continue
			}
			asked += len(events)
			hit += len(checkAgreement(t, dbs, id, text, where, events))
		}
	})
	if refused > tried/10 {
		t.Errorf("%d of %d filters are refused", refused, tried)
	}
	if hit < asked/10 || hit > asked*9/10 {
		t.Errorf("filters select %d of %d events: they say nothing", hit, asked)
	}
}

// TestFilterCannotBreakAStatement checks that no valid filter makes a statement fail,
// selects events of another session or injects SQL. It has attempts to do so, and
// filters at the limits.
func TestFilterCannotBreakAStatement(t *testing.T) {
	dbs := openBoth(t)
	events := storeBodies(t, dbs, "mine", []string{
		`{"event_type":"file_operation","timestamp":"2026-11-22T12:00:00Z","source":"s","data":{"filePath":"' OR 1=1 --","a":{"b":["?","$1","' OR 1=1 --"]},"metadata":{"processName":"a","processId":1}}}`,
		`{"event_type":"x","timestamp":"2026-11-22T12:00:00Z","source":"s","data":null}`,
		`{"event_type":"deep","timestamp":"2026-11-22T12:00:00Z","source":"s","data":` + strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat(`}`, 5000) + `}`,
		`{"event_type":"long","timestamp":"2026-11-22T12:00:00Z","source":"s","data":{"a":"` + strings.Repeat("a", 30_000) + `","filePath":"` + strings.Repeat("a", 5000) + `","n":1e400,"m":` + strings.Repeat("9", 400) + `}}`,
		`{"event_type":"many","timestamp":"2026-11-22T12:00:00Z","source":"s","data":[` + strings.Repeat(`"\\u0000\"",{"a":-1.5e-7},`, 2_000) + `0]}`,
	})
	storeBodies(t, dbs, "other", []string{`{"event_type":"file_operation","timestamp":"2026-11-22T12:00:00Z","source":"s","data":{"filePath":"other"}}`})
	filters := []string{
		`target = "' OR 1=1 --"`, `target: "' OR '1'='1"`, `"' OR 1=1 --"`, `type = "x') OR (1=1"`, `data["' OR 1=1 --"] = 1`, `data["a}',''"]["b"] = "}'"`, `data["{"] = "\\"`, `data["\\"].b: *`,
		`data.a.b[2] = "' OR 1=1 --"`, `data.a.b contains "?"`, `data.a.b[0] = "?" and data.a.b[1] = "$1"`, `"$1" or "@name" or "?"`, `not nothing`, `*`, `other`, `not other or other`, `a or *`,
		`data.n > 1e399`, `data.m > 1e399`, `data.m = ` + strings.Repeat("9", 400), `data.a = 1e-400`, `data.n: 1*`, `"%_%"`, `data.a.b like "%"`, `time > 0001-01-01`, `time < 9999-12-31T23:59:59.999999Z`,
		`pid = -9223372036854775808 or pid = 9223372036854775807 or seq < 9223372036854775807`,
		`"a` + strings.Repeat("b", 8000) + `"`, `target: ` + strings.Repeat("*a", 4000) + "b", `data.a: ` + strings.Repeat("*a", 4000) + "b", strings.Repeat("*a", 4000) + "b", `data.a: ` + strings.Repeat("?", 8000), strings.Repeat("?a", 2000), strings.Repeat("*?", 4000),
		"type: (" + strings.Repeat("a or ", 499) + "a)", "pid in (" + strings.Repeat("1,", 499) + "1)", "data.a in (" + strings.Repeat("a,", 499) + "1)",
		strings.Repeat("type:a or ", 499) + "a", strings.Repeat("pid != 2 ", 499) + "op != a", strings.Repeat("a ", 32), strings.Repeat("x or ", 31) + "x", strings.Repeat("!", 100) + "a", strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100),
		strings.Repeat("data.a[0]:x or ", 499) + "x", strings.Repeat("(pid = 1 or not ", 50) + "pid = 1" + strings.Repeat(")", 50), "data" + strings.Repeat("[0]", 32) + " = 1", "data" + strings.Repeat(".a", 32) + ": *",
	}
	for n := range 12 {
		filters = append(filters, strings.Repeat("data"+strings.Repeat("[0]", 32)+": "+strings.Repeat("1", n)+"1 or ", 60)+"x")
	}
	for _, text := range filters {
		where, err := filter.Parse(text)
		if err != nil {
			t.Fatalf("%.60s is refused: %v", text, err)
		}
		start := time.Now()
		checkAgreement(t, dbs, "mine", text, where, events)
		if took := time.Since(start); took > 2*time.Minute {
			t.Errorf("%.60s takes %v", text, took)
		}
		for _, db := range dbs {
			if n, err := repository.NewEvents(db).Count(t.Context(), "mine", where, models.EventPage{}); err != nil || n != int64(len(selected(where, events))) {
				t.Errorf("%.60s counts %d, %v", text, n, err)
			}
		}
	}
}

// TestAnyTextAsAFilter checks that any text is refused or selects the same events
// everywhere.
func TestAnyTextAsAFilter(t *testing.T) {
	dbs := openBoth(t)
	events := storeBodies(t, dbs, "s", []string{
		`{"event_type":"file_operation","timestamp":"2026-11-22T12:00:00Z","source":"s","data":{"filePath":"C:\\a b.exe","a":"x","b":[1,{"c":null}],"metadata":{"processName":"p","processId":1}}}`,
		`{"event_type":"b","timestamp":"2026-11-22T12:00:00Z","source":"s","data":"and or not"}`,
	})
	pieces := []string{"type", "pid", "target", "data", ".a", ".b", "[0]", "[1].c", `["`, `"]`, ":", "=", "!=", "<", ">=", " ", " ", " ", "(", ")", "and", "or", "not", "in", "like", "exists", "contains", "*", "?", `"`, `'`, `\\`, ",", "1", "a", "x", "C:", "null", "&&", "||", "!", "é", "\x01", "2026-11-22"}
	read := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range 12 {
			text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 9).Draw(rt, "pieces"), "")
			if rapid.IntRange(0, 9).Draw(rt, "any") == 0 {
				text = rapid.String().Draw(rt, "text")
			}
			where, err := filter.Parse(text)
			if err != nil {
				if models.ErrorCode(err) != models.CodeInvalid {
					t.Fatalf("%q: %v", text, err)
				}
				continue
			}
			read++
			checkAgreement(t, dbs, "s", text, where, events)
		}
	})
	if read == 0 {
		t.Error("no text is read as a filter")
	}
}

// TestTextIsFoundHoweverItIsWritten checks that a text is found however a client
// escapes it, and that only values are searched.
func TestTextIsFoundHoweverItIsWritten(t *testing.T) {
	dbs := openBoth(t)
	bodies := []string{}
	for _, data := range []string{
		`{"a":"café /b"}`, `{"a":"caf\u00e9 \/b"}`, `{"\u0063af\u00c9":1.50e1}`, `{"a":"C:\\new"}`, `{"a":"C:\new", "b":[1, 2]}`, `{"a":"x\u0000y\ud800"}`, `{"a":1,"a":"two"}`,
	} {
		bodies = append(bodies, `{"event_type":"x","timestamp":"2026-11-22T12:00:00Z","source":"s","data":`+data+`}`)
	}
	events := storeBodies(t, dbs, "s", bodies)
	for text, want := range map[string][]int64{
		`café`: {1, 2}, `CAFé`: {1, 2}, `cafÉ`: {3}, `é?/B`: {1, 2}, `u00e9`: {}, `/b`: {1, 2}, `"\/b"`: {}, `15.0`: {3}, `1.50`: {}, `e1`: {},
		`new`: {4}, `ew`: {4, 5}, `\new`: {4}, `C:\n*`: {4}, `"1, 2"`: {}, `"a\": "`: {}, `"x�y"`: {6}, `y�`: {6}, `u0000`: {}, `two`: {7}, `1`: {3, 5},
	} {
		where, err := filter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := checkAgreement(t, dbs, "s", text, where, events); !slices.Equal(got, want) {
			t.Errorf("%s selects %v, want %v", text, got, want)
		}
	}
}
