package repository_test

import (
	"encoding/json"
	"fmt"
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
)

// oddTexts are used in both events and filters, so that they match: texts, and
// fragments of them, that have a special meaning in SQL, LIKE, JSON, PostgreSQL arrays
// and the filter language.
var oddTexts = []string{
	"a", "B", "foo", "FOO", "Foo bar", "new", "temp", "C:\\Windows\\new\\temp.exe", "\\\\server\\share", "\\", "\"", "/", "'", "%", "_", "*", "?", "a%b", "a_b", "a*b", "[*]",
	"n", "t", "u", "ew", "emp", " foo", "\n", "\t", "\r\n", "\b\f", "\x01", "\x1f", "\x7f", "\\n", "\\u0041", "n foo", "u0041", "0041", "é", "É", "ä", "straße", "İ", "ſ", "K", "日本語", "😀", "\ufffd", "\u2028", "\u00a0",
	",", ", ", ": ", ":", "{", "}", "[", "]", "{}", "[]", "1, 2", "\"a\": 1", "a\": ", "null", "true", "false", "rue", "ul", "0", "1", "10", "1.5", "1.50", "15", "-1", "0.1", "e", "1e2", "100",
	"$.a", "' OR 1=1 --", "'); DROP TABLE events; --", "?", "$1", "@x", "\\\" OR TRUE", "{a,b}", "NULL", "http://evil.example/a?b=c&d=%20", "10.0.0.5:443", "and", "or", "not",
}

// oddNumbers are JSON numbers.
var oddNumbers = []string{
	"0", "-0", "0.0", "-0.0", "0e5", "0.00e1", "1", "1.0", "1.50", "1.5", "15e-1", "1.50e1", "15", "15.0", "-1", "-1.5", "1e2", "100", "1E+2", "0.1", "1e-1", "0.05e1", "12345678901234567890", "12345678901234567891", "1.2345678901234567890123",
	"9007199254740993", "9007199254740992", "1e400", "1e401", "-1e400", "1e-400", "1e-401", "9e99999", "123e-2", "4294967296", "9223372036854775807", "9223372036854775808", "0.1e1", "100e-2",
}

var oddKeys = []string{"a", "b", "A", "list", "0", "1", "-1", " 1", "+1", "01", "odd key", "x.y", "q\"q", "", "\\", "é", "$", "[0]", "null", "a-b_c", "a'b", "{a}", "a,b", "\n", "metadata", "operation"}

