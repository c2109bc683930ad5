package e2e

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestWholeNumbersEverywhere checks that 4.0 and 4e0 are 4 wherever a client's number
// is used, on both databases, and that the event reads back as sent.
func TestWholeNumbersEverywhere(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		for _, n := range []string{"4", "4.0", "4e0", "0.4e1"} {
			id := b.createSession("a"+n, n)["sessionId"].(string)
			post := func(path, body string) {
				t.Helper()
				if a := b.send("POST", path+"?sessionId="+id, body); a.status != http.StatusOK {
					t.Fatalf("%s: %d %s", body, a.status, a.body)
				}
			}
			data := `{"filePath":"C:\\f","operation":"WriteFile","bytesTransferred":` + n + `,"metadata":{"processName":"p.exe","processId":` + n + `}}`
			post("/api/events", `{"event_type":"file_operation","source":"s","data":`+data+`}`)
			post("/api/events", `{"event_type":"process_creation","source":"s","data":{"newProcessId":5.0,"imagePath":"c.exe","status":0.0,"metadata":{"processId":`+n+`}}}`)
			post("/api/net/events", `{"count":1.0,"events":[{"timestamp":1764331200,"protocol":"TCP","src":"10.0.0.5","src_port":`+n+`,"dst":"1.2.3.4","dst_port":443.0,"length":`+n+`}]}`)

			events := b.export(id)
			if !sameJSON(t, events[0].Data, []byte(data)) {
				t.Errorf("%s reads back as %s", data, events[0].Data)
			}
			if got := b.tree(id).String(); got != "p.exe(c.exe)" {
				t.Errorf("%s: the tree is %s", n, got)
			}
			rows, err := csv.NewReader(strings.NewReader(string(b.exportAs(t, id, "format=csv").body))).ReadAll()
			if err != nil || rows[1][4] != "4" || rows[3][7] != "1.2.3.4:443" {
				t.Errorf("%s: CSV %q, %v", n, rows, err)
			}
			var files struct {
				Files []struct {
					BytesWritten int64 `json:"bytes_written"`
					Processes    []struct{ PID *int64 }
				}
			}
			b.decode(b.send("GET", "/api/sessions/"+id+"/files", ""), http.StatusOK, &files)
			if len(files.Files) != 1 || files.Files[0].BytesWritten != 4 || *files.Files[0].Processes[0].PID != 4 {
				t.Errorf("%s: files %+v", n, files)
			}
			var conversations struct {
				Conversations []struct {
					PacketBytes int64 `json:"packet_bytes"`
					Filter      string
				}
			}
			b.decode(b.send("GET", "/api/sessions/"+id+"/conversations", ""), http.StatusOK, &conversations)
			if c := conversations.Conversations; len(c) != 1 || c[0].PacketBytes != 4 || !strings.Contains(c[0].Filter, "data.src_port = 4 ") || !strings.Contains(c[0].Filter, "data.dst_port = 443") {
				t.Errorf("%s: conversations %+v", n, c)
			}
		}
	})
}

