//go:build linux

package sensor

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/eventtest"
)

// watched runs a program to its end and returns its events.
func watched(t *testing.T, s *Sensor, dir string, argv ...string) (events []*event.Event, cmd *exec.Cmd) {
	t.Helper()
	cmd, release := held(t, dir, argv...)
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	_ = cmd.Wait() // some programs fail on purpose
	closeWatch(t, w)
	return l.events, cmd
}

// TestOperationsAsRoot: calls that change the process, other processes or the kernel are
// reported under their names. They are harmless, as most of their targets do not exist.
func TestOperationsAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	dir := t.TempDir()
	programs := build(t)
	events, _ := watched(t, s, dir, programs+"/processes")
	var got []string
	for _, e := range events {
		d, ok := e.Data.(*event.Operation)
		if !ok || d.Name == "SendSignal" { // the pid differs in each run
			continue
		}
		line := d.Name + " " + d.Path
		if arguments := d.Arguments(); len(arguments) > 0 && d.Name != "PtraceProcess" {
			for _, a := range arguments {
				line += " " + strconv.FormatInt(a, 10)
			}
		}
		if d.Target != 0 {
			line += " of " + strconv.Itoa(d.Target)
		}
		switch {
		case strings.Contains(d.Name, "Module") && d.Result.Failed():
			line += " = failed" // the error depends on the kernel: some have no modules
		case d.Result.Failed():
			line += " = " + event.Errno(d.Result.Return)
		}
		got = append(got, line)
	}
	want := []string{
		"CreateMemoryFile hidden",
		"SetGroupId  12345", "SetUserId  -1 12345 -1", "SetUserId  12345 = EPERM", "SetUserId  0",
		"PtraceProcess  of 4194304 = ESRCH",
		"LoadModule /dev/null = failed", "LoadModule  = failed", "UnloadModule no such module = failed",
		"UnshareNamespace  67108864", "EnterNamespace /dev/null 0 0 = EINVAL",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestImagesAsRoot executes an image that is only in memory, a script, and a set-user-ID
// program.
func TestImagesAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	dir := t.TempDir()
	programs := build(t)
	run(t, "cp", "/bin/true", dir+"/as-root")
	run(t, "chmod", "4755", dir+"/as-root")
	run(t, "chmod", "755", dir, filepath.Dir(dir))
	script := dir + "/script.sh"
	run(t, "sh", "-c", `printf '#!/bin/sh\ntrue\n' > "$0"; chmod +x "$0"`, script)
	creations := func(argv ...string) (all []*event.Creation) {
		events, _ := watched(t, s, dir, argv...)
		for _, e := range events {
			if d, ok := e.Data.(*event.Creation); ok {
				all = append(all, d)
			}
		}
		return all
	}
	memory := false
	for _, d := range creations(programs + "/processes") {
		if d.Memory {
			memory = true
			if d.ImagePath != "/memfd:hidden" || d.CommandLine() != "'from memory' hi" || d.CurrentDirectory != dir {
				t.Errorf("the image in memory is %q, run as %q in %s", d.ImagePath, d.CommandLine(), d.CurrentDirectory)
			}
		}
	}
	if !memory {
		t.Error("the image that is only in memory is missing")
	}
	if all := creations(script, "argument"); len(all) != 1 || all[0].FilePath != script || all[0].Interpreter != "/bin/sh" ||
		!strings.HasSuffix(all[0].ImagePath, "/dash") || !slices.Equal(all[0].Args, []string{"/bin/sh", script, "argument"}) {
		t.Errorf("script: %+v", all)
	}
	all := creations("/usr/bin/setpriv", "--reuid", "12345", "--clear-groups", dir+"/as-root")
	if len(all) != 2 || all[1].New.UserID != 12345 || all[1].EffectiveUserID != 0 || all[0].SetUserID || !all[1].SetUserID {
		t.Errorf("set-user-ID program: %+v", all)
	}
}

// TestFailedExecsAsRoot searches a command in a PATH whose first folders do not have it: the
// failed execs are reported, and only the successful one creates a process event.
func TestFailedExecsAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	dir := t.TempDir()
	events, _ := watched(t, s, dir, "/usr/bin/env", "PATH=/none:/also none:"+dir+":/bin", "true", "an argument")
	var failed, created []string
	for _, e := range events {
		switch d := e.Data.(type) {
		case *event.Creation:
			created = append(created, filepath.Base(d.ImagePath))
		case *event.FailedExec:
			failed = append(failed, e.Type+" "+d.Path+" "+event.Errno(d.Result.Return)+" "+strings.Join(d.Args, ","))
		}
	}
	if want := []string{"env", "true"}; !slices.Equal(created, want) {
		t.Errorf("created %q, want %q", created, want)
	}
	var want []string
	for _, folder := range []string{"/none", "/also none", dir} {
		want = append(want, "process_operation "+folder+"/true ENOENT true,an argument")
	}
	if !slices.Equal(failed, want) {
		t.Errorf("failed  %q\nwant %q", failed, want)
	}
}

