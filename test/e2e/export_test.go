package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// postFixtures creates a session with every recorded event of real clients, and returns
// its id and its events in the form of the old export.
func postFixtures(t testing.TB, b *backend) (id string, events []exported) {
	t.Helper()
	id = b.startSession()
	for _, requests := range readFixtures(t) {
		for _, f := range requests {
			if f.Method != http.MethodPost {
				continue
			}
			if a := b.send(f.Method, f.Path, f.Body); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
	if events = b.export(id); len(events) < 1000 {
		t.Fatalf("%d events", len(events))
	}
	return id, events
}

// exportAs exports a whole session.
func (b *backend) exportAs(t testing.TB, id, query string, header ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.url+"/api/sessions/"+id+"/export?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "identity")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Trailer.Get("X-Export-Status") != "complete" {
		t.Fatalf("%s: %s, trailers %v: %.500s", query, response.Status, response.Trailer, body)
	}
	response.Header.Set("X-Export-Events", response.Trailer.Get("X-Export-Events"))
	a := answer{response.StatusCode, response.Header, body}
	if a.header.Get("Content-Encoding") == "" {
		checkContract(t, request, nil, a)
	}
	return a
}

// wantExported checks an event against the old export.
func wantExported(t testing.TB, line []byte, want exported) {
	t.Helper()
	var got exported
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != want.ID || got.SessionID != want.SessionID || got.Seq != want.Seq || got.EventType != want.EventType || got.Timestamp != want.Timestamp ||
		got.TimestampSource != want.TimestampSource || got.Source != want.Source || !bytes.Equal(got.Data, want.Data) {
		t.Fatalf("event %d is %s, want %+v", want.Seq, line, want)
	}
}

// TestExportFormats checks with independent readers that each format has the values of
// all events.
func TestExportFormats(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"] = newTestAgent(t).URL
		b := startBackend(t, env)
		id, events := postFixtures(t, b)
		count := fmt.Sprint(len(events))

		ndjson := b.exportAs(t, id, "")
		if h := ndjson.header; h.Get("Content-Type") != "application/x-ndjson" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Export-Events") != count ||
			!strings.HasSuffix(h.Get("Content-Disposition"), "-"+id[:8]+".ndjson") || strings.Contains(h.Get("Content-Disposition"), "os-pulse") || h.Get("Content-Encoding") != "" || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Accept-Encoding") {
			t.Errorf("%v", h)
		}
		lines := bytes.SplitAfter(ndjson.body, []byte("\n"))
		if len(lines) != len(events)+1 || len(lines[len(events)]) != 0 {
			t.Fatalf("%d lines of %d", len(lines), len(events))
		}
		for i, want := range events {
			wantExported(t, lines[i], want)
		}

		var array []json.RawMessage
		if err := json.Unmarshal(b.exportAs(t, id, "format=json").body, &array); err != nil || len(array) != len(events) {
			t.Fatalf("%d events, %v", len(array), err)
		}
		for i, want := range events {
			wantExported(t, array[i], want)
		}

		rows, err := csv.NewReader(bytes.NewReader(b.exportAs(t, id, "format=csv").body)).ReadAll()
		if err != nil || len(rows) != len(events)+1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for i, want := range events {
			if row := rows[i+1]; row[0] != fmt.Sprint(want.Seq) || row[1] != want.Timestamp || row[2] != want.EventType || row[3] != want.Source || !sameJSON(t, []byte(row[8]), want.Data) {
				t.Fatalf("row %q, want %+v", row, want)
			}
		}

		wantECS(t, b.exportAs(t, id, "format=ecs").body, events)
		wantHAR(t, b.exportAs(t, id, "format=har"), events)
	})
}

func wantECS(t *testing.T, text []byte, events []exported) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) != len(events) {
		t.Fatalf("%d documents of %d", len(lines), len(events))
	}
	for i, want := range events {
		var got struct {
			Timestamp string `json:"@timestamp"`
			ECS       struct{ Version string }
			Event     struct {
				Kind, Action, Dataset string
				Sequence              int64
			}
			OSPulse struct {
				EventType string `json:"event_type"`
				Data      json.RawMessage
			}
		}
		if err := json.Unmarshal(lines[i], &got); err != nil || got.Timestamp != want.Timestamp || got.ECS.Version == "" || got.Event.Kind == "" || got.Event.Action == "" || got.Event.Dataset == "" ||
			got.Event.Sequence != want.Seq || got.OSPulse.EventType != want.EventType || !bytes.Equal(got.OSPulse.Data, want.Data) {
			t.Fatalf("%v: %.1000s, want %+v", err, lines[i], want)
		}
	}
}

