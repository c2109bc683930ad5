//go:build linux && (amd64 || arm64)

package ptrace

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/eventtest"
	"ospulse/agent/internal/syscalls"
	"ospulse/test/wait"
)

const role = "OSPULSE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "threads":
		threads()
		return
	case "held":
		held()
		return
	}
	goleak.VerifyTestMain(m)
}

// threads writes from many threads, and then executes a program from a thread that is not
// the first.
func threads() {
	done := make(chan bool)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			for range 50 {
				if err := os.WriteFile(os.Getenv("OUT"), []byte("x"), 0o600); err != nil {
					panic(err)
				}
			}
			done <- true
		}()
	}
	for range 8 {
		<-done
	}
	go func() {
		runtime.LockOSThread()
		panic(syscall.Exec("/bin/sh", []string{"sh", "-c", "echo last > $OUT"}, os.Environ()))
	}()
	select {}
}

// held has several threads and creates more. When it is released, a thread that is not the
// first executes a program.
func held() {
	for range 2 {
		go func() {
			for {
				ended := make(chan bool)
				go func() { // the thread ends with the goroutine
					runtime.LockOSThread()
					close(ended)
				}()
				<-ended
			}
		}()
	}
	if unix.Gettid() == os.Getpid() {
		runtime.LockOSThread() // keeps the goroutine below from the first thread
	}
	go func() {
		runtime.LockOSThread()
		_, _ = fmt.Fprintln(os.Stdout, "ready")
		_, _ = fmt.Scanln()
		panic(syscall.Exec("/bin/sh", []string{"sh", "-c", "echo last > $OUT"}, os.Environ()))
	}()
	select {}
}

type seen struct {
	kind string
	data map[string]any
}

// trace holds a program until it is watched, runs it, and returns its events.
func trace(t *testing.T, env []string, argv ...string) []seen {
	t.Helper()
	return traceHeld(t, env, append([]string{"/bin/sh", "-c", `echo ready; read -r _; exec "$@"`, "sh"}, argv...)...)
}

// traceHeld is trace for a program that holds itself: it prints a line and then waits for a
// line of input.
func traceHeld(t *testing.T, env []string, argv ...string) []seen {
	t.Helper()
	var all []seen
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	w, err := Start(cmd.Process.Pid, 256, event.AllVariables, func(e *event.Event) {
		var decoded struct{ Data map[string]any }
		if err := json.Unmarshal(e.AppendJSON(nil), &decoded); err != nil {
			t.Error(err)
		}
		all = append(all, seen{e.Type, decoded.Data})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(hold, "\n"); err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, "the watch ends", w.Done())
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // the events have the exit code
	return all
}

// has returns the index of the first event from index from on that has the kind and all
// pairs of key and value. It fails the test if there is none.
func has(t *testing.T, all []seen, from int, kind string, pairs ...any) int {
	t.Helper()
next:
	for i := from; i < len(all); i++ {
		if all[i].kind != kind {
			continue
		}
		for j := 0; j < len(pairs); j += 2 {
			if fmt.Sprint(all[i].data[pairs[j].(string)]) != fmt.Sprint(pairs[j+1]) {
				continue next
			}
		}
		return i
	}
	t.Errorf("no %s with %v from event %d of %d on", kind, pairs, from, len(all))
	return from
}

// TestHeldThreads checks a held program with several threads that executes the program from
// a thread that is not the first. The sandbox's launcher does so if the Go runtime has moved
// the goroutine.
func TestHeldThreads(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		out := filepath.Join(t.TempDir(), "out")
		all := traceHeld(t, []string{role + "=held", "OUT=" + out}, exe)
		if len(all) == 0 || all[0].kind != event.TypeProcessCreation {
			t.Fatalf("run %d: the first of %d events is not the program's start: %+v", i, len(all), all[:min(2, len(all))])
		}
		has(t, all, 0, event.TypeFile, "operation", "OpenFile", "filePath", out)
		has(t, all, 0, event.TypeProcessExit, "exitCode", 0)
	}
}

