//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/journal"
	"ospulse/agent/internal/monitor"
	"ospulse/test/wait"
)

// browserVariable makes this test program a browser: see browse.
const browserVariable = "OSPULSE_TEST_BROWSER"

// browse is a program that connects to an address ("-": none). It carries out a command, a
// word and a path or an address, or else one from each line of its input, and answers each line.
func browse(address string, command []string) int {
	if address != "-" {
		if _, err := net.Dial("tcp", address); err != nil { // stays open until the program ends
			return 1
		}
	}
	do := func(command []string) error {
		var cmd *exec.Cmd
		switch path := command[1]; command[0] {
		case "write":
			return os.WriteFile(path, nil, 0o600)
		case "send": // the socket stays open
			socket, err := net.Dial("udp", path)
			if err == nil {
				_, err = io.WriteString(socket, "x")
			}
			return err
		case "self":
			self, _ := os.Executable() // if it fails, so does the command
			cmd = exec.Command(self, "write", path)
		default:
			cmd = exec.Command(command[0], path)
		}
		cmd.Env = append(os.Environ(), browserVariable+"=-")
		return cmd.Run()
	}
	if len(command) > 0 {
		if err := do(command); err != nil {
			return 1
		}
		return 0
	}
	answer := func(text any) { _, _ = fmt.Fprintln(os.Stdout, text) } // the test misses what it does not get
	answer("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer(do(strings.Fields(lines.Text())))
	}
	return 0
}

// browser is a running browse.
type browser struct {
	pid int
	in  io.Writer
	out *bufio.Reader
	end func()
}

func startBrowser(t *testing.T, path, address string) *browser {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), browserVariable+"="+address)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	b := &browser{cmd.Process.Pid, in, bufio.NewReader(out), func() {
		_ = in.Close()
		_ = cmd.Wait() // fails if end was called before
	}}
	t.Cleanup(b.end)
	if line, err := b.out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s: %q, %v", path, line, err)
	}
	return b
}

func (b *browser) do(t *testing.T, command string) {
	t.Helper()
	if _, err := io.WriteString(b.in, command+"\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := b.out.ReadString('\n'); err != nil || line != "<nil>\n" {
		t.Fatalf("%s: %q, %v", command, line, err)
	}
}

