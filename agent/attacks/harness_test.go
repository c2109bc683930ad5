//go:build linux

// Package attacks has no code, only tests: harmless programs that attack the agent as a
// hostile sample would. They run as root, watched by the agent and the backend as they are
// released. Each test says what the program tries, and what must still be true.
package attacks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ospulse/agent/internal/inspect/fusetest"
	"ospulse/test/freeport"
	"ospulse/test/ownnet"
	"ospulse/test/wait"
)

// folder has the two programs, once build has built them.
var folder string

var build = sync.OnceValue(func() error {
	for name, pkg := range map[string]string{"ospulse-agent": "./agent", "ospulse-backend": "main.go"} {
		cmd := ownnet.Outside("go", "build", "-o", filepath.Join(folder, name), pkg)
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return nil
})

func TestMain(m *testing.M) {
	fusetest.Serve()
	ownnet.Enter()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if folder, err = os.MkdirTemp("", "ospulse-attacks-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a leftover is only a temporary folder
	return m.Run()
}

// world is a running backend with its agent.
type world struct {
	t              *testing.T
	backend, agent string // URLs
	backendProcess *exec.Cmd
	agentProcess   *exec.Cmd
	startBackend   func() *exec.Cmd
}

// newWorld starts a backend and an agent until the test ends. group is the folder of the
// agent's cgroup; "" for none. The agent pauses all watched programs when it is late, so that
// a busy machine loses no call.
func newWorld(t *testing.T, group string, arguments ...string) *world {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	backendPort, agentPort := freeport.For(t), freeport.For(t)
	w := &world{t: t, backend: fmt.Sprintf("http://127.0.0.1:%d", backendPort), agent: fmt.Sprintf("http://127.0.0.1:%d", agentPort)}
	backendData := t.TempDir()
	w.startBackend = func() *exec.Cmd {
		return w.start(w.backend+"/api/health", "", filepath.Join(folder, "ospulse-backend"), []string{
			"PORT=" + strconv.Itoa(backendPort), "DATA_DIR=" + backendData, "AGENT_SERVICE_URL=" + w.agent, "AGENT_POLL_INTERVAL=1s", "COMMIT_TIMEOUT=10m", "READ_TIMEOUT=10m",
		})
	}
	w.backendProcess = w.startBackend()
	data, err := os.MkdirTemp("/var/tmp", "ospulse-test-") // /tmp may be in memory, which the kernel cannot take back
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(data); err != nil {
			t.Error(err)
		}
	})
	w.agentProcess = w.start(w.agent+"/health", group, filepath.Join(folder, "ospulse-agent"), nil,
		append([]string{"--pause", "all", "--backend", w.backend, "--port", strconv.Itoa(agentPort), "--data", data}, arguments...)...)
	wait.For(t, "the backend knows of the agent", func() bool {
		var health struct{ Agent struct{ Status string } }
		w.get(w.backend+"/api/health", &health)
		return health.Agent.Status == "up"
	})
	return w
}

// start runs a program until the test ends, and waits until url answers.
func (w *world) start(url, group, program string, env []string, arguments ...string) *exec.Cmd {
	w.t.Helper()
	arguments = append([]string{program}, arguments...)
	if group != "" {
		arguments = append([]string{"/bin/sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, group}, arguments...)
	}
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Env, cmd.Dir = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}, env...), w.t.TempDir()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			if err := cmd.Wait(); err != nil {
				w.t.Errorf("%s ended: %v", program, err)
			}
		}
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", program, &log)
		}
	})
	wait.For(w.t, program+" is ready", func() bool {
		response, err := http.Get(url)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return cmd
}

// get and post send a request and decode the answer.
func (w *world) get(url string, into any) {
	w.t.Helper()
	w.send("GET", url, "", nil, into)
}

func (w *world) post(url string, body, into any) {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.send("POST", url, "application/json", text, into)
}

func (w *world) send(method, url, kind string, body []byte, into any) {
	w.t.Helper()
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Prefer", "respond-async")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		w.t.Fatalf("%s %s: %s %.500s, %v", method, url, response.Status, text, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		w.t.Fatalf("%s %s: %v in %.500s", method, url, err, text)
	}
}

