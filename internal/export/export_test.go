package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ospulse/internal/export"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

// eventOf decodes an event and numbers it.
func eventOf(t testing.TB, seq int64, body string) models.Event {
	t.Helper()
	in, err := wire.Event([]byte(body), noon)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	in.ID, in.SessionID, in.Seq = uint64(seq), "s", seq
	in.CreatedAt, in.UpdatedAt = noon, noon
	return in.Event
}

// flow is eventOf for a flow, at a number of milliseconds after noon.
func flow(t testing.TB, seq, milli int64, body string) models.Event {
	t.Helper()
	in, err := wire.HTTPFlow([]byte(fmt.Sprintf(`{"timestamp_ms":%d,%s`, noon.Truncate(time.Second).UnixMilli()+milli, body[1:])), noon)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	in.ID, in.SessionID, in.Seq = uint64(seq), "s", seq
	in.CreatedAt = noon
	return in.Event
}

// write exports events in a format.
func write(t testing.TB, name string, events ...models.Event) []byte {
	t.Helper()
	format, err := export.FindFormat(name)
	if err != nil {
		t.Fatal(err)
	}
	encoder := format.New("1.2.3")
	out := encoder.Begin(nil)
	for i := range events {
		out = encoder.Event(out, &events[i])
	}
	return encoder.End(out)
}

func TestFindFormat(t *testing.T) {
	for name, want := range map[string]string{"": "ndjson", "csv": "csv"} {
		if f, err := export.FindFormat(name); err != nil || f.Name != want {
			t.Errorf("%q is %s, %v", name, f.Name, err)
		}
	}
	if _, err := export.FindFormat("xml"); models.ErrorCode(err) != models.CodeInvalid || !strings.Contains(err.Error(), "ndjson, json, csv, har, ecs, bundle") {
		t.Error(err)
	}
}

func TestLinesAndArray(t *testing.T) {
	events := []models.Event{
		eventOf(t, 1, `{"event_type":"x","data":{"a":[1,`+"\r\n"+`2]}}`),
		eventOf(t, 2, `{"event_type":"file_operation","data":{"filePath":"C:\\a<b>","operation":"ReadFile","metadata":{"processId":7,"processName":"cmd.exe"}}}`),
	}
	lines := bytes.Split(bytes.TrimSuffix(write(t, "ndjson", events...), []byte("\n")), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), lines)
	}
	var array []json.RawMessage
	if err := json.Unmarshal(write(t, "json", events...), &array); err != nil || len(array) != 2 {
		t.Fatal(array, err)
	}
	for i, line := range lines {
		if !bytes.Equal(line, array[i]) {
			t.Errorf("the line %s is in the array %s", line, array[i])
		}
		var got struct {
			ID, Seq, PID                   *int64
			ProcessName, Operation, Target *string
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"id", "session_id", "seq", "event_type", "timestamp", "timestamp_source", "source", "created_at", "pid", "process_name", "operation", "target", "data"} {
			if members[name] == nil {
				t.Errorf("%s is missing in %s", name, line)
			}
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if i == 0 && (got.PID != nil || got.Target != nil) || i == 1 && (*got.PID != 7 || *got.Target != `C:\a<b>` || *got.Operation != "ReadFile") {
			t.Errorf("%s", line)
		}
	}
	if string(write(t, "json")) != "[]\n" || len(write(t, "ndjson")) != 0 {
		t.Error("no events are an empty array, and no line")
	}
}

