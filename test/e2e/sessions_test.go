package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"ospulse/test/wait"
)

// Handlers of a fake agent.
var (
	hangUp = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) } // as if it were offline
	silent = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	say    = func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			io.WriteString(w, body) //nolint:errcheck // the backend may be gone
		}
	}
)

// The agent's routes.
const (
	agentUpload = "POST /api/upload-file"
	agentList   = "POST /api/list-processes"
	agentStart  = "POST /api/start-monitor"
	agentStop   = "POST /api/stop-monitor"
)

// tells makes the agent report on the start in r, as our own agent does. The start is
// "starting" until release is closed, and then "running".
func (a *testAgent) tells(r *http.Request, release <-chan struct{}) {
	a.handle("GET /api/starts/"+r.Header.Get("X-OSPulse-Start"), func(w http.ResponseWriter, r *http.Request) {
		state := "starting"
		select {
		case <-release:
			state = "running"
		default:
		}
		say(200, "application/json", `{"state":"`+state+`","monitoringPid":4711}`)(w, r)
	})
}

// start requests the monitoring of a session in mode 1.
func (b *backend) start(id string) answer {
	b.t.Helper()
	return b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`)
}

// mustStart is start with a required success.
func (b *backend) mustStart(id string) {
	b.t.Helper()
	if a := b.start(id); a.status != http.StatusOK {
		b.t.Fatalf("start: %d %s", a.status, a.body)
	}
}

// mustStop ends a session and returns the answer.
func (b *backend) mustStop(id string) map[string]any {
	b.t.Helper()
	var stopped map[string]any
	b.decode(b.send("POST", "/api/monitor/stop", `{"sessionId":"`+id+`"}`), http.StatusOK, &stopped)
	return stopped
}

// create creates a session and returns its id.
func (b *backend) create(fileName string) string {
	b.t.Helper()
	return b.createSession(fileName, "MZ")["sessionId"].(string)
}

// owner stores an event that names no session, and returns the session that it is
// stored in.
func (b *backend) owner() string {
	b.t.Helper()
	var s struct {
		SessionID string `json:"session_id"`
	}
	b.decode(b.send("POST", "/api/events", `{"event_type":"probe"}`), http.StatusOK, &s)
	return s.SessionID
}

// stopsOf counts the stops of a session that the agent received.
func (a *testAgent) stopsOf(id string) (n int) {
	for _, r := range a.received(agentStop) {
		if strings.Contains(r.body, id) {
			n++
		}
	}
	return n
}

// uploadedFile returns the file that an agent received.
func uploadedFile(t testing.TB, r agentRequest) (name, content string) {
	t.Helper()
	boundary, _, _ := strings.Cut(strings.TrimPrefix(r.body, "--"), "\r\n")
	part, err := multipart.NewReader(strings.NewReader(r.body), boundary).NextPart()
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(part)
	if err != nil {
		t.Fatal(err)
	}
	return params["filename"], string(text)
}

// openDatabase opens a second connection to the backend's database.
func openDatabase(t testing.TB, env map[string]string) *sql.DB {
	t.Helper()
	driver, source := "sqlite", "file:"+filepath.ToSlash(filepath.Join(env["DATA_DIR"], "ospulse.db"))+"?_pragma=busy_timeout(5000)"
	if env["DATABASE_URL"] != "" {
		driver, source = "pgx", env["DATABASE_URL"]
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// storedNames reads the sessions' file names directly from the database.
func storedNames(t testing.TB, env map[string]string) map[string]string {
	t.Helper()
	db := openDatabase(t, env)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT id, file_name FROM sessions")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names := map[string]string{}
	for rows.Next() {
		var id, name string
		if err := rows.Scan(&id, &name); err != nil {
			t.Fatal(err)
		}
		names[id] = name
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// filesIn lists the files under a folder, with / between the folders.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// storedAs returns the path of a content in the data folder.
func storedAs(content string) string {
	hash := sha256.Sum256([]byte(content))
	name := hex.EncodeToString(hash[:])
	return "files/" + name[:2] + "/" + name
}

// TestFileNames checks that any file name is kept as it was sent, and that the agent
// gets the same bytes under a name that is safe in any folder.
func TestFileNames(t *testing.T) {
	long := strings.Repeat("n", 296) + ".exe"
	tests := map[string]struct{ parameter, stored, sent string }{
		"a way up":             {`filename="../../x"`, "../../x", "x"},
		"an absolute path":     {`filename="/etc/passwd"`, "/etc/passwd", "passwd"},
		"a Windows path":       {`filename="C:\dir\My Tool (v2).exe"`, `C:\dir\My Tool (v2).exe`, "My Tool (v2).exe"},
		"one that is escaped":  {`filename="C:\\dir\\My Tool (v2).exe"`, `C:\dir\My Tool (v2).exe`, "My Tool (v2).exe"},
		"a drive or a stream":  {`filename="C:evil.exe"`, "C:evil.exe", "C_evil.exe"},
		"NUL":                  {`filename*=UTF-8''a%00b.exe`, "a\ufffdb.exe", "ab.exe"},
		"control characters":   {`filename*=UTF-8''a%01%1F%0D%0Ab%7F.exe`, "a\x01\x1f\r\nb\x7f.exe", "ab.exe"},
		"a tab":                {"filename=\"a\tb.exe\"", "a\tb.exe", "ab.exe"},
		"300 characters":       {`filename="` + long + `"`, long, long[:196] + ".exe"},
		"300 that are longer":  {`filename="` + strings.Repeat("ü", 300) + `.exe"`, strings.Repeat("ü", 300) + ".exe", strings.Repeat("ü", 98) + ".exe"},
		"an endless extension": {`filename="a.` + long[:296] + `"`, "a." + long[:296], "a." + long[:198]},
		"an empty name":        {`filename=""`, "", ""},
		"no name":              {`x=y`, "", ""},
		"only dots":            {`filename=".."`, "..", ""},
		"only a path":          {`filename="a/../"`, "a/../", ""},
		"Unicode":              {`filename="файл 😀.exe"`, "файл 😀.exe", "файл 😀.exe"},
		"invalid UTF-8":        {"filename=\"bad\xff\xfe.exe\"", "bad\ufffd.exe", "bad.exe"},
		"quotes":               {`filename="say \"hi\".exe"`, `say "hi".exe`, "say _hi_.exe"},
		"SQL":                  {`filename="'; DROP TABLE sessions;--"`, "'; DROP TABLE sessions;--", "'; DROP TABLE sessions;--"},
		"markup":               {`filename="<script>*?.html"`, "<script>*?.html", "_script___.html"},
		"percent signs":        {`filename="%00%2e%22.exe"`, "%00%2e%22.exe", "%00%2e%22.exe"},
	}
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		around := t.TempDir()
		env["DATA_DIR"] = filepath.Join(around, "data")
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		var (
			ids     = map[string]string{}
			content = map[string]string{}
			files   []string
		)
		for name, test := range tests {
			content[name] = "\x00\xff\r\n--ospulse-test-boundar\r\n" + name
			files = append(files, "data/"+storedAs(content[name]))
			var created map[string]any
			b.decode(b.upload(`form-data; name="file"; `+test.parameter, content[name]), http.StatusOK, &created)
			ids[name] = created["sessionId"].(string)
			if created["delivered"] != true || created["fileName"] != test.stored || "data/files/"+created["sha256"].(string)[:2]+"/"+created["sha256"].(string) != files[len(files)-1] {
				t.Errorf("%s: answered %v", name, created)
			}
			if test.sent == "" {
				test.sent = created["sha256"].(string)[:16] + ".bin"
			}
			uploads := agent.received(agentUpload)
			if sent, got := uploadedFile(t, uploads[len(uploads)-1]); sent != test.sent || got != content[name] || len(uploads) != len(ids) {
				t.Errorf("%s: the agent got %q under the name %q, want %q", name, got, sent, test.sent)
			}
		}
		names := storedNames(t, env)
		for name, test := range tests {
			if got, ok := names[ids[name]]; !ok || got != test.stored {
				t.Errorf("%s: stored as %q, want %q", name, got, test.stored)
			}
		}
		for name, parameter := range map[string]string{
			"5000 characters": strings.Repeat("n", 5000), "a NUL as it is": "a\x00b", "control characters as they are": "a\x01b",
		} {
			words := "control character"
			if len(parameter) == 5000 {
				words = "name is 5000 bytes long"
			}
			t.Run(name, func(t *testing.T) {
				wantError(t, b.upload(`form-data; name="file"; filename="`+parameter+`"`, "never kept"), http.StatusBadRequest, "invalid", words)
			})
		}
		b.stop()
		slices.Sort(files)
		there := slices.DeleteFunc(filesIn(t, around), func(name string) bool {
			return strings.HasPrefix(name, "data/ospulse.db") || strings.HasPrefix(name, "data/spool/") || name == "data/files.owner"
		})
		if slices.Sort(there); !slices.Equal(there, files) {
			t.Errorf("there are the files %q, want %q", there, files)
		}
		if here := filesIn(t, "."); len(here) > 0 {
			t.Errorf("files in the working directory: %q", here)
		}
	})
}

func TestUploadSizes(t *testing.T) {
	const limit = 1 << 20
	agent := newTestAgent(t)
	env := map[string]string{"AGENT_SERVICE_URL": agent.URL, "MAX_UPLOAD_MB": "1", "DATA_DIR": t.TempDir()}
	b := startBackend(t, env)
	var files []string
	for name, size := range map[string]int{"empty": 0, "one byte": 1, "at the limit": limit} {
		t.Run(name, func(t *testing.T) {
			content := strings.Repeat("x", size)
			for range 2 { // the content is stored once
				if created := b.createSession("a", content); created["sizeBytes"] != float64(size) || created["delivered"] != true {
					t.Errorf("answered %v", created)
				}
			}
			files = append(files, storedAs(content))
			uploads := agent.received(agentUpload)
			if _, got := uploadedFile(t, uploads[len(uploads)-1]); got != content {
				t.Errorf("the agent got %d bytes, want %d", len(got), size)
			}
		})
	}
	const (
		head = "POST /api/create-session HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
		file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
		note = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n"
		end  = "\r\n--b--\r\n"
	)
	plain := func(body string) string { return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body) }
	chunked := func(body string) string {
		return fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body)
	}
	for name, request := range map[string]string{
		"one byte over":                 plain(file + strings.Repeat("x", limit+1) + end),
		"one byte over, chunked":        chunked(file + strings.Repeat("x", limit+1) + end),
		"3 MB":                          plain(file + strings.Repeat("x", 3<<20) + end),
		"3 MB, chunked":                 chunked(file + strings.Repeat("x", 3<<20) + end),
		"more than any socket holds":    plain(file + strings.Repeat("x", 16<<20) + end),
		"the same, chunked":             chunked(file + strings.Repeat("x", 16<<20) + end),
		"a long field before the file":  plain(note + strings.Repeat("x", 3<<20) + "\r\n" + file + "x" + end),
		"the same field, chunked":       chunked(note + strings.Repeat("x", 3<<20) + "\r\n" + file + "x" + end),
		"announced, and waiting for us": head + "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, b.raw(request), http.StatusRequestEntityTooLarge, "too_large", "1 MB")
		})
	}
	t.Run("a name too long, and a large file", func(t *testing.T) {
		request := plain(strings.Replace(file, "x", strings.Repeat("x", 5000), 1) + strings.Repeat("x", limit) + end)
		wantError(t, b.raw(request), http.StatusBadRequest, "invalid", "name")
	})
	slices.Sort(files)
	there := slices.DeleteFunc(filesIn(t, env["DATA_DIR"]), func(name string) bool {
		return strings.HasPrefix(name, "ospulse.db") || strings.HasPrefix(name, "spool/") || name == "files.owner"
	})
	if slices.Sort(there); !slices.Equal(there, files) {
		t.Errorf("there are the files %q, want %q", there, files)
	}
	for _, name := range there {
		info, err := os.Stat(filepath.Join(env["DATA_DIR"], name))
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm()&0o177 != 0 {
			t.Errorf("%s can be run, or read by others: %s", name, info.Mode())
		}
	}
	if n := len(storedNames(t, env)); n != 2*3+1 {
		t.Errorf("there are %d sessions, want 7 with the one for events of none", n)
	}
}

func TestSameUploadTenTimesAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nsame\r\n--b--\r\n"
		var uploads sync.WaitGroup
		for range 10 {
			uploads.Go(func() {
				if a, err := b.trySend("POST", "/api/create-session", body, "Content-Type: multipart/form-data; boundary=b"); err != nil || a.status != http.StatusOK {
					t.Errorf("%v: %d %s", err, a.status, a.body)
				}
			})
		}
		uploads.Wait()
		if names := storedNames(t, env); len(names) != 11 {
			t.Errorf("there are %d sessions, want 11 with the one for events of none", len(names))
		}
		if there := filesIn(t, filepath.Join(env["DATA_DIR"], "files")); len(there) != 1 || "files/"+there[0] != storedAs("same") {
			t.Errorf("there are the files %q", there)
		}
	})
}

// TestBrokenUploads checks that an invalid upload creates no session and leaves no
// file.
func TestBrokenUploads(t *testing.T) {
	const form, part = "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
	invalid, unsupported := http.StatusBadRequest, http.StatusUnsupportedMediaType
	env := map[string]string{"DATA_DIR": t.TempDir()}
	b := startBackend(t, env)
	for name, test := range map[string]struct {
		contentType, body string
		status            int
		words             string
	}{
		"a field of another name":    {form, strings.Replace(part, `"file"`, `"upload"`, 1) + "x\r\n--b--\r\n", invalid, "field named file"},
		"a field without a name":     {form, "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", invalid, "field named file"},
		"no field":                   {form, "--b--\r\n", invalid, "field named file"},
		"no body":                    {form, "", invalid, "field named file"},
		"no multipart in it":         {form, "MZ", invalid, "field named file"},
		"cut in the file":            {form, part + "MZ", invalid, "ended before"},
		"cut in the last boundary":   {form, part + "MZ\r\n--", invalid, "ended before"},
		"cut in the part's header":   {form, part[:len(part)-4], invalid, ""},
		"a part's header without :":  {form, "--b\r\nnonsense\r\n\r\nMZ\r\n--b--\r\n", invalid, "header"},
		"another boundary":           {form, strings.ReplaceAll(part+"x\r\n--b--\r\n", "--b", "--c"), invalid, "field named file"},
		"no boundary":                {"multipart/form-data", part + "x\r\n--b--\r\n", unsupported, "multipart/form-data"},
		"JSON":                       {"application/json", `{"file":"x"}`, unsupported, "multipart/form-data"},
		"a form that is not one":     {"application/x-www-form-urlencoded", "file=x", unsupported, "multipart/form-data"},
		"a Content-Type of nonsense": {"; ;", "x", unsupported, "multipart/form-data"},
		"no Content-Type":            {"", "MZ", unsupported, "multipart/form-data"},
	} {
		t.Run(name, func(t *testing.T) {
			code := map[int]string{invalid: "invalid", unsupported: "unsupported_media"}[test.status]
			wantError(t, b.send("POST", "/api/create-session", test.body, "Content-Type: "+test.contentType), test.status, code, test.words)
		})
	}
	head := "POST /api/create-session HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + form + "\r\n"
	for name, request := range map[string]string{
		"ends before its Content-Length": head + "Content-Length: 1000\r\n\r\n" + part + "MZ",
		"ends within a chunk":            head + "Transfer-Encoding: chunked\r\n\r\n1000\r\n" + part + "MZ",
		"has a chunk without a length":   head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nnonsense\r\n", len(part), part),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, b.raw(request), invalid, "invalid", "ended before") })
	}
	if there := filesIn(t, filepath.Join(env["DATA_DIR"], "files")); len(there) > 0 {
		t.Errorf("files were left: %q", there)
	}
	if names := storedNames(t, env); len(names) != 1 {
		t.Errorf("there are sessions: %q", names)
	}
	if strings.Contains(b.log.String(), `"ERROR"`) {
		t.Error("a client's fault is logged as ours")
	}
}

// TestStartUsesTheAgentsName checks that start uses the file name that the agent
// returned.
func TestStartUsesTheAgentsName(t *testing.T) {
	agent := newTestAgent(t)
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL})
	for answer, want := range map[string]string{
		`{"message":"ok","filename":"My_Tool_v2.exe","path":"C:\\up\\other.exe"}`: "My_Tool_v2.exe",
		`{"path":"C:\\samples\\My_Tool_v2.exe"}`:                                  "My_Tool_v2.exe",
		`{"path":"/srv/samples/My_Tool_v2.exe"}`:                                  "My_Tool_v2.exe",
		`{"filename":null,"path":"up/файл.exe"}`:                                  "файл.exe",
		`{"filename":"say \"hi\".exe"}`:                                           `say "hi".exe`,
		`{}`:                                                                      "My Tool (v2).exe",
		`saved.`:                                                                  "My Tool (v2).exe",
	} {
		agent.handle(agentUpload, say(200, "application/json", answer))
		id := b.create("dir/My Tool (v2).exe")
		b.mustStart(id)
		asked := agent.received(agentStart)
		if got := asked[len(asked)-1].body; !sameJSON(t, []byte(got), fmt.Appendf(nil, `{"sessionId":%q,"fileName":%q,"mode":1}`, id, want)) {
			t.Errorf("the agent answered %s to the upload and was asked to start %s", answer, got)
		}
		b.mustStop(id)
	}
}

// TestPendingDelivery checks that a session is created even if the agent cannot receive
// the file, and that start delivers it.
func TestPendingDelivery(t *testing.T) {
	page := func(status int) http.HandlerFunc {
		return say(status, "text/html", "<html><title>Oops</title><script>alert(1)</script><h1>It broke</h1></html>")
	}
	for name, test := range map[string]struct {
		away    http.HandlerFunc
		warning string
		status  int // of a start meanwhile
		code    string
	}{
		"agent is away":             {hangUp, "closed the connection", 502, "agent_failed"},
		"agent is too slow":         {silent, "did not answer within", 504, "agent_timeout"},
		"agent answers 500 in HTML": {page(500), "It broke", 502, "agent_failed"},
		"agent answers 413 in HTML": {page(413), "too large for the agent", 502, "agent_failed"},
		"agent answers 400 in JSON": {say(400, "application/json", `{"error":"bad file"}`), "bad file", 502, "agent_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := newTestAgent(t)
			b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_TIMEOUT": "3s"})
			agent.handle(agentUpload, test.away)
			created := b.createSession("a b.exe", "MZ\x00")
			warning, _ := created["warning"].(string)
			if created["delivered"] != false || created["state"] != "created" || !strings.Contains(warning, test.warning) || strings.Contains(warning, "<") {
				t.Errorf("answered %v, want a warning with %q", created, test.warning)
			}
			id := created["sessionId"].(string)
			wantError(t, b.start(id), test.status, test.code, test.warning)
			if n := len(agent.received(agentStart)); n > 0 {
				t.Error("the agent was asked to start a file that it does not have")
			}
			agent.handle(agentUpload, nil)
			agent.handle("POST /api/upload", say(200, "application/json", `{"path":"/up/a_b.exe"}`))
			b.mustStart(id)
			if sent, got := uploadedFile(t, agent.received("POST /api/upload")[0]); sent != "a b.exe" || got != "MZ\x00" {
				t.Errorf("the agent got %q under the name %q", got, sent)
			}
			if asked := agent.received(agentStart); len(asked) != 1 || !strings.Contains(asked[0].body, `"a_b.exe"`) {
				t.Errorf("the agent was asked to start %v", asked)
			}
			if b.owner() != id {
				t.Error("the session is not active")
			}
			if n := len(agent.received("POST /api/upload")); n != 1 {
				t.Errorf("the file was delivered %d times", n)
			}
		})
	}
}

func TestMonitorModes(t *testing.T) {
	b := startBackend(t, nil)
	const want = `[{"id":1,"mode":"All Processes"},{"id":2,"mode":"Specific Processes"},{"id":3,"mode":"Spawn Uploaded"}]`
	if a := b.send("GET", "/api/monitor-modes", ""); a.status != http.StatusOK || strings.TrimSpace(string(a.body)) != want {
		t.Errorf("%d %s, want %s", a.status, a.body, want)
	}
}

func TestListProcesses(t *testing.T) {
	t.Parallel()
	agent := newTestAgent(t)
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_TIMEOUT": "3s"})
	id := b.create("a")
	list := func(id string) answer {
		return b.send("POST", "/api/list-processes", `{"sessionId":"`+id+`"}`)
	}
	for name, test := range map[string]struct{ answer, want string }{
		"sorted without regard to case": {`[{"name":"zsh","pid":3},{"name":"Bash","pid":2},{"name":"ash","pid":1}]`, `[{"pid":1,"name":"ash"},{"pid":2,"name":"Bash"},{"pid":3,"name":"zsh"}]`},
		"null is none":                  {`null`, `[]`},
		"none":                          {`[]`, `[]`},
		"no name":                       {`[{"pid":7,"name":null}]`, `[{"pid":7,"name":""}]`},
		"of our own agent": {`[{"pid":7,"name":"a","parentPid":1,"commandLine":"a 'b c'","user":"root","startTime":"2026-11-22T18:57:39.960000Z"}]`,
			`[{"pid":7,"name":"a","parent_pid":1,"command_line":"a 'b c'","user":"root","started_at":"2026-11-22T18:57:39.960000Z"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			agent.handle(agentList, say(200, "application/json", test.answer))
			if a := list(id); a.status != http.StatusOK || strings.TrimSpace(string(a.body)) != test.want {
				t.Errorf("%d %s, want %s", a.status, a.body, test.want)
			}
		})
	}
	t.Run("GET only", func(t *testing.T) {
		agent.handle(agentList, say(405, "text/html", "<h1>Method Not Allowed</h1>"))
		agent.handle("GET /api/processes", say(200, "application/json", `[{"name":"a","pid":1}]`))
		if a := list(id); strings.TrimSpace(string(a.body)) != `[{"pid":1,"name":"a"}]` {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	before := len(agent.received(agentList))
	t.Run("unknown session", func(t *testing.T) { wantError(t, list("nobody"), http.StatusNotFound, "not_found", "nobody") })
	if len(agent.received(agentList)) != before {
		t.Error("the agent was asked for a session that does not exist")
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		status  int
		code    string
	}{
		"away": {hangUp, 502, "agent_failed"}, "silent": {silent, 504, "agent_timeout"},
		"HTML": {say(200, "text/html", "<h1>Hello</h1>"), 502, "agent_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, route := range []string{agentList, "GET /api/list-processes", "GET /api/processes"} {
				agent.handle(route, test.handler)
			}
			wantError(t, list(id), test.status, test.code, "the agent")
		})
	}
	t.Run("nobody at the agent's address", func(t *testing.T) {
		b := startBackend(t, nil)
		wantError(t, b.send("POST", "/api/list-processes", `{"sessionId":"unassigned"}`), http.StatusBadGateway, "agent_failed", "cannot be reached")
	})
}