// upload sends a file to a URL.
func (w *world) upload(url, name string, content []byte, into any) {
	w.t.Helper()
	var text bytes.Buffer
	form := multipart.NewWriter(&text)
	part, err := form.CreateFormFile("file", name)
	if err != nil {
		w.t.Fatal(err)
	}
	_, _ = part.Write(content) // into memory
	form.Close()
	w.send("POST", url, form.FormDataContentType(), text.Bytes(), into)
}

// session is what the backend says about a session.
type session struct {
	State        string
	Count        int64 `json:"event_count"`
	Completeness struct {
		Complete         bool
		Lost             int64
		Missing, Damaged []any // nothing may be, also if a loss is reported
	}
}

func (w *world) session(id string) (s session) {
	w.t.Helper()
	w.get(w.backend+"/api/sessions/"+id, &s)
	return s
}

// begin makes a session of a file and starts it.
func (w *world) begin(name, content string, asked map[string]any) (id string) {
	w.t.Helper()
	var made struct{ SessionID string }
	w.upload(w.backend+"/api/create-session", name, []byte(content), &made)
	asked["sessionId"] = made.SessionID
	w.post(w.backend+"/api/start-monitor", asked, &map[string]any{})
	wait.For(w.t, "the session has started", func() bool { return w.session(made.SessionID).State != "starting" })
	return made.SessionID
}

// end waits until a session has ended and all its events are stored.
func (w *world) end(id string) {
	w.t.Helper()
	wait.For(w.t, "the session ends", func() bool { return w.session(id).State == "ended" })
}

// stop stops a session and waits until it has ended.
func (w *world) stop(id string) {
	w.t.Helper()
	w.post(w.backend+"/api/monitor/stop", map[string]any{"sessionId": id}, &map[string]any{})
	w.end(id)
}

// stored is an event.
type stored struct {
	Type string         `json:"event_type"`
	Data map[string]any `json:"data"`
}

// events returns all events of a session.
func (w *world) events(id string) []stored {
	w.t.Helper()
	response, err := http.Get(w.backend + "/api/sessions/" + id + "/export?format=ndjson")
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var all []stored
	for lines := json.NewDecoder(response.Body); ; {
		var e stored
		err := lines.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			w.t.Fatalf("the export broke after %d events: %v", len(all), err)
		}
		all = append(all, e)
	}
	if status := response.Trailer.Get("X-Export-Status"); status != "complete" {
		w.t.Fatalf("the export has %d events and the status %q", len(all), status)
	}
	return all
}

// program is a chosen program, which waits for a line before it does anything.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out bytes.Buffer
}

// newProgram starts a program.
func newProgram(t *testing.T, argv ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = t.TempDir(), &p.out, os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.in.Close(); _ = p.cmd.Wait() }) // its exit code does not matter
	return p
}

// watched starts a python program and a session that watches it.
func (w *world) watched(script string, arguments ...string) (p *program, id string) {
	w.t.Helper()
	p = newProgram(w.t, append([]string{"/usr/bin/python3", "-c", "import sys; sys.stdin.readline()\n" + script}, arguments...)...)
	return p, w.begin("x", "x", map[string]any{"mode": 2, "processes": []int{p.cmd.Process.Pid}})
}

// run lets the program do its work, and returns what it printed. It must end with code 0.
func (p *program) run() string {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the program ended: %v", err)
	}
	return p.out.String()
}

// paths returns the paths of the events with an operation.
func paths(events []stored, operation string) (found []string) {
	for _, e := range events {
		if e.Data["operation"] == operation {
			found = append(found, fmt.Sprint(e.Data["filePath"]))
		}
	}
	return found
}

// compile compiles a program in C of testdata.
func compile(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(name), ".c"))
	if out, err := exec.Command("gcc", "-O1", "-pthread", "-o", binary, filepath.Join("testdata", name)).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", name, err, out)
	}
	return binary
}
