//go:build linux

package delivery

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ospulse/test/wait"
)

// With these variables, the test binary runs as an agent that a test kills.
const (
	childBackend = "OSPULSE_TEST_DELIVERY_BACKEND"
	childSpool   = "OSPULSE_TEST_DELIVERY_SPOOL"
	childID      = "OSPULSE_TEST_DELIVERY_SESSIONS"
)

// child adds events to its sessions in turn until SIGTERM. Every few events it prints how
// many of them are no longer only in memory. A kill must not lose these.
func child(backend, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	d, err := New(Options{Backend: backend, Dir: dir, SpoolMaxBytes: 64 << 20, FlushTimeout: 10 * time.Minute})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	sessions := strings.Split(os.Getenv(childID), ",")
	out := bufio.NewWriter(os.Stdout)
	for n := 0; ctx.Err() == nil; n++ {
		for _, session := range sessions {
			e := numbered(n)
			e.Data = text(fmt.Sprintf(`{"n":%d,"run":%d,"filePath":"/a/\u0000/%d"}`, n, os.Getpid(), n))
			d.Add(session, e)
		}
		if n%50 < 49 {
			continue
		}
		// The events of a session leave memory in order, so the last ones remain. In the
		// worst case, all of them belong to one session.
		s := d.Status()
		if s.Lost > 0 {
			return fmt.Errorf("events are lost: %+v", s)
		}
		_, _ = fmt.Fprintln(out, n+1-int(s.QueuedEvents))
		if err := out.Flush(); err != nil {
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	<-done
	s := d.Status()
	if s.SpooledEvents > 0 || s.Lost > 0 {
		return fmt.Errorf("not all is delivered: %+v", s)
	}
	return nil
}

// process is a program that the test ends.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, lines: make(chan string, 1<<16)}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// kill sends SIGKILL.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		for range p.lines { // read all output before Wait
		}
		_ = p.cmd.Wait()
	}
}

// line waits for a line for which ok returns true.
func (p *process) line(what string, ok func(string) bool) {
	p.t.Helper()
	late := time.After(wait.Patience)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				p.t.Fatalf("%s: %s ended", what, p.cmd.Path)
			}
			if ok(line) {
				return
			}
		case <-late:
			p.t.Fatal("not in time: ", what)
		}
	}
}

// realBackend is the backend of this repository, running as a process.
type realBackend struct {
	t        *testing.T
	program  string
	dir, url string
	process  *process
}

func newRealBackend(t *testing.T) *realBackend {
	t.Helper()
	b := &realBackend{t: t, dir: t.TempDir()}
	b.program = filepath.Join(b.dir, "backend")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", b.program, "ospulse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.start("0")
	return b
}

func (b *realBackend) start(port string) {
	b.t.Helper()
	cmd := exec.Command(b.program)
	cmd.Dir = b.dir
	cmd.Env = []string{"PORT=" + port, "DATA_DIR=" + filepath.Join(b.dir, "data"), "LOG_FORMAT=json", "MIN_FREE_MB=0", "AGENT_SERVICE_URL=http://127.0.0.1:1"}
	b.process = start(b.t, cmd)
	b.process.line("the backend listens", func(line string) bool {
		var l struct{ Msg, URL string }
		if json.Unmarshal([]byte(line), &l) != nil || l.Msg != "listening" {
			return false
		}
		b.url = l.URL
		return true
	})
	log := b.process.lines
	go func() {
		for range log {
		}
	}()
}

// restart starts the backend again after kill, at the same address and with the same data.
func (b *realBackend) restart() {
	b.t.Helper()
	u, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	b.start(u.Port())
}

// session creates a session.
func (b *realBackend) session() string {
	b.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "sample.sh")
	if err != nil {
		b.t.Fatal(err)
	}
	_, _ = fmt.Fprintln(file, "#!/bin/sh")
	if err := form.Close(); err != nil {
		b.t.Fatal(err)
	}
	response, err := http.Post(b.url+"/api/create-session", form.FormDataContentType(), &body)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var session struct{ SessionID string }
	if err := json.NewDecoder(response.Body).Decode(&session); err != nil || session.SessionID == "" {
		b.t.Fatalf("no session: %s, %v", response.Status, err)
	}
	return session.SessionID
}

