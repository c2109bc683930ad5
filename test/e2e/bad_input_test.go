package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// jsonRoutes take a JSON object by POST, like the example of each. Batches in other
// forms have tests of their own.
var jsonRoutes = map[string]string{
	"/api/events":         `{"event_type":"x","data":{"a":[1,"é"]}}`,
	"/api/events/events":  `{"event_type":"x","data":{"a":[1,"é"]}}`,
	"/api/http/events":    `{"request":{"url":"http://x"},"kind":"request"}`,
	"/api/net/events":     `{"events":[{"protocol":"TCP"}],"count":1}`,
	"/api/list-processes": `{"sessionId":"unassigned"}`,
	"/api/start-monitor":  `{"sessionId":"unassigned","mode":1}`,
	"/api/monitor/stop":   `{"sessionId":"unassigned"}`,
}

// noFaults checks that the backend logged no internal error.
func noFaults(t testing.TB, b *backend) {
	t.Helper()
	if log := b.log.String(); strings.Contains(log, `"level":"ERROR"`) || strings.Contains(strings.ToLower(log), "panic") {
		t.Error("the backend logs faults of its own")
	}
}

// TestMalformedBodies checks that an invalid request is refused with its fault, and
// stores nothing.
func TestMalformedBodies(t *testing.T) {
	const limit = 1 << 20
	b := startBackend(t, map[string]string{"MAX_BODY_MB": "1"})
	for path, good := range jsonRoutes {
		half := good[:len(good)-1]
		for name, test := range map[string]struct{ body, words string }{
			"no body":             {"", "empty"},
			"only spaces":         {" \t\r\n ", "empty"},
			"no JSON":             {"hello", "malformed JSON"},
			"a form":              {"sessionId=x&mode=1", "malformed JSON"},
			"cut":                 {half, "malformed JSON"},
			"a key without value": {half + `,"a":}`, "malformed JSON"},
			"a comma too many":    {half + ",}", "malformed JSON"},
			"two values":          {good + good, "malformed JSON"},
			"text after it":       {good + " x", "malformed JSON"},
			"NUL after it":        {good + "\x00", "malformed JSON"},
			"two BOMs":            {"\ufeff\ufeff" + good, "malformed JSON"}, // one is ignored, see TestByteOrderMark
			"UTF-16":              {"{\x00\"\x00a\x00\"\x00:\x001\x00}\x00", "malformed JSON"},
			"invalid UTF-8":       {half + ",\"\xff\":1}", "malformed JSON"},
			"a raw line break":    {half + ",\"a\nb\":1}", "malformed JSON"},
			"NaN":                 {half + `,"a":NaN}`, "malformed JSON"},
			"10,001 levels":       {half + `,"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "}", "nesting"},
			"a million levels":    {strings.Repeat("[", 1_000_000), "nesting"},
			"an array":            {"[" + good + "]", "an array"},
			"a string":            {`"x"`, "a string"},
			"a number":            {"1", "a number"},
			"a boolean":           {"true", "a boolean"},
			"null":                {"null", "null"},
		} {
			t.Run(path+" with "+name, func(t *testing.T) {
				wantError(t, b.send("POST", path, test.body), http.StatusBadRequest, "invalid", test.words)
			})
		}
		for name, header := range map[string]string{
			"text/plain":               "Content-Type: text/plain",
			"a form":                   "Content-Type: application/x-www-form-urlencoded",
			"an upload":                "Content-Type: multipart/form-data; boundary=b",
			"a type of nonsense":       "Content-Type: ;;",
			"a type of nonsense, long": "Content-Type: " + strings.Repeat("x", 5000),
			"an unknown encoding":      "Content-Encoding: br",
			"a doubly compressed body": "Content-Encoding: gzip, gzip",
		} {
			t.Run(path+" as "+name, func(t *testing.T) {
				wantError(t, b.send("POST", path, good, header), http.StatusUnsupportedMediaType, "unsupported_media", strings.SplitN(header, ":", 2)[0])
			})
		}
		for _, encoding := range []string{"gzip", "zstd"} {
			t.Run(path+" that is no "+encoding, func(t *testing.T) {
				wantError(t, b.send("POST", path, good, "Content-Encoding: "+encoding), http.StatusBadRequest, "invalid", " says")
			})
		}
		for name, test := range map[string]struct {
			bytes   int
			chunked bool
		}{
			"one byte over": {limit + 1, false}, "one byte over, chunked": {limit + 1, true},
			"far over": {16 * limit, false}, "far over, chunked": {16 * limit, true},
		} {
			if test.bytes > 2*limit && path != "/api/events" {
				continue
			}
			t.Run(path+" "+name, func(t *testing.T) {
				head := "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
				body := good + strings.Repeat(" ", test.bytes-len(good))
				request := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
				if test.chunked {
					request = fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body)
				}
				wantError(t, b.raw(request), http.StatusRequestEntityTooLarge, "too_large", "1 MB")
			})
		}
		t.Run(path+" cut by the network", func(t *testing.T) {
			request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, len(good)+1, good)
			wantError(t, b.raw(request), http.StatusBadRequest, "invalid", "ended before")
		})
	}
	if events := b.export(""); len(events) != 0 {
		t.Errorf("%d events were stored, the first is %+v", len(events), events[0])
	}
	noFaults(t, b)
}

// TestBadEvents checks that valid JSON which is no event is refused with the name of
// the field, and that of a batch only the invalid packets are refused.
func TestBadEvents(t *testing.T) {
	const event, flow, batch = "/api/events/events", "/api/http/events", "/api/net/events"
	long := strings.Repeat("x", 101)
	b := startBackend(t, map[string]string{"MAX_BODY_MB": "1"})
	for _, test := range []struct{ path, body, field string }{
		{event, `{}`, "event_type"},
		{event, `{"event_type":null}`, "event_type"},
		{event, `{"event_type":1}`, "event_type"},
		{event, `{"event_type":["x"]}`, "event_type"},
		{event, `{"event_type":null}`, "event_type"},
		{event, `{"event_type":"` + long + `"}`, "event_type"},
		{event, `{"event_type":"` + strings.Repeat("é", 51) + `"}`, "event_type"},
		{event, `{"event_type":"a\u0000"}`, "event_type"},
		{event, `{"event_type":"a\nb"}`, "event_type"},
		{event, `{"event_type":"\ud800"}`, "event_type"},
		{event, `{"Event_Type":"x"}`, "Event_Type"},
		{event, `{"event_type":"x","event_type":"y"}`, "event_type"},
		{event, `{"event_type":"x","event\u005ftype":"y"}`, "event_type"},
		{event, `{"event_type":"x","data":1,"data":2}`, "data"},
		{event, `{"event_type":"x","source":{}}`, "source"},
		{event, `{"event_type":"x","source":"` + long + `"}`, "source"},
		{event, `{"event_type":"x","source":"\u0000"}`, "source"},
		{event, `{"event_type":"x","timestamp":"` + strings.Repeat("9", 300) + `"}`, "timestamp"},
		{event, `{"event_type":"x","timestamp":` + strings.Repeat("9", 300) + `}`, "timestamp"},
		{event, `{"event_type":"x","session_id":"y"}`, "session_id"},
		{event, `{"event_type":"x","` + strings.Repeat("k", 5000) + `":1}`, "kkkk"},
		{event, `{"event_type":"x","":1}`, `""`},
		{flow, `{}`, "request"},
		{flow, `{"timestamp_ms":1,"response":{"status_code":200}}`, "request"},
		{flow, `{"request":"GET /"}`, "request"},
		{flow, `{"request":[]}`, "request"},
		{batch, `{}`, "events"},
		{batch, `{"count":0}`, "events"},
		{batch, `{"events":null}`, "events"},
		{batch, `{"events":{"0":{}}}`, "events"},
		{batch, `{"events":"x"}`, "events"},
		{batch, `{"events":[{}],"events":[{}]}`, "events"},
		{batch, `{"events":[{}],"count":-1}`, "count"},
		{batch, `{"events":[{}],"count":"x"}`, "count"},
		{batch, `{"events":[{}],"count":1.5}`, "count"},
		{batch, `{"events":[{}],"cont":1}`, "cont"},
		{batch, `{"events":[5]}`, "events[0]"},
		{batch, `{"events":[[],"x",null]}`, "events[0]"},
	} {
		t.Run(fmt.Sprintf("%s %.60s", test.path, test.body), func(t *testing.T) {
			wantError(t, b.send("POST", test.path, test.body), http.StatusBadRequest, "invalid", test.field)
		})
	}
	t.Run("too many packets", func(t *testing.T) {
		a := b.send("POST", batch, `{"events":[{}`+strings.Repeat(",{}", 10_000)+`]}`)
		wantError(t, a, http.StatusRequestEntityTooLarge, "too_large", "10000")
	})

	var kept []string // the data that the backend must have at the end
	keep := func(path, body string, header []string, data ...string) answer {
		t.Helper()
		a := b.send("POST", path, body, header...)
		if a.status != http.StatusOK {
			t.Errorf("%.100s %v: %d %s", body, header, a.status, a.body)
		}
		kept = append(kept, data...)
		return a
	}
	for i, header := range []string{
		"Content-Type: ", "Content-Type: application/json; charset=utf-8", "Content-Type: application/vnd.events+json",
		"Content-Type: APPLICATION/JSON", "Content-Encoding: Identity",
	} {
		keep(event, fmt.Sprintf(`{"event_type":"x","data":%d}`, i), []string{header}, fmt.Sprint(i))
	}
	// A body of the maximum size, mostly spaces.
	keep(event, `{"event_type":"x","data":"big"}`+strings.Repeat(" ", 1<<20-len(`{"event_type":"x","data":"big"}`)), nil, `"big"`)
	keep(event, `{"event_type":"`+long[:100]+`","source":"`+long[:100]+`","data":"long"}`, nil, `"long"`)
	for _, count := range []string{"", `,"count":2`, `,"count":null`, `,"count":"1"`} { // count is optional
		keep(batch, `{"events":[{"a":1}]`+count+`}`, nil, `{"a":1}`)
	}
	keep(batch, `{"events":[]}`, nil)
	var mixed struct {
		Stored int
		Errors []struct {
			Index int
			Error string
		}
	}
	b.decode(keep(batch, `{"events":[{"n":0},5,{"n":2},null,[{}],{"n":5}],"count":6}`, nil, `{"n":0}`, `{"n":2}`, `{"n":5}`), http.StatusOK, &mixed)
	indexes := fmt.Sprintf("%d:", mixed.Stored)
	for _, fault := range mixed.Errors {
		indexes += fmt.Sprint(" ", fault.Index)
		if fault.Error == "" {
			t.Errorf("packet %d: no word on what is wrong", fault.Index)
		}
	}
	if indexes != "3: 1 3 4" {
		t.Errorf("stored and refused are %s, want 3: 1 3 4", indexes)
	}

	var got []string
	for i, e := range b.export("") {
		got = append(got, string(e.Data))
		if e.Seq != int64(i+1) {
			t.Errorf("event %d has the seq %d", i+1, e.Seq)
		}
	}
	if !slices.Equal(got, kept) {
		t.Errorf("stored are %q, want %q", got, kept)
	}
	noFaults(t, b)
}

func TestUnknownRoutes(t *testing.T) {
	b := startBackend(t, nil)
	gets := []string{"/healthz", "/readyz", "/api/health", "/api/events/health", "/api/monitor-modes", "/api/events/export", "/api/events/unassigned"}
	allowed := map[string]string{"/api/create-session": "POST"}
	for _, path := range gets {
		allowed[path] = "GET"
	}
	for path := range jsonRoutes {
		if path != "/api/events/events" { // for GET, the last segment is a session
			allowed[path] = "POST"
		}
	}
	for path, method := range allowed {
		for _, wrong := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"} {
			if wrong == method {
				continue
			}
			t.Run(wrong+" "+path, func(t *testing.T) {
				a := b.send(wrong, path, "")
				switch bodyless := map[string]int{"HEAD": http.StatusMethodNotAllowed, "OPTIONS": http.StatusNoContent}[wrong]; {
				case bodyless == 0:
					wantError(t, a, http.StatusMethodNotAllowed, "method_not_allowed", wrong)
				case a.status != bodyless || len(a.body) > 0:
					t.Errorf("%d %s", a.status, a.body)
				}
				if allow := a.header.Get("Allow"); !strings.Contains(allow, method) {
					t.Errorf("Allow: %q, want %s", allow, method)
				}
			})
		}
	}
	for _, path := range []string{
		"/api", "/api/", "/api/nope", "/api/event", "/API/EVENTS", "/api/create-session/x", "/.env", "/data/ospulse.db",
		"/api//health", "//api/health", "/..%2f..%2fetc%2fpasswd", "/api/../../etc/passwd", "/%00", "/%ff", "/api/%68ealth%2f", "/" + strings.Repeat("x", 100_000),
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			t.Run(fmt.Sprintf("%s %.40s", method, path), func(t *testing.T) {
				wantError(t, b.send(method, path, ""), http.StatusNotFound, "not_found", "")
			})
		}
	}
	for _, path := range []string{"/api/events/export?sessionId=nobody", "/api/events/export?sessionId=%00", "/api/events/a/b", "/api/events/" + strings.Repeat("x", 100_000)} {
		t.Run(fmt.Sprintf("GET %.40s", path), func(t *testing.T) {
			wantError(t, b.send("GET", path, ""), http.StatusNotFound, "not_found", "does not exist")
		})
	}
	t.Run("a header of 2 MB", func(t *testing.T) { // refused before any code of the program runs
		if a := b.send("GET", "/healthz", "", "X: "+strings.Repeat("x", 2<<20)); a.status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%d %.100s", a.status, a.body)
		}
	})
	t.Run("a slash at the end", func(t *testing.T) {
		if a := b.send("POST", "/api/events/", `{"event_type":"x"}`); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	if n := len(b.log.String()); n > 1<<20 {
		t.Errorf("the log takes %d bytes", n)
	}
	noFaults(t, b)
}

// FuzzRequests checks that no request causes an internal error, and that every error
// has the same form.
func FuzzRequests(f *testing.F) {
	methods := []string{"POST", "GET", "PUT", "DELETE", "OPTIONS", "HEAD"}
	paths := slices.Sorted(maps.Keys(jsonRoutes))
	paths = append(paths, "/api/events/batch", "/api/create-session", "/api/events/unassigned?limit=1", "/api/events/export?sessionId=x", "/api/monitor-modes", "/api/health", "/readyz", "/nope")
	for i, path := range paths {
		f.Add(uint8(0), uint8(i), "application/json", []byte(jsonRoutes[path]))
		f.Add(uint8(1), uint8(i), "", []byte(nil))
	}
	batch := uint8(slices.Index(paths, "/api/events/batch"))
	f.Add(uint8(0), batch, "application/json", []byte(`[{"event_type":"x"},{"event_type":1},null]`))
	f.Add(uint8(0), batch, "application/x-ndjson", []byte("{\"event_type\":\"x\"}\n\n{]\n"))
	upload := uint8(slices.Index(paths, "/api/create-session"))
	f.Add(uint8(0), upload, "multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../a\\b\"\r\n\r\nMZ\r\n--b--\r\n"))
	for _, requests := range readFixtures(f) {
		if i := slices.Index(paths, requests[0].Path); i >= 0 {
			f.Add(uint8(0), uint8(i), "application/json", []byte(requests[0].Body))
		}
	}
	b := startBackend(f, map[string]string{"MAX_BODY_MB": "1", "MAX_UPLOAD_MB": "1"})
	f.Chdir(filepath.Join(root, "test", "e2e")) // the folder with the corpus
	f.Fuzz(func(t *testing.T, method, path uint8, contentType string, body []byte) {
		request, err := http.NewRequestWithContext(t.Context(), methods[int(method)%len(methods)], b.url+paths[int(path)%len(paths)], strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", contentType)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			if strings.Contains(err.Error(), "invalid header field value") {
				return // no client sends this
			}
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if status := response.StatusCode; status >= 500 && status != http.StatusBadGateway && status != http.StatusGatewayTimeout {
			t.Errorf("%d %s", status, text)
		}
		if request.Method == http.MethodHead || response.StatusCode == http.StatusNoContent {
			return
		}
		if response.StatusCode >= 400 {
			wantError(t, answer{response.StatusCode, response.Header, text}, response.StatusCode, codeOf(text), "")
		} else if !json.Valid(text) {
			t.Errorf("%d, no JSON: %s", response.StatusCode, text)
		}
	})
}

// codeOf returns the code of an error answer, or a text that is no code.
func codeOf(text []byte) string {
	var e struct{ Code string }
	if json.Unmarshal(text, &e) != nil || e.Code == "" {
		return "a code"
	}
	return e.Code
}