// TestByteOrderMark checks that a byte order mark at the beginning of any body is
// ignored, in every encoding.
func TestByteOrderMark(t *testing.T) {
	const bom = "\xef\xbb\xbf"
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": newTestAgent(t).URL})
	event := `{"event_type":"x","source":"host-caf` + "\ufffd" + `","data":{"n":1}}`
	stored := 0
	for _, tt := range []struct {
		path, body, contentType string
		events                  int
	}{
		{"/api/events", event, "application/json", 1},
		{"/api/events/events", event, "application/json", 1},
		{"/api/http/events", `{"request":{"method":"GET"}}`, "application/json", 1},
		{"/api/net/events", `{"events":[{}],"count":1}`, "application/json", 1},
		{"/api/events/batch", "[" + event + "," + event + "]", "application/json", 2},
		{"/api/events/batch", event + "\n" + event + "\n", "application/x-ndjson", 2},
		{"/api/events/batch", event + "\n" + bom + event + "\n", "application/x-ndjson", 2},
		{"/api/events/batch", event + "\n" + bom + "\n\n", "application/x-ndjson", 1},
	} {
		for encoding, body := range map[string]string{"identity": bom + tt.body, "gzip": gzipped(bom + tt.body), "zstd": zstandard(t, bom+tt.body)} {
			a := b.send("POST", tt.path, body, "Content-Type: "+tt.contentType, "Content-Encoding: "+encoding)
			if stored += tt.events; a.status != http.StatusOK || strings.Contains(string(a.body), `"errors"`) {
				t.Errorf("%s as %s: %d %s", tt.path, encoding, a.status, a.body)
			}
		}
	}
	events := b.export("unassigned")
	if len(events) != stored {
		t.Errorf("%d events are stored, want %d", len(events), stored)
	}
	if events[0].Source != "host-caf\ufffd" {
		t.Errorf("source %q", events[0].Source)
	}
	id := b.create("a.exe")
	if a := b.send("POST", "/api/start-monitor", bom+`{"sessionId":"`+id+`","mode":1}`); a.status != http.StatusOK {
		t.Errorf("start: %d %s", a.status, a.body)
	}
	wantError(t, b.send("POST", "/api/events", bom), http.StatusBadRequest, "invalid", "empty")
	wantError(t, b.send("POST", "/api/events", bom+bom+event), http.StatusBadRequest, "invalid", "malformed")
}

// TestHistogramOfYears checks that a histogram has its ends as times, also in the first
// and the last year.
func TestHistogramOfYears(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		for i, times := range [][]string{
			{"0001-01-01T00:00:00Z", "2026-11-28T12:00:00Z"},
			{"2026-11-28T12:00:00Z", "9999-12-31T23:59:59.999999Z"},
			{"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"},
			{"0001-01-01T00:00:00Z"},
			{"2026-11-26T12:00:00Z", "2026-11-28T12:00:00Z"},
		} {
			id := b.createSession(fmt.Sprint("f", i), fmt.Sprint(i))["sessionId"].(string)
			for _, at := range times {
				if a := b.send("POST", "/api/events?sessionId="+id, `{"event_type":"x","timestamp":"`+at+`"}`); a.status != http.StatusOK {
					t.Fatal(string(a.body))
				}
			}
			var h struct {
				From, To string
				Buckets  []struct {
					Start  string
					Counts map[string]int
				}
			}
			b.decode(b.send("GET", "/api/sessions/"+id+"/histogram?buckets=100", ""), http.StatusOK, &h)
			total := 0
			for _, bucket := range h.Buckets {
				total += bucket.Counts["x"]
			}
			if h.From != times[0] || h.To != times[len(times)-1] || h.Buckets[0].Start != times[0] || total != len(times) {
				t.Errorf("%v: from %s to %s, %d events, %d buckets", times, h.From, h.To, total, len(h.Buckets))
			}
		}
	})
}

// TestCSVForExcel checks that excel=true is accepted for CSV only.
func TestCSVForExcel(t *testing.T) {
	b := startBackend(t, nil)
	id := b.createSession("a", "a")["sessionId"].(string)
	const head = "seq,timestamp,"
	if a := b.exportAs(t, id, "format=csv&excel=true"); !strings.HasPrefix(string(a.body), "\ufeff"+head) {
		t.Errorf("%.100q", a.body)
	}
	if a := b.exportAs(t, id, "format=csv&excel=false"); !strings.HasPrefix(string(a.body), head) {
		t.Errorf("%.100q", a.body)
	}
	for _, query := range []string{"format=json&excel=true", "excel=true", "format=bundle&excel=true"} {
		wantError(t, b.send("GET", "/api/sessions/"+id+"/export?"+query, ""), http.StatusBadRequest, "invalid", "excel")
	}
	wantError(t, b.send("GET", "/api/sessions/"+id+"/export?format=csv&excel=1", ""), http.StatusBadRequest, "invalid", "excel")
}
