//go:build linux

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"ospulse/agent/internal/journal"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/procfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Monitor that records its calls.
type fake struct {
	uploads *Uploads
	started []monitor.Request
	stopped []string // the start ids
	running map[string]bool
}

func (f *fake) Start(_ context.Context, r monitor.Request) (int, error) {
	switch r.FileName {
	case "document":
		return 0, fmt.Errorf("spawn it: %w", monitor.CannotRun(errors.New("document cannot be run: it is a PDF document")))
	case "nowhere":
		return 0, &monitor.Refusal{Text: "no file nowhere"}
	}
	f.started = append(f.started, r)
	f.running[r.SessionID] = true
	return 4711, nil
}

func (f *fake) Stop(_ context.Context, id, startID string) (monitor.Stopped, error) {
	known := f.running[id]
	delete(f.running, id)
	f.stopped = append(f.stopped, startID)
	if id == "stuck" {
		return monitor.Stopped{}, errors.New("it does not end")
	}
	return monitor.Stopped{Known: known, Over: id != "slow"}, nil
}

func (f *fake) FindStart(id string) journal.Start {
	if id == "a/b" {
		return journal.Start{ID: id, SessionID: "s1", State: journal.StartNotRun, Code: "cannot_run", Reason: "it is a PDF document"}
	}
	return journal.Start{ID: id, State: journal.StartUnknown}
}

func (f *fake) Sessions() int { return len(f.running) }

func newService(t testing.TB, guard Guard) (http.Handler, *fake) {
	t.Helper()
	uploads, err := OpenUploads(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { uploads.Close() })
	f := &fake{uploads: uploads, running: map[string]bool{}}
	if guard.ListenHost == "" {
		guard.ListenHost = "127.0.0.1"
	}
	return New(Options{
		Monitor: f, Uploads: uploads, MaxUploadBytes: 1 << 20, Guard: guard, Log: slog.New(slog.DiscardHandler),
		Health:   func() map[string]any { return map[string]any{"sensor": "none"} },
		InFlight: func(string) InFlight { return InFlight{1, 20, 300} },
		Arguments: func(_ context.Context, pid, maxBytes int) ([]string, bool, error) {
			args, isCut := procfs.Args(pid, maxBytes)
			return args, isCut, nil
		},
	}), f
}

func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "localhost:7000"
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func form(field, name, content string) (body, header string) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	part, _ := w.CreateFormFile(field, name) // into memory
	io.WriteString(part, content)            //nolint:errcheck // into memory
	w.Close()
	return out.String(), "Content-Type: " + w.FormDataContentType()
}