// copyOf copies this test program to a folder.
func copyOf(t *testing.T, folder, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// record is a session of mode 1 whose events are kept if they mention a folder.
type record struct {
	folder string

	mu         sync.Mutex
	text       strings.Builder
	exclusions map[int]string // roles in session_start
	removed    []int          // pids in exclusions_changed
	packets    int            // that were sent to 127.0.5.9
	lost       bool           // events_lost came
}

func (r *record) deliver(_ string, e *event.Event) {
	text := string(e.AppendJSON(nil))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets += strings.Count(text, `"raw_network_operation"`) * strings.Count(text, `"dst":"127.0.5.9"`)
	if strings.Contains(text, r.folder) {
		r.text.WriteString(text)
	}
	r.lost = r.lost || e.Type == "events_lost"
	if e.Type != "session_start" && e.Type != "exclusions_changed" {
		return
	}
	type process struct {
		PID  int    `json:"pid"`
		Role string `json:"role"`
	}
	var parsed struct {
		Data struct {
			Exclusions []process `json:"exclusions"`
			Removed    []process `json:"removed"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		panic(err)
	}
	for _, o := range parsed.Data.Exclusions {
		r.exclusions[o.PID] = o.Role
	}
	for _, o := range parsed.Data.Removed {
		r.removed = append(r.removed, o.PID)
	}
}

func (r *record) hasRemoved(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.removed, pid)
}

// TestBrowserOfTheDashboardAsRoot checks that mode 1 does not record an installed browser that
// was connected to the backend when the session began, that session_start names it, and that
// everything else is recorded: programs that the browser runs, a browser that connects later,
// and other programs that are connected.
func TestBrowserOfTheDashboardAsRoot(t *testing.T) {
	for name, isIncluded := range map[string]bool{"by default": false, "with --include-dashboard": true} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // on a busy machine events are lost, and reported as lost
				if !browserOfTheDashboard(t, isIncluded) {
					return
				}
			}
			t.Error("in each of 20 runs events were lost")
		})
	}
}

// browserOfTheDashboard is one run. It reports whether events were lost, and then checks
// nothing.
func browserOfTheDashboard(t *testing.T, isIncluded bool) (lost bool) {
	t.Helper()
	e := packetEyes(t, "ebpf")
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	address := backend.Addr().String()
	installed, marks := t.TempDir(), t.TempDir()
	chromium := copyOf(t, installed, "chromium")
	before := startBrowser(t, chromium, address)
	others := map[string]*browser{
		"a browser without a connection":        startBrowser(t, chromium, "-"),
		"another program that is connected":     startBrowser(t, copyOf(t, installed, "tool"), address),
		"a browser that the user put elsewhere": startBrowser(t, copyOf(t, t.TempDir(), "chromium"), address),
	}
	r := &record{folder: marks, exclusions: map[int]string{}}
	options := monitor.Options{
		Sensor: e.sensor, Exclude: func(bool) []monitor.Own { return nil }, Deliver: r.deliver,
		Settle: func(context.Context, string) bool { return true }, Journal: noJournal{}, Log: slog.New(slog.DiscardHandler),
	}
	cfg, err := config.Load([]string{"--backend", "http://" + address, fmt.Sprint("--include-dashboard=", isIncluded)}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	options.Viewers = viewers(cfg, []string{installed + "/"})
	m := monitor.New(options)
	if _, err := m.Start(t.Context(), monitor.Request{SessionID: "s", Mode: monitor.ModeAll}); err != nil {
		t.Fatal(err)
	}
	others["a browser that connects later"] = startBrowser(t, chromium, address)
	before.do(t, "write "+marks+"/hidden")
	before.do(t, "send 127.0.5.9:9")
	before.do(t, "self "+marks+"/child")
	before.do(t, "/usr/bin/touch "+marks+"/program")
	paths := map[string]string{}
	for who, b := range others {
		paths[who] = filepath.Join(marks, fmt.Sprint(b.pid))
		b.do(t, "write "+paths[who])
	}
	before.end()
	if r.exclusions[before.pid] != "" {
		ctx, cancel := context.WithCancel(t.Context())
		var looking sync.WaitGroup
		looking.Go(func() { m.Run(ctx, 10*time.Millisecond) })
		wait.For(t, "the end of the excluded browser is reported", func() bool { return r.hasRemoved(before.pid) })
		cancel()
		looking.Wait()
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if r.lost {
		return true
	}
	text := r.text.String()
	for _, mark := range []string{"/hidden", "/child"} {
		if strings.Contains(text, marks+mark) != isIncluded {
			t.Errorf("the browser's file %s is recorded: %v, want %v", mark, !isIncluded, isIncluded)
		}
	}
	if (r.packets > 0) != isIncluded {
		t.Errorf("%d packets of the browser are recorded", r.packets)
	}
	if !strings.Contains(text, marks+"/program") {
		t.Error("a program that the browser ran is not recorded")
	}
	for who, path := range paths {
		if !strings.Contains(text, path) {
			t.Errorf("%s is not recorded", who)
		}
	}
	want := map[int]string{before.pid: "dashboard"}
	if isIncluded {
		want = map[int]string{}
	}
	if len(r.removed) > 0 && !slices.Equal(r.removed, []int{before.pid}) {
		t.Errorf("no longer excluded: %v, want %d", r.removed, before.pid)
	}
	if fmt.Sprint(r.exclusions) != fmt.Sprint(want) {
		t.Errorf("session_start excludes %v, want %v", r.exclusions, want)
	}
	return false
}

// noJournal records nothing.
type noJournal struct{}

func (noJournal) Begin(journal.Record) error { return nil }
func (noJournal) End(string) error           { return nil }
