package agentclient

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestDecodeProcesses(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want []Process // nil is an error
	}{
		"sorted":             {`[{"name":"b","pid":1},{"name":"A","pid":9},{"name":"a","pid":2},{"name":"Ä","pid":3}]`, []Process{{PID: 2, Name: "a"}, {PID: 9, Name: "A"}, {PID: 1, Name: "b"}, {PID: 3, Name: "Ä"}}},
		"empty":              {`[]`, []Process{}},
		"null":               {` null `, []Process{}},
		"wrapped":            {`{"count":1,"processes":[{"pid":1,"name":"a"}]}`, []Process{{PID: 1, Name: "a"}}},
		"wrapped null":       {`{"processes":null}`, []Process{}},
		"quoted pids":        {`[{"pid":"12","name":"a"},{"pid":" 13 ","name":"b"}]`, []Process{{PID: 12, Name: "a"}, {PID: 13, Name: "b"}}},
		"no name":            {`[{"pid":1},{"pid":2,"name":null},{"pid":3,"name":7}]`, []Process{{PID: 1, Name: ""}, {PID: 2, Name: ""}, {PID: 3, Name: ""}}},
		"whole pids":         {`[{"pid":12.0,"parentPid":1e0},{"pid":1.3e1}]`, []Process{{PID: 12, ParentPID: new(int64(1))}, {PID: 13}}},
		"no usable pid":      {`[{"name":"a"},{"pid":null},{"pid":-1},{"pid":1.5},{"pid":"x"},{"pid":""},{"pid":[1]},{"pid":99999999999999999999},{"pid":0,"name":"idle"}]`, []Process{{PID: 0, Name: "idle"}}},
		"all that there is":  {`[{"pid":5,"name":"x","parentPid":1,"commandLine":"x -y","user":"root","startTime":"2026-11-22T19:57:39.9675512+01:00"}]`, []Process{{PID: 5, Name: "x", ParentPID: new(int64(1)), CommandLine: "x -y", User: "root", StartedAt: time.Date(2026, 11, 22, 18, 57, 39, 967551000, time.UTC)}}},
		"of no use":          {`[{"pid":5,"parentPid":-1,"commandLine":["x"],"user":0,"startTime":"yesterday"},{"pid":6,"parentPid":null,"startTime":"0000-01-01T00:00:00Z"},{"pid":7,"startTime":"9999-12-31T23:59:59-01:00"}]`, []Process{{PID: 5}, {PID: 6}, {PID: 7}}},
		"too long":           {`[{"pid":5,"commandLine":"x` + strings.Repeat("é", 600) + `","user":"` + strings.Repeat("u", 300) + `"}]`, []Process{{PID: 5, CommandLine: "x" + strings.Repeat("é", 511), User: strings.Repeat("u", 256)}}},
		"entries of no sort": {`[1,"a",null,[],{},{"pid":5,"name":"x"}]`, []Process{{PID: 5, Name: "x"}}},
		"more in an entry":   {`[{"pid":5,"name":"x","user":{"id":1},"args":[1,2]}]`, []Process{{PID: 5, Name: "x"}}},
		"big pid":            {`[{"pid":1099511627776,"name":"x"}]`, []Process{{PID: 1 << 40, Name: "x"}}},
		"nothing":            {``, nil},
		"cut off":            {`[{"pid":5,"name":"x"},`, nil},
		"more than a list":   {`[] []`, nil},
		"an object":          {`{"error":"no"}`, nil},
		"wrapped text":       {`{"processes":"none"}`, nil},
		"text":               {`"none"`, nil},
		"a page":             {`<p>`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeProcesses([]byte(test.body))
			if (err != nil) != (test.want == nil) || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %#v, %v", got, err)
			}
		})
	}
}

func TestDecodeHealth(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want Health
		ok   bool
	}{
		"full":            {`{"status":"healthy","service":"agent","active_sessions":2}`, Health{"healthy", "agent", 2}, true},
		"only a status":   {`{"status":"ok"}`, Health{Status: "ok"}, true},
		"a list":          {`{"active_sessions":["a","b","c"]}`, Health{ActiveSessions: 3}, true},
		"an object":       {`{"active_sessions":{"a":{}}}`, Health{ActiveSessions: 1}, true},
		"null":            {`{"active_sessions":null}`, Health{}, true},
		"nonsense":        {`{"status":true,"service":1,"active_sessions":"many"}`, Health{}, true},
		"below nothing":   {`{"active_sessions":-1}`, Health{}, true},
		"a status to cut": {`{"status":"a\n` + strings.Repeat("b", 400) + `"}`, Health{Status: "a " + strings.Repeat("b", 297) + "…"}, true},
		"no object":       {`["healthy"]`, Health{}, false},
		"text":            {`OK`, Health{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeHealth([]byte(test.body))
			if (err == nil) != test.ok || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestPlainText(t *testing.T) {
	for name, test := range map[string]struct{ page, want string }{
		"tags":                   {"<p class=x>a<br/>b</p>", "a b"},
		"entities":               {"a &amp; b &#39;c&#39; &lt;script&gt;", "a & b 'c' <script>"},
		"script and style":       {"a<SCRIPT src=x>if (1<2) x()</Script>b<style>p{}</style>c", "a b c"},
		"tags that begin alike":  {"<scripted>a</scripted><styles>b", "a b"},
		"comments":               {"a<!-- <b> -- > -->b", "a b"},
		"unclosed tag":           {"a<b", "a"},
		"unclosed script":        {"a<script>x", "a"},
		"script at the very end": {"a<script", "a"},
		"control characters":     {"a\x00\x1b[31m\u202e b\r\n\tc\xff", "a[31m b c\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := clean(plainText(test.page)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(200, "application/json", []byte(`[{"pid":"12","name":"a"},{"pid":3}]`))
	f.Add(200, "application/json", []byte(`{"processes":[{"pid":1}],"filename":"a","path":"C:\\b","monitoringPid":7,"active_sessions":{}}`))
	f.Add(413, "application/json", []byte(`{"error":"x","message":"y"}`))
	f.Add(500, "text/html", []byte("<!-- --><script>x</script>&lt;<p>\x00\xff"))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		processes, err := decodeProcesses(body)
		if err == nil && (processes == nil || len(processes) > len(body)/len(`{"pid":1}`)) {
			t.Errorf("%d processes from %d bytes", len(processes), len(body))
		}
		if slices.ContainsFunc(processes, func(p Process) bool {
			return p.PID < 0 || p.ParentPID != nil && *p.ParentPID < 0 || !utf8.ValidString(p.Name+p.CommandLine+p.User) || len(p.CommandLine) > maxCommandLine || len(p.User) > maxUserName
		}) {
			t.Errorf("got %v", processes)
		}
		if !slices.IsSortedFunc(processes, func(a, b Process) int {
			return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		}) {
			t.Errorf("not sorted: %v", processes)
		}

		name, err := decodeUpload(body, "sent")
		if err == nil && (name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, unicode.IsControl)) {
			t.Errorf("name %q", name)
		}
		if pid := decodeStart(body).MonitoringPID; pid != nil && *pid < 0 {
			t.Errorf("pid %d", *pid)
		}
		health, _ := decodeHealth(body)
		if health.ActiveSessions < 0 {
			t.Errorf("health %+v", health)
		}

		text, _ := answer{status, contentType, body}.complaint()
		for _, text := range []string{text, health.Status, health.Service} {
			if utf8.RuneCountInString(text) > maxTextRunes || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("text %q", text)
			}
		}
		if text == "" {
			t.Error("no reason was given")
		}
	})
}
