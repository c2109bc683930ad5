//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// pythonCaller sends the request of each line of its input (method, URL, body and key,
// separated by tabs), and prints the status and the body of the answer. With "fork" as an
// argument, a child whose parent has ended does so.
const pythonCaller = `
import os, sys, urllib.request, urllib.error
if sys.argv[1:] == ["fork"]:
    if os.fork() > 0: os._exit(0)
    os.setsid()
    if os.fork() > 0: os._exit(0)
for line in sys.stdin:
    method, url, body, key = line.rstrip("\n").split("\t")
    headers = {"Content-Type": "application/json"}
    if key: headers["X-API-Key"] = key
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body.encode() if method == "POST" else None, headers, method=method)) as answer:
            print(answer.status, answer.read().decode().replace("\n", " "), flush=True)
    except urllib.error.HTTPError as e:
        print(e.code, e.read().decode().replace("\n", " "), flush=True)
`

// caller is a program that sends requests to the agent.
type caller struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// newCaller starts a caller as a user. It ends with the test.
func newCaller(t *testing.T, user uint32, args ...string) *caller {
	t.Helper()
	c := &caller{t: t, cmd: exec.Command("/usr/bin/python3", append([]string{"-c", pythonCaller}, args...)...)}
	c.cmd.Dir, c.cmd.Env = "/", []string{"PATH=/usr/bin:/bin", "no_proxy=*"}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, Groups: []uint32{}}}
	c.cmd.Stderr = t.Output()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.in.Close(); _ = c.cmd.Wait() }) // its exit code does not matter
	return c
}

// send sends one request and returns the answer.
func (c *caller) send(method, url, body, key string) (status int, text string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, "%s\t%s\t%s\t%s\n", method, url, body, key); err != nil {
		c.t.Fatal(err)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "%d", &status); err != nil {
		c.t.Fatalf("%q: %v", line, err)
	}
	_, text, _ = strings.Cut(line, " ")
	return status, text
}

// startAgent runs the agent until the test ends and returns its URL.
func startAgent(t *testing.T, env []string, args ...string) string {
	t.Helper()
	port := freeport.For(t)
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	start(t, url+"/health", append([]string{"OSPULSE_TEST_AGENT=1", "AGENT_API_KEY="}, env...), "/proc/self/exe",
		append([]string{"--port", fmt.Sprint(port), "--data", t.TempDir()}, args...)...)
	return url
}

// sessionsOf returns how many sessions an agent runs.
func sessionsOf(t *testing.T, agent string) int {
	t.Helper()
	var health struct {
		Sessions int `json:"active_sessions"`
	}
	call(t, "GET", agent+"/health", "", nil, &health)
	return health.Sessions
}

// controlRoutes are all routes except those of /health.
var controlRoutes = []string{
	"POST /api/upload-file", "POST /api/upload", "POST /api/list-processes", "GET /api/list-processes", "POST /api/processes", "GET /api/processes",
	"POST /api/start-monitor", "POST /api/monitor/start", "POST /api/stop-monitor", "POST /api/monitor/stop", "GET /api/starts/x", "POST /api/stop-monitor/",
}

const (
	otherUser  = 65534
	sampleUser = 1_900_000_123
	testKey    = "the key of this test"
)

// nowhere is the URL of a backend that does not run.
const nowhere = "http://127.0.0.1:1"

// TestWhoControlsTheAgentAsRoot checks each route: without a key, programs of other users are
// refused; with a key, the key alone decides.
func TestWhoControlsTheAgentAsRoot(t *testing.T) {
	open, locked := startAgent(t, nil, "--backend", nowhere), startAgent(t, []string{"AGENT_API_KEY=" + testKey}, "--backend", nowhere)
	callers := map[uint32]*caller{}
	for _, user := range []uint32{0, otherUser, sampleUser} {
		callers[user] = newCaller(t, user)
	}
	refusal := map[int]string{http.StatusForbidden: "AGENT_API_KEY", http.StatusUnauthorized: "API key"}
	for name, test := range map[string]struct {
		agent, key string
		user       uint32
		want       int // 0: not refused
	}{
		"root":                     {open, "", 0, 0},
		"another user":             {open, "", otherUser, http.StatusForbidden},
		"another user, a key":      {open, testKey, otherUser, http.StatusForbidden},
		"key needed, root":         {locked, "", 0, http.StatusUnauthorized},
		"key needed, another user": {locked, "", otherUser, http.StatusUnauthorized},
		"key needed, the key":      {locked, testKey, otherUser, 0},
		"a sample's user":          {open, "", sampleUser, http.StatusForbidden},
	} {
		for _, route := range controlRoutes {
			method, path, _ := strings.Cut(route, " ")
			status, text := callers[test.user].send(method, test.agent+path, `{}`, test.key)
			isRefused := status == http.StatusForbidden || status == http.StatusUnauthorized
			if isRefused != (test.want != 0) || isRefused && status != test.want {
				t.Errorf("%s: %s: %d %s, want %d", name, route, status, text, test.want)
			}
			if test.user == otherUser && !strings.Contains(text, refusal[test.want]) {
				t.Errorf("%s: %s: %q does not say what to do", name, route, text)
			}
		}
		if status, text := callers[test.user].send("GET", test.agent+"/health", "", ""); status != http.StatusOK || !strings.Contains(text, `"healthy"`) {
			t.Errorf("%s: /health: %d %s", name, status, text)
		}
	}
}

