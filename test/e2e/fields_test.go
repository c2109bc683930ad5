package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// withFields is a listed event with fields of its data.
type withFields struct {
	Seq       int64                      `json:"seq"`
	Fields    map[string]json.RawMessage `json:"fields"`
	FieldsCut []string                   `json:"fields_cut"`
}

// TestFieldsOfEvents checks that lists and streams return the same fields, for new
// events, stored events and data that the database cannot keep unchanged.
func TestFieldsOfEvents(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		const paths = `data.request.method,data.response.status_code,data.list[1],data."odd, key",data.content`
		datas := []string{
			`{"request": {"method": "POST"}, "response": {"status_code": 200}}`,
			`{"list": [1, {"a": [1, 2]}], "odd, key": null}`,
			`{"content": "` + strings.Repeat("é", 3000) + `"}`,
			`{"content": ["` + strings.Repeat("x", 3000) + `"], "list": ["\ud800", "\u0000"]}`,
			`[1]`,
			`{"response": {"status_code": 12345678901234567890123456789.50}}`,
		}
		want := []string{
			`map[data.request.method:"POST" data.response.status_code:200] []`,
			`map[data."odd, key":null data.list[1]:{"a":[1,2]}] []`,
			`map[data.content:"` + strings.Repeat("é", 511) + `"] [data.content]`,
			`map[data.list[1]:"\u0000"] [data.content]`,
			`map[] []`,
			`map[data.response.status_code:12345678901234567890123456789.50] []`,
		}
		check := func(what string, events []withFields) {
			t.Helper()
			if len(events) != len(datas) {
				t.Errorf("%s: %d events, want %d", what, len(events), len(datas))
			}
			for i, e := range events {
				fields := map[string]string{}
				for path, value := range e.Fields {
					if fields[path] = string(value); path == "data.list[1]" { // PostgreSQL adds spaces
						fields[path] = strings.ReplaceAll(string(value), " ", "")
					}
				}
				if got := fmt.Sprint(fields, e.FieldsCut); got != want[i] || e.Seq != int64(i+1) || e.Fields == nil {
					t.Errorf("%s: event %d has %.300s, want %.300s", what, e.Seq, got, want[i])
				}
			}
		}
		live := b.stream("/api/sessions/" + id + "/stream?after=0&fields=" + url.QueryEscape(paths))
		var bodies []string
		for _, data := range datas {
			bodies = append(bodies, `{"event_type":"x","data":`+data+`}`)
		}
		b.sendEvents(id, bodies)
		check("live", fieldsOfStream(t, live, len(datas)))
		check("replayed", fieldsOfStream(t, b.stream("/api/sessions/"+id+"/stream?after=0&fields="+url.QueryEscape(paths)), len(datas)))

		var list struct{ Events []withFields }
		b.decode(b.send("GET", "/api/sessions/"+id+"/events?fields="+url.QueryEscape(paths), ""), http.StatusOK, &list)
		check("listed", list.Events)
		list.Events = nil
		b.decode(b.send("GET", "/api/sessions/"+id+"/events?order=desc&fields="+url.QueryEscape(paths), ""), http.StatusOK, &list)
		slices.Reverse(list.Events)
		check("listed downwards", list.Events)

		for _, path := range []string{"events?fields=", "events"} {
			if a := b.send("GET", "/api/sessions/"+id+"/"+path, ""); strings.Contains(string(a.body), `"fields"`) {
				t.Errorf("%s has fields that nobody asked for: %.300s", path, a.body)
			}
		}
		for query, words := range map[string]string{
			"data.a,pid": "fields, column 8: pid is in every event", "x": "fields, column 1", "data.a[": "fields, column 7", "data.a,,": "fields, column 8",
			strings.Repeat("data.a ,", 3) + numberedPaths(25): "more than 24 paths",
		} {
			for _, path := range []string{"events", "stream"} {
				wantError(t, b.send("GET", "/api/sessions/"+id+"/"+path+"?fields="+url.QueryEscape(query), ""), http.StatusBadRequest, "invalid", words)
			}
		}
	})
}

func numberedPaths(n int) string {
	var paths []string
	for i := range n {
		paths = append(paths, fmt.Sprintf("data.a%d", i))
	}
	return strings.Join(paths, ",")
}

// fieldsOfStream reads n events of a stream.
func fieldsOfStream(t *testing.T, s *stream, n int) (events []withFields) {
	t.Helper()
	for len(events) < n {
		m, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if m.event != "message" {
			continue
		}
		var some []withFields
		if err := json.Unmarshal([]byte(m.data), &some); err != nil {
			t.Fatalf("%v in %.300s", err, m.data)
		}
		events = append(events, some...)
	}
	return events
}

// TestFieldsOfLargeEvents checks that a page with fields of large events is short, that
// the next page continues after it, and that a stream has the same events.
func TestFieldsOfLargeEvents(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		body := strings.Repeat("x", 1<<20)
		for i := range 20 {
			b.sendEvents(id, []string{fmt.Sprintf(`{"event_type":"x","data":{"n":%d,"content":"%s"}}`, i+1, body)})
		}
		seen, pages := int64(0), 0
		for more := true; more; pages++ {
			var list struct {
				Events  []withFields
				HasMore bool `json:"has_more"`
			}
			b.decode(b.send("GET", fmt.Sprintf("/api/sessions/%s/events?limit=15&after=%d&fields=data.n", id, seen), ""), http.StatusOK, &list)
			if len(list.Events) == 0 {
				t.Fatalf("a page after %d is empty", seen)
			}
			for _, e := range list.Events {
				if seen++; e.Seq != seen || string(e.Fields["data.n"]) != fmt.Sprint(seen) {
					t.Fatalf("event %d comes as %d: %s", seen, e.Seq, e.Fields)
				}
			}
			more = list.HasMore
		}
		if seen != 20 || pages < 3 || pages > 4 {
			t.Errorf("%d events came in %d pages, want 20 in 3", seen, pages)
		}
		for i, e := range fieldsOfStream(t, b.stream("/api/sessions/"+id+"/stream?after=0&fields=data.n&filter="+url.QueryEscape("type = x")), 20) {
			if string(e.Fields["data.n"]) != fmt.Sprint(i+1) {
				t.Errorf("event %d of the stream: %s", e.Seq, e.Fields)
			}
		}
	})
}
