//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ospulse/agent/internal/api"
	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/sandbox"
	"ospulse/agent/internal/trace"
	"ospulse/test/freeport"
	"ospulse/test/ownnet"
	"ospulse/test/wait"
)

// TestMain runs the agent instead of the tests for a hidden command, or if
// OSPULSE_TEST_AGENT is set. If browserVariable is set, it runs browse.
func TestMain(m *testing.M) {
	hidden := len(os.Args) > 1 && (os.Args[1] == trace.LaunchCommand || os.Args[1] == sandbox.LaunchCommand || os.Args[1] == inspect.Command || os.Args[1] == parser.Command)
	if hidden || os.Getenv("OSPULSE_TEST_AGENT") != "" {
		os.Exit(run(context.Background(), os.Args[1:], wait.Patience))
	}
	if address := os.Getenv(browserVariable); address != "" {
		os.Exit(browse(address, os.Args[1:]))
	}
	ownnet.Enter()
	os.Exit(m.Run())
}

// buildBackend builds the backend.
func buildBackend(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "ospulse-backend")
	cmd := ownnet.Outside("go", "build", "-o", binary, "main.go")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the backend: %v\n%s", err, out)
	}
	return binary
}

// start runs a program until the test ends, and waits until url answers.
func start(t *testing.T, url string, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState != nil { // killed
			return
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ended: %v", name, err)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, &log)
		}
	})
	wait.For(t, name+" is ready", func() bool {
		response, err := http.Get(url)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return cmd
}

// call sends a request, and repeats it while the answer is that the agent is slow, as on a
// busy machine.
func call(t *testing.T, method, url, kind string, body io.Reader, into any) {
	t.Helper()
	var content, text []byte
	if body != nil {
		var err error
		if content, err = io.ReadAll(body); err != nil {
			t.Fatal(err)
		}
	}
	wait.For(t, method+" "+url+" is answered", func() bool {
		request, err := http.NewRequest(method, url, bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		request.Header.Set("Prefer", "respond-async")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ = io.ReadAll(response.Body)
		if response.StatusCode/100 != 2 && response.StatusCode != http.StatusGatewayTimeout {
			t.Fatalf("%s %s: %s %s", method, url, response.Status, text)
		}
		return response.StatusCode/100 == 2
	})
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s %s: %v in %s", method, url, err, text)
	}
}

// callJSON is call with a JSON body. After a start, it waits until the session is active.
func callJSON(t *testing.T, url string, body, into any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	call(t, "POST", url, "application/json", bytes.NewReader(text), into)
	backend, isStart := strings.CutSuffix(url, "/api/start-monitor")
	asked, isSession := body.(map[string]any)
	if !isStart || !isSession {
		return
	}
	var session struct {
		State      string
		StartError json.RawMessage `json:"start_error"`
	}
	wait.For(t, "the session is no longer starting", func() bool {
		call(t, "GET", fmt.Sprintf("%s/api/sessions/%s", backend, asked["sessionId"]), "", nil, &session)
		return session.State != "starting"
	})
	if session.State == "failed" {
		t.Fatalf("the session was not started: %s", session.StartError)
	}
}

// sessionEvent is an event as the backend exports it.
type sessionEvent struct {
	Type string          `json:"event_type"`
	Data json.RawMessage `json:"data"`
}

// events returns all events of a session, the oldest first.
func events(t *testing.T, backend, session string) []sessionEvent {
	t.Helper()
	var all []sessionEvent
	call(t, "GET", backend+"/api/events/export?sessionId="+session, "", nil, &all)
	return all
}

func upload(t *testing.T, backend, name, content string) (session string) {
	t.Helper()
	kind, body := fileForm(t, name, content)
	var made struct{ SessionID string }
	call(t, "POST", backend+"/api/create-session", kind, body, &made)
	return made.SessionID
}

// fileForm returns a form with a file, and its content type.
func fileForm(t *testing.T, name, content string) (kind string, body io.Reader) {
	t.Helper()
	var text bytes.Buffer
	form := multipart.NewWriter(&text)
	part, err := form.CreateFormFile("file", name)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(part, content) //nolint:errcheck // into memory
	form.Close()
	return form.FormDataContentType(), &text
}

// together is a backend and its agent.
type together struct {
	backend    string // URL
	backendPID int
}

// startBoth runs the real backend and its agent, with a kind of sensor, until the test
// ends. settings are further environment variables of the backend, as NAME=value.
func startBoth(t *testing.T, kind string, settings ...string) together {
	t.Helper()
	return startBehind(t, kind, "", func(backend string) string { return backend }, settings...)
}

// startBehind is startBoth with a common key ("": none). relay returns the URL at which the
// agent reaches the backend.
func startBehind(t *testing.T, kind, key string, relay func(backend string) string, settings ...string) together {
	t.Helper()
	binary := buildBackend(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0") // before the backend starts: no other program can take the port
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() }) // serving closes it too
	backendPort := freeport.For(t)
	backend, agent := fmt.Sprintf("http://127.0.0.1:%d", backendPort), "http://"+listener.Addr().String()
	backendProcess := start(t, backend+"/api/health", append([]string{
		fmt.Sprint("PORT=", backendPort), "DATA_DIR=" + t.TempDir(), "AGENT_SERVICE_URL=" + agent, "DATABASE_URL=", "AGENT_API_KEY=" + key,
	}, settings...), binary)

	cfg, err := config.Load([]string{"--backend", relay(backend), "--data", t.TempDir(), "--poll", "50ms"}, func(name string) string {
		return map[string]string{"AGENT_API_KEY": key}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	eyes := openEyes(t, kind, cfg, log)
	spawner, fault := newSpawner(cfg, log)
	if fault != "" {
		t.Fatal(fault)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- serveOn(ctx, cfg, log, listener, eyes, spawner, "", time.Now()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return together{backend, backendProcess.Process.Pid}
}

// openEyes opens a kind of sensor. The caller closes it.
func openEyes(t *testing.T, kind string, cfg config.Config, log *slog.Logger) eyes {
	t.Helper()
	if kind == "procfs" {
		return procEyes(cfg, log, nil)
	}
	eyes := newEyes(cfg, log)
	if eyes.fault != nil {
		t.Fatal(eyes.fault)
	}
	return eyes
}

// TestWithTheBackend checks upload, start, the events in the session, and stop, with the real
// backend and an agent.
func TestWithTheBackend(t *testing.T)       { testWithTheBackend(t, "procfs") }
func TestWithTheBackendAsRoot(t *testing.T) { testWithTheBackend(t, "ebpf") }

func testWithTheBackend(t *testing.T, kind string) {
	both := startBoth(t, kind)
	backend := both.backend
	wait.For(t, "the backend knows the agent", func() bool {
		var list struct {
			Agents []struct {
				ID, Sensor   string
				Capabilities []capability
			}
		}
		call(t, "GET", backend+"/api/agents", "", nil, &list)
		return len(list.Agents) == 1 && list.Agents[0].ID == "default" && list.Agents[0].Sensor == kind && len(list.Agents[0].Capabilities) > 3
	})
	session := upload(t, backend, "My Tool (v2).sh", "sleep 0.5\ncat /etc/hostname >/dev/null\nsleep 0.5\nexit 3\n")
	var answer map[string]any
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": session, "mode": 3}, &answer)
	var all []sessionEvent
	wait.For(t, "session_end is in the session", func() bool {
		all = events(t, backend, session)
		return slices.ContainsFunc(all, func(e sessionEvent) bool { return e.Type == "session_end" })
	})
	wait.For(t, "the session has ended as its program", func() bool {
		var ended struct {
			State string
			End   *struct {
				Reason   string
				ExitCode int
			}
		}
		call(t, "GET", backend+"/api/sessions/"+session, "", nil, &ended)
		return ended.State == "ended" && ended.End != nil && ended.End.Reason == "exited" && ended.End.ExitCode == 3
	})
	callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": session}, &answer)
	if n := len(events(t, backend, session)); n != len(all) {
		t.Errorf("%d events after the stop, %d before", n, len(all))
	}
	slices.SortStableFunc(all, func(a, b sessionEvent) int { return rank(a) - rank(b) })
	first, last := all[0], all[len(all)-1]
	if first.Type != "session_start" || !strings.Contains(string(first.Data), `"fileName":"My_Tool_v2.sh"`) || !strings.Contains(string(first.Data), session) {
		t.Errorf("first: %s %s", first.Type, first.Data)
	}
	if last.Type != "session_end" || !strings.Contains(string(last.Data), `"exitCode":3`) {
		t.Errorf("last: %s %s", last.Type, last.Data)
	}
	sleeps, files := 0, 0
	for _, e := range all {
		switch {
		case e.Type == "process_creation" && strings.Contains(string(e.Data), "sleep"):
			sleeps++
		case e.Type == "file_operation" && strings.Contains(string(e.Data), "/etc/hostname"):
			files++
		}
	}
	if sleeps < 2 || kind == "ebpf" && files == 0 {
		t.Errorf("%d starts of sleep, %d events of /etc/hostname, in %d events: %s", sleeps, files, len(all), all)
	}

	// A second session monitors the whole machine. It must not have events of OS-Pulse.
	second := upload(t, backend, "x.sh", "true")
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": second, "mode": 1}, &answer)
	cat := exec.Command("/bin/cat", "/etc/passwd")
	if err := cat.Run(); err != nil {
		t.Fatal(err)
	}
	callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": second}, &answer)
	// On a busy machine many events of other programs come before the end. A page with the
	// end alone is small.
	wait.For(t, "the end of the second session is delivered", func() bool {
		var page struct{ Events []json.RawMessage }
		call(t, "GET", backend+"/api/sessions/"+second+"/events?filter=type%3Dsession_end", "", nil, &page)
		return len(page.Events) == 1
	})
	for _, e := range events(t, backend, second) {
		for _, own := range []int{both.backendPID, os.Getpid()} {
			if strings.Contains(string(e.Data), fmt.Sprintf(`"processId":%d,"processStartTime"`, own)) {
				t.Fatalf("OS-Pulse reports itself: %s", e.Data)
			}
		}
		if e.Type == "process_creation" && strings.Contains(string(e.Data), `"commandLine":"/bin/cat /etc/passwd"`) && !strings.Contains(string(e.Data), `"newUserId":0,"newUserName":"root"`) {
			t.Errorf("the user has no name: %s", e.Data)
		}
	}
}

// leaver is a shell that ends when its input ends, and leaves a child that runs until
// release is called.
func leaver(t *testing.T) (shell *exec.Cmd, leave, release func()) {
	t.Helper()
	held, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shell = exec.Command("/bin/sh", "-c", "cat <&3 >/dev/null 3<&- & exec 3<&-; echo ready; read -r _")
	shell.ExtraFiles = []*os.File{held}
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	held.Close()
	t.Cleanup(func() { in.Close(); hold.Close() })
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	return shell, func() { in.Close(); _ = shell.Wait() }, func() { hold.Close() } // its exit code does not matter
}

// TestWatchIsOver checks that a watch is over when the chosen process and its descendants
// have ended, and not before.
func TestWatchIsOver(t *testing.T)       { testWatchIsOver(t, "procfs") }
func TestWatchIsOverAsRoot(t *testing.T) { testWatchIsOver(t, "ebpf") }

func testWatchIsOver(t *testing.T, kind string) {
	cfg, err := config.Load([]string{"--poll", "50ms", "--packets=false"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	eyes := openEyes(t, kind, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	defer eyes.close()
	shell, leave, release := leaver(t)
	watch, err := eyes.sensor.Watch(monitor.Scope{PIDs: []int{shell.Process.Pid}}, func(*event.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	all, err := eyes.sensor.Watch(monitor.Scope{All: true}, func(*event.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	isOver := func(w monitor.Watch) bool {
		over, err := w.IsOver()
		if err != nil {
			t.Error(err)
		}
		return over
	}
	if isOver(watch) {
		t.Error("it is over while the process runs")
	}
	leave()
	if isOver(watch) {
		t.Error("it is over while a child of the process runs")
	}
	release()
	wait.For(t, "the watch is over", func() bool { return isOver(watch) })
	if isOver(all) {
		t.Error("a watch of all processes is over")
	}
	if err := errors.Join(watch.Close(), all.Close()); err != nil {
		t.Error(err)
	}
}

// TestSessionWithoutProcessesEnds checks that a session of chosen processes ends by itself.
func TestSessionWithoutProcessesEnds(t *testing.T)       { testSessionWithoutProcessesEnds(t, "procfs") }
func TestSessionWithoutProcessesEndsAsRoot(t *testing.T) { testSessionWithoutProcessesEnds(t, "ebpf") }

func testSessionWithoutProcessesEnds(t *testing.T, kind string) {
	backend := startBoth(t, kind).backend
	shell, leave, release := leaver(t)
	session := upload(t, backend, "x.sh", "true")
	var answer map[string]any
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": session, "mode": 2, "processes": []int{shell.Process.Pid}}, &answer)
	leave()
	release()
	wait.For(t, "the session has ended", func() bool {
		var now struct {
			State string
			End   struct{ Reason, Text string }
		}
		call(t, "GET", backend+"/api/sessions/"+session, "", nil, &now)
		return now.State == "ended" && now.End.Reason == "exited" && now.End.Text == "all chosen processes ended"
	})
}

// TestStartsThatTimeOut checks starts whose answers come later than the backend waits. The
// backend must learn whether each start ran, and no sample may run twice.
func TestStartsThatTimeOut(t *testing.T) {
	const starts = 5
	backend := startBoth(t, "procfs", "AGENT_TIMEOUT=100ms").backend
	var sessions [starts]string
	for i := range sessions {
		sessions[i] = upload(t, backend, "sample.sh", "sleep 0.2; exit 7\n")
	}
	var asked sync.WaitGroup
	for _, session := range sessions {
		for range 2 { // a client that lost the first answer repeats the request
			asked.Go(func() {
				body := strings.NewReader(fmt.Sprintf(`{"sessionId":%q,"mode":3}`, session))
				response, err := http.Post(backend+"/api/start-monitor", "application/json", body)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
			})
		}
	}
	asked.Wait()
	for _, session := range sessions {
		var now struct {
			State      string
			StartError struct {
				Text       string
				MayHaveRun bool `json:"may_have_run"`
			} `json:"start_error"`
			End struct{ ExitCode int }
		}
		wait.For(t, "the outcome of the start is known", func() bool {
			call(t, "GET", backend+"/api/sessions/"+session, "", nil, &now)
			return now.State == "ended" || now.State == "failed"
		})
		began := 0
		for _, e := range events(t, backend, session) {
			if e.Type == "session_start" {
				began++
			}
		}
		switch {
		case now.State == "ended" && now.End.ExitCode == 7 && began == 1:
		case now.State == "failed" && !now.StartError.MayHaveRun && began == 0:
			t.Logf("a start did not run: %s", now.StartError.Text)
		default:
			t.Errorf("the session is %+v and has %d session_start", now, began)
		}
	}
}

// TestEndings checks session_end for the ways in which a sample can end, and that the agent
// goes on watching a sample that puts itself into the background.
func TestEndings(t *testing.T)       { testEndings(t, "procfs") }
func TestEndingsAsRoot(t *testing.T) { testEndings(t, "ebpf") }

// sandboxNotes is what session_end reports about limits that this machine cannot set.
var sandboxNotes = regexp.MustCompile(`"notes":\[[^\]]*\],`)

func testEndings(t *testing.T, kind string) {
	const daemon = `#!/bin/sh
echo begins
setsid sh -c 'setsid sh -c "sleep 1; cat /etc/hosts >/dev/null; sleep 0.2; echo later" &' &
exit 3
`
	backend := startBoth(t, kind).backend
	for name, test := range map[string]struct{ text, want string }{
		"given":  {"echo $# \"$2\"", `"exitCode":0,"reason":"exited","sandbox":{"entry":"/home/user/NAME","output":"2 a b\n"`},
		"daemon": {daemon, `"exitCode":3,"reason":"exited","sandbox":{"entry":"/home/user/NAME","output":"begins\nlater\n","outputBytes":13}`},
		"signal": {"kill -SEGV $$", `"exitCode":-1,"signal":11,"reason":"killed","sandbox":{"entry":"/home/user/NAME","output":"","outputBytes":0}`},
		"139":    {"printf '\\377'; exit 139", `"exitCode":139,"reason":"exited","sandbox":{"entry":"/home/user/NAME","output":"\udcff","outputBytes":1}`},
		"disk":   {"exec /usr/bin/python3 -c 'import os, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); os.truncate(os.open(\"/tmp/x\", os.O_CREAT | os.O_WRONLY), 1 << 40)'", `"exitCode":-1,"signal":25,"reason":"disk","sandbox":{"entry":"/home/user/NAME","limits":["disk"]`},
	} {
		session := upload(t, backend, name+".sh", test.text)
		var answer map[string]any
		ask := map[string]any{"sessionId": session, "mode": 3}
		if name == "given" {
			ask["arguments"] = []string{"-v", "a b"}
		}
		callJSON(t, backend+"/api/start-monitor", ask, &answer)
		var all []sessionEvent
		wait.For(t, name+" ends", func() bool {
			all = events(t, backend, session)
			return slices.ContainsFunc(all, func(e sessionEvent) bool { return e.Type == "session_end" })
		})
		callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": session}, &answer)
		has := func(kind, text string) bool {
			return slices.ContainsFunc(all, func(e sessionEvent) bool {
				return e.Type == kind && strings.Contains(sandboxNotes.ReplaceAllString(string(e.Data), ""), text)
			})
		}
		if want := strings.ReplaceAll(test.want, "NAME", name+".sh"); !has("session_end", want) {
			t.Errorf("%s: no session_end with %s in %s", name, want, all)
		}
		if name == "daemon" && (!has("process_creation", "cat") || !has("file_operation", "/etc/hosts")) {
			t.Errorf("no events of the daemon in %s", all)
		}
	}
}

// TestStartLimitsAsRoot checks that a start may ask for less than the agent's owner allows,
// that the agent enforces it and reports it in session_start, that it refuses more, and that
// the backend learns what may be asked for.
func TestStartLimitsAsRoot(t *testing.T) {
	backend := startBoth(t, "ebpf").backend
	wait.For(t, "the backend knows what may be asked for", func() bool {
		var list struct {
			Agents []struct {
				StartOptions *struct {
					Networks       []string
					TimeoutSeconds int `json:"timeout_seconds"`
					MemoryMB       int `json:"memory_mb"`
				} `json:"start_options"`
			}
		}
		call(t, "GET", backend+"/api/agents", "", nil, &list)
		options := list.Agents[0].StartOptions
		return options != nil && slices.Equal(options.Networks, []string{"none"}) && options.TimeoutSeconds == 600 && options.MemoryMB == 1024
	})
	const hungry = "#!/usr/bin/python3\nx = b'x' * (300 << 20)\n"
	for name, test := range map[string]struct {
		text       string
		limits     map[string]any
		start, end string
	}{
		"slow.sh":   {"exec sleep 600", map[string]any{"timeoutSeconds": 1}, `"limits":{"network":"none","timeoutSeconds":1,"memoryMB":1024}`, `"reason":"timeout"`},
		"hungry.py": {hungry, map[string]any{"memoryMB": 64, "network": "none"}, `"limits":{"network":"none","timeoutSeconds":600,"memoryMB":64}`, `"reason":"memory"|MemoryError`},
		"fed.py":    {hungry, nil, `"limits":{"network":"none","timeoutSeconds":600,"memoryMB":1024}`, `"exitCode":0,"reason":"exited"`},
	} {
		session := upload(t, backend, name, test.text)
		ask := map[string]any{"sessionId": session, "mode": 3}
		maps.Copy(ask, test.limits)
		callJSON(t, backend+"/api/start-monitor", ask, &map[string]any{})
		var all []sessionEvent
		wait.For(t, name+" ends", func() bool {
			all = events(t, backend, session)
			return slices.ContainsFunc(all, func(e sessionEvent) bool { return e.Type == "session_end" })
		})
		for kind, want := range map[string]string{"session_start": regexp.QuoteMeta(test.start), "session_end": test.end} {
			if !slices.ContainsFunc(all, func(e sessionEvent) bool { return e.Type == kind && regexp.MustCompile(want).Match(e.Data) }) {
				t.Errorf("%s: no %s with %s in %s", name, kind, want, all[len(all)-1].Data)
			}
		}
	}
	for field, value := range map[string]any{"network": "nat", "timeoutSeconds": 601, "memoryMB": 1025} {
		body, err := json.Marshal(map[string]any{"sessionId": upload(t, backend, field+".sh", "echo "+field), "mode": 3, field: value})
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Post(backend+"/api/start-monitor", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := field + ": this agent allows"; err != nil || response.StatusCode/100 != 4 || !strings.Contains(string(text), want) {
			t.Errorf("%s: answered %d %s, %v, want %q", field, response.StatusCode, text, err, want)
		}
	}
}

func TestSelection(t *testing.T)       { testSelection(t, "procfs") }
func TestSelectionAsRoot(t *testing.T) { testSelection(t, "ebpf") }

// testSelection checks that a start may say what the agent leaves out, with either sensor, and
// that the session says so: what, and how much.
func testSelection(t *testing.T, kind string) {
	backend := startBoth(t, kind).backend
	session := upload(t, backend, "busy.sh", "#!/bin/sh\necho text > written; cat written written /nowhere; rm written\n")
	callJSON(t, backend+"/api/start-monitor", map[string]any{
		"sessionId": session, "mode": 3, "selection": map[string]any{"leaveOut": []string{"closes", "reads", "lookups"}, "leaveOutPaths": []string{"/usr", "/etc"}},
	}, &map[string]any{})
	var all []sessionEvent
	wait.For(t, "the program ends", func() bool {
		all = events(t, backend, session)
		return slices.ContainsFunc(all, func(e sessionEvent) bool { return e.Type == "session_end" })
	})
	programs, files := 0, map[string]int{}
	for _, e := range all {
		var d struct {
			Operation, FilePath, Error string
		}
		if err := json.Unmarshal(e.Data, &d); err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case "process_creation":
			programs++
		case "file_operation":
			files[d.Operation]++
			if strings.HasPrefix(d.FilePath, "/usr/") || strings.HasPrefix(d.FilePath, "/etc/") || d.Error == "ENOENT" {
				t.Errorf("not left out: %s", e.Data)
			}
		}
	}
	if programs != 3 || files["ReadFile"]+files["CloseFile"] > 0 || files["WriteFile"] == 0 || files["DeleteFile"] != 1 {
		t.Errorf("%d programs; operations %v", programs, files)
	}
	if last := all[len(all)-2]; last.Type != "events_left_out" {
		t.Errorf("before the end: %s %s", last.Type, last.Data)
	}
	var s struct {
		Completeness struct {
			Complete  bool
			Selection json.RawMessage
			LeftOut   map[string]int `json:"left_out"`
		}
	}
	call(t, "GET", backend+"/api/sessions/"+session, "", nil, &s)
	const want = `{"leaveOut":["closes","reads","lookups"],"leaveOutPaths":["/usr","/etc"]}`
	c := s.Completeness
	if !c.Complete || string(c.Selection) != want || c.LeftOut["closes"] == 0 || c.LeftOut["reads"] == 0 || c.LeftOut["lookups"] == 0 || c.LeftOut["paths"] == 0 {
		t.Errorf("completeness: %+v, selection %s", c, c.Selection)
	}
}

// TestWhatIsRun checks that the agent runs a file with its interpreter and reports both in
// session_start; that the backend refuses a file that cannot run with cannot_run and a
// reason; and that a client can send back the names in a refusal as entryPoint.
func TestWhatIsRun(t *testing.T) {
	backend := startBoth(t, "procfs").backend
	refusal := func(session, entryPoint string) (status int, code, text string) {
		wait.For(t, "the backend answers the start", func() bool {
			body, err := json.Marshal(map[string]any{"sessionId": session, "mode": 3, "entryPoint": entryPoint})
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.Post(backend+"/api/start-monitor", "application/json", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var refusal struct{ Error, Code string }
			if err := json.NewDecoder(response.Body).Decode(&refusal); err != nil {
				t.Fatal(err)
			}
			status, code, text = response.StatusCode, refusal.Code, refusal.Error
			return status != http.StatusGatewayTimeout
		})
		return status, code, text
	}
	ran := func(session, start, end string) {
		t.Helper()
		var all []sessionEvent
		wait.For(t, "the session has its session_end", func() bool {
			all = events(t, backend, session)
			return slices.ContainsFunc(all, func(e sessionEvent) bool { return e.Type == "session_end" })
		})
		for kind, want := range map[string]string{"session_start": start, "session_end": end} {
			if !slices.ContainsFunc(all, func(e sessionEvent) bool { return e.Type == kind && strings.Contains(string(e.Data), want) }) {
				t.Errorf("no %s with %s in %s", kind, want, all)
			}
		}
	}
	archive, err := os.ReadFile("internal/sandbox/testdata/sjis.zip")
	if err != nil {
		t.Fatal(err)
	}
	names := upload(t, backend, "names.zip", string(archive))
	for session, want := range map[string]string{
		upload(t, backend, "notes.txt", "Hello this is plain text\nrm -rf is mentioned\n"): "notes.txt cannot be run: it is a plain text",
		upload(t, backend, "run.bat", "@echo off\necho BAT\n"):                             "it is a batch file for Windows; it needs Windows, and this agent is on Linux",
		names: "name one of them as entryPoint: 日本.sh, 日経.sh",
	} {
		if status, code, text := refusal(session, ""); status != http.StatusUnprocessableEntity || code != "cannot_run" || !strings.Contains(text, want) {
			t.Errorf("answered %d %s %q, want %q", status, code, text, want)
		}
	}
	if status, _, text := refusal(names, "日経.sh"); status != http.StatusOK {
		t.Fatalf("a name from the refusal: %d %s", status, text)
	}
	ran(names, `"run":{"path":"/home/user/日経.sh","what":"a shell script","interpreter":"/bin/sh","why":"its #! line names \"/bin/sh\""`, `"output":"RAN /home/user/日経.sh\n"`)
	python := upload(t, backend, "mal.py", "import os\nprint('PY-RAN')\n")
	if status, _, text := refusal(python, ""); status != http.StatusOK {
		t.Fatalf("a Python script: %d %s", status, text)
	}
	ran(python, `"run":{"path":"/home/user/mal.py","what":"a Python script","interpreter":"/usr/bin/python3","why":"its name ends in .py"`, `"output":"PY-RAN\n"`)
}

// rank sorts session_start first and session_end last. The export sorts by time, and the
// kernel's timestamps differ slightly from those of Go.
func rank(e sessionEvent) int {
	switch e.Type {
	case "session_start":
		return -1
	case "session_end":
		return 1
	}
	return 0
}

// TestTheProgram checks that the agent, as a process, becomes ready and ends on a signal.
func TestTheProgram(t *testing.T) {
	port := freeport.For(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/health", port)
	began := time.Now()
	start(t, url, []string{"OSPULSE_TEST_AGENT=1"}, "/proc/self/exe", "--port", fmt.Sprint(port), "--data", t.TempDir(), "--backend", "http://127.0.0.1:9")
	t.Logf("ready after %s", time.Since(began))
	var health struct{ Status, Service, Sensor string }
	call(t, "GET", url, "", nil, &health)
	if health.Status != "healthy" || health.Service != api.Service || health.Sensor == "" {
		t.Errorf("health: %+v", health)
	}
}

func TestCheck(t *testing.T) {
	var out, errors bytes.Buffer
	if code := serve(context.Background(), []string{"--check"}, func(string) string { return "" }, &out, &errors); code != 0 || errors.Len() > 0 {
		t.Fatalf("code %d: %s", code, &errors)
	}
	for _, want := range []string{"process list", "eBPF", "sandbox", "WHAT TO DO"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	out.Reset()
	if code := serve(context.Background(), []string{"--check", "--spawn-isolation", "vm", "--spawn-image", t.TempDir()}, func(string) string { return "" }, &out, &errors); code != 0 || errors.Len() > 0 {
		t.Fatalf("code %d: %s", code, &errors)
	}
	for _, want := range []string{"in a virtual machine (mode 3)", "full speed (KVM)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