// TestCSV checks that a CSV reader gets every text back, and that no text is a formula
// to a spreadsheet.
func TestCSV(t *testing.T) {
	texts := []string{
		"plain", "=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=x", "＝1", "＋1", "－1", "＠x", "'=quoted", "'", "", " = 1", `say "hi"`, "a,b", "a\nb", "a\r\nb",
		`=cmd|'/C calc'!A0`, "\xff=", "\"=1", ";=1", "a\t=1",
	}
	events := make([]models.Event, len(texts))
	for i, text := range texts {
		pid := int64(-5)
		events[i] = models.Event{Seq: int64(i + 1), Timestamp: noon, EventType: text, Source: text, PID: &pid, ProcessName: &text, Operation: &text, Target: &text, Data: models.JSON(text)}
	}
	events = append(events, models.Event{Seq: 99, Timestamp: noon, EventType: "x", Source: "y", Data: models.JSON("null")})
	out := write(t, "csv", events...)
	if !bytes.HasPrefix(out, []byte("seq,timestamp,event_type,source,pid,process_name,operation,target,data\r\n")) || !bytes.HasSuffix(out, []byte("99,2026-11-22T12:00:00.123456Z,x,y,,,,,null\r\n")) {
		t.Errorf("header or last row: %s", out)
	}
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil || len(rows) != len(events)+1 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	for i, text := range texts {
		for column, cell := range rows[i+1] {
			if column < 2 || column == 4 {
				continue
			}
			if first, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
				t.Errorf("%q is a formula", cell)
			}
			// The reader turns a quoted \r\n into \n.
			if want := strings.ReplaceAll(text, "\r\n", "\n"); strings.TrimPrefix(cell, "'") != want {
				t.Errorf("%q is %q", text, cell)
			}
		}
		if rows[i+1][4] != "-5" || rows[i+1][0] != fmt.Sprint(i+1) {
			t.Errorf("numbers stay numbers: %q", rows[i+1])
		}
	}
	if !bytes.Contains(out, []byte("\"a\r\nb\"")) {
		t.Error("a line break in a cell did not stay")
	}
}

// harLog is an archive as in its specification. Pointers mark required members.
type harLog struct {
	Log *struct {
		Version *string
		Creator *struct{ Name, Version *string }
		Entries []harEntry
	}
}

type harEntry struct {
	StartedDateTime *string
	Time            *float64
	Request         *struct {
		Method, URL, HTTPVersion *string
		Cookies, QueryString     []harPair
		Headers                  []harPair
		PostData                 *struct {
			MimeType, Text *string
			Encoding       string `json:"_encoding"`
			Comment        string
		}
		HeadersSize, BodySize *int64
	}
	Response *struct {
		Status                  *int
		StatusText, HTTPVersion *string
		Cookies                 []harPair
		Headers                 []harPair
		Content                 *struct {
			Size     *int64
			MimeType *string
			Text     *string
			Encoding string
			Comment  string
		}
		RedirectURL           *string
		HeadersSize, BodySize *int64
	}
	Cache           json.RawMessage
	Timings         map[string]*float64
	ServerIPAddress *string
	Comment         string
	Seq             int64 `json:"_seq"`
	RequestSeq      int64 `json:"_requestSeq"`
}

type harPair struct {
	Name, Value *string
	Path        string
	Domain      string
	Expires     string
	HTTPOnly    bool
	Secure      bool
}

// readHAR checks an archive against the specification: required members, their kinds,
// and the sum of the timings.
func readHAR(t testing.TB, text []byte) []harEntry {
	t.Helper()
	var har harLog
	if err := json.Unmarshal(text, &har); err != nil {
		t.Fatalf("%v in %.2000s", err, text)
	}
	if har.Log == nil || *har.Log.Version != "1.2" || *har.Log.Creator.Name == "" || *har.Log.Creator.Version != "1.2.3" || har.Log.Entries == nil {
		t.Fatalf("no log: %.1000s", text)
	}
	for _, e := range har.Log.Entries {
		started, err := time.Parse(time.RFC3339, *e.StartedDateTime)
		if err != nil || started.IsZero() || *e.Time < 0 || string(e.Cache) != "{}" {
			t.Errorf("entry %d: %v", e.Seq, err)
		}
		q, r := e.Request, e.Response
		if q.Method == nil || q.URL == nil || q.HTTPVersion == nil || q.Cookies == nil || q.Headers == nil || q.QueryString == nil || q.HeadersSize == nil || q.BodySize == nil {
			t.Errorf("entry %d: the request lacks something", e.Seq)
		}
		if q.PostData != nil && (q.PostData.MimeType == nil || q.PostData.Text == nil) {
			t.Errorf("entry %d: postData lacks something", e.Seq)
		}
		if r.Status == nil || r.StatusText == nil || r.HTTPVersion == nil || r.Cookies == nil || r.Headers == nil || r.Content.Size == nil || r.Content.MimeType == nil ||
			r.RedirectURL == nil || r.HeadersSize == nil || r.BodySize == nil {
			t.Errorf("entry %d: the response lacks something", e.Seq)
		}
		for _, p := range slices.Concat(q.Cookies, q.Headers, q.QueryString, r.Cookies, r.Headers) {
			if p.Name == nil || p.Value == nil {
				t.Errorf("entry %d: a pair lacks something", e.Seq)
			}
		}
		total := 0.0
		for _, name := range []string{"send", "wait", "receive"} {
			if e.Timings[name] == nil || *e.Timings[name] < 0 {
				t.Errorf("entry %d: timings.%s must be there and not negative", e.Seq, name)
			}
		}
		for name, span := range e.Timings {
			if name != "ssl" {
				total += max(*span, 0)
			}
		}
		if diff := total - *e.Time; diff > 1e-6 || diff < -1e-6 {
			t.Errorf("entry %d: time is %v, the timings %v", e.Seq, *e.Time, total)
		}
		if e.ServerIPAddress != nil {
			if _, err := netip.ParseAddr(*e.ServerIPAddress); err != nil {
				t.Errorf("entry %d: %v", e.Seq, err)
			}
		}
	}
	return har.Log.Entries
}