func TestRoutes(t *testing.T) {
	h, f := newService(t, Guard{})
	start := func(rest string) string { return `{"sessionId":"s1","fileName":"a",` + rest + `}` }
	for _, slash := range []string{"", "/"} {
		for name, tt := range map[string]struct {
			method string
			paths  []string
			body   string
			status int
			want   string // a prefix of the answer, or of the text of its error
		}{
			"start":                {"POST", []string{"/api/start-monitor", "/api/monitor/start"}, start(`"mode":2,"processes":[5,6]`), 200, `{"message":"monitoring started successfully","mode":2,"monitoringPid":4711,"sessionId":"s1"}`},
			"start, no program":    {"POST", []string{"/api/start-monitor"}, `{"sessionId":"s1","fileName":"document","mode":3}`, 400, `{"code":"cannot_run","error":"document cannot be run: it is a PDF document"}`},
			"start, refused":       {"POST", []string{"/api/start-monitor"}, `{"sessionId":"s1","fileName":"nowhere","mode":3}`, 400, `{"error":"no file nowhere"}`},
			"start, quoted":        {"POST", []string{"/api/start-monitor"}, start(`"mode":"3"`), 200, `{"message":"monitoring started successfully","mode":3`},
			"start without mode":   {"POST", []string{"/api/start-monitor"}, start(`"x":1`), 400, `{"error":"mode is missing`},
			"start, odd mode":      {"POST", []string{"/api/start-monitor"}, start(`"mode":1.5`), 400, `{"error":"mode and processes must be integers, not 1.5"}`},
			"start, odd pids":      {"POST", []string{"/api/start-monitor"}, start(`"mode":2,"processes":["x"]`), 400, `{"error":"mode and processes must be integers`},
			"start, a selection":   {"POST", []string{"/api/start-monitor"}, start(`"mode":"3","selection":{"leaveOut":["reads"],"onlyPaths":["/home"]}`), 200, `{"message":"monitoring started successfully","mode":3`},
			"start, odd selection": {"POST", []string{"/api/start-monitor"}, start(`"mode":1,"selection":{"leaveOut":"reads"}`), 400, `{"error":"selection.leaveOut must not be a JSON string"}`},
			"start, no list":       {"POST", []string{"/api/start-monitor"}, start(`"mode":2,"processes":5`), 400, `{"error":"processes must not be a JSON number"}`},
			"start, no session":    {"POST", []string{"/api/start-monitor"}, `{"mode":1}`, 400, `{"error":"sessionId is missing"}`},
			"start, no object":     {"POST", []string{"/api/start-monitor"}, `[1]`, 400, `{"error":"the body must be a JSON object"}`},
			"start, nothing":       {"POST", []string{"/api/start-monitor"}, ``, 400, `{"error":"the body must be a JSON object"}`},
			"start, null":          {"POST", []string{"/api/start-monitor"}, `null`, 400, `{"error":"the body must be a JSON object"}`},
			"start, too much":      {"POST", []string{"/api/start-monitor"}, start(`"x":"` + strings.Repeat("x", 1<<20) + `"`), 413, `{"error":"the body is larger than 1 MB"}`},
			"stop, in flight":      {"POST", []string{"/api/stop-monitor"}, `{"sessionId":"slow"}`, 200, `{"inFlight":{"events":1,"bytes":20,"sensorBytes":300},"message":"monitoring is being stopped","sessionId":"slow","stopped":false}`},
			"a start":              {"GET", []string{"/api/starts/a%2Fb"}, ``, 200, `{"at":"","code":"cannot_run","monitoringPid":0,"reason":"it is a PDF document","sessionId":"s1","startId":"a/b","state":"not_run"}`},
			"a start, unknown":     {"GET", []string{"/api/starts/x"}, ``, 200, `{"at":"","code":"","monitoringPid":0,"reason":"","sessionId":"","startId":"x","state":"unknown"}`},
			"stop, unknown":        {"POST", []string{"/api/stop-monitor", "/api/monitor/stop"}, `{"sessionId":"nobody"}`, 200, `{"inFlight":{"events":1,"bytes":20,"sensorBytes":0},"message":"monitoring was not running"`},
			"stop, stuck":          {"POST", []string{"/api/stop-monitor"}, `{"sessionId":"stuck"}`, 500, `{"error":"the agent failed: it does not end"}`},
			"stop, no session":     {"POST", []string{"/api/stop-monitor"}, `{}`, 400, `{"error":"sessionId is missing"}`},
			"stop, control":        {"POST", []string{"/api/stop-monitor"}, `{"sessionId":"a\nb"}`, 400, `{"error":"sessionId must be`},
			"processes":            {"POST", []string{"/api/list-processes", "/api/processes"}, `{}`, 200, `[{"pid":`},
			"processes by GET":     {"GET", []string{"/api/list-processes", "/api/processes"}, ``, 200, `[{"pid":`},
			"health":               {"GET", []string{"/health"}, ``, 200, `{"active_sessions":`},
			"upload without form":  {"POST", []string{"/api/upload-file", "/api/upload"}, `{}`, 400, `{"error":"no file`},
			"no such route":        {"POST", []string{"/api/nothing"}, `{}`, 404, `{"error":"there is no such route"}`},
			"wrong method":         {"GET", []string{"/api/start-monitor"}, ``, 405, `{"error":"this route accepts POST only"}`},
		} {
			for _, path := range tt.paths {
				w := ask(h, tt.method, path+slash, tt.body)
				if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.want) || w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("%s: %s %s: %d %.300s", name, tt.method, path+slash, w.Code, w.Body)
				}
			}
		}
	}
	if got := f.started[slices.IndexFunc(f.started, func(r monitor.Request) bool { return r.Mode == 2 })]; !slices.Equal(got.PIDs, []int{5, 6}) || got.FileName != "a" {
		t.Errorf("started %+v", got)
	}
	if !slices.ContainsFunc(f.started, func(r monitor.Request) bool {
		return r.Selection != nil && slices.Equal(r.Selection.LeaveOut, []string{"reads"}) && slices.Equal(r.Selection.OnlyPaths, []string{"/home"})
	}) {
		t.Error("the selection of a start is not passed on")
	}
	for _, path := range []string{"/api/start-monitor", "/api/stop-monitor"} {
		if w := ask(h, "POST", path, start(`"mode":1`), "X-OSPulse-Start: "+strings.Repeat("x", 201)); w.Code != 400 || !strings.Contains(w.Body.String(), "X-OSPulse-Start must be") {
			t.Errorf("%s with a long id: %d %s", path, w.Code, w.Body)
		}
		if w := ask(h, "POST", path, start(`"mode":1`), "X-OSPulse-Start: 7"); w.Code != 200 {
			t.Errorf("%s with an id: %d %s", path, w.Code, w.Body)
		}
	}
	if last := f.started[len(f.started)-1]; last.StartID != "7" || f.stopped[len(f.stopped)-1] != "7" {
		t.Errorf("started %+v, stopped %q", last, f.stopped)
	}
	f.running["s1"] = true
	if w := ask(h, "POST", "/api/stop-monitor", `{"sessionId":"s1"}`); w.Code != 200 || !strings.Contains(w.Body.String(), "monitoring stopped successfully") {
		t.Errorf("stop: %d %s", w.Code, w.Body)
	}
}