func TestStart(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		for i, test := range []struct{ asked, passedOn string }{
			{`"mode":1`, `"mode":1`},
			{`"mode":2,"processes":[4294967295.0,0,7e0]`, `"mode":2,"processes":[4294967295,0,7]`},
			{`"mode":3`, `"mode":3`},
			{`"mode":1,"processes":[7]`, `"mode":1`},
			{`"mode":3,"processes":null`, `"mode":3`},
			{`"mode":3,"entryPoint":"bin/run","arguments":["-v","a b",""]`, `"mode":3,"entryPoint":"bin/run","arguments":["-v","a b",""]`},
			{`"mode":3,"entryPoint":"","arguments":null`, `"mode":3`},
			{`"mode":3,"network":"nat","timeoutSeconds":30,"memoryMB":64`, `"mode":3,"network":"nat","timeoutSeconds":30,"memoryMB":64`},
			{`"mode":3,"network":"","timeoutSeconds":0,"memoryMB":0`, `"mode":3`},
			{`"mode":1,"selection":{"leaveOut":["reads"],"onlyPaths":["/a"],"leaveOutPaths":["/b"]}`, `"mode":1,"selection":{"leaveOut":["reads"],"onlyPaths":["/a"],"leaveOutPaths":["/b"]}`},
			{`"mode":2,"processes":[1],"selection":{}`, `"mode":2,"processes":[1],"selection":{}`},
			{`"mode":3,"selection":null`, `"mode":3`},
		} {
			id := b.create("a.exe")
			start := func() answer {
				return b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`",`+test.asked+`}`)
			}
			first := start()
			var started map[string]any
			b.decode(first, http.StatusOK, &started)
			if started["message"] != "monitoring started successfully" || started["sessionId"] != id || started["state"] != "active" {
				t.Errorf("answered %v", started)
			}
			asked := agent.received(agentStart)
			want := `{"sessionId":"` + id + `","fileName":"renamed_by_agent.exe",` + test.passedOn + `}`
			if got := asked[len(asked)-1].body; len(asked) != i+1 || !sameJSON(t, []byte(got), []byte(want)) {
				t.Errorf("the agent was asked %s, want %s", got, want)
			}
			if owner := b.owner(); owner != id {
				t.Errorf("events go to %s", owner)
			}
			if again := start(); again.status != http.StatusOK || !bytes.Equal(again.body, first.body) {
				t.Errorf("the repeated start is answered %d %s, not %s", again.status, again.body, first.body)
			}
			wantError(t, b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":2,"processes":[99]}`), http.StatusConflict, "conflict", "already, with other parameters")
			if stopped := b.mustStop(id); stopped["message"] != "monitoring stopped successfully" || stopped["state"] != "ended" || stopped["warning"] != nil {
				t.Errorf("answered %v", stopped)
			}
			wantError(t, start(), http.StatusConflict, "conflict", "has ended")
			if n := len(agent.received(agentStart)); n != i+1 {
				t.Errorf("the agent was asked to start %d times", n)
			}
			if events := b.export(id); len(events) != 1 {
				t.Errorf("the session has the events %+v", events)
			}
		}
	})
}