func TestFilesAndProcesses(t *testing.T) {
	dir := t.TempDir()
	all := trace(t, []string{"DIR=" + dir}, "/bin/sh", "-c", `cd $DIR; echo hello > a; mv a b; head -n 1 b >/dev/null; cat b > c; mkdir d; rm b; /bin/true & wait; exit 7`)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	at := has(t, all, 0, event.TypeProcessCreation, "commandLine", `/bin/sh -c 'cd $DIR; echo hello > a; mv a b; head -n 1 b >/dev/null; cat b > c; mkdir d; rm b; /bin/true & wait; exit 7'`)
	if at != 0 {
		t.Errorf("the first event is %v", all[0])
	}
	at = has(t, all, at, event.TypeFile, "operation", "ChangeDirectory", "filePath", dir)
	at = has(t, all, at, event.TypeFile, "operation", "OpenFile", "filePath", a)
	at = has(t, all, at, event.TypeFile, "operation", "WriteFile", "filePath", a, "content", "68 65 6C 6C 6F 0A", "bytesTransferred", 6)
	at = has(t, all, at, event.TypeProcessFork)
	at = has(t, all, at, event.TypeProcessCreation, "commandLine", "mv a b")
	at = has(t, all, at, event.TypeFile, "operation", "RenameFile", "filePath", a, "newFilePath", b, "status", 0)
	at = has(t, all, at, event.TypeFile, "operation", "ReadFile", "filePath", b, "content", "68 65 6C 6C 6F 0A")
	at = has(t, all, at, event.TypeFile, "filePath", b, "operation", "CopyFile", "newFilePath", filepath.Join(dir, "c"))
	at = has(t, all, at, event.TypeFile, "operation", "CreateDirectory", "filePath", filepath.Join(dir, "d"))
	at = has(t, all, at, event.TypeFile, "operation", "DeleteFile", "filePath", b)
	at = has(t, all, at, event.TypeProcessExit, "exitCode", 0)
	at = has(t, all, at, event.TypeProcessExit, "exitCode", 7)
	if at != len(all)-1 {
		t.Error("there are events after the last exit")
	}
}

// TestOpenFiles: events about an open file tell which file it is, whatever its name.
func TestOpenFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(file, &stat); err != nil {
		t.Fatal(err)
	}
	all := trace(t, []string{"FILE=" + file}, "/bin/sh", "-c", `read -r _ < "$FILE"`)
	for _, operation := range []string{"OpenFile", "ReadFile", "CloseFile"} {
		has(t, all, 0, event.TypeFile, "operation", operation, "filePath", file, "inode", float64(stat.Ino),
			"deviceId", fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)), "fileMode", fmt.Sprintf("0%o", stat.Mode))
	}
}

// TestOperations runs the programs of the eBPF sensor's tests. Both sensors report the same
// operations by the same names.
func TestOperations(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"processes", "files", "aio"} {
		build := exec.Command("gcc", "-w", "-pthread", "-o", filepath.Join(dir, name), "../sensor/testdata/programs/"+name+".c")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	all := trace(t, nil, "/bin/sh", "-c", `cd "$0" && exec ./processes`, dir)
	at := has(t, all, 0, event.TypeProcess, "operation", "CreateMemoryFile", "filePath", "hidden")
	at = has(t, all, at, event.TypeProcessCreation, "commandLine", "'from memory' hi", "memoryImage", true)
	at = has(t, all, at, event.TypeProcess, "operation", "SetGroupId", "arguments", "[12345]")
	at = has(t, all, at, event.TypeProcess, "operation", "SetUserId", "arguments", "[-1 12345 -1]")
	at = has(t, all, at, event.TypeProcess, "operation", "PtraceProcess", "targetProcessId", float64(1<<22), "error", "ESRCH")
	at = has(t, all, at, event.TypeProcess, "operation", "LoadModule")
	at = has(t, all, at, event.TypeProcess, "operation", "UnloadModule", "filePath", "no such module")
	at = has(t, all, at, event.TypeProcess, "operation", "UnshareNamespace")
	has(t, all, at, event.TypeProcess, "operation", "EnterNamespace")

	all = trace(t, nil, "/bin/sh", "-c", `cd "$0" && exec ./aio`, dir)
	at = has(t, all, 0, event.TypeFile, "operation", "SetupAio")
	at = has(t, all, at, event.TypeFile, "operation", "SubmitAio", "syscall", "io_submit", "returnValue", 1)
	at = has(t, all, at, event.TypeFile, "aioOperation", "PWRITE", "filePath", dir+"/dropped", "content", "65 63 68 6F 20 64 72 6F 70 70 65 64")
	at = has(t, all, at, event.TypeFile, "aioOperation", "PREAD", "filePath", dir+"/dropped")
	at = has(t, all, at, event.TypeFile, "operation", "TruncateFile", "syscall", "fallocate", "filePath", dir+"/dropped")
	has(t, all, at, event.TypeProcess, "operation", "TakeHandle", "filePath", dir+"/dropped")

	all = trace(t, nil, "/bin/sh", "-c", `cd "$0" && exec ./files`, dir)
	at = has(t, all, 0, event.TypeFile, "operation", "SymlinkFile", "filePath", dir+"/dir/soft", "linkTarget", "/nowhere/at all")
	at = has(t, all, at, event.TypeFile, "operation", "DeleteDirectory", "filePath", dir+"/dir/sub2")
	at = has(t, all, at, event.TypeFile, "operation", "CopyFile", "syscall", "sendfile", "filePath", dir+"/files", "newFilePath", dir+"/dir/target")
	at = has(t, all, at, event.TypeFile, "operation", "MapFile", "filePath", dir+"/files")
	at = has(t, all, at, event.TypeFile, "operation", "SetupIoUring", "filePath", "anon_inode:[io_uring]")
	has(t, all, at, event.TypeFile, "operation", "EnterIoUring")
}

