//go:build linux

package sensor

import (
	"encoding/binary"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/selection"
	"ospulse/agent/internal/syscalls"
	"ospulse/test/wait"
)

// selected runs a program under several watches at once, and returns the events of each.
func selected(t *testing.T, s *Sensor, dir, program string, selections ...selection.Selection) [][]*event.Event {
	t.Helper()
	cmd, release := held(t, dir, "/bin/sh", "-c", `"$0" 900; true`, program) // the number is the depth of deep
	logs, watches := make([]log, len(selections)), make([]*Watch, len(selections))
	for i, what := range selections {
		if err := what.Check(); err != nil {
			t.Fatal(err)
		}
		var err error
		if watches[i], err = s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true, Selection: what}, logs[i].add); err != nil {
			t.Fatal(err)
		}
	}
	release()
	_ = cmd.Wait() // some programs fail on purpose
	events := make([][]*event.Event, len(selections))
	for i, w := range watches {
		closeWatch(t, w)
		events[i] = logs[i].events
	}
	return events
}

// texts returns events as text, and the counts of what was left out.
func texts(events []*event.Event) (all []string, counts map[string]uint64) {
	for _, e := range events {
		if d, ok := e.Data.(*event.LeftOut); ok {
			counts = d.Counts
		} else {
			all = append(all, string(e.AppendJSON(nil)))
		}
	}
	return all, counts
}

// in returns a selection with its paths in a folder.
func in(dir string, what selection.Selection) selection.Selection {
	replace := func(paths []string) (all []string) {
		for _, p := range paths {
			all = append(all, strings.Replace(p, "/DIR", dir, 1))
		}
		return all
	}
	what.OnlyPaths, what.LeaveOutPaths = replace(what.OnlyPaths), replace(what.LeaveOutPaths)
	return what
}

// TestSelectionAsRoot: each watch gets exactly the events that its selection does not leave out,
// and the counts of the others. The kernel side decides as package selection does.
func TestSelectionAsRoot(t *testing.T) {
	programs := build(t)
	s := newSensor(t, Options{ContentBytes: 16})
	tests := []struct {
		selection.Selection

		minus string // classes of which something must be left out
	}{
		{selection.Selection{LeaveOut: []string{"reads"}}, "reads"},
		{selection.Selection{LeaveOut: []string{"writes", "closes", "duplicates"}}, "writes closes duplicates"},
		{selection.Selection{LeaveOut: []string{"opens", "lookups"}}, "opens lookups"},
		{selection.Selection{LeaveOut: []string{"transfers"}}, "transfers"},
		{selection.Selection{LeaveOut: []string{"contents"}}, "contents"},
		{selection.Selection{LeaveOut: selection.Classes()}, "reads writes closes opens lookups duplicates transfers"},
		{selection.Selection{LeaveOutPaths: []string{"/usr", "/etc/", "/lib"}}, "paths"},
		{selection.Selection{OnlyPaths: []string{"/DIR"}, LeaveOutPaths: []string{"/DIR/real/sub", "/DIR/dir/a"}, LeaveOut: []string{"closes"}}, "paths closes"},
		{selection.Selection{LeaveOutPaths: []string{"/"}, OnlyPaths: []string{"/usr/lib"}}, "paths"},
		{selection.Selection{LeaveOutPaths: []string{"/dev/null", "/DIR/link/elsewhere", "/DIR/real/here"}}, "paths"},
	}
	seen := make([]map[string]uint64, len(tests))
	names := []string{"files", "paths", "sockets", "calls", "changes", "aio", "deep", "places", "passing"}
	if runtime.GOARCH == "amd64" {
		names = append(names, "compat")
	}
	for _, program := range names {
		dir := t.TempDir()
		selections := []selection.Selection{{}}
		for _, test := range tests {
			selections = append(selections, in(dir, test.Selection))
		}
		events := selected(t, s, dir, programs+"/"+program, selections...)
		for i, test := range tests {
			var want log
			filter := selection.NewFilter(selections[i+1], want.add)
			for _, e := range events[0] {
				filter.Pass(e)
			}
			filter.Report(time.Now())
			wanted, wantedCounts := texts(want.events)
			got, counts := texts(events[i+1])
			if n := slices.IndexFunc(got, func(text string) bool { return !slices.Contains(wanted, text) }); n >= 0 {
				t.Errorf("%s with %+v: an event is not left out: %s", program, test.Selection, got[n])
			}
			if n := slices.IndexFunc(wanted, func(text string) bool { return !slices.Contains(got, text) }); n >= 0 {
				t.Errorf("%s with %+v: an event is left out: %s", program, test.Selection, wanted[n])
			}
			if !slices.Equal(wanted, got) || !maps.Equal(wantedCounts, counts) {
				t.Errorf("%s with %+v: %d events were passed on, want %d of %d; left out are %v, want %v",
					program, test.Selection, len(got), len(wanted), len(events[0]), counts, wantedCounts)
			}
			if seen[i] == nil {
				seen[i] = map[string]uint64{}
			}
			for class, n := range counts {
				seen[i][class] += n
			}
		}
	}
	for i, test := range tests {
		for class := range strings.FieldsSeq(test.minus) {
			if seen[i][class] == 0 {
				t.Errorf("%+v left out nothing of %s", test.Selection, class)
			}
		}
	}
}

