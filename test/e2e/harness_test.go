package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/internal/app"
	"ospulse/test/dbtest"
	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// runMain makes the test binary run the program: tests of signals and exit codes need a
// real process.
const runMain = "OSPULSE_TEST_RUN_MAIN"

//nolint:gochecknoglobals // set by TestMain only
var (
	root     string // the repository's folder; the working directory is empty
	programs string // the folder for programs that tests build
)

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		os.Exit(app.Main())
	}
	var err error
	if root, err = filepath.Abs("../.."); err != nil {
		panic(err)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "ospulse-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		programs = dir
		empty := filepath.Join(dir, "empty")
		if err := errors.Join(os.Mkdir(empty, 0o700), os.Chdir(empty)); err != nil {
			panic(err)
		}
		return wantAllCovered(dbtest.Main(m))
	}())
}

// eachDatabase runs fn with the settings for each database.
func eachDatabase(t *testing.T, fn func(t *testing.T, env map[string]string)) {
	t.Helper()
	t.Parallel() // tests mostly wait for disks
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		fn(t, map[string]string{})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		fn(t, map[string]string{"DATABASE_URL": dbtest.Postgres(t).URL})
	})
}

// backend is the program, running inside the test.
type backend struct {
	t    testing.TB
	url  string
	log  *logBuffer
	stop func() // ends the program as SIGTERM does, and fails the test on an error
}

// startBackend runs the program on a free port with its own data folder, unless env
// says otherwise.
func startBackend(t testing.TB, env map[string]string) *backend {
	t.Helper()
	return startBackendWithin(t, env, wait.Patience)
}

// sealAfter returns SEAL_AFTER for a test. Half of the tests seal events as soon as
// possible, so that everything is tested with rows, with sealed segments, and while events
// move.
func sealAfter(t testing.TB) string {

	if crc32.ChecksumIEEE([]byte(t.Name()))%2 == 0 {
		return "0s"
	}
	return "1h"
}

// startBackendWithin is startBackend with another timeout for the start.
func startBackendWithin(t testing.TB, env map[string]string, patience time.Duration) *backend {
	t.Helper()
	settings := map[string]string{
		"PORT": "0", "DATA_DIR": filepath.Join(t.TempDir(), "data"), "LOG_FORMAT": "json", "SEAL_AFTER": sealAfter(t), "MIN_FREE_MB": "0", "DATABASE_ALLOW_WEAK": "true", "AGENT_SERVICE_URL": "http://127.0.0.1:1",
		"DATABASE_WAIT": "10m", "COMMIT_TIMEOUT": "10m", "READ_TIMEOUT": "10m", // the machine may be busy
	}
	for name, value := range env {
		settings[name] = value
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := &logBuffer{listening: make(chan string, 1)}
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, nil, func(name string) string { return settings[name] }, log) }()
	b := &backend{t: t, log: log}
	b.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error("the backend ended with:", err)
			}
		case <-time.After(wait.Patience):
			t.Error("the backend does not end")
		}
		if t.Failed() {
			t.Log("the backend's log:\n" + log.String())
		}
	})
	t.Cleanup(b.stop)
	select {
	case b.url = <-log.listening:
	case err := <-ended:
		ended <- nil
		t.Fatal("the backend did not start: ", err)
	case <-time.After(patience):
		t.Fatal("the backend does not start")
	}
	return b
}

// logBuffer keeps log lines and detects when the program listens.
type logBuffer struct {
	mu        sync.Mutex
	text      bytes.Buffer
	listening chan string
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range bytes.Lines(p) {
		var line struct{ Msg, URL string }
		if json.Unmarshal(text, &line) == nil && line.Msg == "listening" {
			l.listening <- line.URL
		}
	}
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// answer is a response: the status, the header and the whole body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send makes a request; header lines are "Name: value".
func (b *backend) send(method, path, body string, header ...string) answer {
	b.t.Helper()
	a, err := b.trySend(method, path, body, header...)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// trySend is send for goroutines other than the test's.
func (b *backend) trySend(method, path, body string, header ...string) (answer, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			request.Host = value
		}
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return answer{response.StatusCode, response.Header, text}, err
	}
	a := answer{response.StatusCode, response.Header, text}
	checkContract(b.t, request, []byte(body), a)
	return a, nil
}

// poll sends an old dashboard's poll. Like dashboards, it repeats the poll while the
// database is too slow on a busy machine.
func (b *backend) poll(path string, header ...string) (a answer) {
	b.t.Helper()
	wait.For(b.t, "an answer to a poll", func() bool {
		a = b.send("GET", path, "", header...)
		return a.status != http.StatusServiceUnavailable
	})
	return a
}

