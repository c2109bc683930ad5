//go:build linux

package procfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ospulse/agent/internal/event"
	"ospulse/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// idle starts a copy of cat under a name. The copy runs until the test ends.
func idle(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	image, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() }) // the test may have waited already
	// The program runs once it answers. A process has no arguments during execve.
	_, err1 = io.WriteString(in, "x")
	_, err2 = io.ReadFull(out, make([]byte, 1))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestReadHostileNames(t *testing.T) {
	for _, name := range []string{"a) S 1 (b", "new\nline", "a name that is longer than fifteen", "Ünï", ")", "\xff\xfe"} {
		cmd := idle(t, name)
		p, err := Read(cmd.Process.Pid)
		if err != nil || p.Name != name || p.PID != cmd.Process.Pid || p.ParentPID != os.Getpid() {
			t.Errorf("%q: %+v, %v", name, p, err)
		}
		if age := time.Since(p.Start); age < -time.Second || age > time.Minute {
			t.Errorf("%q began %s ago", name, age)
		}
		if exe, deleted := Exe(p.PID); exe != cmd.Path || deleted {
			t.Errorf("%q: image %q", name, exe)
		}
		if args, _ := Args(p.PID, 1<<20); !slices.Equal(args, cmd.Args) {
			t.Errorf("%q: arguments %q", name, args)
		}
	}
	if _, err := Read(1 << 30); !errors.Is(err, ErrGone) {
		t.Errorf("Read of a process that does not exist: %v", err)
	}
}

func TestList(t *testing.T) {
	idle(t, "AAA-first")
	idle(t, "aaa-second")
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(list, func(a, b Process) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) }) {
		t.Errorf("not sorted: %v", list)
	}
	for _, want := range []string{"AAA-first", "aaa-second"} {
		if !slices.ContainsFunc(list, func(p Process) bool { return p.Name == want }) {
			t.Errorf("%s is missing", want)
		}
	}
}

// listen listens on an address of the loopback, on any port unless the address has one.
func listen(t *testing.T, address string) (net.Listener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).AddrPort()
}

// TestListeners checks that the address counts, not only the port.
func TestListeners(t *testing.T) {
	self := []int{os.Getpid()}
	_, exact := listen(t, "127.0.0.2:0")
	_, every := listen(t, "0.0.0.0:0")
	for _, tt := range []struct {
		address string
		want    []int
	}{
		{exact.String(), self}, {netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), exact.Port()).String(), nil},
		{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), every.Port()).String(), self}, {"127.0.0.1:1", nil},
	} {
		if pids := Listeners(netip.MustParseAddrPort(tt.address)); !slices.Equal(pids, tt.want) {
			t.Errorf("listeners of %s: %v, want %v", tt.address, pids, tt.want)
		}
	}
}

// TestPeers checks that Peers finds the process with the other end, not one that only has
// a socket with that address.
func TestPeers(t *testing.T) {
	l, address := listen(t, "127.0.0.1:0")
	if pids := Peers(os.Getpid(), address); len(pids) > 0 {
		t.Errorf("without a connection: %v", pids)
	}
	c, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if pids := Peers(os.Getpid(), address); !slices.Equal(pids, []int{os.Getpid()}) {
		t.Errorf("peers: %v", pids)
	}
	if upstreams := Upstreams(os.Getpid()); slices.Contains(upstreams, c.LocalAddr().(*net.TCPAddr).AddrPort()) || !slices.Contains(upstreams, address) {
		t.Errorf("upstreams: %v; want %s and not what was accepted", upstreams, address)
	}
}

// TestUnixUpstreams checks that UnixUpstreams finds the accepting process, by the name of
// its socket at the other end of the connection.
func TestUnixUpstreams(t *testing.T) {
	self := []int{os.Getpid()}
	if pids := UnixUpstreams(os.Getpid(), "server."); len(pids) > 0 {
		t.Errorf("without a connection: %v", pids)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "server.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if pids := UnixUpstreams(os.Getpid(), "server."); !slices.Equal(pids, self) {
		t.Errorf("%v, want %v", pids, self)
	}
	if pids := UnixUpstreams(os.Getpid(), "other."); len(pids) > 0 {
		t.Errorf("by another name: %v", pids)
	}
}

// inNamespace starts a shell program in a new network namespace. options are for unshare,
// which creates the namespace; out is the program's output.
func inNamespace(t *testing.T, program string, options ...string) (cmd *exec.Cmd, in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	cmd = exec.Command("/usr/bin/unshare", append(append([]string{"--net"}, options...), "sh", "-c", program)...)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	text, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, in, bufio.NewReader(text)
}

