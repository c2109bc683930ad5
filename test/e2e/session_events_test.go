package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/test/wait"
)

// listedEvent is an event in a list.
type listedEvent struct {
	SessionID    string  `json:"session_id"`
	Seq          int64   `json:"seq"`
	EventType    string  `json:"event_type"`
	Timestamp    string  `json:"timestamp"`
	Source       string  `json:"source"`
	PID          *int64  `json:"pid"`
	ProcessName  *string `json:"process_name"`
	Operation    *string `json:"operation"`
	Target       *string `json:"target"`
	Preview      string  `json:"preview"`
	PreviewIsCut bool    `json:"preview_is_cut"`
}

type eventList struct {
	Events  []listedEvent `json:"events"`
	HasMore bool          `json:"has_more"`
	Count   *int64        `json:"count"`
	Expired *struct {
		First int64 `json:"first_seq"`
		Last  int64 `json:"last_seq"`
	} `json:"expired"`
}

// sendEvents stores events in a session, a few thousand per request.
func (b *backend) sendEvents(sessionID string, events []string) {
	b.t.Helper()
	for some := range slices.Chunk(events, 3000) {
		a := b.send("POST", "/api/events/batch?sessionId="+sessionID, "["+strings.Join(some, ",")+"]")
		if a.status != http.StatusOK {
			b.t.Fatalf("%d %s", a.status, a.body)
		}
	}
}

// listEvents returns a page of a session's events.
func (b *backend) listEvents(sessionID, query string) eventList {
	b.t.Helper()
	var list eventList
	b.decode(b.send("GET", "/api/sessions/"+sessionID+"/events?"+query, ""), http.StatusOK, &list)
	return list
}

func seqs(list eventList) []int64 {
	var seqs []int64
	for _, e := range list.Events {
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

// between returns first, first+step … last.
func between(first, last, step int64) []int64 {
	var seqs []int64
	for seq := first; seq != last+step; seq += step {
		seqs = append(seqs, seq)
	}
	return seqs
}

func TestEventsAreListedBySeq(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		var events []string
		for i := range 250 {
			// Times are in reverse order, because pages follow the order of arrival.
			events = append(events, fmt.Sprintf(`{"event_type": "file_operation", "timestamp": "2026-11-22T12:%02d:%02dZ", "source": "test",
				"data": {"operation": "ReadFile", "filePath": "C:\\%d.txt", "metadata": {"processName": "a.exe", "processId": %d}}}`, 59-i/60, 59-i%60, i+1, i%7))
		}
		b.sendEvents(id, events)
		for query, want := range map[string]struct {
			seqs []int64
			more bool
		}{
			"":                                {between(1, 100, 1), true},
			"limit=1000":                      {between(1, 250, 1), false},
			"limit=250":                       {between(1, 250, 1), false},
			"limit=249":                       {between(1, 249, 1), true},
			"after=249":                       {[]int64{250}, false},
			"after=250":                       {nil, false},
			"after=9223372036854775807":       {nil, false},
			"before=1":                        {nil, false},
			"before=3":                        {[]int64{2, 1}, false},
			"before=200&limit=2":              {[]int64{199, 198}, true},
			"before=200&limit=2&order=asc":    {[]int64{1, 2}, true},
			"after=240&before=244":            {[]int64{241, 242, 243}, false},
			"after=240&before=244&order=desc": {[]int64{243, 242, 241}, false},
			"order=desc&limit=3":              {[]int64{250, 249, 248}, true},
			"after=100&order=desc&limit=1000": {between(250, 101, -1), false},
		} {
			if got := b.listEvents(id, query); !slices.Equal(seqs(got), want.seqs) || got.HasMore != want.more || got.Count != nil {
				t.Errorf("%s: %v, more %t, want %v, %t", query, seqs(got), got.HasMore, want.seqs, want.more)
			}
		}
		if got := b.listEvents(id, "count=true&limit=1"); got.Count == nil || *got.Count != 250 || len(got.Events) != 1 {
			t.Errorf("count is %v", got.Count)
		}
		e := b.listEvents(id, "after=41&limit=1").Events[0]
		if e.SessionID != id || e.Seq != 42 || e.EventType != "file_operation" || e.Timestamp != "2026-11-22T12:59:18Z" || e.Source != "test" ||
			*e.PID != 41%7 || *e.ProcessName != "a.exe" || *e.Operation != "ReadFile" || *e.Target != `C:\42.txt` ||
			!strings.Contains(e.Preview, `C:\\42.txt`) || e.PreviewIsCut {
			t.Errorf("event 42 is %+v", e)
		}
	})
}