// stored is an event as the backend returns it.
type stored struct {
	Type string `json:"event_type"`
	Data struct{ N, Run, Count int }
}

// events returns the session's events in order.
func (b *realBackend) events(session string) []stored {
	b.t.Helper()
	response, err := http.Get(b.url + "/api/events/export?sessionId=" + url.QueryEscape(session))
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var events []stored
	if err := json.Unmarshal(text, &events); err != nil {
		b.t.Fatal(err)
	}
	return events
}

// The test kills the backend and the agent with SIGKILL at random moments. In the end the
// backend has every event that left the agent's memory, once and in order.
func TestKill(t *testing.T) {
	b := newRealBackend(t)
	defer http.DefaultClient.CloseIdleConnections()
	sessions := []string{b.session(), b.session()}
	dir := t.TempDir()
	agent := func() *process {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childBackend+"="+b.url, childSpool+"="+dir, childID+"="+strings.Join(sessions, ","))
		return start(t, cmd)
	}
	safe := map[int]int{} // of each run, by its pid
	var runs []int
	// after waits until n more events of the run are safe.
	after := func(p *process, n int) {
		t.Helper()
		target := safe[p.cmd.Process.Pid] + n
		p.line(fmt.Sprintf("%d events", target), func(line string) bool {
			var now int
			if _, err := fmt.Sscan(line, &now); err != nil {
				t.Fatalf("the agent printed %q", line)
			}
			safe[p.cmd.Process.Pid] = max(safe[p.cmd.Process.Pid], now)
			return now >= target
		})
	}
	for round := range 6 {
		p := agent()
		runs = append(runs, p.cmd.Process.Pid)
		after(p, 1000+round*331)
		b.process.kill()
		after(p, 2000) // these go to the spool
		if round%2 == 0 {
			b.restart()
			after(p, 100+round*997)
		}
		if round == 5 {
			b.restart()
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for line := range p.lines {
				safe[p.cmd.Process.Pid] = max(safe[p.cmd.Process.Pid], atoi(t, line))
			}
			if err := p.cmd.Wait(); err != nil {
				t.Fatal("the last run did not deliver all events: ", err)
			}
			break
		}
		p.kill()
		if round%2 == 1 {
			b.restart()
		}
	}
	for _, session := range sessions {
		order := slices.Clone(runs)
		next := map[int]int{}
		total := 0
		for i, e := range b.events(session) {
			total++
			for len(order) > 0 && e.Data.Run != order[0] {
				order = order[1:]
			}
			if len(order) == 0 || e.Type != "file_operation" || e.Data.N != next[e.Data.Run] {
				t.Fatalf("event %d of %s is %+v, want the number %d", i, session, e, next[e.Data.Run])
			}
			next[e.Data.Run]++
		}
		for i, run := range runs {
			if next[run] < safe[run] {
				t.Errorf("run %d: the backend has %d events, want at least %d", i, next[run], safe[run])
			}
		}
		t.Logf("%d events in %d runs", total, len(runs))
	}
	wantFiles(t, dir, "lock")
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatalf("%q is not a number", text)
	}
	return n
}

// The agent understands the real backend's answers to events that it cannot store.
func TestRealRefusals(t *testing.T) {
	b := newRealBackend(t)
	defer http.DefaultClient.CloseIdleConnections()
	session := b.session()
	d := newDelivery(t, options(t, b.url))
	stop := run(t, d)
	for i := range 100 {
		e := numbered(i)
		if i%10 == 3 {
			e.Type = strings.Repeat("x", 101) // longer than the backend accepts
		}
		d.Add(session, e)
	}
	waitStatus(t, d, func(s Status) bool { return s.Delivered == 90+s.Reports && s.Reports > 0 })
	stop()
	status := wantSum(t, d)
	events := b.events(session)
	lost := 0
	for _, e := range events {
		lost += e.Data.Count
	}
	if lost != 10 || status.Lost != 10 || len(events) != 90+int(status.Reports) {
		t.Errorf("%d of %d events are reported as lost: %+v", lost, len(events), status)
	}
}

// waitStatus waits until ok returns true for the status.
func waitStatus(t *testing.T, d *Delivery, ok func(Status) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(wait.Patience)
	for !ok(d.Status()) {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %+v", d.Status())
		}
	}
}
