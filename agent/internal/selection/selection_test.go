package selection

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/syscalls"
)

func TestCheck(t *testing.T) {
	many := make([]string, MaxPaths+1)
	for i := range many {
		many[i] = "/" + strings.Repeat("x", i+1)
	}
	for want, s := range map[string]Selection{
		"":                          {LeaveOut: Classes(), OnlyPaths: []string{"/", "/a/b/", "/a b"}, LeaveOutPaths: []string{"/a", "/" + strings.Repeat("x", MaxPathBytes-1)}},
		`no class "forks"`:          {LeaveOut: []string{"forks"}},
		`no class ""`:               {LeaveOut: []string{""}},
		`no class "paths"`:          {LeaveOut: []string{"paths"}},
		"named twice":               {LeaveOut: []string{"reads", "closes", "reads"}},
		`"usr" must be`:             {OnlyPaths: []string{"usr"}},
		`"" must be`:                {OnlyPaths: []string{""}},
		`"/a/../b" must be`:         {LeaveOutPaths: []string{"/a/../b"}},
		`"/a//b" must be`:           {LeaveOutPaths: []string{"/a//b"}},
		`"//" must be`:              {LeaveOutPaths: []string{"//"}},
		`"/a\x00b" must be`:         {LeaveOutPaths: []string{"/a\x00b"}},
		"up to 255 bytes":           {OnlyPaths: []string{"/" + strings.Repeat("x", MaxPathBytes)}},
		"65 paths":                  {OnlyPaths: many},
		`"/a/" must not be in both`: {OnlyPaths: []string{"/a/"}, LeaveOutPaths: []string{"/a"}},
	} {
		if err := s.Check(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.300v: %v, want %q", s, err, want)
		}
	}
}

func TestSet(t *testing.T) {
	var s Selection
	if err := s.SetLeaveOut(" reads, closes,"); err != nil || strings.Join(s.LeaveOut, "|") != "reads|closes" {
		t.Error(s, err)
	}
	if err := s.SetOnlyPaths("/a b:/c,d"); err != nil || strings.Join(s.OnlyPaths, "|") != "/a b|/c,d" {
		t.Error(s, err)
	}
	if err := s.SetLeaveOutPaths("/x:/a b"); err == nil {
		t.Error("a path may be in both lists")
	}
	if err := s.SetOnlyPaths("a"); err == nil {
		t.Error("a path may be relative")
	}
	if err := s.SetLeaveOutPaths(""); err != nil || len(s.LeaveOutPaths) > 0 || len(s.OnlyPaths) != 2 || s.IsAll() || !(&Selection{}).IsAll() {
		t.Error(s, err)
	}
}

func TestLeavesPath(t *testing.T) {
	without := Selection{LeaveOutPaths: []string{"/usr/", "/a/b"}, OnlyPaths: nil}
	only := Selection{OnlyPaths: []string{"/home", "/usr/lib/x"}, LeaveOutPaths: []string{"/usr/lib", "/home/me/cache"}}
	root := Selection{LeaveOutPaths: []string{"/"}, OnlyPaths: []string{"/home"}}
	for _, test := range []struct {
		s    Selection
		path string
		want bool
	}{
		{without, "/usr", true}, {without, "/usr/lib/a", true}, {without, "/usrlocal", false}, {without, "/", false}, {without, "/a", false}, {without, "/a/b", true}, {without, "/a/bc", false},
		{only, "/etc/passwd", true}, {only, "/", true}, {only, "/home", false}, {only, "/home/me/x", false}, {only, "/home/me/cache/x", true}, {only, "/usr/lib/y", true}, {only, "/usr/lib/x/y", false},
		{root, "/", true}, {root, "/etc", true}, {root, "/home/x", false},
	} {
		if got := test.s.LeavesPath(test.path); got != test.want {
			t.Errorf("%+v leaves out %s: %v", test.s, test.path, got)
		}
	}
}

// file returns an event of a call.
func file(call string, result int64, f event.File) *event.Event {
	f.Operation, f.Result.Syscall, f.Result.Return = syscalls.ByName(call).Operation, call, result
	f.Transfer = syscalls.ByName(call).Kind == syscalls.Transfer
	return &event.Event{Type: event.TypeFile, Data: &f}
}

