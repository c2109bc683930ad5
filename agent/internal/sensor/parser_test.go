//go:build linux

package sensor

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"ospulse/agent/internal/event"
)

// fetching makes a file and a request, on one connection, for each line that it reads.
const fetching = `
import http.client, os, sys
c = http.client.HTTPConnection(sys.argv[1])
for line in sys.stdin:
    name = line.strip()
    os.close(os.open(sys.argv[2] + '/' + name, os.O_CREAT | os.O_WRONLY))
    c.request('GET', '/' + name); c.getresponse().read()
    print(name, flush=True)
`

// TestParserFailureAsRoot: when the parser fails, the session says so. It misses no call, and
// later flows are reported again, also those of a connection that was open then.
func TestParserFailureAsRoot(t *testing.T) {
	t.Setenv("OSPULSE_TEST_PARSER", "1")
	server := testServer(false)
	defer server.Close()
	s := newSensor(t, Options{})
	dir := t.TempDir()
	cmd, release := launcher(t, python(t), "-c", fetching, server.Listener.Addr().String(), dir)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	start(t, cmd)
	var (
		mu    sync.Mutex
		got   []string // files, flows and losses
		flows = map[string]bool{}
	)
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, func(e *event.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch d := e.Data.(type) {
		case *event.File:
			if name, ok := strings.CutPrefix(d.Path, dir+"/"); ok && d.Operation == "CreateFile" {
				got = append(got, "file "+name)
			}
		case *event.HTTP:
			// The request of a flow may be missing: the parser may start between the two.
			if d.Response != nil && d.Request.Target != "" {
				name := strings.TrimPrefix(d.Request.Target, "/")
				flows[name] = true
				got = append(got, "flow "+name)
			}
		case *event.Lost:
			if d.Count == 0 || d.From.After(d.To) {
				t.Errorf("%+v", d)
			}
			got = append(got, d.Reason)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	answers := bufio.NewScanner(out)
	fetch := func(name string) {
		t.Helper()
		if _, err := fmt.Fprintln(in, name); err != nil || !answers.Scan() || answers.Text() != name {
			t.Fatalf("%s: %v, %q", name, err, answers.Text())
		}
	}
	has := func(name string) bool {
		mu.Lock()
		defer mu.Unlock()
		return flows[name]
	}
	want := []string{"file first", "flow first", "file parser-panic"}
	fetch("first")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	fetch("parser-panic")
	last := ""
	for n := 0; last == "" || !has(last); n++ {
		last = fmt.Sprint("after-", n)
		fetch(last)
		want = append(want, "file "+last)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	want = append(want, "flow "+last)
	if !slices.Contains(got, event.ReasonParserFailed) {
		t.Error("the failure is not reported")
	}
	got = slices.DeleteFunc(got, func(line string) bool { return line == event.ReasonParserFailed })
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestParserHangsAsRoot: while the parser hangs, the program is paused before too many events
// wait, or they do not wait any longer. No event of its calls is lost.
func TestParserHangsAsRoot(t *testing.T) {
	t.Setenv("OSPULSE_TEST_PARSER", "1")
	server := testServer(false)
	defer server.Close()
	for _, isPaused := range []bool{true, false} {
		t.Run(fmt.Sprint("paused ", isPaused), func(t *testing.T) { checkHanging(t, server.Listener.Addr().String(), isPaused) })
	}
}

func checkHanging(t *testing.T, server string, isPaused bool) {
	t.Helper()
	s := newSensor(t, Options{})
	s.outbox.limit = 64 << 10 // a slow machine reads few events while the parser hangs
	const files = 20_000
	dir := t.TempDir()
	cmd, release := held(t, dir, python(t), "-c", `
import http.client, os, sys
c = http.client.HTTPConnection(sys.argv[1])
c.request('GET', '/parser-hang'); c.getresponse().read()
for i in range(int(sys.argv[2])):
    os.close(os.open('file', os.O_CREAT | os.O_WRONLY))
`, server, fmt.Sprint(files))
	counts := map[string]int{}
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true, Pause: isPaused}, func(e *event.Event) {
		switch d := e.Data.(type) {
		case *event.File:
			if d.Path == dir+"/file" && d.Handle >= 0 {
				counts[d.Operation]++
			}
		case *event.Lost:
			counts[d.Reason]++
		case *event.Paused:
			counts[e.Type]++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	if opened := counts["CreateFile"] + counts["OpenFile"]; opened != files || counts["CloseFile"] != files {
		t.Errorf("%d files were opened and %d closed, want %d", opened, counts["CloseFile"], files)
	}
	if (counts[event.TypePaused] > 0) != isPaused || counts[event.ReasonParserFailed] == 0 || counts[event.ReasonOverrun] > 0 {
		t.Errorf("reported: %v", counts)
	}
}