// wantHAR checks that each response is in the archive once, and each request without
// one.
func wantHAR(t *testing.T, har answer, events []exported) {
	t.Helper()
	var got struct {
		Log struct {
			Entries []struct {
				Seq, RequestSeq int64
				Response        struct{ Status int }
			}
		}
	}
	text := strings.NewReplacer(`"_seq"`, `"Seq"`, `"_requestSeq"`, `"RequestSeq"`).Replace(string(har.body))
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	flows, seen := 0, map[int64]bool{}
	for _, e := range got.Log.Entries {
		for _, seq := range []int64{e.Seq, e.RequestSeq} {
			if seq != 0 && seen[seq] {
				t.Errorf("event %d is there twice", seq)
			}
			seen[seq] = true
		}
	}
	for _, e := range events {
		if e.EventType != "http_network_operation" {
			continue
		}
		flows++
		if !seen[e.Seq] {
			t.Errorf("event %d is not there", e.Seq)
		}
	}
	if har.header.Get("X-Export-Events") != fmt.Sprint(flows) || len(got.Log.Entries) >= flows {
		t.Errorf("%d entries of %d flows, %s written: some have a request and a response", len(got.Log.Entries), flows, har.header.Get("X-Export-Events"))
	}
}

func TestExportIsCompressed(t *testing.T) {
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": newTestAgent(t).URL})
	id, _ := postFixtures(t, b)
	for format, plain := range map[string][]byte{"ndjson": b.exportAs(t, id, "format=ndjson").body, "har": b.exportAs(t, id, "format=har").body} {
		for accept, want := range map[string]string{
			"gzip": "gzip", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "gzip;q=1, zstd;q=0.5": "gzip", "gzip;q=0, zstd;q=0": "", "br": "", "*": "zstd", "*;q=0.5, zstd;q=0": "gzip",
			"identity;q=1, gzip;q=0.1": "", "GZIP ; Q=0.3": "gzip", "gzip;q=x": "", "x-gzip": "gzip",
		} {
			a := b.exportAs(t, id, "format="+format, "Accept-Encoding: "+accept)
			if got := a.header.Get("Content-Encoding"); got != want {
				t.Errorf("%q gives %q, want %q", accept, got, want)
				continue
			}
			if got := decoded(t, a); !bytes.Equal(got, plain) {
				t.Errorf("%s in %s is %d bytes, want %d", format, accept, len(got), len(plain))
			}
			if want != "" && len(a.body) > len(plain)/2 {
				t.Errorf("%s of %d bytes for %d", want, len(a.body), len(plain))
			}
		}
	}
	if a := b.exportAs(t, id, "format=bundle", "Accept-Encoding: gzip"); a.header.Get("Content-Encoding") != "" || a.header.Get("Content-Type") != "application/zip" {
		t.Errorf("a bundle in %v", a.header)
	}
}

// decoded undoes the answer's Content-Encoding.
func decoded(t *testing.T, a answer) []byte {
	t.Helper()
	var content io.Reader = bytes.NewReader(a.body)
	switch a.header.Get("Content-Encoding") {
	case "gzip":
		r, err := gzip.NewReader(content)
		if err != nil {
			t.Fatal(err)
		}
		content = r
	case "zstd":
		r, err := zstd.NewReader(content)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		content = r
	}
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestExportRefuses(t *testing.T) {
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": newTestAgent(t).URL})
	id := b.startSession()
	for name, tt := range map[string]struct {
		path   string
		status int
		code   string
		words  string
	}{
		"unknown session":               {"/api/sessions/nobody/export", 404, "not_found", "nobody"},
		"unknown session, bundled":      {"/api/sessions/nobody/export?format=bundle", 404, "not_found", "nobody"},
		"unknown format":                {"/api/sessions/" + id + "/export?format=xml", 400, "invalid", "format must be one of"},
		"filter of a bundle":            {"/api/sessions/" + id + "/export?format=bundle&filter=x", 400, "invalid", "filter"},
		"file of no bundle":             {"/api/sessions/" + id + "/export?file=true", 400, "invalid", "file"},
		"file of neither":               {"/api/sessions/" + id + "/export?format=bundle&file=1", 400, "invalid", "file must be true or false"},
		"file of a session without one": {"/api/sessions/unassigned/export?format=bundle&file=true", 404, "not_found", "no target file"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, b.send("GET", tt.path, ""), tt.status, tt.code, tt.words) })
	}
}

// TestExportOfOddEvents checks that white space in an agent's data breaks no line, and
// that a huge event is exported whole.
func TestExportOfOddEvents(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"] = newTestAgent(t).URL
		b := startBackend(t, env)
		id := b.startSession()
		huge := `"` + strings.Repeat("<&\\u0000é", 1<<18) + `"`
		for _, data := range []string{"{\r\n\t\"a\":\n[1,\r2]}", `"\r\n"`, huge, "null"} {
			if a := b.send("POST", "/api/events", `{"event_type":"x","data":`+data+`}`); a.status != http.StatusOK {
				t.Fatal(a.status, string(a.body))
			}
		}
		lines := strings.Split(string(b.exportAs(t, id, "").body), "\n")
		if len(lines) != 5 || strings.ContainsAny(strings.Join(lines, ""), "\r") {
			t.Fatalf("%d lines", len(lines))
		}
		for i, data := range []string{"{\"a\":[1,2]}", `"\r\n"`, huge, "null"} {
			var e struct{ Data json.RawMessage }
			if err := json.Unmarshal([]byte(lines[i]), &e); err != nil || !sameJSON(t, e.Data, []byte(data)) {
				t.Errorf("event %d: %v: %.200s", i+1, err, e.Data)
			}
		}
	})
}