// TestPeersInAnotherNamespaceAsRoot checks that Peers finds a server in another
// container, and none in a namespace that a user made: the user can give it any address.
func TestPeersInAnotherNamespaceAsRoot(t *testing.T) {
	const server = `echo ready; read _; exec python3 -c "
import socket
s = socket.socket(); s.bind(('10.213.77.2', 5432)); s.listen(); print('listening', flush=True)
c = s.accept(); print('accepted', flush=True); c[0].recv(1)"`
	const client = `echo ready; read _; exec python3 -c "
import socket
s = socket.create_connection(('10.213.77.2', 5432)); print('connected', flush=True); s.recv(1)"`
	for name, tt := range map[string]struct {
		options []string
		found   bool
	}{"the machine's": {nil, true}, "a user's": {[]string{"--user", "--map-root-user"}, false}} {
		t.Run(name, func(t *testing.T) {
			servers, serverIn, serverOut := inNamespace(t, server, tt.options...)
			clients, clientIn, clientOut := inNamespace(t, client)
			expect := func(from *bufio.Reader, want string) {
				t.Helper()
				if line, err := from.ReadString('\n'); err != nil || line != want+"\n" {
					t.Fatalf("%q, %v; want %s", line, err, want)
				}
			}
			expect(serverOut, "ready")
			expect(clientOut, "ready")
			setUp := fmt.Sprintf(`nsenter -t %[1]d -n ip link add ours type veth peer name theirs netns %[2]d &&
				nsenter -t %[1]d -n ip addr add 10.213.77.1/30 dev ours && nsenter -t %[1]d -n ip link set ours up &&
				nsenter -t %[2]d -n ip addr add 10.213.77.2/30 dev theirs && nsenter -t %[2]d -n ip link set theirs up`, clients.Process.Pid, servers.Process.Pid)
			if text, err := exec.Command("sh", "-c", setUp).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			for _, step := range []struct {
				in  io.Writer
				out *bufio.Reader
				say string
			}{{serverIn, serverOut, "listening"}, {clientIn, clientOut, "connected"}, {io.Discard, serverOut, "accepted"}} {
				if _, err := io.WriteString(step.in, "\n"); err != nil {
					t.Fatal(err)
				}
				expect(step.out, step.say)
			}
			var want []int
			if tt.found {
				want = []int{servers.Process.Pid}
			}
			if got := Peers(clients.Process.Pid, netip.MustParseAddrPort("10.213.77.2:5432")); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// TestInNamespaceAsRoot checks that InNamespace finds a process by its pid in its own pid
// namespace.
func TestInNamespaceAsRoot(t *testing.T) {
	cmd := exec.Command("/usr/bin/unshare", "--pid", "--fork", "--kill-child", "/bin/cat")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck // the program ends with its input
	defer in.Close()
	if _, err := io.WriteString(in, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	all, err := List()
	child := slices.IndexFunc(all, func(p Process) bool { return p.ParentPID == cmd.Process.Pid })
	if err != nil || child < 0 {
		t.Fatalf("unshare has no child: %v", err)
	}
	cat := all[child]
	namespace := PIDNamespace(cat.PID)
	if got := InNamespace(namespace, 1, cat.Ticks); got != cat.PID {
		t.Errorf("%d, want %d", got, cat.PID)
	}
	if got := InNamespace(namespace, 1, cat.Ticks+1) + InNamespace(namespace, cat.PID, cat.Ticks) + InNamespace(PIDNamespace(os.Getpid()), 1, cat.Ticks); got != 0 {
		t.Errorf("another start, pid or namespace: %d", got)
	}
}

// journal keeps events.
type journal struct {
	mu     sync.Mutex
	events []*event.Event
}

func (j *journal) add(e *event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

// await waits for an event of a kind about a process, and returns its data.
func (j *journal) await(t *testing.T, kind, name string) event.Data {
	t.Helper()
	var found event.Data
	wait.For(t, kind+" of "+name, func() bool {
		found = j.find(kind, name)
		return found != nil
	})
	return found
}

func (j *journal) find(kind, name string) event.Data {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		switch d := e.Data.(type) {
		case *event.Creation:
			if e.Type == kind && d.New.Name == name {
				return d
			}
		case *exited:
			if e.Type == kind && d.actor.Name == name {
				return d
			}
		}
	}
	return nil
}

func TestSensor(t *testing.T) {
	s := NewSensor(10*time.Millisecond, func(pid int) ([]string, bool) { return Args(pid, 1<<20) }, slog.New(slog.DiscardHandler))
	// The child lives until the sensor, which polls, has seen it: cat ends with its input.
	shell := exec.Command("/bin/sh", "-c", "read x; /bin/cat; read x")
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = shell.Wait() }) // its exit status does not matter
	before := idle(t, "excluded-one")

	var all, tree journal
	wholeMachine, err := s.Watch(Scope{All: true, Exclude: []int{before.Process.Pid}}, all.add)
	if err != nil {
		t.Fatal(err)
	}
	shellOnly, err := s.Watch(Scope{PIDs: []int{shell.Process.Pid}}, tree.add)
	if err != nil {
		t.Fatal(err)
	}
	other := idle(t, "other")
	io.WriteString(in, "\n") //nolint:errcheck // if this fails, the checks below fail
	created, ok := tree.await(t, event.TypeProcessCreation, "cat").(*event.Creation)
	if !ok || created.Actor.PID != shell.Process.Pid || created.New.ParentPID != shell.Process.Pid || created.CommandLine() != "/bin/cat" {
		t.Errorf("created: %+v", created)
	}
	in.Close()
	tree.await(t, event.TypeProcessExit, "cat")
	all.await(t, event.TypeProcessCreation, "other")
	_ = other.Process.Kill() // the test's cleanup waits for it
	_, _ = other.Process.Wait()
	_ = before.Process.Kill()
	_, _ = before.Process.Wait()
	all.await(t, event.TypeProcessExit, "other")
	for range 2 { // the second call does nothing
		if err := errors.Join(wholeMachine.Close(), shellOnly.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if tree.find(event.TypeProcessCreation, "other") != nil {
		t.Error("the shell's watch reports another process")
	}
	if all.find(event.TypeProcessExit, "excluded-one") != nil {
		t.Error("an excluded process is reported")
	}
	if _, err := s.Watch(Scope{PIDs: []int{1 << 30}}, all.add); !errors.Is(err, ErrGone) {
		t.Errorf("Watch of a process that does not exist: %v", err)
	}
}

// TestHiddenProgram checks that a hidden process and its children that run the same program are
// not reported, that a program which it runs or becomes is reported, and that an identity hides
// no other process.
func TestHiddenProgram(t *testing.T) {
	const name = "hidden-shell"
	image, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command(path, "-c", `"$0" -c 'read x; :'; head -n 1; exec cat`, path)
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = shell.Wait() }) // the test may have waited already
	identity := func(pid int) Identity {
		p, err := Read(pid)
		if err != nil {
			t.Fatal(err)
		}
		executable, _ := Exe(pid)
		return Identity{pid, p.Ticks, executable}
	}
	other := idle(t, "other")
	stale := identity(other.Process.Pid)
	stale.Ticks--
	for shellID := identity(shell.Process.Pid); shellID.Executable != path; shellID = identity(shell.Process.Pid) {
		<-time.After(time.Millisecond) // it has not executed the shell yet
	}
	var all journal
	s := NewSensor(10*time.Millisecond, func(int) ([]string, bool) { return nil, false }, slog.New(slog.DiscardHandler))
	w, err := s.Watch(Scope{All: true, Hide: []Identity{identity(shell.Process.Pid), stale}}, all.add)
	if err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the shell and its child are hidden", func() bool {
		hidden, _ := w.Hidden()
		return len(hidden) == 2
	})
	io.WriteString(in, "\n") //nolint:errcheck // if this fails, the checks below fail
	all.await(t, event.TypeProcessCreation, "head")
	io.WriteString(in, "\n") //nolint:errcheck // as above
	all.await(t, event.TypeProcessCreation, "cat")
	in.Close()
	_ = shell.Wait()
	_ = other.Process.Kill() // the test's cleanup waits for it
	_, _ = other.Process.Wait()
	all.await(t, event.TypeProcessExit, "other")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if all.find(event.TypeProcessCreation, name) != nil || all.find(event.TypeProcessExit, name) != nil {
		t.Error("a hidden process is reported")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 25 1 1"))
	f.Add([]byte(") ("))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := parseStat(text); err == nil && !strings.Contains(string(text), "("+p.Name+")") {
			t.Errorf("name %q of %q", p.Name, text)
		}
		parseConnection(string(text))
	})
}