const (
	getRequest = `{"kind":"request","request":{"method":"GET","url":"http://h/a?x=1&y=%20z&bad=%zz","headers":{"Cookie":"a=b; c=d=e"},"body":{"type":"text","content":"","size":0}}}`
	getAnswer  = `{"kind":"response","server":{"ip":["10.0.0.1",80]},"request":{"method":"GET","url":"http://h/a?x=1&y=%20z&bad=%zz","headers":{"Cookie":"a=b; c=d=e"},"body":{"type":"text","content":"","size":0}},` +
		`"response":{"status_code":302,"reason":"Found","http_version":"HTTP/1.1","headers":{"content-type":"text/html","Location":"/b","content-length":"5","Set-Cookie":"s=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT; HttpOnly, t=2; Secure; Domain=h"},"body":{"type":"text","content":"\u0000h\ud800llo","size":9000,"truncated":true}}}`
	postRequest = `{"kind":"request","request":{"method":"POST","scheme":"https","host":"::1","port":8443,"path":"/p","headers":[["X","1"],["X","2"],["Content-Type","application/octet-stream"]],"body":{"type":"binary","content_b64":"AAEC","size":3}}}`
)

func TestHAR(t *testing.T) {
	t.Run("a request and its response are one entry", func(t *testing.T) {
		entries := readHAR(t, write(t, "har", flow(t, 1, 0, getRequest), eventOf(t, 2, `{"event_type":"file_operation","data":{"request":{}}}`), flow(t, 3, 250, getAnswer)))
		if len(entries) != 1 {
			t.Fatalf("%d entries", len(entries))
		}
		e := entries[0]
		if *e.Time != 250 || *e.StartedDateTime != "2026-11-22T12:00:00Z" || e.Seq != 3 || e.RequestSeq != 1 || *e.ServerIPAddress != "10.0.0.1" || *e.Timings["dns"] != -1 || e.Comment != "" {
			t.Errorf("%+v", e)
		}
		if q := e.Request.QueryString; len(q) != 3 || *q[1].Value != " z" || *q[2].Value != "%zz" {
			t.Errorf("queryString %v", q)
		}
		if c := e.Request.Cookies; len(c) != 2 || *c[1].Name != "c" || *c[1].Value != "d=e" {
			t.Errorf("cookies %v", c)
		}
		r := e.Response
		if *r.Status != 302 || *r.StatusText != "Found" || *r.RedirectURL != "/b" || *r.BodySize != 5 || *r.Content.Size != 9000 || *r.Content.MimeType != "text/html" || !strings.Contains(r.Content.Comment, "cut") || r.Content.Encoding != "" {
			t.Errorf("%+v", r)
		}
		if c := r.Cookies; len(c) != 2 || *c[0].Name != "s" || c[0].Path != "/" || !c[0].HTTPOnly || c[0].Expires != "2026-10-21T07:28:00Z" || *c[1].Name != "t" || !c[1].Secure || c[1].Domain != "h" {
			t.Errorf("cookies %+v", c)
		}
		if e.Request.PostData != nil {
			t.Error("an empty body is no postData")
		}
	})
	t.Run("texts are lossless", func(t *testing.T) {
		if out := write(t, "har", flow(t, 1, 0, getAnswer)); !bytes.Contains(out, []byte(`"\u0000h\ud800llo"`)) {
			t.Errorf("%s", out)
		}
	})
	t.Run("unanswered", func(t *testing.T) {
		entries := readHAR(t, write(t, "har", flow(t, 1, 0, postRequest)))
		e := entries[0]
		if *e.Response.Status != 0 || e.Comment == "" || *e.Request.URL != "https://[::1]:8443/p" || e.Request.PostData.Encoding != "base64" || *e.Request.PostData.Text != "AAEC" || *e.Request.BodySize != 3 || len(e.Request.Headers) != 3 {
			t.Errorf("%+v %+v", e, e.Request)
		}
	})
	t.Run("only a response", func(t *testing.T) {
		if e := readHAR(t, write(t, "har", flow(t, 1, 0, getAnswer))); len(e) != 1 || e[0].Comment == "" || *e[0].Time != 0 {
			t.Errorf("%+v", e)
		}
	})
	t.Run("a response that came before its request", func(t *testing.T) {
		if e := readHAR(t, write(t, "har", flow(t, 1, 10, getAnswer), flow(t, 2, 0, getRequest))); len(e) != 1 || e[0].Seq != 1 || e[0].RequestSeq != 2 || *e[0].Time != 10 {
			t.Errorf("%+v", e)
		}
	})
	t.Run("the same request again, after the response", func(t *testing.T) {
		e := readHAR(t, write(t, "har", flow(t, 1, 10, getAnswer), flow(t, 2, 20, getRequest), flow(t, 3, 30, getRequest), flow(t, 4, 50, getAnswer)))
		if len(e) != 3 || e[0].RequestSeq != 2 || *e[0].Time != 30 || e[1].Seq != 1 || e[2].Seq != 3 || *e[2].Response.Status != 0 {
			t.Errorf("%+v", e)
		}
	})
	t.Run("flows with an id", func(t *testing.T) {
		withID := func(id, body string) string { return `{"flow_id":"` + id + `",` + body[1:] }
		e := readHAR(t, write(t, "har", flow(t, 1, 0, withID("a", getRequest)), flow(t, 2, 1, withID("b", getRequest)), flow(t, 3, 2, withID("b", getAnswer))))
		if len(e) != 2 || e[0].RequestSeq != 2 || e[1].Seq != 1 {
			t.Errorf("%+v", e)
		}
	})
	t.Run("timings of the agent", func(t *testing.T) {
		e := readHAR(t, write(t, "har", flow(t, 1, 0, `{"timings":{"dns":1.5,"connect":10,"ssl":4,"send":1,"wait":20,"receive":"2"},`+getAnswer[1:])))
		if *e[0].Time != 34.5 || *e[0].Timings["ssl"] != 4 || *e[0].Timings["blocked"] != -1 {
			t.Errorf("%v %v", *e[0].Time, e[0].Timings)
		}
	})
	t.Run("nonsense", func(t *testing.T) {
		for _, body := range []string{
			`{"request":{}}`, `{"request":{"method":null,"url":5,"headers":7,"body":9},"response":{"status_code":"x","headers":[[],[1],["a",null],["b",["c","d"]]],"body":[]}}`,
			`{"request":{"headers":{"a":1,"b":null,"c":["d",5],"Set-Cookie":"","Cookie":";;"}},"response":{"headers":{"Set-Cookie":",,;=,"},"body":{"content":5,"size":-5}},"server":{"ip":"nowhere"},"timings":{"wait":-5,"dns":"NaN"}}`,
		} {
			readHAR(t, write(t, "har", flow(t, 1, 0, body)))
		}
		if e := readHAR(t, write(t, "har", flow(t, 1, 0, `{"request":null}`))); len(e) != 0 {
			t.Error("no request is no entry")
		}
	})
}

