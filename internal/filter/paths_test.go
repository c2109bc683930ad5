package filter_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// fieldsOf returns the fields that paths add to a listed event.
func fieldsOf(t testing.TB, paths, data string) string {
	t.Helper()
	p, err := filter.ParsePaths(paths)
	if err != nil {
		t.Fatal(paths, err)
	}
	out := string(p.Append([]byte(`{"seq":1}`), &models.Event{Data: models.JSON(data)}))
	if !json.Valid([]byte(out)) {
		t.Fatalf("%s of %.300s is no JSON: %.300s", paths, data, out)
	}
	rest, ok := strings.CutPrefix(out, `{"seq":1`)
	if !ok {
		t.Fatalf("the event is now %.300s", out)
	}
	return strings.TrimSuffix(strings.TrimPrefix(rest, ","), "}")
}

func TestFieldsOfPaths(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for name, tt := range map[string]struct{ paths, data, want string }{
		"none":                  {"", `{"a":1}`, ``},
		"blank":                 {" \t", `{"a":1}`, ``},
		"one":                   {"data.a", `{"a":1}`, `"fields":{"data.a":1}`},
		"in the order asked":    {"data.b, data.a", `{"a":1,"b":2}`, `"fields":{"data.b":2,"data.a":1}`},
		"missing ones":          {"data.a,data.c,data.b.x", `{"a":1,"b":2}`, `"fields":{"data.a":1}`},
		"all kinds":             {"data.a,data.b,data.c,data.d,data.e", `{"a":null,"b":true,"c":"s","d":[1,{}],"e":{"x":1}}`, `"fields":{"data.a":null,"data.b":true,"data.c":"s","data.d":[1,{}],"data.e":{"x":1}}`},
		"nothing is lost":       {"data.a,data.b,data.c", `{"a":12345678901234567890.10,"b":"\ud800\u0000","c":-0}`, `"fields":{"data.a":12345678901234567890.10,"data.b":"\ud800\u0000","data.c":-0}`},
		"names as they are":     {`DATA.a, data."x,y" ,data['it''s'].b[0],data["<é>"]`, `{"a":1,"x,y":2,"it's":{"b":[3]},"<é>":4}`, `"fields":{"DATA.a":1,"data.\"x,y\"":2,"data['it''s'].b[0]":3,"data[\"\u003cé\u003e\"]":4}`},
		"one inside another":    {"data.a,data.a.b", `{"a":{"b":1}}`, `"fields":{"data.a":{"b":1},"data.a.b":1}`},
		"the same twice":        {`data.a,data.a,data["a"]`, `{"a":1}`, `"fields":{"data.a":1,"data[\"a\"]":1}`},
		"no object":             {"data.a", `[1]`, `"fields":{}`},
		"an element":            {"data[1]", `[1,2]`, `"fields":{"data[1]":2}`},
		"nothing":               {"data.a", ``, `"fields":{}`},
		"without line breaks":   {"data.a", "{\"a\":[1,\r\n2]}", `"fields":{"data.a":[1,  2]}`},
		"a long text":           {"data.a", `{"a":"` + long + `"}`, `"fields":{"data.a":"` + long[:1022] + `"},"fields_cut":["data.a"]`},
		"as long as may be":     {"data.a", `{"a":"` + long[:1022] + `"}`, `"fields":{"data.a":"` + long[:1022] + `"}`},
		"a long list":           {"data.a,data.b", `{"a":["` + long + `"],"b":1}`, `"fields":{"data.b":1},"fields_cut":["data.a"]`},
		"several that are long": {`data.a,data."b,"`, `{"a":["` + long + `"],"b,":{"x":"` + long + `"}}`, `"fields":{},"fields_cut":["data.a","data.\"b,\""]`},
		"a long number":         {"data.a", `{"a":1` + strings.Repeat("0", 2000) + `}`, `"fields":{},"fields_cut":["data.a"]`},
		"no half a character":   {"data.a", `{"a":"` + strings.Repeat("x", 1021) + `é` + long + `"}`, `"fields":{"data.a":"` + long[:1021] + `"},"fields_cut":["data.a"]`},
		"no half an escape":     {"data.a", `{"a":"` + strings.Repeat("x", 1021) + `\n` + long + `"}`, `"fields":{"data.a":"` + long[:1021] + `"},"fields_cut":["data.a"]`},
		"no half a pair":        {"data.a", `{"a":"` + strings.Repeat("x", 1016) + `\uD83D\uDE00` + long + `"}`, `"fields":{"data.a":"` + long[:1016] + `"},"fields_cut":["data.a"]`},
		"half a pair alone":     {"data.a", `{"a":"` + strings.Repeat("x", 1016) + `\ud83dx` + long + `"}`, `"fields":{"data.a":"` + long[:1016] + `\ud83d"},"fields_cut":["data.a"]`},
	} {
		if got := fieldsOf(t, tt.paths, tt.data); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, tt.want)
		}
	}
}