// traceProgram compiles a program of the eBPF sensor's tests, runs it in a folder, and returns
// the data of its events.
func traceProgram(t *testing.T, dir, name string) (all []map[string]any) {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("gcc", "-w", "-o", program, "../sensor/testdata/programs/"+name+".c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, e := range trace(t, nil, "/bin/sh", "-c", `cd "$0" && exec "$1"`, dir, program) {
		all = append(all, e.data)
	}
	return all
}

// TestChanges: an event of a change tells to what, as those of the eBPF sensor do.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	eventtest.Changes(t, dir, traceProgram(t, dir, "changes"), func(changes string) string {
		return strings.ReplaceAll(changes, "CreateFile", "OpenFile")
	})
}

// TestOperationsHaveNames: each call that is reported has an operation, in both tables.
func TestOperationsHaveNames(t *testing.T) {
	for _, table := range []map[uint64]*syscalls.Call{native, compat} {
		for number, c := range table {
			if c.Operation == "" && c.Kind != syscalls.Exec {
				t.Errorf("call %d, %s, has no operation", number, c.Name)
			}
		}
	}
}

// TestCalls: calls that are rare in honest programs are reported, as by the eBPF sensor.
func TestCalls(t *testing.T) { eventtest.Calls(t, traceProgram(t, t.TempDir(), "calls")) }

// unnamed matches the name that /proc shows for a file without a name (O_TMPFILE), and the
// number of a descriptor, which depends on those that the test inherits.
var unnamed = regexp.MustCompile(`(#|/fd/)[0-9]+`)

// TestPathsAsRoot checks that the paths are the same as those of the eBPF sensor, which has
// the same test.
func TestPathsAsRoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "paths")
	if out, err := exec.Command("gcc", "-w", "-o", program, "../sensor/testdata/programs/paths.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile("../sensor/testdata/programs/paths.txt")
	if err != nil {
		t.Fatal(err)
	}
	// This sensor does not know the root that RESOLVE_IN_ROOT sets.
	known := strings.Replace(string(text), "openat2 $/real/sub/none", "openat2 /none", 1)
	want := strings.Split(strings.TrimSpace(known), "\n")
	var got []string
	begun := false
	for _, e := range trace(t, nil, "/bin/sh", "-c", `cd "$0" && exec "$1"`, dir, program) {
		data := func(key, format string) string {
			if value, ok := e.data[key].(string); ok {
				return fmt.Sprintf(format, value)
			}
			return ""
		}
		path := cmp.Or(data("imagePath", "%s"), data("filePath", "%s"))
		_, isTransfer := e.data["bytesTransferred"]
		if strings.HasPrefix(path, "/etc") || strings.HasPrefix(path, "/usr/lib") || path == program || isTransfer || !begun {
			begun = begun || path == program
			continue
		}
		switch {
		case e.data["operation"] == "CloseFile" || e.data["operation"] == "DuplicateHandle": // of the shell, too
			continue
		case e.kind == event.TypeFile, e.data["operation"] == "execve" && e.kind == event.TypeProcess:
			path += data("givenPath", " (%s)") + data("newFilePath", " → %s") + data("newGivenPath", " (%s)")
		case e.kind == event.TypeProcessCreation:
			path += data("givenPath", " (%s)") + data("filePath", " → %s")
		default:
			continue
		}
		line := strings.ReplaceAll(data("syscall", "%s ")+path+data("error", " %s"), dir, "$")
		got = append(got, unnamed.ReplaceAllString(line, "$1"))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

func TestNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(io.Discard, conn)
	}()
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	all := trace(t, nil, "/bin/bash", "-c", fmt.Sprintf("exec 9<>/dev/tcp/127.0.0.1/%d; echo GET >&9", port))
	at := has(t, all, 0, event.TypeNetwork, "operation", "Connect", "dst", "127.0.0.1", "dst_port", port)
	has(t, all, at, event.TypeNetwork, "operation", "Send", "content", "47 45 54 0A")
}