// TestStartRefuses checks that an invalid start is refused before it reaches the agent.
func TestStartRefuses(t *testing.T) {
	agent := newTestAgent(t)
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL})
	id := `"` + b.create("a") + `"`
	many := "[1" + strings.Repeat(",1", 10_000) + "]"
	for body, field := range map[string]string{
		`"sessionId":%s,"mode":"1"`:                                                                   "mode must be a whole number",
		`"sessionId":%s,"mode":4`:                                                                     "mode must be 1",
		`"sessionId":%s,"mode":0`:                                                                     "mode must be 1",
		`"sessionId":%s,"mode":-1`:                                                                    "mode must be 1",
		`"sessionId":%s,"mode":1.5`:                                                                   "mode must be a whole number",
		`"sessionId":%s,"mode":1e99`:                                                                  "mode must be a whole number",
		`"sessionId":%s,"mode":` + strings.Repeat("9", 5000):                                          "mode must be a whole number",
		`"sessionId":%s,"mode":null`:                                                                  "mode is missing",
		`"sessionId":%s,"mode":[1]`:                                                                   "mode must be a whole number",
		`"sessionId":%s,"mode":true`:                                                                  "mode must be a whole number",
		`"sessionId":%s`:                                                                              "mode is missing",
		`"sessionId":%s,"mode":2`:                                                                     "processes",
		`"sessionId":%s,"mode":2,"processes":null`:                                                    "processes",
		`"sessionId":%s,"mode":2,"processes":[]`:                                                      "processes",
		`"sessionId":%s,"mode":2,"processes":"x"`:                                                     "processes must be an array",
		`"sessionId":%s,"mode":2,"processes":{"0":1}`:                                                 "processes must be an array",
		`"sessionId":%s,"mode":2,"processes":[1.5]`:                                                   "processes",
		`"sessionId":%s,"mode":2,"processes":[1e99]`:                                                  "processes",
		`"sessionId":%s,"mode":2,"processes":[-1]`:                                                    "processes[0]",
		`"sessionId":%s,"mode":2,"processes":[1,4294967296]`:                                          "processes[1]",
		`"sessionId":%s,"mode":2,"processes":["1"]`:                                                   "processes",
		`"sessionId":%s,"mode":2,"processes":[null]`:                                                  "processes",
		`"sessionId":%s,"mode":2,"processes":[[1]]`:                                                   "processes",
		`"sessionId":%s,"mode":1,"processes":"x"`:                                                     "processes",
		`"sessionId":%s,"mode":2,"processes":` + many:                                                 "processes has 10001",
		`"sessionId":%s,"mode":1,"arguments":["-v"]`:                                                  "mode 3",
		`"sessionId":%s,"mode":2,"processes":[1],"entryPoint":"a"`:                                    "mode 3",
		`"sessionId":%s,"mode":1,"network":"none"`:                                                    "mode 3",
		`"sessionId":%s,"mode":2,"processes":[1],"timeoutSeconds":5`:                                  "mode 3",
		`"sessionId":%s,"mode":2,"processes":[1],"memoryMB":64`:                                       "mode 3",
		`"sessionId":%s,"mode":3,"network":"lan"`:                                                     "network must be none, nat or host",
		`"sessionId":%s,"mode":3,"network":1`:                                                         "network must be a string",
		`"sessionId":%s,"mode":3,"timeoutSeconds":86401`:                                              "timeoutSeconds must be from 0",
		`"sessionId":%s,"mode":3,"timeoutSeconds":-1`:                                                 "timeoutSeconds must be from 0",
		`"sessionId":%s,"mode":3,"memoryMB":1048577`:                                                  "memoryMB must be from 0",
		`"sessionId":%s,"mode":3,"memoryMB":-1`:                                                       "memoryMB must be from 0",
		`"sessionId":%s,"mode":1,"selection":{"leaveOut":[""]}`:                                       "selection.leaveOut must have texts",
		`"sessionId":%s,"mode":1,"selection":{"onlyPaths":[null]}`:                                    "selection.onlyPaths must have texts",
		`"sessionId":%s,"mode":1,"selection":{"leaveOutPaths":["/` + strings.Repeat("x", 255) + `"]}`: "selection.leaveOutPaths must have texts of 1 to 255",
		`"sessionId":%s,"mode":1,"selection":{"onlyPaths":["/"` + strings.Repeat(`,"/"`, 64) + `]}`:   "selection.onlyPaths must have at most 64 entries, not 65",
		`"sessionId":%s,"mode":1,"selection":{"leaveOut":"reads"}`:                                    "selection.leaveOut must be an array",
		`"sessionId":%s,"mode":1,"selection":{"leave":["reads"]}`:                                     "unknown field",
		`"sessionId":%s,"mode":1,"selection":["reads"]`:                                               "selection must be an object",
		`"sessionId":%s,"mode":3,"arguments":"-v"`:                                                    "arguments",
		`"sessionId":%s,"mode":3,"arguments":[1]`:                                                     "arguments",
		`"sessionId":%s,"mode":3,"arguments":["a\u0000"]`:                                             "NUL",
		`"sessionId":%s,"mode":3,"entryPoint":"` + strings.Repeat("x", 4097) + `"`:                    "entryPoint has 4097 bytes",
		`"sessionId":%s,"mode":3,"arguments":["` + strings.Repeat("x", 128<<10) + `"]`:                "arguments have 131073 bytes",
		`"sessionId":%s,"mode":1,"pids":[1]`:                                                          `"pids"`,
		`"sessionId":%s,"mode":1,"` + strings.Repeat("x", 9_000) + `":[1]`:                            "unknown field",
		`"sessionId":1,"mode":1`:                                                                      "sessionId must be a string",
		`"sessionId":[%s],"mode":1`:                                                                   "sessionId must be a string",
		`"sessionId":null,"mode":1`:                                                                   "sessionId is missing",
		`"sessionId":"","mode":1`:                                                                     "sessionId is missing",
		`"mode":1`:                                                                                    "sessionId is missing",
	} {
		body = "{" + strings.Replace(body, "%s", id, 1) + "}"
		t.Run(fmt.Sprintf("%.100s", body), func(t *testing.T) {
			a := b.send("POST", "/api/start-monitor", body)
			wantError(t, a, http.StatusBadRequest, "invalid", field)
			if strings.Contains(string(a.body), "sessionRequest") {
				t.Errorf("the names of Go types are nobody's business: %s", a.body)
			}
		})
	}
	for _, unknown := range []string{"nobody", `\u0000`, "../" + strings.Repeat("x", 300), "' OR 1=1 --"} {
		a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+unknown+`","mode":1}`)
		wantError(t, a, http.StatusNotFound, "not_found", "does not exist")
	}
	wantError(t, b.start("unassigned"), http.StatusConflict, "conflict", "no file")
	if n := len(agent.received(agentStart)); n > 0 {
		t.Errorf("the agent was asked to start %d times", n)
	}
	if owner := b.owner(); owner != "unassigned" {
		t.Errorf("%s is active", owner)
	}
}