// TestFieldsAreThoseThatWereSent checks that fields come from the raw data of an event
// whose data could not be stored unchanged.
func TestFieldsAreThoseThatWereSent(t *testing.T) {
	p, err := filter.ParsePaths("data.a")
	if err != nil {
		t.Fatal(err)
	}
	out := p.Append([]byte(`{}`), &models.Event{Data: models.JSON(`{"a": "\ufffd"}`), DataRaw: []byte(`{"a":1,"a":"\u0000"}`)})
	if want := `{,"fields":{"data.a":"\u0000"}}`; string(out) != want {
		t.Errorf("got %s, want %s", out, want)
	}
}

func TestPathFaults(t *testing.T) {
	for text, want := range map[string]string{
		"data":                            "fields, column 1: expected a path into data such as data.a.b, found \"data\"",
		"a":                               "fields, column 1: expected a path into data such as data.a.b, found \"a\"",
		"pid":                             "fields, column 1: pid is in every event that is listed",
		"type.x":                          "fields, column 1: type is in every event that is listed",
		"data.a,":                         "fields, column 8: expected a path into data such as data.a.b, found the end",
		",data.a":                         "fields, column 1: expected a path into data such as data.a.b, found \",data.a\"",
		"data.a data.b":                   "fields, column 8: expected a comma or the end, found \"data.b\"",
		"data.é,data[x]":                  "fields, column 13: expected a number of an element, from 0, or a key in quotes",
		"data.a,data[\"x":                 "fields, column 8: expected a path into data",
		"data.a;data.b":                   "fields, column 7: expected a comma or the end",
		"data.a\x00":                      "fields, column 7: a NUL character",
		"data.\xff":                       "fields, column 6: byte 0xff is not valid UTF-8",
		"data.a = 1":                      "fields, column 8: expected a comma or the end",
		strings.Repeat("x", 8193):         "fields, column 1: the paths are 8193 bytes long; at most 8192 are taken",
		"data" + strings.Repeat(".a", 33): "fields, column 69: a path of more than 32 steps",
		numbered(25):                      "fields, column 207: more than 24 paths",
	} {
		_, err := filter.ParsePaths(text)
		if models.ErrorCode(err) != models.CodeInvalid || !strings.HasPrefix(message(err), want) {
			t.Errorf("%.100q gives %v: %s\nwant %s", text, err, message(err), want)
		}
	}
	if _, err := filter.ParsePaths(numbered(24)); err != nil {
		t.Error(err)
	}
}

func numbered(n int) string {
	var paths []string
	for i := range n {
		paths = append(paths, fmt.Sprintf("data.a%d", i))
	}
	return strings.Join(paths, ",")
}

// TestCutTextIsABeginning checks that a truncated text is a prefix of the whole one,
// however it is written and wherever it is cut.
func TestCutTextIsABeginning(t *testing.T) {
	unit := rapid.SampledFrom([]string{"x", "é", "日", "😀", `\n`, `\"`, `\\`, `\/`, `\u00e9`, `\ud83d\ude00`, `\uD83D\uDE00`, `\ud83d`, `\ude00`, `\u0000`, `\ud83d\ud83d\ude00`})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(unit, 0, 40).Draw(t, "units"), "")
		lead := rapid.IntRange(900, 1030).Draw(t, "lead")
		literal := `"` + strings.Repeat("x", lead) + text + `"`
		p, err := filter.ParsePaths("data.a")
		if err != nil {
			t.Fatal(err)
		}
		out := p.Append([]byte(`{"seq":1}`), &models.Event{Data: models.JSON(`{"a":` + literal + `}`)})
		if !json.Valid(out) || !utf8.Valid(out) {
			t.Fatalf("no JSON: %q", out)
		}
		got := jsonscan.Get(jsonscan.Get(out, "fields"), "data.a")
		isCut := jsonscan.Get(out, "fields_cut") != nil
		if len(got) > filter.MaxFieldLen || isCut != (len(literal) > filter.MaxFieldLen) || !isCut && string(got) != literal || isCut && len(got) <= filter.MaxFieldLen-12 {
			t.Fatalf("%d bytes are given as %d, cut %t", len(literal), len(got), isCut)
		}
		if !strings.HasPrefix(jsonscan.Unquote([]byte(literal)), jsonscan.Unquote(got)) {
			t.Fatalf("%q is no beginning of %q", got, literal)
		}
	})
}

func BenchmarkFields(b *testing.B) {
	p, err := filter.ParsePaths("data.response.status_code,data.request.method,data.request.url,data.response.headers[\"content-type\"]")
	if err != nil {
		b.Fatal(err)
	}
	body := strings.Repeat("QUJD", 25_000)
	e := &models.Event{Data: models.JSON(`{"metadata":{"processName":"a.exe","processId":12},"request":{"method":"POST","url":"http://a/b","headers":{"host":"a"},"body":{"content_b64":"` + body +
		`"}},"response":{"status_code":200,"headers":{"content-type":"text/html"},"body":{"content_b64":"` + body + `"}}}`)}
	var out []byte
	b.SetBytes(int64(len(e.Data)))
	for b.Loop() {
		out = p.Append(append(out[:0], "{}"...), e)
	}
}