func network(call string, n event.Network) *event.Event {
	n.Result.Syscall = call
	return &event.Event{Type: event.TypeNetwork, Data: &n}
}

func TestFilter(t *testing.T) {
	const create, write, truncate = 0o100, 1, 0o1000
	flags := func(flags uint64) event.File {
		return event.File{Path: "/a", Result: event.Result{Args: [6]uint64{0, 0, flags}}}
	}
	all := Selection{LeaveOut: Classes()}
	usr := Selection{LeaveOutPaths: []string{"/usr"}}
	only := Selection{OnlyPaths: []string{"/home"}}
	for _, test := range []struct {
		name string
		s    Selection
		e    *event.Event
		want string // the class by which it is left out
	}{
		{"a read", all, file("read", 5, event.File{Path: "/a"}), "reads"},
		{"an end of file", all, file("readv", 0, event.File{Path: "/a"}), "reads"},
		{"a denied read", all, file("read", -1, event.File{Path: "/a"}), ""},
		{"a write", all, file("pwrite64", 5, event.File{Path: "/a"}), "writes"},
		{"a close", all, file("close", 0, event.File{Path: "/a"}), "closes"},
		{"a duplicate", all, file("dup2", 5, event.File{Path: "/a"}), "duplicates"},
		{"a copy", all, file("sendfile", 5, event.File{Path: "/a", NewPath: "/b"}), ""},
		{"a name that does not exist", all, file("openat", -2, flags(0)), "lookups"},
		{"a folder that is a file", all, file("unlink", -20, event.File{Path: "/a"}), "lookups"},
		{"an exec that fails", all, &event.Event{Data: &event.FailedExec{Result: event.Result{Syscall: "execve", Return: -2}}}, ""},
		{"a mount that fails", all, file("mount", -2, event.File{Path: "/usr/a"}), ""},
		{"an open to read", all, file("openat", 3, flags(0o100000)), "opens"},
		{"an open to write", all, file("openat", 3, flags(write)), ""},
		{"an open that may create", all, file("openat", 3, flags(create)), ""},
		{"an open that empties", all, file("openat", 3, flags(truncate)), ""},
		{"a denied open", all, file("openat", -13, flags(0)), ""},
		{"an open that fails", all, file("openat", -40, flags(0)), ""},
		{"openat2 to read", all, file("openat2", 3, event.File{Path: "/a", Struct: make([]byte, 24)}), "opens"},
		{"openat2 that is not known", all, file("openat2", 3, event.File{Path: "/a"}), ""},
		{"a rename", all, file("rename", 0, event.File{Path: "/a", NewPath: "/b"}), ""},
		{"a receive", all, network("read", event.Network{Operation: "Receive", Transfer: true}), "transfers"},
		{"a send", all, network("sendto", event.Network{Operation: "Send", Transfer: true}), "transfers"},
		{"a connection", all, network("connect", event.Network{Operation: "Connect"}), ""},
		{"the end of a socket", all, network("close", event.Network{Operation: "Close"}), ""},
		{"an operation of a ring", all, &event.Event{Data: &event.File{Operation: "SubmitIoUring", Ring: "READ", Path: "/usr"}}, ""},
		{"a loss", all, &event.Event{Data: &event.Lost{Count: 1}}, ""},
		{"the end of a process", all, &event.Event{Data: &event.Exit{}}, ""},
		{"a read in a folder", usr, file("read", 5, event.File{Path: "/usr/a"}), "paths"},
		{"a read elsewhere", usr, file("read", 5, event.File{Path: "/usra"}), ""},
		{"a mapping", usr, file("mmap", 0x7000, event.File{Path: "/usr/lib/a.so"}), "paths"},
		{"a denied write", usr, file("openat", -13, event.File{Path: "/usr/a"}), ""},
		{"a move out of the folder", usr, file("rename", 0, event.File{Path: "/usr/a", NewPath: "/a"}), ""},
		{"a move in the folder", usr, file("rename", 0, event.File{Path: "/usr/a", NewPath: "/usr/b"}), "paths"},
		{"a mount in the folder", usr, file("mount", 0, event.File{Path: "/usr/a", NewPath: "/usr/b"}), ""},
		{"a program of the folder", usr, &event.Event{Data: &event.Creation{ImagePath: "/usr/bin/a"}}, ""},
		{"a file elsewhere", only, file("read", 5, event.File{Path: "/etc/a"}), "paths"},
		{"a file in the folder", only, file("read", 5, event.File{Path: "/home/a"}), ""},
		{"a pipe", only, file("read", 5, event.File{Path: "pipe:[7]"}), ""},
		{"a file in memory", only, file("write", 5, event.File{Path: "/memfd:x", Deleted: true}), ""},
		{"a deleted file", only, file("write", 5, event.File{Path: "/tmp/x", Deleted: true}), "paths"},
		{"no file", only, file("read", -9, event.File{}), ""},
		{"a path that is not known to its root", only, file("read", 5, event.File{Path: "…/a"}), ""},
	} {
		var passed []*event.Event
		f := NewFilter(test.s, func(e *event.Event) { passed = append(passed, e) })
		f.Pass(test.e)
		if test.want == "" && (len(passed) != 1 || passed[0] != test.e) || test.want != "" && (len(passed) != 0 || !maps.Equal(f.counts, map[string]uint64{test.want: 1})) {
			t.Errorf("%s: %d passed on, left out %v, want %q", test.name, len(passed), f.counts, test.want)
		}
	}
}