// TestLongDataIsListedByItsBeginning checks that a list truncates long data, and that
// the single event has all of it.
func TestLongDataIsListedByItsBeginning(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		datas := []string{
			`{"content": "` + strings.Repeat("é", 500) + `"}`, // longer in the list than a preview, short in the database
			`{"content": "` + strings.Repeat("é", 200_000) + `"}`,
			`{"content": "` + strings.Repeat(`\u0000\ud800`, 20_000) + `", "content": 1}`, // kept raw
			`"` + strings.Repeat("x", 253) + `é"`,                                         // a character at the limit
			`[1]`, `null`,
		}
		var events []string
		for _, data := range datas {
			events = append(events, `{"event_type": "x", "data": `+data+`}`)
		}
		b.sendEvents(id, events)
		list := b.listEvents(id, "")
		for i, e := range list.Events {
			if isLong := len(datas[i]) > 256; len(e.Preview) > 256 || len(e.Preview) < 250 && isLong || e.PreviewIsCut != isLong || strings.ContainsRune(e.Preview, '\ufffd') && i != 2 {
				t.Errorf("event %d has the preview %q (%d bytes), cut %t", i+1, e.Preview, len(e.Preview), e.PreviewIsCut)
			}
			var whole exported
			b.decode(b.send("GET", fmt.Sprintf("/api/sessions/%s/events/%d", id, i+1), ""), http.StatusOK, &whole)
			if !sameJSON(t, whole.Data, []byte(datas[i])) || whole.Seq != int64(i+1) || whole.SessionID != id {
				t.Errorf("event %d is %.300s", i+1, whole.Data)
			}
		}
	})
}

func TestBadEventQueries(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		b.sendEvents(id, []string{`{"event_type": "x"}`})
		for path, words := range map[string]string{
			"events?limit=0":                    "limit",
			"events?limit=1001":                 "limit",
			"events?after=-1":                   "after",
			"events?after=1.5":                  "after",
			"events?after=99999999999999999999": "after",
			"events?before=0":                   "before",
			"events?before=x":                   "before",
			"events?order=up":                   "order",
			"events?count=1":                    "count",
			"histogram?buckets=0":               "buckets",
			"histogram?buckets=1001":            "buckets",
			"histogram?from=yesterday":          "from",
			"histogram?to=2026-99-99":           "to",
			"facets":                            "field",
			"facets?field=data":                 "field",
			"facets?field=type&limit=0":         "limit",
		} {
			wantError(t, b.send("GET", "/api/sessions/"+id+"/"+path, ""), http.StatusBadRequest, "invalid", words)
		}
		for _, path := range []string{"events", "events/1", "histogram", "facets?field=type"} {
			wantError(t, b.send("GET", "/api/sessions/nobody/"+path, ""), http.StatusNotFound, "not_found", "nobody")
		}
		for _, seq := range []string{"0", "2", "-1", "x", "1.0", "99999999999999999999"} {
			wantError(t, b.send("GET", "/api/sessions/"+id+"/events/"+seq, ""), http.StatusNotFound, "not_found", seq)
		}
	})
}

// analysed has what the test knows of an event that it sent.
type analysed struct {
	at     time.Time
	fields map[string]string
}

type histogram struct {
	From        string   `json:"from"`
	To          string   `json:"to"`
	WidthMicros int64    `json:"width_micros"`
	UpTo        int64    `json:"up_to"`
	Types       []string `json:"types"`
	Buckets     []struct {
		Start  time.Time        `json:"start"`
		Counts map[string]int64 `json:"counts"`
	} `json:"buckets"`
}

type facet struct {
	Field  string `json:"field"`
	Values []struct {
		Value string `json:"value"`
		Count int64  `json:"count"`
	} `json:"values"`
	Others int64 `json:"others"`
	None   int64 `json:"none"`
}