// TestSelectionInTheKernelAsRoot: what the only watch leaves out takes no room in the ring.
func TestSelectionInTheKernelAsRoot(t *testing.T) {
	programs := build(t)
	s := newSensor(t, Options{ContentBytes: 16})
	sent := map[syscalls.Class]int{}
	inDir, contents, dir := 0, 0, t.TempDir()
	s.tap = func(raw []byte) {
		op := binary.LittleEndian.Uint16(raw[114:])
		if binary.LittleEndian.Uint16(raw[112:]) != recordSyscall {
			return
		}
		var r record
		if err := r.parse(raw); err != nil {
			t.Error(err)
		}
		sent[syscalls.Calls[op].Class()]++
		isMap := syscalls.Calls[op].When == syscalls.WhenMap // the agent itself needs these
		if !isMap && (strings.HasPrefix(r.file.info().path, dir+"/") || strings.HasPrefix(r.result.info().path, dir+"/")) {
			inDir++
		}
		if len(r.messages) > 0 && r.file.set {
			contents++
		}
	}
	const reads, writes = syscalls.ClassReads, syscalls.ClassWrites
	selected(t, s, dir, programs+"/files", selection.Selection{})
	if sent[reads] == 0 || sent[writes] == 0 || sent[syscalls.ClassCloses] == 0 || inDir == 0 || contents == 0 {
		t.Fatalf("without a selection: %v, %d below the folder, %d with contents", sent, inDir, contents)
	}
	clear(sent)
	selected(t, s, dir, programs+"/files", selection.Selection{LeaveOut: []string{"reads", "closes"}})
	if sent[reads] > 0 || sent[syscalls.ClassCloses] > 0 || sent[writes] == 0 {
		t.Errorf("without reads and closes: %v", sent)
	}
	contents = 0
	selected(t, s, dir, programs+"/files", selection.Selection{LeaveOut: []string{"contents"}})
	if contents > 0 {
		t.Errorf("without contents: %d records have some", contents)
	}
	inDir = 0
	selected(t, s, dir, programs+"/files", selection.Selection{LeaveOutPaths: []string{dir, programs}})
	if inDir > 0 {
		t.Errorf("without the folder: %d records of files in it", inDir)
	}
	inDir = 0
	selected(t, s, dir, programs+"/files", selection.Selection{}) // nothing is left of the rules
	if inDir == 0 || len(s.rules) > 0 {
		t.Errorf("after the selections: %d records of files in the folder, rules %v", inDir, s.rules)
	}
}