// TestContents: an event without its bytes is another event, because other sessions get the bytes.
func TestContents(t *testing.T) {
	content := event.Content{Known: true, Bytes: []byte("x")}
	var passed []*event.Event
	f := NewFilter(Selection{LeaveOut: []string{"contents"}}, func(e *event.Event) { passed = append(passed, e) })
	events := []*event.Event{
		file("read", 5, event.File{Path: "/a", Content: content}),
		file("read", 0, event.File{Path: "/a", Content: event.Content{Known: true}}), // it had none
		file("setxattr", 0, event.File{Path: "/a", Content: content}),                // not a transfer
		network("sendto", event.Network{Transfer: true, Result: event.Result{Return: 1}, Content: content}),
	}
	before := make([]string, len(events))
	for i, e := range events {
		before[i] = string(e.AppendJSON(nil))
		f.Pass(e)
	}
	for i, e := range events {
		has := strings.Contains(string(passed[i].AppendJSON(nil)), `"content":`)
		if has != (i == 2) || string(e.AppendJSON(nil)) != before[i] {
			t.Errorf("event %d: %s", i, passed[i].AppendJSON(nil))
		}
	}
	if f.counts["contents"] != 2 {
		t.Errorf("left out %v", f.counts)
	}
}

// TestReport: a report has all counts since the beginning, and there is none without news.
func TestReport(t *testing.T) {
	var reports []string
	f := NewFilter(Selection{}, func(e *event.Event) { reports = append(reports, string(e.AppendJSON(nil))) })
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.from = at
	f.Report(at)
	f.Add(syscalls.ClassReads, 2)
	f.Add(syscalls.ClassCloses, 0)
	if !f.ReportAt.Equal(at.Add(ReportInterval)) {
		t.Errorf("the next report is due at %s", f.ReportAt)
	}
	f.Report(at.Add(time.Minute))
	f.Report(at.Add(2 * time.Minute))
	f.Add(syscalls.ClassPaths, 1)
	f.Report(at.Add(3 * time.Minute))
	want := []string{
		`{"event_type":"events_left_out","timestamp":"2026-01-02T03:05:05.000000Z","source":"os-pulse-agent","data":{"counts":{"reads":2},"from":"2026-01-02T03:04:05.000000Z","to":"2026-01-02T03:05:05.000000Z"}}`,
		`{"event_type":"events_left_out","timestamp":"2026-01-02T03:07:05.000000Z","source":"os-pulse-agent","data":{"counts":{"paths":1,"reads":2},"from":"2026-01-02T03:04:05.000000Z","to":"2026-01-02T03:07:05.000000Z"}}`,
	}
	if strings.Join(reports, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %s", strings.Join(reports, "\n"))
	}
	for _, report := range reports {
		if !json.Valid([]byte(report)) {
			t.Errorf("no JSON: %s", report)
		}
	}
}