// TestClosedCallersAsRoot checks that a program of another user gains nothing if it closes
// its connection before the agent looks at it: the kernel then lists the connection as one
// of user 0.
func TestClosedCallersAsRoot(t *testing.T) {
	agent := startAgent(t, nil, "--backend", nowhere)
	// An accepted stop with the id of a start is recorded as the end of that start.
	const script = `
import socket, struct, sys
host = sys.argv[1]
body = b'{"sessionId":"s"}'
request = b"POST /api/stop-monitor HTTP/1.1\r\nHost: localhost\r\nX-OSPulse-Start: closed\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
for i in range(300):
    s = socket.create_connection((host.split(":")[0], int(host.split(":")[1])))
    if i % 3 == 1: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.sendall(request)
    if i % 3 == 2: s.shutdown(socket.SHUT_WR)
    s.close()
`
	cmd := exec.Command("/usr/bin/python3", "-c", script, strings.TrimPrefix(agent, "http://"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser, Groups: []uint32{}}}
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if status, text := newCaller(t, 0).send("GET", agent+"/api/starts/closed", "", ""); status != http.StatusOK || !strings.Contains(text, `"unknown"`) {
		t.Errorf("a stop of the closed was accepted: %d %s", status, text)
	}
}

// TestBackendOfAnotherUserAsRoot checks that a backend of an unprivileged user controls an
// agent of root without a key, whichever starts first, as `go run main.go` and `sudo
// ospulse-agent` do; that a third user does not; and that a start which asks for the host's
// network is refused with the reason.
func TestBackendOfAnotherUserAsRoot(t *testing.T) {
	const backendUser = 61234
	folder := t.TempDir()
	if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil { //nolint:gosec // the backend's user must reach the folder
		t.Fatal(err)
	}
	program := filepath.Join(folder, "ospulse-backend")
	if err := os.Rename(buildBackend(t), program); err != nil {
		t.Fatal(err)
	}
	port := freeport.For(t)
	backend := fmt.Sprintf("http://127.0.0.1:%d", port)
	agent := startAgent(t, nil, "--backend", fmt.Sprintf("http://localhost:%d", port))
	same, third := newCaller(t, backendUser), newCaller(t, otherUser)
	if status, _ := same.send("GET", agent+"/api/processes", "", ""); status != http.StatusForbidden {
		t.Errorf("without a backend: %d", status)
	}

	data := filepath.Join(folder, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, backendUser, backendUser); err != nil {
		t.Fatal(err)
	}
	startBackend := func() *exec.Cmd {
		return start(t, backend+"/api/health", []string{fmt.Sprint("PORT=", port), "DATA_DIR=" + data, "AGENT_SERVICE_URL=" + agent, "DATABASE_URL=", "AGENT_API_KEY="},
			"/usr/bin/setpriv", fmt.Sprint("--reuid=", backendUser), fmt.Sprint("--regid=", backendUser), "--clear-groups", program)
	}
	process := startBackend()
	session := upload(t, backend, "x.sh", "exec sleep 600")

	body := strings.NewReader(`{"sessionId":"` + session + `","mode":3,"network":"host"}`)
	response, err := http.Post(backend+"/api/start-monitor", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode/100 != 4 || !strings.Contains(string(text), `"invalid"`) || !strings.Contains(string(text), "the same AGENT_API_KEY for the agent and the backend") {
		t.Errorf("a start in the host's network: %d %s, %v", response.StatusCode, text, err)
	}

	session = upload(t, backend, "y.sh", "exec sleep 601")
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": session, "mode": 3}, &map[string]any{})
	if n := sessionsOf(t, agent); n != 1 {
		t.Errorf("%d sessions run, want 1", n)
	}
	if status, text := third.send("POST", agent+"/api/stop-monitor", `{"sessionId":"`+session+`"}`, ""); status != http.StatusForbidden || !strings.Contains(text, "user 65534") {
		t.Errorf("a third user: %d %s", status, text)
	}
	if status, text := same.send("GET", agent+"/api/processes", "", ""); status != http.StatusOK {
		t.Errorf("the backend's user: %d %s", status, text)
	}
	// The backend may be restarted while the session runs.
	kill(t, process)
	startBackend()
	callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": session}, &map[string]any{})
	wait.For(t, "the session ends", func() bool { return sessionsOf(t, agent) == 0 })

	// If another user takes the other address of localhost, the agent does not choose between them.
	squatter := exec.Command("/usr/bin/python3", "-m", "http.server", "--bind", "::1", fmt.Sprint(port))
	squatter.Dir = "/"
	squatter.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser, Groups: []uint32{}}}
	if err := squatter.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(t, squatter) })
	wait.For(t, "the agent sees both", func() bool {
		status, text := third.send("GET", agent+"/api/processes", "", "")
		return status == http.StatusForbidden && strings.Contains(text, "several users")
	})
}