func TestUpload(t *testing.T) {
	h, f := newService(t, Guard{})
	for _, tt := range []struct {
		name, content string
		status        int
		want          string
	}{
		{"My Tool (v2).exe", "one", 200, "My_Tool_v2.exe"},
		{"My Tool (v2).exe", "one", 200, "My_Tool_v2.exe"},
		{"My Tool v2.exe", "two", 200, "My_Tool_v2-2.exe"},
		{"My Tool v2.exe", "two", 200, "My_Tool_v2-2.exe"},
		{"../../etc/passwd", "three", 200, "passwd"},
		{`C:\x\evil.exe`, "four", 200, "evil.exe"},
		{"...", "five", 200, "file"},
		{".upload-1", "six", 200, "file.upload-1"},
		{"日本.exe", "seven", 200, "file.exe"},
		{"empty", "", 200, "empty"},
		{"just", strings.Repeat("x", 1<<20), 200, "just"},
		{"large", strings.Repeat("x", 1<<20+1), 413, "larger than 1 MB"},
		{"larger", strings.Repeat("x", 2<<20), 413, "larger than 1 MB"},
		{"", "no name", 400, "no file was selected"},
	} {
		body, kind := form("file", tt.name, tt.content)
		w := ask(h, "POST", "/api/upload", body, kind)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%q: %d %s", tt.name, w.Code, w.Body)
		}
		if tt.status != 200 {
			continue
		}
		var answer struct{ Message, Filename, Path string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Filename != tt.want || answer.Message == "" || filepath.Base(answer.Path) != tt.want {
			t.Errorf("%q: %+v, %v", tt.name, answer, err)
		}
		path, _, err := f.uploads.Find(answer.Filename)
		if err != nil {
			t.Fatal(err)
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != tt.content {
			t.Errorf("%q: kept %.20q, %v", tt.name, kept, err)
		}
	}
	body, kind := form("file", "cut", "abc")
	if w := ask(h, "POST", "/api/upload", body[:len(body)-20], kind); w.Code != 400 {
		t.Errorf("cut off: %d %s", w.Code, w.Body)
	}
	body, kind = form("other", "x", "abc")
	if w := ask(h, "POST", "/api/upload", body, kind); w.Code != 400 {
		t.Errorf("another field: %d %s", w.Code, w.Body)
	}
	entries, err := os.ReadDir(f.uploads.folder)
	if err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), tempPrefix) || e.Name() == "cut" }) {
		t.Errorf("an incomplete file is left: %v, %v", entries, err)
	}
}

func TestGuard(t *testing.T) {
	const key = "a key of the agent"
	for name, tt := range map[string]struct {
		guard  Guard
		method string
		header []string
		status int
	}{
		"a program":           {Guard{}, "POST", nil, 200},
		"another name":        {Guard{}, "POST", []string{"Host: evil.example:7000"}, 403},
		"another address":     {Guard{}, "POST", []string{"Host: 10.1.2.3:7000"}, 403},
		"IPv6":                {Guard{}, "POST", []string{"Host: [::1]:7000"}, 200},
		"an allowed name":     {Guard{AllowedHosts: []string{"vm"}}, "POST", []string{"Host: VM.:7000"}, 200},
		"beyond loopback":     {Guard{ListenHost: "0.0.0.0"}, "POST", []string{"Host: 10.1.2.3:7000"}, 200},
		"another origin":      {Guard{}, "POST", []string{"Origin: http://evil.example"}, 403},
		"a page":              {Guard{}, "POST", []string{"Sec-Fetch-Site: cross-site"}, 403},
		"a page that reads":   {Guard{}, "GET", []string{"Sec-Fetch-Site: cross-site"}, 403},
		"a page of this site": {Guard{}, "POST", []string{"Sec-Fetch-Site: same-site"}, 403},
		"no key":              {Guard{APIKey: key}, "POST", nil, 401},
		"a wrong key":         {Guard{APIKey: key}, "POST", []string{"X-API-Key: b"}, 401},
		"the key":             {Guard{APIKey: key}, "POST", []string{"X-API-Key: " + key}, 200},
		"the key as bearer":   {Guard{APIKey: key}, "POST", []string{"Authorization: bearer " + key}, 200},
	} {
		h, _ := newService(t, tt.guard)
		if w := ask(h, tt.method, "/api/list-processes", "{}", tt.header...); w.Code != tt.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	h, _ := newService(t, Guard{APIKey: key})
	if w := ask(h, "GET", "/health", ""); w.Code != 200 || strings.Contains(w.Body.String(), "sensor") {
		t.Errorf("health without the key: %d %s", w.Code, w.Body)
	}
}

func FuzzSafeName(f *testing.F) {
	for _, name := range []string{"", "a b", "../x", `..\x`, ".", "..", "._.", "\x00", strings.Repeat("a", 300) + ".exe", "a." + strings.Repeat("b", 300)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		safe := SafeName(name)
		if safe == "" || len(safe) > maxNameBytes || safe[0] == '.' || strings.ContainsAny(safe, "/\\ \x00") || !filepath.IsLocal(safe) {
			t.Errorf("%q is not a safe name", safe)
		}
		if again := SafeName(safe); again != safe {
			t.Errorf("SafeName changes its own result %q to %q", safe, again)
		}
	})
}