// TestRulesStayInForceAsRoot: while watches with other rules come and go, a watch gets nothing
// that it leaves out, and everything else.
func TestRulesStayInForceAsRoot(t *testing.T) {
	const writes = 300_000
	programs := build(t)
	s := newSensor(t, Options{})
	cmd, release := held(t, t.TempDir(), programs+"/many", strconv.Itoa(writes))
	watch := func(what selection.Selection, sink func(*event.Event)) *Watch {
		w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true, Selection: what}, sink)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	var without, all log
	first, second := watch(selection.Selection{LeaveOutPaths: []string{"/dev"}}, without.add), watch(selection.Selection{OnlyPaths: []string{"/dev/null"}}, all.add)
	other, _ := held(t, t.TempDir(), "/bin/true")
	ended := make(chan error, 1)
	release()
	go func() { ended <- cmd.Wait() }()
	rules := []selection.Selection{{OnlyPaths: []string{"/dev/null"}}, {LeaveOutPaths: []string{"/", "/dev/null/x"}}, {OnlyPaths: []string{"/dev/nul"}}, {LeaveOut: []string{"writes"}}}
	changes := 0
	for isOver := false; !isOver; changes++ {
		w, err := s.Watch(Scope{PIDs: []int{other.Process.Pid}, OnExec: true, Selection: rules[changes%len(rules)]}, func(*event.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		err = w.drop() // Close would wait for all events
		s.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if isOver = true; err != nil {
				t.Error(err)
			}
		default:
		}
	}
	closeWatch(t, first)
	closeWatch(t, second)
	for _, e := range without.events {
		if d, ok := e.Data.(*event.File); ok && strings.HasPrefix(d.Path, "/dev/") {
			t.Fatalf("not left out: %s", e.AppendJSON(nil))
		}
	}
	_, counts := texts(without.events)
	got := 0
	for _, e := range all.events {
		if d, ok := e.Data.(*event.File); ok && d.Operation == "WriteFile" {
			got++
		}
	}
	t.Logf("the rules changed %d times", changes)
	if counts["paths"] != writes+1 || got != writes { // and the open
		t.Errorf("left out %v, of %d writes; the other watch got %d", counts, writes, got)
	}
}

// TestLeftOutIsReportedMeanwhileAsRoot: a watch gets the counts while it runs.
func TestLeftOutIsReportedMeanwhileAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	cmd, release := held(t, t.TempDir(), build(t)+"/many", "7")
	reports := make(chan *event.LeftOut, 2)
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true, Selection: selection.Selection{LeaveOut: []string{"writes"}}}, func(e *event.Event) {
		if d, ok := e.Data.(*event.LeftOut); ok {
			reports <- d
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	w.filter.ReportAt = time.Now()
	s.mu.Unlock()
	if d := wait.Receive(t, "a report", reports); d.Counts["writes"] != 7 {
		t.Errorf("left out %v", d.Counts)
	}
	closeWatch(t, w)
	if len(reports) > 0 {
		t.Errorf("another report without news: %v", (<-reports).Counts)
	}
}

// TestTLSWithoutTransfersAsRoot: flows of TLS have no addresses if the transfers of their sockets
// are left out: the socket that the thread has connected last may be another.
func TestTLSWithoutTransfersAsRoot(t *testing.T) {
	s := newSensor(t, Options{TLS: true})
	server := testServer(true)
	defer server.Close()
	cmd, release := held(t, t.TempDir(), "/usr/bin/curl", "-s", "-k", "--http1.1", server.URL+"/chunked")
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true, Selection: selection.Selection{LeaveOut: []string{"transfers"}}}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	flows := 0
	for _, e := range l.events {
		switch d := e.Data.(type) {
		case *event.HTTP:
			flows++
			if !d.Server.IsZero() || !d.TLS {
				t.Errorf("a flow to %v", d.Server)
			}
		case *event.Network:
			if d.Transfer {
				t.Errorf("not left out: %s", e.AppendJSON(nil))
			}
		}
	}
	if flows != 2 { // the request, and the answer
		t.Errorf("%d flows", flows)
	}
}