// TestFailedStart checks that a session is active only if the agent has accepted the
// start.
func TestFailedStart(t *testing.T) {
	t.Parallel()
	agent := newTestAgent(t)
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_TIMEOUT": "3s", "AGENT_POLL_INTERVAL": "1s"})
	refused, notFound := b.create("refused"), b.create("not found")
	for name, test := range map[string]struct {
		id      string
		handler http.HandlerFunc
		status  int
		code    string
		words   string
	}{
		"refused in JSON":            {refused, say(400, "application/json", `{"error":"no such process: 4711"}`), 502, "agent_failed", "no such process: 4711"},
		"refused in HTML":            {refused, say(500, "text/html", "<html><h1>Internal &amp; broken</h1></html>"), 502, "agent_failed", "Internal & broken"},
		"not found on all spellings": {notFound, say(404, "text/html", "<h1>Not Found</h1>"), 502, "agent_failed", "Not Found"},
		"the file is at fault":       {refused, say(400, "application/json", `{"error":"a.exe cannot be run: it is a PDF document","code":"cannot_run"}`), 422, "cannot_run", "a.exe cannot be run: it is a PDF document"},
		"the request is at fault":    {refused, say(400, "application/json", `{"error":"there is no process 4711","code":"invalid"}`), 400, "invalid", "there is no process 4711"},
	} {
		t.Run(name, func(t *testing.T) {
			agent.handle(agentStart, test.handler)
			wantError(t, b.start(test.id), test.status, test.code, test.words)
			if owner := b.owner(); owner != "unassigned" {
				t.Errorf("%s is active", owner)
			}
		})
	}
	// Without an answer the agent may have started anyway: the backend must send a
	// stop.
	hung, slow := b.create("hung"), b.create("slow")
	for _, test := range []struct {
		id      string
		handler http.HandlerFunc
		status  int
		code    string
	}{
		{hung, hangUp, 502, "agent_failed"},
		{slow, silent, 504, "agent_timeout"},
	} {
		agent.handle(agentStart, test.handler)
		wantError(t, b.start(test.id), test.status, test.code, "the agent")
		if owner := b.owner(); owner != "unassigned" {
			t.Errorf("%s is active", owner)
		}
	}
	wait.For(t, "the stops of what may have been started", func() bool { return agent.stopsOf(hung) > 0 && agent.stopsOf(slow) > 0 })
	if agent.stopsOf(refused) != 0 { // it is older, and its stop would have been the first
		t.Error("what the agent refused to start, it was told to stop")
	}
	t.Run("the other spelling", func(t *testing.T) {
		agent.handle(agentStart, say(404, "text/html", "<h1>Not Found</h1>"))
		agent.handle("POST /api/monitor/start", say(200, "application/json", "{}"))
		b.mustStart(refused)
		if owner := b.owner(); owner != refused {
			t.Errorf("events go to %s", owner)
		}
	})
	t.Run("nobody at the agent's address", func(t *testing.T) {
		b := startBackend(t, nil)
		wantError(t, b.start(b.create("a")), http.StatusBadGateway, "agent_failed", "cannot be reached")
	})
}

