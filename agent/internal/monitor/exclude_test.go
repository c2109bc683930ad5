//go:build linux

package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/procfs"
	"ospulse/test/wait"
)

// peer runs a Python program that has a socket s. The program prints a line when it is ready,
// and ends when its input ends.
func peer(t *testing.T, path, program string) (pid int, line string, end func()) {
	t.Helper()
	cmd := exec.Command(path, "-c", "import socket, sys\ns = socket.socket()\n"+program+"\nsys.stdout.flush(); sys.stdin.read()")
	_, prefix := interpreter()
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), "PYTHONHOME="+prefix, "LD_LIBRARY_PATH="+prefix+"/lib") // a copy of the interpreter needs these
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = in.Close()
		_ = cmd.Wait() // fails if end was called before
	}
	t.Cleanup(end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, strings.TrimSpace(line), end
}

// listening returns a program that listens on an address, prints it and accepts connections.
func listening(host string, port any) string {
	return fmt.Sprintf("s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\ns.bind(('%s', %v)); s.listen()\nprint('%%s:%%d' %% s.getsockname())", host, port)
}

// interpreter returns the path of the Python binary, which a script may start, and the prefix
// of its library.
var interpreter = sync.OnceValues(func() (path, prefix string) {
	out, err := exec.Command("python3", "-c", "import sys, os; print(os.path.realpath(sys.executable)); print(sys.base_prefix)").Output()
	if err != nil {
		panic(err)
	}
	path, prefix, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	return path, prefix
})

func python() string {
	path, _ := interpreter()
	return path
}