// wantHistogram checks that each bucket counts exactly the events in it.
func wantHistogram(t *testing.T, b *backend, id, query string, events []analysed) {
	t.Helper()
	var h histogram
	b.decode(b.send("GET", "/api/sessions/"+id+"/histogram?"+query, ""), http.StatusOK, &h)
	width := time.Duration(h.WidthMicros) * time.Microsecond
	want := make([]map[string]int64, len(h.Buckets))
	for i, bucket := range h.Buckets {
		if i > 0 && !bucket.Start.Equal(h.Buckets[i-1].Start.Add(width)) {
			t.Fatalf("%s: bucket %d begins at %s", query, i, bucket.Start)
		}
		want[i] = map[string]int64{}
	}
	total := 0
	for i := range events {
		if after := events[i].at.Sub(h.Buckets[0].Start); after >= 0 && after < width*time.Duration(len(want)) {
			want[after/width][events[i].fields["type"]]++
			total++
		}
	}
	for i, bucket := range h.Buckets {
		if !maps.Equal(want[i], bucket.Counts) {
			t.Fatalf("%s: bucket %d counts %v, want %v", query, i, bucket.Counts, want[i])
		}
	}
	if total != len(events) {
		t.Errorf("%s: the buckets have %d of %d events: %s to %s", query, total, len(events), h.From, h.To)
	}
}

// wantFacet checks the most frequent values of a field and the sum of the rest.
func wantFacet(t *testing.T, b *backend, id, field, query string, limit int, events []analysed) {
	t.Helper()
	counts := map[string]int64{}
	for _, e := range events {
		counts[e.fields[field]]++
	}
	want := facet{Field: field, None: counts[""]}
	delete(counts, "")
	values := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	for i, value := range values {
		if i >= limit {
			want.Others += counts[value]
			continue
		}
		want.Values = append(want.Values, struct {
			Value string `json:"value"`
			Count int64  `json:"count"`
		}{value, counts[value]})
	}
	var got facet
	b.decode(b.send("GET", fmt.Sprintf("/api/sessions/%s/facets?field=%s&limit=%d&%s", id, field, limit, query), ""), http.StatusOK, &got)
	if got.Field != want.Field || got.Others != want.Others || got.None != want.None || !slices.Equal(got.Values, want.Values) {
		t.Errorf("%s %s:\n %+v, want\n %+v", field, query, got, want)
	}
}

// analysedEvents returns events of several kinds, not in the order of their times.
func analysedEvents(n int) (texts []string, events []analysed) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range n {
		at := noon.Add(time.Duration(i*1_000_003%(n*977)) * time.Microsecond)
		stamp := at.Format("2006-01-02T15:04:05.000000Z")
		name, pid := fmt.Sprintf("p%d.exe", i%13), fmt.Sprint(100+i%17)
		fields := map[string]string{"process": name, "pid": pid, "source": "test"}
		var text string
		switch i % 4 {
		case 0:
			fields["type"], fields["operation"], fields["target"] = "file_operation", "ReadFile", fmt.Sprintf(`C:\dir%d\f.%s`, i%50, []string{"TXT", "dll", "tar.gz"}[i%3])
			fields["extension"] = []string{"txt", "dll", "gz"}[i%3]
			path, _ := json.Marshal(fields["target"])
			text = fmt.Sprintf(`{"event_type": "file_operation", "timestamp": %q, "source": "test", "data": {"operation": "ReadFile", "filePath": %s, "metadata": {"processName": %q, "processId": %s}}}`, stamp, path, name, pid)
		case 1:
			fields["type"], fields["operation"], fields["target"] = "http_network_operation", "GET", fmt.Sprintf("https://Host%d.example:8443/a/b.php?x=%d", i%5, i)
			fields["host"], fields["extension"] = fmt.Sprintf("host%d.example", i%5), "php"
			text = fmt.Sprintf(`{"event_type": "http_network_operation", "timestamp": %q, "source": "test", "data": {"request": {"method": "GET", "url": %q}, "metadata": {"processName": %q, "processId": %s}}}`, stamp, fields["target"], name, pid)
		case 2:
			fields["type"], fields["target"] = "raw_network_operation", fmt.Sprintf("[fe80::%d]:443", i%3)
			fields["host"] = fmt.Sprintf("fe80::%d", i%3)
			text = fmt.Sprintf(`{"event_type": "raw_network_operation", "timestamp": %q, "source": "test", "data": {"dst": "fe80::%d", "dst_port": 443, "metadata": {"processName": %q, "processId": %s}}}`, stamp, i%3, name, pid)
		default:
			fields = map[string]string{"type": "odd", "source": "unknown"}
			text = fmt.Sprintf(`{"event_type": "odd", "timestamp": %q}`, stamp)
		}
		texts, events = append(texts, text), append(events, analysed{at, fields})
	}
	return texts, events
}

