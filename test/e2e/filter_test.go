package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFilterSelectsTheSameEverywhere checks that a filter selects the same events in a
// list, in counts, in an export, and in a replaying and a live stream.
func TestFilterSelectsTheSameEverywhere(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		b.sendEvents(b.create("another.exe"), []string{`{"event_type": "odd", "data": {"content": "host1 ReadFile"}}`}) // in another session
		const n = 6000
		texts, events := analysedEvents(n)
		filters := map[string]func(i int) bool{
			"type = odd": func(i int) bool { return events[i].fields["type"] == "odd" },
			"operation = ReadFile and pid in (100, 104)": func(i int) bool { return i%4 == 0 && (i%17 == 0 || i%17 == 4) },
			`target: C:\dir1*.txt or process = p3.exe`: func(i int) bool {
				return strings.HasPrefix(events[i].fields["target"], `C:\dir1`) && strings.HasSuffix(events[i].fields["target"], ".TXT") || events[i].fields["process"] == "p3.exe"
			},
			`data.request.method = "GET" and HOST2.`: func(i int) bool { return events[i].fields["host"] == "host2.example" },
			"seq > 100 and seq <= 103":               func(i int) bool { return i >= 100 && i < 103 },
			"nowhere":                                func(int) bool { return false },
		}
		live := map[string]*stream{}
		for filter := range filters {
			live[filter] = b.stream("/api/sessions/" + id + "/stream?filter=" + url.QueryEscape(filter))
		}
		b.sendEvents(id, texts)
		for filter, selects := range filters {
			var want []int64
			for i := range events {
				if selects(i) {
					want = append(want, int64(i+1))
				}
			}
			query := "filter=" + url.QueryEscape(filter)
			var listed []int64
			for after := int64(0); ; {
				page := b.listEvents(id, fmt.Sprintf("%s&limit=400&after=%d", query, after))
				listed = append(listed, seqs(page)...)
				if !page.HasMore {
					break
				}
				after = listed[len(listed)-1]
			}
			var exported []int64
			for line := range strings.Lines(string(b.exportAs(t, id, query).body)) {
				var e listedEvent
				if err := json.Unmarshal([]byte(line), &e); err != nil || e.SessionID != id {
					t.Fatal(err, line)
				}
				exported = append(exported, e.Seq)
			}
			replayed := b.stream("/api/sessions/"+id+"/stream?after=0&"+query).seqs(t, len(want))
			streamed := live[filter].seqs(t, len(want))
			for what, got := range map[string][]int64{"the list": listed, "the export": exported, "the replay": replayed, "the stream": streamed} {
				if !slices.Equal(got, want) {
					t.Errorf("%s: %s has %d events, want %d", filter, what, len(got), len(want))
				}
			}
			var h histogram
			b.decode(b.send("GET", "/api/sessions/"+id+"/histogram?"+query, ""), http.StatusOK, &h)
			total := int64(0)
			for _, bucket := range h.Buckets {
				for _, n := range bucket.Counts {
					total += n
				}
			}
			if count := b.listEvents(id, query+"&count=true&limit=1").Count; *count != int64(len(want)) || total != int64(len(want)) || h.UpTo != int64(n) {
				t.Errorf("%s: %d are counted, %d over time up to %d, want %d up to %d", filter, *count, total, h.UpTo, len(want), n)
			}
		}
	})
}

// seqs returns the seqs of the next n events of a stream.
func (s *stream) seqs(t testing.TB, n int) []int64 {
	t.Helper()
	var seqs []int64
	for len(seqs) < n {
		m, err := s.next()
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(seqs), n, err)
		}
		if m.event == "session" || m.event == "findings" {
			continue
		}
		events, err := m.events()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// TestFilteredStreamAdvances checks that a stream whose filter selects nothing still