func TestThreadsAndExecOfOne(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	all := trace(t, []string{role + "=threads", "OUT=" + out}, exe)
	writes := 0
	for _, e := range all {
		if e.kind == event.TypeFile && e.data["operation"] == "WriteFile" && e.data["content"] == "78" && e.data["filePath"] == out {
			writes++
		}
	}
	if writes != 400 {
		t.Errorf("%d writes of 400", writes)
	}
	at := has(t, all, 0, event.TypeThreadCreation)
	at = has(t, all, at, event.TypeProcessCreation, "commandLine", "sh -c 'echo last > $OUT'")
	at = has(t, all, at, event.TypeFile, "operation", "WriteFile", "filePath", out, "content", "6C 61 73 74 0A")
	has(t, all, at, event.TypeProcessExit, "exitCode", 0)
	if text, _ := os.ReadFile(out); string(text) != "last\n" {
		t.Errorf("the program wrote %q", text)
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	all := trace(t, []string{"OUT=" + out}, "/bin/sh", "-c", `trap 'echo got > $OUT' USR1; kill -USR1 $$; { sleep 0.1; kill -CONT $$; } & kill -STOP $$; kill -9 $$`)
	if text, _ := os.ReadFile(out); string(text) != "got\n" {
		t.Errorf("the handler did not run: %q", text)
	}
	has(t, all, 0, event.TypeProcessExit, "signalName", "SIGKILL")
}

func TestAFailedExec(t *testing.T) {
	all := trace(t, nil, "/bin/sh", "-c", "/no/such/program 'an argument'; true")
	has(t, all, 0, event.TypeProcess, "operation", "execve", "filePath", "/no/such/program", "error", "ENOENT", "status", -2, "commandLine", "/no/such/program 'an argument'")
	for _, e := range all {
		if e.kind == event.TypeProcessCreation && e.data["status"] != 0.0 {
			t.Errorf("a process was created by a failed exec: %v", e.data)
		}
	}
}

// TestEnvironment checks that a creation has the variables that the exec passed, also if there
// are more than an event keeps.
func TestEnvironment(t *testing.T) {
	for _, size := range []int{5, 100_000} {
		found := false
		for _, e := range trace(t, []string{"FIRST=a\n<b>", "LONG=" + strings.Repeat("x", size), "MORE=" + strings.Repeat("x", size)}, "env", "-u", "LONG", "-u", "MORE", "/bin/true") {
			if e.kind != event.TypeProcessCreation {
				continue
			}
			found = true
			variables, _ := e.data["environment"].(map[string]any)
			long, _ := variables["LONG"].(string)
			isTrue := strings.HasSuffix(fmt.Sprint(e.data["imagePath"]), "/true")
			isCut := e.data["environmentTruncated"] == true
			if wantCut := 2*size > maxEnvironment && !isTrue; isCut != wantCut || !isCut && (variables["FIRST"] != "a\n<b>" || (len(long) == size) == isTrue) {
				t.Errorf("%v, %d bytes: FIRST is %q, LONG has %d, cut: %v", e.data["imagePath"], size, variables["FIRST"], len(long), isCut)
			}
		}
		if !found {
			t.Error("no process was created")
		}
	}
}

func TestCloseKillsAll(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", `read -r _; exec "$@"`, "sh", "/bin/sh", "-c", "trap '' TERM; sleep 1000 & setsid sleep 1000 & while :; do :; done")
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running := make(chan bool, 1)
	w, err := Start(cmd.Process.Pid, 0, event.NoVariables, func(e *event.Event) {
		if e.Type == event.TypeProcessCreation && strings.Contains(string(e.AppendJSON(nil)), "sleep 1000\"") {
			select {
			case running <- true:
			default:
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(hold, "\n"); err != nil {
		t.Fatal(err)
	}
	<-running
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if len(w.pids) > 0 {
		t.Errorf("left: %v", w.pids)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for want, b := range map[string][]byte{
		"1.2.3.4:80": {2, 0, 0, 80, 1, 2, 3, 4},
		"[::1]:80":   append([]byte{10, 0, 0, 80, 0, 0, 0, 0}, net.IPv6loopback...),
		"/run/x":     []byte("\x01\x00/run/x\x00\x00"),
		"@abc":       []byte("\x01\x00\x00abc"),
		"":           {2},
	} {
		if got := address(b).String(); got != want {
			t.Errorf("%q is %q", want, got)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add([]byte{2, 0, 0, 80, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) { _ = address(b).String() })
}

// TestPlacesAsRoot: a file that is named by a link of /proc is reported by its path, and a jail and
// a mount namespace with the process, as by the eBPF sensor. This sensor reports no inode.
func TestPlacesAsRoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	eventtest.Places(t, dir, traceProgram(t, dir, "places"), func(places string) string {
		return strings.NewReplacer(" outside", "", " deleted=true", "", " as $/real/file", "").Replace(places)
	})
}

// TestPassing: descriptors that a program passes over a Unix socket are reported with their files,
// as by the eBPF sensor.
func TestPassing(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	eventtest.Passing(t, dir, traceProgram(t, dir, "passing"))
}