// raw writes a request unchanged, and reads the answer only after all of it, as simple
// clients do.
func (b *backend) raw(request string) answer {
	b.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	err = errors.Join(conn.SetDeadline(time.Now().Add(wait.Patience)), func() error { _, err := io.WriteString(conn, request); return err }(),
		conn.(*net.TCPConn).CloseWrite())
	if err != nil {
		b.t.Fatal("the backend does not take the request: ", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.t.Fatal("no answer: ", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal("half an answer: ", err)
	}
	a := answer{response.StatusCode, response.Header, text}
	if sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request))); err == nil {
		body, _ := io.ReadAll(sent.Body) // as much as was sent
		checkContract(b.t, sent, body, a)
	}
	return a
}

// wantError checks that an answer is a JSON error with this status and code, whose text
// contains the words.
func wantError(t testing.TB, a answer, status int, code, words string) {
	t.Helper()
	var e struct{ Error, Code string }
	if err := json.Unmarshal(a.body, &e); err != nil || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("%d is no JSON (%v): %.300s", a.status, err, a.body)
	}
	if a.status != status || e.Code != code || e.Error == "" || !strings.Contains(e.Error, words) || len(e.Error) > 1000 {
		t.Errorf("%d %.1100s, want %d, %s, %q", a.status, a.body, status, code, words)
	}
}

// waitForDrain waits until the spool is empty.
func waitForDrain(t testing.TB, b *backend) {
	t.Helper()
	wait.For(t, "an empty spool", func() bool { return bytes.Contains(b.send("GET", "/readyz", "").body, []byte(`"spool":"ok"`)) })
}

// startPostgres starts a server that the test may stop.
func startPostgres(t *testing.T) (server *pgtest.Server, url string) {
	t.Helper()
	return startPostgresWith(t, pgtest.Options{})
}

func startPostgresWith(t *testing.T, options pgtest.Options) (server *pgtest.Server, url string) {
	t.Helper()
	server, err := pgtest.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := server.CreateDatabase(t.Context(), "ospulse"); err != nil {
		t.Fatal(err)
	}
	return server, server.URL("ospulse")
}

// decode checks the status and decodes the answer's JSON into v.
func (b *backend) decode(a answer, status int, v any) {
	b.t.Helper()
	if a.status != status {
		b.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		b.t.Fatalf("%v in %s", err, a.body)
	}
}

// exported is an event of GET /api/events/export.
type exported struct {
	ID              uint64          `json:"id"`
	SessionID       string          `json:"session_id"`
	Seq             int64           `json:"seq"`
	EventType       string          `json:"event_type"`
	Timestamp       string          `json:"timestamp"`
	TimestampSource string          `json:"timestamp_source"`
	TimestampText   json.RawMessage `json:"timestamp_text"`
	Source          string          `json:"source"`
	Data            json.RawMessage `json:"data"`
}

// export returns all events of a session, or of all sessions if it is "".
func (b *backend) export(sessionID string) []exported {
	b.t.Helper()
	path := "/api/events/export"
	if sessionID != "" {
		path += "?sessionId=" + sessionID
	}
	var events []exported
	b.decode(b.send("GET", path, ""), http.StatusOK, &events)
	return events
}

// createSession uploads a file and returns the answer.
func (b *backend) createSession(fileName, content string) map[string]any {
	b.t.Helper()
	var created map[string]any
	b.decode(b.upload(fmt.Sprintf(`form-data; name="file"; filename="%s"`, fileName), content), http.StatusOK, &created)
	return created
}

// upload sends one multipart part with the given Content-Disposition.
func (b *backend) upload(disposition, content string) answer {
	b.t.Helper()
	const boundary = "ospulse-test-boundary"
	body := "--" + boundary + "\r\nContent-Disposition: " + disposition + "\r\nContent-Type: application/octet-stream\r\n\r\n" +
		content + "\r\n--" + boundary + "--\r\n"
	return b.send("POST", "/api/create-session", body, "Content-Type: multipart/form-data; boundary="+boundary)
}

// startSession creates a session that a test agent monitors, and returns its id.
func (b *backend) startSession() string {
	b.t.Helper()
	id := b.createSession("sample.exe", "MZ")["sessionId"].(string)
	if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`); a.status != http.StatusOK {
		b.t.Fatalf("start: %d %s", a.status, a.body)
	}
	return id
}

// rounds is how often each fault is injected: a few times in the suite, TORTURE_ROUNDS
// in `make torture`.
func rounds(t *testing.T, otherwise int) int {
	t.Helper()
	text := os.Getenv("TORTURE_ROUNDS")
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal("TORTURE_ROUNDS: ", err)
	}
	return n
}