// TestHARPairsInBoundedMemory checks that a session of requests without responses takes
// bounded memory, and that each request is exported once.
// TestHARHasExchangesOnce checks that an exchange on loopback, which this project's agent saw
// at the client and at the server, is one entry.
func TestHARHasExchangesOnce(t *testing.T) {
	content, err := os.ReadFile("../../web/e2e/testdata/http-both-sides.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var all []models.Event
	for line := range strings.Lines(string(content)) {
		all = append(all, eventOf(t, int64(len(all)+1), line))
	}
	for name, tt := range map[string]struct {
		selected func(data string) bool
		want     string
	}{
		"both":         {func(string) bool { return true }, "200 200 200 404"},
		"the server's": {func(data string) bool { return strings.Contains(data, `"role":"server"`) }, "200 200 200 404"},
		"the client's": {func(data string) bool { return strings.Contains(data, `"role":"client"`) }, "200 200 200 404"},
		"requests":     {func(data string) bool { return !strings.Contains(data, `"response"`) }, "0 0 0 0"},
		"a client without an answer": {func(data string) bool {
			return strings.Contains(data, `"role":"server"`) || !strings.Contains(data, `"response"`)
		}, "200 200 200 404"},
		"another client's, likewise": {func(data string) bool { return strings.Contains(data, `34716`) }, "404"},
	} {
		var events []models.Event
		for i := range all {
			if tt.selected(string(all[i].Payload())) {
				events = append(events, all[i])
			}
		}
		var got []string
		for _, e := range readHAR(t, write(t, "har", events...)) {
			got = append(got, strconv.FormatInt(int64(*e.Response.Status), 10))
			if *e.Response.Status != 0 && e.RequestSeq == 0 {
				t.Errorf("%s: entry %d has no request", name, e.Seq)
			}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %s, want %s", name, text, tt.want)
		}
	}
}

func TestHARPairsInBoundedMemory(t *testing.T) {
	format, err := export.FindFormat("har")
	if err != nil {
		t.Fatal(err)
	}
	encoder := format.New("1.2.3")
	request := `{"kind":"request","request":{"method":"POST","url":"http://h/%d","body":{"type":"text","content":"` + strings.Repeat("x", 100_000) + `","size":100000}}}`
	written, kept := 0, encoder.Begin(nil)
	var during int
	for i := range 1000 {
		e := flow(t, int64(i+1), int64(i), fmt.Sprintf(request, i))
		out := encoder.Event(nil, &e)
		written += bytes.Count(out, []byte(`"_seq":`))
		if i == 999 {
			during = written
		}
	}
	kept = encoder.End(kept)
	written += bytes.Count(kept, []byte(`"_seq":`))
	if written != 1000 || during < 800 || len(kept) > 20<<20 {
		t.Errorf("%d of 1000 entries, %d of them before the end, which has %d bytes", written, during, len(kept))
	}
}

func TestECS(t *testing.T) {
	for name, tt := range map[string]struct {
		event models.Event
		want  string // required members, as JSON
	}{
		"file read": {eventOf(t, 1, `{"event_type":"file_operation","timestamp":"2026-11-22T12:00:00Z","source":"c","data":{"filePath":"C:\\a\\b.TXT","operation":"ReadFile","metadata":{"processId":7,"processName":"cmd.exe"}}}`),
			`{"@timestamp":"2026-11-22T12:00:00Z","ecs":{"version":"8.17.0"},"event":{"kind":"event","category":["file"],"type":["access"],"action":"ReadFile","dataset":"ospulse.file_operation","module":"ospulse","provider":"c","id":"s/1","sequence":1},"file":{"path":"C:\\a\\b.TXT","name":"b.TXT","extension":"TXT"},"process":{"pid":7,"name":"cmd.exe"},"labels":{"session_id":"s"},"ospulse":{"session_id":"s","event_type":"file_operation"}}`},
		"file write":  {eventOf(t, 1, `{"event_type":"file_operation","data":{"operation":"WriteFile"}}`), `{"event":{"type":["change"]}}`},
		"file create": {eventOf(t, 1, `{"event_type":"file_operation","data":{"operation":"NtCreateFile"}}`), `{"event":{"type":["creation"]}}`},
		"file delete": {eventOf(t, 1, `{"event_type":"file_operation","data":{"operation":"unlinkat"}}`), `{"event":{"type":["deletion"]}}`},
		"process": {eventOf(t, 1, `{"event_type":"process_creation","data":{"newProcessId":9,"imagePath":"C:\\Windows\\cmd.exe","commandLine":"cmd /c x","status":0,"operation":"NtCreateUserProcess","metadata":{"processId":7,"processName":"a.exe"}}}`),
			`{"event":{"category":["process"],"type":["start"],"action":"NtCreateUserProcess","outcome":"success"},"process":{"pid":9,"name":"cmd.exe","executable":"C:\\Windows\\cmd.exe","command_line":"cmd /c x","parent":{"pid":7,"name":"a.exe"}}}`},
		"process that was refused": {eventOf(t, 1, `{"event_type":"process_creation","data":{"imagePath":"/bin/x","status":-1073741790}}`), `{"event":{"outcome":"failure"},"process":{"executable":"/bin/x"}}`},
		"http": {flow(t, 1, 0, `{"server":{"ip":["10.0.0.1",8080]},"request":{"method":"GET","url":"https://h.test:8443/a/b.zip?q=1#f","http_version":"HTTP/1.1","headers":{"User-Agent":"curl","Referer":"r"},"body":{"size":3}},"response":{"status_code":404,"headers":{"content-type":"text/html; charset=x"},"body":{"size":5}}}`),
			`{"event":{"category":["network","web"],"type":["connection","access"],"action":"GET","outcome":"failure"},"url":{"original":"https://h.test:8443/a/b.zip?q=1#f","full":"https://h.test:8443/a/b.zip?q=1#f","scheme":"https","domain":"h.test","port":8443,"path":"/a/b.zip","query":"q=1","fragment":"f","extension":"zip"},"http":{"version":"1.1","request":{"method":"GET","referrer":"r","body":{"bytes":3}},"response":{"status_code":404,"mime_type":"text/html","body":{"bytes":5}}},"user_agent":{"original":"curl"},"destination":{"domain":"h.test","ip":"10.0.0.1","port":8080},"network":{"protocol":"http","transport":"tcp","type":"ipv4"}}`},
		"events lost": {eventOf(t, 1, `{"event_type":"events_lost","data":{"count":5}}`), `{"event":{"kind":"pipeline_error"},"ospulse":{"data":{"count":5}}}`},
		"unknown":     {eventOf(t, 1, `{"event_type":"My Thing","data":null}`), `{"event":{"kind":"event","dataset":"ospulse.my_thing","action":"My Thing"},"ospulse":{"data":null}}`},
	} {
		t.Run(name, func(t *testing.T) { wantMembers(t, write(t, "ecs", tt.event), tt.want) })
	}
	packets, _, err := wire.Packets([]byte(`{"events":[{"timestamp":1795374137.5,"protocol":"DNS","src":"127.0.0.1","dst":"::1","src_port":5,"dst_port":53,"length":71,"info_raw":"query"},{"timestamp":1,"protocol":"ICMPv6","src":"aa:bb","dst":null,"src_port":null}]}`), noon)
	if err != nil {
		t.Fatal(err)
	}
	wantMembers(t, write(t, "ecs", packets[0].Event), `{"event":{"category":["network"],"type":["connection"],"action":"dns"},"source":{"address":"127.0.0.1","ip":"127.0.0.1","port":5},"destination":{"ip":"::1","port":53},"network":{"protocol":"dns","bytes":71,"type":"ipv4"},"message":"query"}`)
	wantMembers(t, write(t, "ecs", packets[1].Event), `{"network":{"transport":"ipv6-icmp"},"source":{"address":"aa:bb"}}`)
}

// wantMembers checks that one line of JSON has at least these members.
func wantMembers(t *testing.T, line []byte, want string) {
	t.Helper()
	if bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("no line: %s", line)
	}
	var got, wanted map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	var compare func(place string, got, wanted any)
	compare = func(place string, got, wanted any) {
		object, ok := wanted.(map[string]any)
		if !ok {
			if fmt.Sprint(got) != fmt.Sprint(wanted) {
				t.Errorf("%s is %v, want %v", place, got, wanted)
			}
			return
		}
		members, _ := got.(map[string]any)
		for name, value := range object {
			compare(place+"."+name, members[name], value)
		}
	}
	compare("", got, wanted)
}