func TestStop(t *testing.T) {
	agent := newTestAgent(t)
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL})
	id := b.create("a")
	stop := func(body string) answer { return b.send("POST", "/api/monitor/stop", body) }
	if stopped := b.mustStop(id); stopped["state"] != "created" || agent.stopsOf(id) != 0 {
		t.Errorf("stop of a session that was never started: %v", stopped)
	}
	b.mustStart(id)
	for range 2 { // idempotent
		if stopped := b.mustStop(id); stopped["message"] != "monitoring stopped successfully" || stopped["state"] != "ended" || stopped["warning"] != nil {
			t.Errorf("answered %v", stopped)
		}
	}
	if n := agent.stopsOf(id); n != 1 {
		t.Errorf("the agent was told %d times", n)
	}
	for body, field := range map[string]string{`{}`: "sessionId", `{"sessionId":7}`: "sessionId", `{"sessionId":"x","mode":1}`: "mode"} {
		wantError(t, stop(body), http.StatusBadRequest, "invalid", field)
	}
	wantError(t, stop(`{"sessionId":"nobody"}`), http.StatusNotFound, "not_found", "nobody")
	t.Run("agent does not know the session", func(t *testing.T) {
		id := b.startSession()
		agent.handle(agentStop, say(404, "application/json", `{"error":"unknown session"}`))
		if stopped := b.mustStop(id); stopped["warning"] != nil {
			t.Errorf("answered %v", stopped)
		}
	})
}