func FuzzBodies(f *testing.F) {
	for _, body := range []string{`{"sessionId":"s","mode":1}`, `{"sessionId":1}`, `[`, `{"mode":null,"processes":[null]}`} {
		f.Add(uint8(0), body)
		f.Add(uint8(1), body)
	}
	h, _ := newService(f, Guard{})
	f.Fuzz(func(t *testing.T, route uint8, body string) {
		path := []string{"/api/start-monitor", "/api/stop-monitor", "/api/upload"}[route%3]
		w := ask(h, "POST", path, body, "Content-Type: multipart/form-data; boundary=x")
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code == 500 && answer["error"] != "the agent failed: it does not end" {
			t.Errorf("%d %s: %v", w.Code, w.Body, err)
		}
		if text, _ := answer["error"].(string); (w.Code == 200) == (text != "") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// TestServeEndsInTime checks that Serve does not wait for a connection on which a client has
// sent nothing. http.Server.Shutdown would wait for 5 s.
func TestServeEndsInTime(t *testing.T) {
	h, _ := newService(t, Guard{})
	server := httptest.NewUnstartedServer(nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	var log bytes.Buffer
	go func() {
		ended <- Serve(ctx, server.Listener, h, 4*time.Second, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	spare, err := net.Dial("tcp", server.Listener.Addr().String()) // accepted before the next one
	if err != nil {
		t.Fatal(err)
	}
	defer spare.Close()
	response, err := http.Get(fmt.Sprintf("http://%s/health", server.Listener.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil || log.Len() > 0 {
		t.Error(err, &log)
	}
}

// TestProcessesAreDescribed checks the fields of a process in the list, and that its command
// line is cut.
func TestProcessesAreDescribed(t *testing.T) {
	h, _ := newService(t, Guard{})
	long := strings.Repeat("é", 1000)
	cmd := exec.Command("/bin/sh", "-c", "read line # "+long, "it's", "\xff")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }() // the exit code does not matter
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		PID         int       `json:"pid"`
		Name        string    `json:"name"`
		ParentPID   int       `json:"parentPid"`
		CommandLine string    `json:"commandLine"`
		User        string    `json:"user"`
		StartTime   time.Time `json:"startTime"`
	}
	if err := json.Unmarshal(ask(h, "POST", "/api/list-processes", "{}").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range list {
		switch p.PID {
		case cmd.Process.Pid:
			found++
			if p.Name != "sh" || p.ParentPID != os.Getpid() || !strings.HasPrefix(p.CommandLine, "/bin/sh -c 'read line # é") || len(p.CommandLine) < 1020 {
				t.Errorf("%+v", p)
			}
			fallthrough
		case os.Getpid():
			found++
			if age := time.Since(p.StartTime); p.User != me.Username || age < -time.Second || age > time.Hour || len(p.CommandLine) > 1024 || !utf8.ValidString(p.CommandLine) {
				t.Errorf("%+v", p)
			}
		}
	}
	if found != 3 {
		t.Errorf("%d of the processes are listed", found)
	}
}

func TestCommandLinesAreCut(t *testing.T) {
	for name, args := range map[string][]string{
		"quotes": {strings.Repeat("'", 1100)}, "many": slices.Repeat([]string{"x y"}, 500), "wide": {"x" + strings.Repeat("😀", 300)}, "no UTF-8": {strings.Repeat("\xffx", 600)},
	} {
		text := strings.Join(append([]string{"/bin/cat", "-"}, args...), "\x00")[:maxCommandLine]
		line := commandLine(strings.Split(text, "\x00"), true)
		if len(line) > maxCommandLine || len(line) < 900 || !utf8.ValidString(line) || !strings.HasPrefix(line, "/bin/cat - ") {
			t.Errorf("%s: %d bytes: %q", name, len(line), line)
		}
	}
	if line := commandLine(nil, false); line != "" {
		t.Errorf("without arguments: %q", line)
	}
}