// TestEventsAreCountedRight checks that counts are the same from the events, from their
// segments, and from both, as when a segment is missing or damaged.
func TestEventsAreCountedRight(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = filepath.Join(t.TempDir(), "data")
		env["SEAL_AFTER"] = "never" // the test changes what is stored
		b := startBackend(t, env)
		id := b.create("sample.exe")
		const n = 2*4096 + 500
		texts, events := analysedEvents(n)
		b.sendEvents(id, texts)
		from, to := events[0].at.Add(n*977*time.Microsecond/3), events[0].at.Add(n*977*time.Microsecond/2)
		var inSpan, ofFiles []analysed
		for _, e := range events {
			if !e.at.Before(from) && !e.at.After(to) {
				inSpan = append(inSpan, e)
			}
			if e.fields["type"] == "file_operation" && e.fields["process"] != "p1.exe" {
				ofFiles = append(ofFiles, e)
			}
		}
		span := "from=" + from.Format(time.RFC3339Nano) + "&to=" + to.Format(time.RFC3339Nano)
		byFields := "filter=" + url.QueryEscape("type = file_operation and not process = p1.exe")
		byData := "filter=" + url.QueryEscape("data.operation = ReadFile and data.metadata.processName != p1.exe")
		check := func(what string) {
			t.Helper()
			wantHistogram(t, b, id, "", events)
			wantHistogram(t, b, id, "buckets=1", events)
			wantHistogram(t, b, id, "buckets=1000", events)
			wantHistogram(t, b, id, span+"&buckets=7", inSpan)
			for _, filter := range []string{byFields, byData} {
				wantHistogram(t, b, id, filter, ofFiles)
				wantFacet(t, b, id, "process", filter, 5, ofFiles)
				if got := b.listEvents(id, "count=true&"+filter); *got.Count != int64(len(ofFiles)) {
					t.Errorf("%s: %s counts %d, want %d", what, filter, *got.Count, len(ofFiles))
				}
			}
			for _, field := range []string{"type", "source", "operation", "process", "pid", "host", "extension"} {
				wantFacet(t, b, id, field, "", 1000, events)
			}
			wantFacet(t, b, id, "target", "", 10, events)
			if t.Failed() {
				t.Fatal("by ", what)
			}
		}
		check("what there is")
		db := openDatabase(t, env)
		count := func() (n int) {
			if err := db.QueryRow("SELECT COUNT(*) FROM segments WHERE session_id = '" + id + "'").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		wait.For(t, "two segments", func() bool { return count() == 2 })
		check("segments")
		if _, err := db.Exec("UPDATE segments SET columns = '" + "damaged" + "' WHERE number = 0"); err != nil {
			t.Fatal(err)
		}
		check("segments, one of them damaged")
		if _, err := db.Exec("DELETE FROM segments WHERE number = 1"); err != nil {
			t.Fatal(err)
		}
		check("segments and a gap")
	})
}

// TestHistogramOfManyTypes checks that many types, as a hostile agent may send, do not
// make an answer grow without limit.
func TestHistogramOfManyTypes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		events := []string{`{"event_type": "other"}`}
		for i := range 500 {
			events = append(events, fmt.Sprintf(`{"event_type": "type%d"}`, i))
		}
		b.sendEvents(id, append(events, events...))
		var h histogram
		b.decode(b.send("GET", "/api/sessions/"+id+"/histogram?buckets=1", ""), http.StatusOK, &h)
		total := int64(0)
		for _, n := range h.Buckets[0].Counts {
			total += n
		}
		if total != 1002 || len(h.Types) > 65 || h.Buckets[0].Counts["other"] < 2+2*(500-64) || h.Buckets[0].Counts["type0"] != 2 {
			t.Errorf("%d events are counted: %v", total, h.Buckets[0].Counts)
		}
	})
}

func TestCountsOfNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("sample.exe")
		var session struct {
			CreatedAt string `json:"created_at"`
		}
		b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &session)
		created := session.CreatedAt
		for path, want := range map[string]string{
			"events":            `{"events":[],"has_more":false}`,
			"events?count=true": `{"events":[],"has_more":false,"count":0}`,
			"histogram":         `{"from":"` + created + `","to":"` + created + `","width_micros":1,"up_to":0,"types":[],"buckets":[]}`,
			"histogram?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": `{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z","width_micros":1,"up_to":0,"types":[],"buckets":[]}`,
			"facets?field=type": `{"field":"type","values":[],"others":0,"none":0}`,
		} {
			if a := b.send("GET", "/api/sessions/"+id+"/"+path, ""); a.status != http.StatusOK || strings.TrimSpace(string(a.body)) != want {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	})
}