// appendJSONString writes a string with one of several ways to escape characters, as
// different clients do.
func appendJSONString(t *rapid.T, b *strings.Builder, s string) {
	style := rapid.SampledFrom([]string{"plain", "plain", "ascii", "all", "slash"}).Draw(t, "style")
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case style == "all" || style == "ascii" && r > '~':
			if r > 0xffff {
				fmt.Fprintf(b, `\u%04X\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
			} else {
				fmt.Fprintf(b, `\u%04x`, r)
			}
		case style == "slash" && r == '/':
			b.WriteString(`\/`)
		default:
			quoted, _ := json.Marshal(string(r))
			b.Write(quoted[1 : len(quoted)-1])
		}
	}
	// A Go string cannot represent these.
	b.WriteString(rapid.SampledFrom([]string{"", "", "", "", "", "", `\u0000`, `\ud800`, `\udc00x`, `\ud83d\ud83d\ude00`}).Draw(t, "raw"))
	b.WriteByte('"')
}

func oddText(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(oddTexts), 1, 3).Draw(t, "texts"), "")
}

func appendJSON(t *rapid.T, b *strings.Builder, depth int) {
	space := func() { b.WriteString(rapid.SampledFrom([]string{"", "", "", " ", "\n\t"}).Draw(t, "space")) }
	kinds := []string{"string", "string", "number", "word", "object", "array"}
	if depth == 0 {
		kinds = kinds[:4]
	}
	space()
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "string":
		appendJSONString(t, b, oddText(t))
	case "number":
		b.WriteString(rapid.SampledFrom(oddNumbers).Draw(t, "number"))
	case "word":
		b.WriteString(rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "word"))
	case "object":
		appendJSONObject(t, b, depth)
	case "array":
		b.WriteByte('[')
		for i := range rapid.IntRange(0, 3).Draw(t, "elements") {
			if i > 0 {
				b.WriteByte(',')
			}
			appendJSON(t, b, depth-1)
		}
		b.WriteByte(']')
	}
	space()
}

func appendJSONObject(t *rapid.T, b *strings.Builder, depth int) {
	b.WriteByte('{')
	for i := range rapid.IntRange(0, 4).Draw(t, "members") {
		if i > 0 {
			b.WriteByte(',')
		}
		appendJSONString(t, b, rapid.SampledFrom(oddKeys).Draw(t, "key")) // sometimes a duplicate
		b.WriteByte(':')
		appendJSON(t, b, depth-1)
	}
	b.WriteByte('}')
}

// oddEvent returns the body of an event as a client sends it.
func oddEvent(t *rapid.T) string {
	var b strings.Builder
	b.WriteString(`{"event_type":`)
	eventType, _ := json.Marshal(rapid.SampledFrom([]string{"file_operation", "process_creation", "FOO", "a%b", "é"}).Draw(t, "type"))
	b.Write(eventType)
	b.WriteString(`,"timestamp":"2026-11-22T12:00:0` + strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "second")) + `.5Z","source":"Source","data":`)
	switch rapid.IntRange(0, 9).Draw(t, "shape") {
	case 0: // any value
		appendJSON(t, &b, 3)
	case 1: // deeper than the JSON functions of any database support
		levels := rapid.SampledFrom([]int{30, 899, 901, 1500, 3000}).Draw(t, "levels")
		b.WriteString(strings.Repeat(`{"a":[`, levels/2) + `"foo"` + strings.Repeat(`]}`, levels/2))
	default:
		b.WriteString(`{"a":`)
		appendJSON(t, &b, 2)
		if rapid.Bool().Draw(t, "hot") {
			b.WriteString(`,"filePath":`)
			appendJSONString(t, &b, oddText(t))
			b.WriteString(`,"operation":`)
			appendJSONString(t, &b, oddText(t))
			b.WriteString(`,"metadata":{"processName":`)
			appendJSONString(t, &b, oddText(t))
			b.WriteString(`,"processId":` + strconv.Itoa(rapid.IntRange(-1, 3).Draw(t, "pid")) + `}`)
		}
		b.WriteString(`,"b":`)
		appendJSONObject(t, &b, 3)
		b.WriteByte('}')
	}
	b.WriteByte('}')
	return b.String()
}

func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// bare returns a text without quotes where the language permits it.
func bare(t *rapid.T, text string) string {
	if strings.ContainsAny(text, " \t\r\n\u00a0()\"',") || strings.Contains(text, "&&") || text == "" || strings.ContainsAny(text[:1], ":=<>!") ||
		slices.Contains([]string{"and", "or", "not"}, text) {
		return quoted(text)
	}
	if rapid.Bool().Draw(t, "wild") {
		return rapid.SampledFrom([]string{"*", "?", "**"}).Draw(t, "wildcard") + text + rapid.SampledFrom([]string{"*", "?", "", "*foo?", "?*", "[**]"}).Draw(t, "wildcard")
	}
	return text
}

func oddPath(t *rapid.T) string {
	path := "data"
	for i := range rapid.IntRange(1, 4).Draw(t, "steps") {
		key := rapid.SampledFrom(oddKeys).Draw(t, "key")
		switch {
		case i == 0 && rapid.Bool().Draw(t, "a"):
			path += "." + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
		case rapid.IntRange(0, 3).Draw(t, "index") == 0:
			path += "[" + strconv.Itoa(rapid.IntRange(0, 2).Draw(t, "element")) + "]"
		default:
			path += "[" + quoted(key) + "]"
		}
	}
	return path
}

func oddTest(t *rapid.T) string {
	word := func() string {
		if rapid.Bool().Draw(t, "quoted") {
			return quoted(oddText(t))
		}
		return bare(t, oddText(t))
	}
	texts := func(field string, values func() string) string {
		switch rapid.IntRange(0, 4).Draw(t, "comparison") {
		case 0:
			return field + " in (" + values() + ", " + values() + ")"
		case 1:
			return field + ": (" + values() + " or not " + values() + ")"
		case 2:
			return field + rapid.SampledFrom([]string{" contains ", " startswith ", " endswith ", " like "}).Draw(t, "comparison") + quoted(oddText(t))
		default:
			return field + rapid.SampledFrom([]string{" = ", ": ", " != "}).Draw(t, "comparison") + values()
		}
	}
	number := func() string { return rapid.SampledFrom(oddNumbers).Draw(t, "number") }
	switch rapid.IntRange(0, 9).Draw(t, "test") {
	case 0, 1:
		return word()
	case 2:
		return texts(rapid.SampledFrom([]string{"type", "operation", "process", "target", "source"}).Draw(t, "field"), word)
	case 3:
		return "exists " + rapid.SampledFrom([]string{"pid", "time", "target", "process", oddPath(t)}).Draw(t, "field")
	case 4:
		return rapid.SampledFrom([]string{"pid", "seq"}).Draw(t, "field") + rapid.SampledFrom([]string{" = ", " != ", " < ", " <= ", " > ", " >= "}).Draw(t, "comparison") + strconv.Itoa(rapid.IntRange(-1, 5).Draw(t, "integer"))
	case 5:
		return "time" + rapid.SampledFrom([]string{" = ", " != ", " < ", " <= ", " > ", " >= "}).Draw(t, "comparison") + "2026-11-22T12:00:01.5Z"
	case 6:
		return oddPath(t) + rapid.SampledFrom([]string{" < ", " <= ", " > ", " >= "}).Draw(t, "comparison") + rapid.SampledFrom([]string{"0", "1.5", "-1", "100", "9007199254740992", "12345678901234567890", "1e400", "-1e-400"}).Draw(t, "number")
	case 7:
		return texts(oddPath(t), number)
	default:
		return texts(oddPath(t), func() string {
			return rapid.SampledFrom([]string{word(), "true", "null", "false", "*"}).Draw(t, "value")
		})
	}
}

func oddFilter(t *rapid.T, depth int) string {
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "join") {
		case 0:
			return "(" + oddFilter(t, depth-1) + ") and " + oddFilter(t, depth-1)
		case 1:
			return oddFilter(t, depth-1) + " or " + oddFilter(t, depth-1)
		case 2:
			return "not (" + oddFilter(t, depth-1) + ")"
		}
	}
	return oddTest(t)
}

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
			bodies[i] = oddEvent(rt)
		}
		filters := make([]string, 30)
		for i := range filters {
			filters[i] = oddFilter(rt, 2)
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
		for range 30 {
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