// reports its position, so that a reconnecting client does not start again.
func TestFilteredStreamAdvances(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		b.sendEvents(id, slices.Repeat([]string{`{"event_type": "x"}`}, 25_000))
		s := b.stream("/api/sessions/" + id + "/stream?after=0&filter=y")
		s.want(t, "session")
		for {
			line, err := s.line()
			if err != nil || strings.HasPrefix(line, "data:") {
				t.Fatalf("it got %q, %v", line, err)
			}
			if number, isID := strings.CutPrefix(line, "id: "); isID { // without data
				if seq, err := strconv.Atoi(number); err != nil || seq < 10_000 {
					t.Errorf("it told %s", line)
				}
				return
			}
		}
	})
}

// TestBadFilters checks that every route that takes a filter refuses an invalid one
// with the position of the fault.
func TestBadFilters(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		for filter, words := range map[string]string{
			"pid = x": "column 7", "(a": "column 3", "a and": "column 6", `"a`: "column 1", "data = 1": "column",
			"targe = a":                "did you mean target",
			strings.Repeat("a ", 5000): "8192", strings.Repeat("(", 200) + "a" + strings.Repeat(")", 200): "column", "a\x00b": "NUL", "a\xff": "UTF-8",
		} {
			for _, path := range []string{"events?", "histogram?", "facets?field=type&", "export?", "stream?"} {
				a := b.send("GET", "/api/sessions/"+id+"/"+path+"filter="+url.QueryEscape(filter), "")
				wantError(t, a, http.StatusBadRequest, "invalid", words)
			}
		}
		wantError(t, b.send("GET", "/api/sessions/"+id+"/export?format=bundle&filter=a", ""), http.StatusBadRequest, "invalid", "bundle")
	})
}

// TestHostileFilters checks that no text causes an internal error or returns an event
// of another session.
func TestHostileFilters(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		b.sendEvents(b.create("another.exe"), []string{`{"event_type": "x", "data": {"a": "secret"}}`})
		b.sendEvents(id, []string{`{"event_type": "x", "data": {"a": "own"}}`, `{"event_type": "x", "data": [1e400, "\u0000", {"": null}]}`})
		pieces := rapid.SampledFrom([]string{
			"type", "pid", "time", "data.a", `data[""]`, "data[0]", "target", "session_id", " ", " and ", " or ", " not ", "(", ")", "=", "!=", ":", "<", ">=", " in ", " like ", " contains ",
			"'", `"`, `\`, "*", "?", "%", "_", "--", ";", "/*", "x", "1", "1e400", "-0", "99999999999999999999", "null", "true", "OR 1=1", "') OR ('a'='a", "$1", "?::text", "{}", "[", "]", "é", "💥", "2026-11-22",
		})
		text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(pieces, 1, 8).Draw(t, "pieces"), "") })
		rapid.Check(t, func(rt *rapid.T) {
			filter := text.Draw(rt, "filter")
			query := "filter=" + url.QueryEscape(filter)
			a := b.send("GET", "/api/sessions/"+id+"/events?count=true&"+query, "")
			var list eventList
			switch {
			case a.status == http.StatusBadRequest:
				wantError(t, a, http.StatusBadRequest, "invalid", "filter")
			case a.status != http.StatusOK || json.Unmarshal(a.body, &list) != nil:
				rt.Fatalf("%q: %d %s", filter, a.status, a.body)
			default:
				sessions := map[string]bool{}
				for _, e := range list.Events {
					sessions[e.SessionID] = true
				}
				if delete(sessions, id); len(sessions) > 0 || int(*list.Count) != len(list.Events) {
					rt.Errorf("%q: it shows %d events, counts %d, and has those of %v", filter, len(list.Events), *list.Count, slices.Collect(maps.Keys(sessions)))
				}
				if a := b.send("GET", "/api/sessions/"+id+"/facets?field=type&"+query, ""); a.status != http.StatusOK {
					rt.Errorf("%q: %d %s", filter, a.status, a.body)
				}
			}
		})
	})
}