// TestStopThatTheAgentMissed checks that a stop which the agent did not receive ends
// the session, and reaches the agent as soon as possible.
func TestStopThatTheAgentMissed(t *testing.T) {
	begin := func(t *testing.T, env map[string]string) (*testAgent, *backend) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["AGENT_POLL_INTERVAL"], env["AGENT_TIMEOUT"] = agent.URL, "1s", "3s"
		return agent, startBackend(t, env)
	}
	startAndStop := func(t *testing.T, b *backend) string {
		t.Helper()
		id := b.create("a")
		b.mustStart(id)
		stopped := b.mustStop(id)
		if warning, _ := stopped["warning"].(string); stopped["state"] != "ended" || !strings.Contains(warning, "agent") {
			t.Errorf("answered %v", stopped)
		}
		if owner := b.owner(); owner == id {
			t.Error("the session goes on")
		}
		return id
	}
	works := say(200, "application/json", "{}")
	t.Run("arrives when the agent is back", func(t *testing.T) {
		t.Parallel()
		agent, b := begin(t, map[string]string{})
		agent.handle(agentStop, silent)
		id := startAndStop(t, b)
		agent.handle(agentStop, works)
		missed := agent.stopsOf(id)
		wait.For(t, "the stop", func() bool { return agent.stopsOf(id) > missed })
		wait.For(t, "the log of it", func() bool { return strings.Contains(b.log.String(), "was told that the session has ended") })
	})
	t.Run("arrives after a restart of the backend", func(t *testing.T) {
		eachDatabase(t, func(t *testing.T, env map[string]string) {
			env["DATA_DIR"] = t.TempDir()
			agent, b := begin(t, env)
			agent.handle(agentStop, hangUp)
			id := startAndStop(t, b)
			b.stop()
			agent.handle(agentStop, works)
			missed := agent.stopsOf(id)
			startBackend(t, env)
			wait.For(t, "the stop", func() bool { return agent.stopsOf(id) > missed })
		})
	})
	t.Run("arrives although the agent refuses to stop another", func(t *testing.T) {
		t.Parallel()
		agent, b := begin(t, map[string]string{})
		agent.handle(agentStop, say(500, "text/html", "<h1>Internal Server Error</h1>"))
		first, second := startAndStop(t, b), startAndStop(t, b)
		missedFirst, missedSecond := agent.stopsOf(first), agent.stopsOf(second)
		wait.For(t, "a stop of both", func() bool {
			return agent.stopsOf(first) > missedFirst && agent.stopsOf(second) > missedSecond
		})
	})
}

func TestTenStartsAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		id := b.create("a")
		var (
			starts   sync.WaitGroup
			mu       sync.Mutex
			statuses = map[int]int{}
		)
		for range 10 {
			starts.Go(func() {
				a, err := b.trySend("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[a.status]++
			})
		}
		starts.Wait()
		if statuses[200] != 10 || len(agent.received(agentStart)) != 1 {
			t.Errorf("statuses %v, %d times asked", statuses, len(agent.received(agentStart)))
		}
	})
}

// TestWhileAStartHangs checks that, while a start hangs, a start with other parameters
// is refused at once and a stop takes effect.
func TestWhileAStartHangs(t *testing.T) {
	agent := newTestAgent(t)
	env := map[string]string{"AGENT_SERVICE_URL": agent.URL, "DATA_DIR": t.TempDir()}
	b := startBackend(t, env)
	id := b.create("a")
	asked, release := make(chan struct{}), make(chan struct{})
	agent.handle(agentStart, func(w http.ResponseWriter, r *http.Request) {
		agent.tells(r, release)
		close(asked)
		<-release
		io.WriteString(w, "{}") //nolint:errcheck // the test would notice it
	})
	var hanging sync.WaitGroup
	hanging.Go(func() {
		if a, err := b.trySend("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`); err != nil || a.status != http.StatusOK && a.status != http.StatusGatewayTimeout {
			t.Errorf("the start that hung: %v %d %s", err, a.status, a.body)
		}
	})
	<-asked
	wantError(t, b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`), http.StatusConflict, "conflict", "is starting already, with other parameters")
	hanging.Go(func() {
		a, err := b.trySend("POST", "/api/monitor/stop", `{"sessionId":"`+id+`"}`)
		if err != nil || a.status != http.StatusOK {
			t.Errorf("the stop: %v %d %s", err, a.status, a.body)
		}
	})
	wait.For(t, "the stop to be stored", func() bool {
		var isPending bool
		err := openDatabase(t, env).QueryRowContext(t.Context(), "SELECT stop_pending FROM sessions WHERE id = '"+id+"'").Scan(&isPending)
		return err == nil && isPending
	})
	close(release)
	hanging.Wait()
	if e := b.ended(id); e.End == nil || e.End.Reason != "stopped" {
		t.Errorf("the session ended with %+v", e.End)
	}
	if agent.stopsOf(id) != 1 || b.owner() != "unassigned" {
		t.Error("the session goes on")
	}
}

// TestClientHangsUpDuringStart checks that the agent and the database agree after a
// client has disconnected.
func TestClientHangsUpDuringStart(t *testing.T) {
	agent := newTestAgent(t)
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL})
	id := b.create("a")
	ctx, giveUp := context.WithCancel(t.Context())
	answered := make(chan struct{})
	agent.handle(agentStart, func(w http.ResponseWriter, _ *http.Request) {
		giveUp()
		<-answered
		io.WriteString(w, "{}") //nolint:errcheck // the test would notice it
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/api/start-monitor", strings.NewReader(`{"sessionId":"`+id+`","mode":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
		t.Fatal("an answer came")
	}
	close(answered)
	wait.For(t, "the session to be active", func() bool { return b.ending(id).State == "active" })
	if b.owner() != id {
		t.Error("the events go elsewhere")
	}
	if stopped := b.mustStop(id); stopped["state"] != "ended" || agent.stopsOf(id) != 1 || len(agent.received(agentStart)) != 1 {
		t.Errorf("answered %v", stopped)
	}
}