// TestMappedAndRingsAsRoot: files that are mapped as executable are reported, and so are
// calls on an io_uring.
func TestMappedAndRingsAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	programs := build(t)
	events, _ := watched(t, s, t.TempDir(), programs+"/files")
	var got []string
	for _, e := range events {
		if d, ok := e.Data.(*event.File); ok && (d.Operation == "MapFile" && d.Path == programs+"/files" || strings.Contains(d.Operation, "IoUring")) {
			got = append(got, d.Operation+" "+d.Path)
		}
	}
	want := []string{"MapFile " + programs + "/files", "SetupIoUring anon_inode:[io_uring]", "EnterIoUring anon_inode:[io_uring]"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestChangesAsRoot: an event of a change tells to what.
func TestChangesAsRoot(t *testing.T) {
	s := newSensor(t, Options{ContentBytes: 256})
	dir := t.TempDir()
	events, _ := watched(t, s, dir, build(t)+"/changes")
	eventtest.Changes(t, dir, data(t, events), func(changes string) string { return changes })
}

// TestPlacesAsRoot: a file that is named by a link of /proc is reported by its path, and a file in
// a jail or in a mount of the process's own is told from one of the machine.
func TestPlacesAsRoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	events, _ := watched(t, newSensor(t, Options{}), dir, build(t)+"/places")
	eventtest.Places(t, dir, data(t, events), func(places string) string { return places })
}

// TestPassingAsRoot: descriptors that a program passes over a Unix socket are reported with their
// files, by the sender and by the receiver.
func TestPassingAsRoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	events, _ := watched(t, newSensor(t, Options{}), dir, build(t)+"/passing")
	eventtest.Passing(t, dir, data(t, events))
}

// TestCallsAsRoot: calls that are rare in honest programs are reported.
func TestCallsAsRoot(t *testing.T) {
	events, _ := watched(t, newSensor(t, Options{}), t.TempDir(), build(t)+"/calls")
	eventtest.Calls(t, data(t, events))
}

// data returns the data of events.
func data(t *testing.T, events []*event.Event) (all []map[string]any) {
	t.Helper()
	for _, e := range events {
		var data map[string]any
		if err := json.Unmarshal(e.Data.AppendJSON(nil), &data); err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// TestAioAsRoot: operations of native AIO are reported, including an HTTP request, and so are
// other ways to move data without calls that read or write.
func TestAioAsRoot(t *testing.T) {
	s := newSensor(t, Options{ContentBytes: 100})
	dir := t.TempDir()
	events, cmd := watched(t, s, dir, build(t)+"/aio")
	if !cmd.ProcessState.Success() {
		t.Fatal(cmd.ProcessState)
	}
	var got []string
	for _, e := range events {
		switch d := e.Data.(type) {
		case *event.File:
			if d.Aio != "" {
				got = append(got, d.Operation+" "+d.Aio+" "+d.Path+" "+string(d.Content.Bytes))
			} else if slices.Contains([]string{"io_setup", "io_submit", "fallocate", "ioctl"}, d.Result.Syscall) {
				got = append(got, d.Operation+" "+d.Path+" "+d.NewPath)
			}
		case *event.Network:
			if d.Aio != "" {
				got = append(got, d.Operation+" "+d.Aio+" "+d.Protocol+" "+string(d.Content.Bytes[:10]))
			}
		case *event.HTTP:
			got = append(got, d.Request.Method+" "+d.Request.Target+" "+string(d.Request.Body.Bytes))
		case *event.Operation:
			got = append(got, strings.TrimSpace(d.Name+" "+d.Path))
		}
	}
	want := []string{
		"SetupAio  ",
		"SubmitAio  ", "SubmitAio PWRITE " + dir + "/dropped echo dropped",
		"SubmitAio  ", "SubmitAio PWRITEV " + dir + "/dropped in parts",
		"SubmitAio  ", "SubmitAio PREAD " + dir + "/dropped ",
		"SubmitAio  ", "SubmitAio PWRITE tcp POST /sent", "POST /sent secret",
		"TruncateFile " + dir + "/dropped ",
		"CopyFile " + dir + "/dropped " + dir + "/copy",
		"SetFlags " + dir + "/copy ", "SetFlags " + dir + "/copy ",
		"TakeHandle " + dir + "/dropped", "SendSignal", "SendSignal",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestOperationsOfRingsAsRoot: operations of an io_uring are reported, although they are not
// system calls.
func TestOperationsOfRingsAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	dir := t.TempDir()
	events, cmd := watched(t, s, dir, build(t)+"/uring")
	if !cmd.ProcessState.Success() {
		t.Fatal(cmd.ProcessState)
	}
	var got []string
	for _, e := range events {
		switch d := e.Data.(type) {
		case *event.File:
			if d.Operation == "SubmitIoUring" {
				got = append(got, d.Ring+" "+d.Path)
			}
		case *event.Network:
			if d.Operation == "SubmitIoUring" {
				got = append(got, d.Ring+" "+d.Protocol)
			}
		}
	}
	want := []string{"OPENAT " + dir + "/by ring", "WRITE " + dir + "/by ring", "READ " + dir + "/by ring", "CONNECT tcp", "NOP "}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestFailedExecsWithManyArgumentsAsRoot: a failed exec has its arguments too, and says if some are
// cut.
func TestFailedExecsWithManyArgumentsAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	many := make([]string, 100)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	for _, test := range []struct {
		arguments []string
		isCut     bool
	}{
		{many, false},
		{[]string{strings.Repeat("x", 5000), "end"}, true},
		{slices.Repeat(many, 2), true},
	} {
		events, _ := watched(t, s, t.TempDir(), append([]string{"/usr/bin/env", "/none"}, test.arguments...)...)
		found := false
		for _, e := range events {
			d, ok := e.Data.(*event.FailedExec)
			if !ok {
				continue
			}
			found = true
			if d.ArgsCut != test.isCut || !test.isCut && !slices.Equal(d.Args[1:], test.arguments) {
				t.Errorf("%d arguments of %d, cut: %v", len(d.Args), len(test.arguments)+1, d.ArgsCut)
			}
		}
		if !found {
			t.Error("the failed exec was not reported")
		}
	}
}