// TestWatchedDoNotControlTheAgentAsRoot checks that a program which a session chose, and a
// child of it that left the tree, cannot stop the session, although they run as root.
func TestWatchedDoNotControlTheAgentAsRoot(t *testing.T) {
	agent := startAgent(t, nil, "--backend", nowhere)
	chosen, free := newCaller(t, 0), newCaller(t, 0)
	shell := exec.Command("/bin/sh", "-c", `read -r _; exec /usr/bin/python3 -c "$0" fork`, pythonCaller)
	c := &caller{t: t, cmd: shell}
	var err error
	if c.in, err = shell.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.in.Close(); _ = shell.Wait() }) // its exit code does not matter

	callJSON(t, agent+"/api/monitor/start", map[string]any{"sessionId": "s", "mode": 2, "fileName": "", "processes": []int{chosen.cmd.Process.Pid, shell.Process.Pid}}, &map[string]any{})
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		t.Fatal(err)
	}
	for name, watched := range map[string]*caller{"the chosen program": chosen, "its child": c} {
		status, text := watched.send("POST", agent+"/api/stop-monitor", `{"sessionId":"s"}`, "")
		if status != http.StatusForbidden || !strings.Contains(text, "a session watches it") || !strings.Contains(text, "AGENT_API_KEY") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if n := sessionsOf(t, agent); n != 1 {
		t.Errorf("%d sessions run, want 1", n)
	}
	if status, text := free.send("POST", agent+"/api/stop-monitor", `{"sessionId":"s"}`, ""); status != http.StatusOK {
		t.Errorf("another program of root: %d %s", status, text)
	}
	wait.For(t, "after the session, the chosen program may call", func() bool { // the stop may still go on
		status, _ := chosen.send("GET", agent+"/api/processes", "", "")
		return status == http.StatusOK
	})
}

// TestSampleInTheHostsNetworkAsRoot checks that a sample in this machine's network does not
// stop its own session.
func TestSampleInTheHostsNetworkAsRoot(t *testing.T) {
	agent := startAgent(t, []string{"AGENT_API_KEY=" + testKey}, "--backend", nowhere, "--spawn-network", "host")
	told := make(chan string, 1)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.URL.RawQuery })}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }() // until the test ends
	t.Cleanup(func() { server.Close() })
	sample := `#!/usr/bin/python3
import time, urllib.request, urllib.error
try:
    request = urllib.request.Request("` + agent + `/api/stop-monitor", b'{"sessionId":"s"}', {"Content-Type": "application/json"})
    status = urllib.request.urlopen(request).status
except urllib.error.HTTPError as e:
    status = e.code
urllib.request.urlopen("http://` + listener.Addr().String() + `/?%d" % status)
time.sleep(600)
`
	send := func(path, kind string, body io.Reader) {
		t.Helper()
		request, err := http.NewRequest("POST", agent+path, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		request.Header.Set("X-API-Key", testKey)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s, %v", path, response.Status, text, err)
		}
	}
	kind, form := fileForm(t, "stops.py", sample)
	send("/api/upload-file", kind, form)
	send("/api/start-monitor", "application/json", strings.NewReader(`{"sessionId":"s","fileName":"stops.py","mode":3}`))
	if status := wait.Receive(t, "the sample tells its answer", told); status != "401" {
		t.Errorf("the agent answered the sample with %s", status)
	}
	if n := sessionsOf(t, agent); n != 1 {
		t.Errorf("%d sessions run, want 1", n)
	}
	send("/api/stop-monitor", "application/json", strings.NewReader(`{"sessionId":"s"}`))
}

// TestHostNetworkNeedsAKey checks that the agent does not start, and --check fails, if
// samples may use this machine's network and there is no key.
func TestHostNetworkNeedsAKey(t *testing.T) {
	for _, args := range [][]string{{"--spawn-network", "host"}, {"--spawn-network", "host", "--check"}} {
		var out, fault bytes.Buffer
		env := map[string]string{}
		code := serve(context.Background(), args, func(name string) string { return env[name] }, &out, &fault)
		if code != 2 || !strings.Contains(fault.String(), "--spawn-network host") || !strings.Contains(fault.String(), "AGENT_API_KEY for the agent and the backend") {
			t.Errorf("%v: exit code %d, %s", args, code, &fault)
		}
	}
}
