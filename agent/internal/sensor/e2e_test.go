//go:build linux

package sensor

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/inspect/fusetest"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/syscalls"
	"ospulse/test/ownnet"
)

// launcherVariable makes this test program a launcher, which waits until it is watched and
// then executes the program.
const launcherVariable = "OSPULSE_TEST_LAUNCHER"

// compiled is the folder of the compiled programs of testdata.
var compiled struct {
	once  sync.Once
	dir   string
	built bool
}

func TestMain(m *testing.M) {
	fusetest.Serve()
	if len(os.Args) > 1 && os.Args[1] == inspect.Command {
		os.Exit(inspect.Serve(os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == parser.Command {
		os.Exit(parser.Serve())
	}
	if os.Getenv(launcherVariable) != "" {
		var one [1]byte
		if n, _ := syscall.Read(3, one[:]); n == 1 {
			syscall.Close(3)
			_ = os.Unsetenv(launcherVariable)
			err := syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(126)
	}
	ownnet.Enter()
	code := m.Run()
	if compiled.dir != "" {
		_ = os.RemoveAll(compiled.dir)
	}
	os.Exit(code)
}

// newSensor starts a sensor. Its ring holds all events of a test, so that none are lost at
// any load, unless options set a smaller ring.
func newSensor(t *testing.T, options Options) *Sensor {
	t.Helper()
	if options.RingBytes == 0 {
		options.RingBytes = 128 << 20
	}
	s, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// held starts a program that waits before its exec.
func held(t *testing.T, dir string, argv ...string) (cmd *exec.Cmd, release func()) {
	t.Helper()
	cmd, release = launcher(t, argv...)
	cmd.Dir = dir
	start(t, cmd)
	return cmd, release
}

// heldWithOutput is like held, and returns the program's output.
func heldWithOutput(t *testing.T, argv ...string) (cmd *exec.Cmd, release func(), out io.Reader) {
	t.Helper()
	cmd, release = launcher(t, argv...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	return cmd, release, out
}

// launcher returns the command of a program that waits before its exec.
func launcher(t *testing.T, argv ...string) (cmd *exec.Cmd, release func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	hold, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self, argv...)
	cmd.Env = append(os.Environ(), launcherVariable+"=1", "LC_ALL=C")
	cmd.ExtraFiles = []*os.File{hold}
	t.Cleanup(func() { end.Close() })
	return cmd, func() {
		if _, err := end.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts a launcher, and kills it at the end of the test.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles[0].Close()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// step is a call in the form in which strace and the sensor are compared: its name, its
// result, and, where strace has them, the path of its descriptor and the bytes it moved.
type step struct{ call, result, detail string }

func (s step) String() string { return s.call + "(" + s.detail + ") = " + s.result }

// pythonProgram works with files, threads, processes and sockets, and fetches over HTTP and TLS.
const pythonProgram = `
import http.client, os, socket, ssl, subprocess, sys, threading
from urllib.parse import urlsplit
open('p', 'w').write('x' * 3000)
os.rename('p', 'q')
threads = [threading.Thread(target=lambda: open('q').read()) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
child = os.fork()
if child == 0:
    os._exit(6)
os.waitpid(child, 0)
subprocess.run(['/bin/echo', 'from python'], stdout=subprocess.DEVNULL)
a, b = socket.socketpair(); a.send(b'pair'); b.recv(9)
for url in sys.argv[1:]:
    u = urlsplit(url)
    c = http.client.HTTPSConnection(u.netloc, context=ssl._create_unverified_context()) if u.scheme == 'https' else http.client.HTTPConnection(u.netloc)
    c.request('GET', '/chunked'); c.getresponse().read()
`

// unknown is the result of a call whose end strace did not see.
const unknown = "?"

// unseen is the name of a call that strace did not see: its thread ended meanwhile. The
// sensor may report it.
const unseen = "???"

// same reports whether an event is the call that strace saw.
func same(event, traced step) bool {
	return event == traced || traced.result == unknown && (event.call == traced.call || traced.call == unseen)
}

// TestSeesWhatStraceSeesAsRoot runs programs under strace and the sensor at once. For each
// thread, both must report the same calls in the same order.
func TestSeesWhatStraceSeesAsRoot(t *testing.T) {
	programs := build(t)
	s := newSensor(t, Options{ContentBytes: MaxContent, TLS: true})
	plain, secure := testServer(false), testServer(true)
	defer plain.Close()
	defer secure.Close()
	host, port, err := net.SplitHostPort(plain.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, argv := range map[string][]string{
		"C: files":     {programs + "/files"},
		"C: processes": {programs + "/processes"},
		"C: sockets":   {programs + "/sockets"},
		"shell": {
			"/bin/sh", "-c", "cd /usr; cat bin/../share/zoneinfo/UTC | wc -c > $OLDPWD/out; mv $OLDPWD/out $OLDPWD/in; " +
				"curl -s $0/chunked > /dev/null; curl -sk --http1.1 -d x=y $1/echo; (exit 3)", plain.URL, secure.URL,
		},
		"busybox": {
			"/bin/busybox", "sh", "-c", "mkdir a; cd a; echo x > y; mv y z; ln -s z w; cat w; rm -r ../a; " +
				"busybox wget -q -O got $0/chunked; (echo hello | busybox nc -w 1 $1 $2); kill -9 $$", plain.URL, host, port,
		},
		"python": {python(t), "-c", pythonProgram, plain.URL, secure.URL},
		"go":     {programs + "/goprogram", ".", plain.URL, secure.URL},
		"curl":   {"/usr/bin/curl", "-s", "-o", "got", plain.URL + "/big"},
		"curl over TLS": {
			"/usr/bin/curl", "-sk", "--http1.1", "-o", "got", secure.URL + "/big", "-o", "/dev/null", secure.URL + "/gzip",
		},
	} {
		t.Run(name, func(t *testing.T) { compare(t, s, argv) })
	}
}

// python returns the path of the interpreter itself, not of a pyenv shim.
func python(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import sys,os; print(os.path.realpath(sys.executable))").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// build compiles the programs of testdata once, and returns their folder.
func build(t *testing.T) string {
	t.Helper()
	compiled.once.Do(func() {
		var err error
		if compiled.dir, err = os.MkdirTemp("", "sensor-programs"); err != nil {
			t.Fatal(err)
		}
		names := []string{"files", "processes", "sockets", "many", "storm", "uring", "aio", "paths", "changes", "calls", "race", "places", "passing", "deep"}
		if runtime.GOARCH == "amd64" {
			names = append(names, "compat")
		}
		for _, name := range names {
			run(t, "gcc", "-w", "-O1", "-pthread", "-o", compiled.dir+"/"+name, "testdata/programs/"+name+".c")
		}
		run(t, "go", "build", "-o", compiled.dir+"/goprogram", "./testdata/programs/goprogram")
		compiled.built = true
	})
	if !compiled.built {
		t.Fatal("the programs could not be compiled")
	}
	return compiled.dir
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

func compare(t *testing.T, s *Sensor, argv []string) {
	dir := t.TempDir()
	cmd, release := held(t, dir, argv...)
	pid := cmd.Process.Pid

	traced := filepath.Join(t.TempDir(), "strace")
	strace := exec.Command("strace", "-f", "-y", "-xx", "-ttt", "-s", strconv.Itoa(MaxContent), "-e", "trace="+straceCalls(), "-o", traced, "-p", strconv.Itoa(pid))
	said, err := strace.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "attached") {
		t.Fatalf("strace: %q, %v", line, err)
	}
	var events []*event.Event
	w, err := s.Watch(Scope{PIDs: []int{pid}, OnExec: true}, func(e *event.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	release()
	_ = cmd.Wait()    // some programs fail on purpose
	_ = strace.Wait() // it ends after the program
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(traced)
	if err != nil {
		t.Fatal(err)
	}
	want := fromStrace(t, text, pid)
	got := fromEvents(t, events)
	if len(want) < 1 {
		t.Fatal("strace saw nothing")
	}
	total := 0
	for tid := range want {
		if _, ok := got[tid]; !ok {
			t.Errorf("thread %d is missing: %v", tid, want[tid])
		}
	}
	for tid := range got {
		total += len(got[tid])
		if n := len(want[tid]); n == len(got[tid])+1 && want[tid][n-1].call == unseen {
			want[tid] = want[tid][:n-1]
		}
		if !slices.EqualFunc(got[tid], want[tid], same) {
			i := 0
			for i < len(got[tid]) && i < len(want[tid]) && same(got[tid][i], want[tid][i]) {
				i++
			}
			context := func(steps []step) string {
				var out strings.Builder
				for j := max(0, i-2); j < min(len(steps), i+4); j++ {
					line := steps[j].String()
					if len(line) > 300 {
						line = line[:300] + "…"
					}
					fmt.Fprintf(&out, "\n\t%3d %s", j, line)
				}
				return out.String()
			}
			t.Errorf("thread %d differs, beginning with call %d (%d events, %d calls)\ngot:%s\nstrace:%s", tid, i,
				len(got[tid]), len(want[tid]), context(got[tid]), context(want[tid]))
		}
	}
	t.Logf("compared %d calls of %d threads", total, len(got))
}

// straceCalls returns all calls that the sensor reports, for strace's -e trace.
func straceCalls() string {
	var names []string
	for _, c := range syscalls.Calls[1:] {
		if c.Native >= 0 {
			names = append(names, "?"+c.Name)
		}
	}
	return strings.Join(names, ",")
}

var (
	straceLine       = regexp.MustCompile(`^(\d+)\s+[\d.]+ (.*)$`)
	straceResumed    = regexp.MustCompile(`^<\.\.\. \w+ resumed>\s?`)
	straceCall       = regexp.MustCompile(`^(\w+)\((.*)\)\s+= (0x[0-9a-f]+|-?\d+|\?)(?:<((?:\\x[0-9a-f]{2})*)>(?:\(deleted\))?)?\s*([A-Z_]*)`)
	straceFD         = regexp.MustCompile(`^-?\d+(?:<((?:[^<>]|->)*)>)?(\(deleted\))?`)
	straceHex        = regexp.MustCompile(`\\x([0-9a-f]{2})`)
	straceUnfinished = regexp.MustCompile(` <(unfinished|pid changed to \d+) \.\.\.>$`)
	straceSuperseded = regexp.MustCompile(`^\+\+\+ superseded by execve in pid (\d+)`)
	straceText       = regexp.MustCompile(`"([^"]*)"`)
	straceInet       = regexp.MustCompile(`sin6?_port=htons\((\d+)\).*inet_(?:addr\(|pton\(AF_INET6, )"([^"]*)"`)
	straceControl    = regexp.MustCompile(`^PR_(SET_(PDEATHSIG|DUMPABLE|KEEPCAPS|NAME|SECCOMP|SECUREBITS|MM|CHILD_SUBREAPER|NO_NEW_PRIVS|PTRACER)|CAPBSET_DROP|CAP_AMBIENT)\b`)
	straceOption     = regexp.MustCompile(`\b(SO_BINDTODEVICE|SO_ATTACH_FILTER|SO_MARK|TCP_ULP|IP_HDRINCL|PACKET_ADD_MEMBERSHIP)\b`)
	straceExit       = regexp.MustCompile(`^\+\+\+ (exited with \d+|killed by \w+)`)
)

// unhex decodes a string in the output of strace -xx.
func unhex(s string) string {
	return straceHex.ReplaceAllStringFunc(s, func(h string) string {
		n, _ := strconv.ParseUint(h[2:], 16, 8)
		return string([]byte{byte(n)})
	})
}

// fromStrace parses strace's output, beginning with the exec of the launcher.
func fromStrace(t *testing.T, text []byte, first int) map[int][]step {
	steps := map[int][]step{}
	unfinished := map[int]string{}
	begun := false
	threads := map[int]bool{}
	for raw := range bytes.Lines(text) {
		m := straceLine.FindStringSubmatch(strings.TrimRight(string(raw), "\n"))
		if m == nil {
			t.Fatalf("strace says %q", raw)
		}
		tid, _ := strconv.Atoi(m[1])
		line := m[2]
		if loc := straceUnfinished.FindStringIndex(line); loc != nil {
			unfinished[tid] = line[:loc[0]]
			continue
		}
		if loc := straceResumed.FindStringIndex(line); loc != nil {
			line = unfinished[tid] + line[loc[1]:]
			delete(unfinished, tid)
		}
		if exit := straceExit.FindStringSubmatch(line); exit != nil {
			if begun && !threads[tid] {
				steps[tid] = append(steps[tid], step{"exit", exit[1], ""})
			}
			continue
		}
		if by := straceSuperseded.FindStringSubmatch(line); by != nil { // its execve is resumed under the first thread's number
			thread, _ := strconv.Atoi(by[1])
			unfinished[tid] = unfinished[thread]
			continue
		}
		if strings.HasPrefix(line, "--- SIG") {
			continue
		}
		if strings.HasPrefix(line, unseen+"(") {
			steps[tid] = append(steps[tid], step{call: unseen, result: unknown})
			continue
		}
		call := straceCall.FindStringSubmatch(line)
		if call == nil && begun {
			t.Fatalf("strace says %q", line)
		}
		if !begun {
			if len(call) < 4 || call[1] != "execve" || call[3] != "0" {
				continue
			}
			begun = true
			tid = first
		}
		if s, ok := stepOf(call); ok {
			steps[tid] = append(steps[tid], s)
		}
		if (call[1] == "clone" || call[1] == "clone3") && strings.Contains(call[2], "CLONE_THREAD") {
			n, _ := strconv.Atoi(call[3])
			threads[n] = true
		}
	}
	return steps
}

// stepOf returns the step of a call in strace's output; false if the sensor does not report it.
func stepOf(m []string) (step, bool) {
	name, args, ret := m[1], m[2], m[3]
	switch name {
	case "syscall_0x14f": // uretprobe(2), which the kernel inserts to run the probes in OpenSSL
		return step{}, false
	case "mmap":
		isAnonymous, isExecutable, isWritable := strings.Contains(args, "MAP_ANONYMOUS"), strings.Contains(args, "PROT_EXEC"), strings.Contains(args, "PROT_WRITE")
		isWanted := isExecutable || isWritable && strings.Contains(args, "MAP_SHARED")
		if isAnonymous {
			isWanted = isExecutable && isWritable
		}
		if !isWanted {
			return step{}, false
		}
		n, _ := strconv.ParseUint(strings.TrimPrefix(ret, "0x"), 16, 64)
		ret = strconv.FormatUint(n, 10)
		args = strings.Join(strings.Split(args, ", ")[4:], ", ")
	case "ioctl":
		if !strings.Contains(args, "FICLONE") && !strings.Contains(args, "SETFLAGS") {
			return step{}, false
		}
	case "fcntl":
		if !strings.Contains(args, "F_DUPFD") {
			return step{}, false
		}
	case "mprotect", "pkey_mprotect":
		if !strings.Contains(args, "PROT_EXEC") {
			return step{}, false
		}
	case "prctl":
		if !straceControl.MatchString(args) {
			return step{}, false
		}
	case "setsockopt":
		if !straceOption.MatchString(args) {
			return step{}, false
		}
	case "prlimit64":
		if strings.Split(args, ", ")[2] == "NULL" {
			return step{}, false
		}
	case "tgkill": // of these programs, Go's alone, which interrupts its own threads
		return step{}, false
	}
	s := step{call: name, result: ret}
	if ret == "-1" || ret == "?" {
		s.result = m[5]
	}
	if s.result == "" { // it was killed in the call, so that strace did not see the end
		return step{call: name, result: unknown}, true
	}
	switch {
	case name == "openat" || name == "open" || name == "creat":
		s.detail = unhex(m[4]) // what the kernel opened
	case name == "connect":
		s.detail = straceAddress(args)
	case givenCall(name):
		if path := straceText.FindStringSubmatch(args); path != nil {
			s.detail = unhex(path[1])
		}
	case name == "sendfile":
		s.detail = detailOf(strings.SplitN(args, ", ", 2)[1])
	case descriptorCall(name):
		s.detail = detailOf(args)
	}
	if strings.HasPrefix(s.detail, "socket:[") {
		s.detail = ""
	}
	if transferred(name) && ret != "-1" && ret != "?" && ret != "0" {
		if i := strings.IndexByte(args, '"'); i >= 0 && strings.Count(args, `"`) == 2 {
			s.detail += " " + unhex(args[i+1:strings.LastIndexByte(args, '"')])
		}
	}
	return s, true
}

// straceAddress returns the address in a call's arguments, in the form of events.
func straceAddress(args string) string {
	m := straceInet.FindStringSubmatch(args)
	switch {
	case m != nil:
		return net.JoinHostPort(unhex(m[2]), m[1])
	case strings.Contains(args, "sun_path="):
		_, path, _ := strings.Cut(args, "sun_path=")
		abstract, path, _ := strings.Cut(path, `"`) // @ before an abstract name
		path, _, _ = strings.Cut(path, `"`)
		return abstract + unhex(path)
	default:
		return ""
	}
}

// givenCall reports whether a call's first string is a path.
func givenCall(name string) bool {
	switch name {
	case "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat",
		"chmod", "fchmodat", "chown", "lchown", "fchownat", "truncate", "utimensat", "chdir":
		return true
	default:
		return false
	}
}

// detailOf returns the path of the descriptor that is the first argument.
func detailOf(args string) string {
	m := straceFD.FindStringSubmatch(args)
	if m == nil {
		return ""
	}
	path := unhex(m[1])
	if strings.Contains(path, ":[") { // a pipe or a socket: the inode number is enough
		if i := strings.Index(path, "->"); i >= 0 {
			path = path[:i]
		}
	}
	return path
}

func descriptorCall(name string) bool {
	switch name {
	case "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev2", "close", "dup", "dup2", "dup3",
		"fchmod", "fchown", "ftruncate", "fchdir", "copy_file_range", "splice", "mmap", "fcntl":
		return true
	default:
		return false
	}
}

func transferred(name string) bool {
	switch name {
	case "read", "write", "pread64", "pwrite64":
		return true
	default:
		return false
	}
}

// fromEvents converts events to steps.
func fromEvents(t *testing.T, events []*event.Event) map[int][]step {
	t.Helper()
	steps := map[int][]step{}
	add := func(p *event.Process, r *event.Result, detail string) {
		result := strconv.FormatInt(r.Return, 10)
		if r.Failed() {
			result = event.Errno(r.Return)
		}
		tid := p.ThreadID
		steps[tid] = append(steps[tid], step{r.Syscall, result, detail})
	}
	for _, e := range events {
		switch d := e.Data.(type) {
		case *event.File:
			detail := ""
			name := d.Result.Syscall
			switch {
			case name == "openat" || name == "open" || name == "creat":
				if !d.Result.Failed() {
					detail = d.Path
				}
			case descriptorCall(name) || name == "sendfile":
				detail = d.Path
			case givenCall(name):
				detail = cmp.Or(d.Given, d.Path)
			}
			if transferred(name) && d.Result.Return > 0 {
				detail += " " + string(d.Content.Bytes)
			}
			add(&d.Actor, &d.Result, detail)
		case *event.Network:
			detail := ""
			if d.Operation == "Connect" {
				detail = d.Remote.String()
			}
			if transferred(d.Result.Syscall) && d.Result.Return > 0 {
				detail += " " + string(d.Content.Bytes)
			}
			add(&d.Actor, &d.Result, detail)
		case *event.Creation:
			add(&event.Process{ThreadID: d.New.PID}, &d.Result, "")
		case *event.FailedExec:
			add(&d.Actor, &d.Result, "")
		case *event.Fork:
			add(&d.Actor, &d.Result, "")
		case *event.Operation:
			add(&d.Actor, &d.Result, "")
		case *event.Exit:
			result := "exited with " + strconv.Itoa(d.Code)
			if d.Signal != 0 {
				result = "killed by " + event.SignalName(d.Signal)
			}
			steps[d.Actor.PID] = append(steps[d.Actor.PID], step{"exit", result, ""})
		case *event.Lost:
			t.Errorf("%d events lost", d.Count)
		}
	}
	return steps
}