// otherPython returns the path of a copy of the interpreter, which counts as another program.
func otherPython(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(python())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func finder(t *testing.T, backend, key string) *OwnProcesses {
	t.Helper()
	u, err := url.Parse("http://" + backend)
	if err != nil {
		t.Fatal(err)
	}
	return NewOwnProcesses(u, key, slog.New(slog.DiscardHandler))
}

// checkOwn compares the found processes and their roles, except the agent.
func checkOwn(t *testing.T, what string, got []Own, want map[int]string) {
	t.Helper()
	roles := map[int]string{}
	for _, o := range got {
		if o.PID != os.Getpid() {
			roles[o.PID] = o.Role
		}
	}
	if fmt.Sprint(roles) != fmt.Sprint(want) {
		t.Errorf("%s: %v are excluded, want %v", what, roles, want)
	}
}

// TestBackendByItsAddress checks that a process on the backend's port at another address
// is not the backend, nor is another program that takes over its address.
func TestBackendByItsAddress(t *testing.T) {
	pid, address, end := peer(t, python(), listening("127.0.0.1", 0))
	_, port, _ := strings.Cut(address, ":")
	_, _, endHider := peer(t, python(), listening("127.0.0.2", port))
	defer endHider()
	own := finder(t, address, "")
	checkOwn(t, "while a session runs that began without it", own.Find(false), map[int]string{})
	checkOwn(t, "at a start", own.Find(true), map[int]string{pid: roleBackend})
	checkOwn(t, "later", own.Find(false), map[int]string{pid: roleBackend})
	end()
	checkOwn(t, "when it has ended", own.Find(false), map[int]string{})
	_, _, end = peer(t, otherPython(t), listening("127.0.0.1", port))
	checkOwn(t, "another program in its place", own.Find(false), map[int]string{})
	end()
	pid, _, _ = peer(t, python(), listening("127.0.0.1", port))
	checkOwn(t, "when it was started again", own.Find(false), map[int]string{pid: roleBackend})
}

// identityOf returns the identity that the process would send.
func identityOf(t *testing.T, pid int, database ...DatabasePeer) Identity {
	t.Helper()
	p, err := procfs.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	return Identity{BootID: procfs.BootID(), PIDNamespace: procfs.PIDNamespace(pid), PID: pid, StartTicks: p.Ticks, Database: database}
}

// TestBackendByItsIdentity checks that the agent recognises a backend behind a relay if
// it has the key, runs on this machine and is still the same process.
func TestBackendByItsIdentity(t *testing.T) {
	const key, nonce = "a key of 16 bytes", "n"
	pid, address, end := peer(t, python(), listening("127.0.0.1", 0))
	for what, change := range map[string]func(*Identity){
		"another machine's":   func(i *Identity) { i.BootID = "3f0c1b9e" },
		"another namespace's": func(i *Identity) { i.PIDNamespace = "pid:[1]" },
		"another start time":  func(i *Identity) { i.StartTicks++ },
		"process 1":           func(i *Identity) { i.PID = 1 },
	} {
		own, identity := finder(t, "127.0.0.1:1", key), identityOf(t, pid)
		change(&identity)
		identity.Proof = identity.proof(key, nonce)
		own.RecordIdentity(nonce, identity)
		checkOwn(t, what, own.Find(true), map[int]string{})
	}
	for what, forge := range map[string]func(i Identity) string{
		"without a proof":      func(Identity) string { return "" },
		"by another key":       func(i Identity) string { return i.proof("another", nonce) },
		"for an earlier nonce": func(i Identity) string { return i.proof(key, "before") },
		"for another process":  func(i Identity) string { i.PID++; return i.proof(key, nonce) },
	} {
		own, identity := finder(t, "127.0.0.1:1", key), identityOf(t, pid)
		identity.Proof = forge(identity)
		own.RecordIdentity(nonce, identity)
		checkOwn(t, what, own.Find(true), map[int]string{})
	}
	own, identity := finder(t, "127.0.0.1:1", key), identityOf(t, pid)
	identity.Proof = identity.proof(key, nonce)
	own.RecordIdentity(nonce, identity)
	checkOwn(t, "proven", own.Find(false), map[int]string{pid: roleBackend})

	// Without a key the program must have run while no session did.
	open := finder(t, address, "")
	open.RecordIdentity(nonce, identityOf(t, pid))
	checkOwn(t, "without a key, first named while a session runs", open.Find(false), map[int]string{})
	checkOwn(t, "without a key", open.Find(true), map[int]string{pid: roleBackend})
	end()
	checkOwn(t, "when it has ended", own.Find(true), map[int]string{})
}

// TestDatabaseByItsConnection checks that the remote ends of the backend's and of a
// pooler's connections are its database. A process with the database's name or port is not.
func TestDatabaseByItsConnection(t *testing.T) {
	const connected = "s.connect(('127.0.0.1', %s)); print('connected')"
	server, at, _ := peer(t, python(), listening("127.0.0.1", 0)+"\nsys.stdout.flush(); c = s.accept()")
	_, port, _ := strings.Cut(at, ":")
	pooler, poolerAt, _ := peer(t, otherPython(t), "u = socket.create_connection(('127.0.0.1', "+port+"))\n"+listening("127.0.0.1", 0)+"\nsys.stdout.flush(); c = s.accept()")
	_, poolerPort, _ := strings.Cut(poolerAt, ":")
	pid, _, _ := peer(t, python(), fmt.Sprintf(connected, poolerPort))
	hider := filepath.Join(t.TempDir(), ".s.PGSQL.5432")
	peer(t, python(), fmt.Sprintf("s = socket.socket(socket.AF_UNIX); s.bind('%s'); s.listen(); print()", hider))
	peer(t, python(), listening("127.0.0.3", port))

	const key, nonce = "a key of 16 bytes", "n"
	own, identity := finder(t, "127.0.0.1:1", key), identityOf(t, pid, DatabasePeer{Address: poolerAt})
	identity.Proof = identity.proof(key, nonce)
	own.RecordIdentity(nonce, identity)
	// The server has accepted a connection when the pooler is connected. The backend's own
	// connection may still be in the queue.
	want := map[int]string{pid: roleBackend, pooler: roleDatabase, server: roleDatabase}
	var got []Own
	wait.For(t, "all are found", func() bool {
		got = own.Find(false)
		return len(got) == len(want)+1
	})
	checkOwn(t, "by TCP", got, want)

	local := finder(t, "127.0.0.1:1", key)
	database := identityOf(t, server)
	identity = identityOf(t, pid, DatabasePeer{PID: server, StartTicks: database.StartTicks}, DatabasePeer{PID: pooler, StartTicks: 1})
	identity.Proof = identity.proof(key, nonce)
	local.RecordIdentity(nonce, identity)
	checkOwn(t, "by a Unix socket", local.Find(false), map[int]string{pid: roleBackend, server: roleDatabase})
}

// TestExclusionsAreReported checks that each session gets one event per change of the
// excluded processes, and that a watched process is never excluded.
func TestExclusionsAreReported(t *testing.T) {
	root, _, end := peer(t, python(), "print()")
	restarted, _, _ := peer(t, python(), "print()")
	w := &world{}
	m := newMonitor(w)
	var got []string
	changed := make(chan struct{}, 10)
	deliver := m.options.Deliver
	m.options.Deliver = func(id string, e *event.Event) {
		if d, ok := e.Data.(*exclusions); ok {
			w.mu.Lock()
			for _, o := range d.Added {
				got = append(got, fmt.Sprint(id, " +", o.PID))
			}
			for _, o := range d.Removed {
				got = append(got, fmt.Sprint(id, " -", o.PID))
			}
			w.mu.Unlock()
			changed <- struct{}{}
			return
		}
		deliver(id, e)
	}
	mustRead := func(pid int) Own {
		own, ok := read(pid, roleBackend)
		if !ok {
			t.Fatalf("process %d has ended", pid)
		}
		return own
	}
	first, now := mustRead(os.Getppid()), mustRead(restarted)
	current := []Own{first}
	m.options.Exclude = func(bool) []Own { w.mu.Lock(); defer w.mu.Unlock(); return slices.Clone(current) }
	for _, r := range []Request{{SessionID: "a", Mode: ModeAll}, {SessionID: "b", Mode: ModePIDs, PIDs: []int{root}}} {
		if _, err := m.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	w.mu.Lock()
	current = []Own{now, mustRead(root)}
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx, time.Millisecond) }()
	for range 2 {
		wait.Receive(t, "an exclusion is reported", changed)
	}
	cancel()
	<-done
	end()
	want := []string{fmt.Sprint("a +", restarted), fmt.Sprint("a -", first.PID), fmt.Sprint("b +", restarted), fmt.Sprint("b -", first.PID)}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestProof uses the same values as the backend's TestProof.
func TestProof(t *testing.T) {
	identity := &Identity{
		BootID: "b", PIDNamespace: "pid:[4026531836]", PID: 7, StartTicks: 1234,
		Database: []DatabasePeer{{Address: "127.0.0.1:5432"}, {PID: 9, StartTicks: 99}},
	}
	const want = "4ad8f7b1ca7e53be9b684330049aacab1978eaf18e25c235d8620b4573611862"
	if got := identity.proof("a key of 16 bytes", "nonce"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestCloseStopsSideBySide checks that a program that does not end delays no other.
func TestCloseStopsSideBySide(t *testing.T) {
	w := &world{stuck: make(chan struct{})}
	m := newMonitor(w)
	for _, id := range []string{"a", "b"} {
		if _, err := m.Start(t.Context(), Request{SessionID: id, FileName: "x", Mode: ModeSpawn}); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	stops := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(slices.DeleteFunc(slices.Clone(w.diary), func(line string) bool { return line != "stop" }))
	}
	wait.For(t, "both programs are stopped", func() bool { return stops() == 2 })
	close(w.stuck)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
