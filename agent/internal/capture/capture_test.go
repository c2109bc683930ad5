//go:build linux

package capture

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
	"ospulse/agent/internal/procfs"
	"ospulse/test/ownnet"
	"ospulse/test/wait"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == parser.Command {
		os.Exit(parser.Serve())
	}
	ownnet.Enter()
	goleak.VerifyTestMain(m)
}

// apart is a program in a separate network namespace. It waits for a line.
type apart struct {
	cmd *exec.Cmd
	go1 func()
	out *bufio.Reader
}

func startApart(t *testing.T, python string, args ...string) *apart {
	t.Helper()
	script := "ip link set lo up; exec python3 -c 'import socket, sys\nprint(flush=True)\nsys.stdin.readline()\n'\"$0\" \"$@\""
	cmd := exec.Command("unshare", append([]string{"--net", "sh", "-c", script, python}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	a := &apart{cmd, func() {
		if _, err := in.Write([]byte("go\n")); err != nil {
			t.Error(err)
		}
	}, bufio.NewReader(out)}
	if _, err := a.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return a
}

// seen is a sink.
type seen struct {
	packets []*event.Packet
	lost    map[string]uint64
	stick   chan struct{} // unless nil, the first packet waits until it is closed
}

func (s *seen) sink(e *event.Event) {
	switch data := e.Data.(type) {
	case *event.Packet:
		s.packets = append(s.packets, data)
		if s.stick != nil {
			<-s.stick
		}
	case *event.Lost:
		if s.lost == nil {
			s.lost = map[string]uint64{}
		}
		if data.From.IsZero() || data.To.Before(data.From) {
			panic(fmt.Sprint("a loss without a span: ", data))
		}
		s.lost[data.Reason] += data.Count
	}
}

func watch(t *testing.T, a *apart, options Options, s *seen) {
	t.Helper()
	options.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	w, err := Open(options, Scope{PIDs: []int{a.cmd.Process.Pid}, Own: true}, s.sink)
	if err != nil {
		t.Fatal(err)
	}
	w.Begin()
	a.go1()
	if _, err := a.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if s.stick != nil {
		close(s.stick)
	}
	for range 2 { // the second call does nothing
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNamespaceOfItsOwnAsRoot checks that all packets of a program's separate namespace
// belong to the program, without any event of a sensor.
func TestNamespaceOfItsOwnAsRoot(t *testing.T) {
	a := startApart(t, `
l = socket.create_server(("::1", 8080), family=socket.AF_INET6)
c = socket.create_connection(("::1", 8080))
s, _ = l.accept()
c.sendall(b"GET /x HTTP/1.1\r\n\r\n")
s.recv(100)
c.close(); s.recv(1); s.close()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.sendto(b"to nobody", ("127.0.0.1", 7))
u.sendto(b"x" * 60000, ("127.0.0.1", 8))
print(flush=True)
`)
	var s seen
	watch(t, a, Options{ContentBytes: 4}, &s)
	var all []string
	for _, p := range s.packets {
		all = append(all, p.Protocol+" "+p.Info)
		if p.Actor.PID != a.cmd.Process.Pid || !strings.HasPrefix(p.Actor.Name, "python3") || p.Interface != "lo" {
			t.Errorf("%+v", p)
		}
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"[SYN]", "[SYN, ACK]", "HTTP GET /x HTTP/1.1\n", "[FIN, ACK]", "7 Len=9\n", "ICMP Destination unreachable", "8 Len=60000\n"} {
		if n := strings.Count(text, want); n == 0 {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, p := range s.packets {
		if p.Protocol == "HTTP" && (string(p.Content.Bytes) != "GET " || !p.Content.Cut || p.Payload != 19 || p.SourcePort == 8080) {
			t.Errorf("%+v", p)
		}
		if p.Protocol == "ICMP" && p.DestPort != 7 && p.DestPort != 8 {
			t.Errorf("%+v", p)
		}
	}
	if len(s.lost) > 0 {
		t.Error(s.lost)
	}
}

// TestParserFailureAsRoot: if the parser fails, the watch says how many packets are lost, and
// reports later ones.
func TestParserFailureAsRoot(t *testing.T) {
	t.Setenv("OSPULSE_TEST_PARSER", "1")
	a := startApart(t, `
import select
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
r.bind(("127.0.0.1", 53))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.sendto(b"parser-panic", ("127.0.0.1", 53))
n = 1
while not select.select([sys.stdin], [], [], 0.05)[0]:
    u.sendto(b"usual", ("127.0.0.1", 53))
    n += 1
print(n, flush=True)
`)
	var s seen
	arrived := make(chan struct{})
	budget := pending.New(pending.Limit)
	w, err := Open(Options{ContentBytes: 16, Pending: budget, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, Scope{PIDs: []int{a.cmd.Process.Pid}, Own: true}, func(e *event.Event) {
		if s.sink(e); len(s.packets) == 1 && e.Type == event.TypePacket {
			close(arrived)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Begin()
	a.go1()
	wait.Receive(t, "a packet after the failure", arrived)
	a.go1()
	var sent uint64
	if _, err := fmt.Fscan(a.out, &sent); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.cmd.Wait(), w.Close()); err != nil {
		t.Fatal(err)
	}
	for i, p := range s.packets {
		if p.Protocol != "UDP" || p.DestPort != 53 || string(p.Content.Bytes) != "usual" || p.Number != uint64(i+1) {
			t.Errorf("%+v", p)
		}
	}
	if lost := s.lost[event.ReasonParserFailed]; uint64(len(s.packets))+lost != sent || lost == 0 || len(s.lost) != 1 {
		t.Errorf("%d packets of %d, lost %v", len(s.packets), sent, s.lost)
	}
	if budget.Bytes() != 0 {
		t.Errorf("%d bytes wait after the end", budget.Bytes())
	}
}

// TestLossIsCountedAsRoot sends a burst that the smallest ring cannot hold, and checks
// that received and lost packets add up to the packets sent.
func TestLossIsCountedAsRoot(t *testing.T) {
	const sent = 30000
	a := startApart(t, fmt.Sprintf(`
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
r.bind(("127.0.0.1", 0))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(%d):
    u.sendto(b"x" * 1000, r.getsockname())
print(flush=True)
`, sent))
	s := seen{stick: make(chan struct{})} // the sink blocks while the program continues
	watch(t, a, Options{RingBytes: 2 * blockBytes}, &s)
	lost := s.lost[event.ReasonPackets]
	if n := uint64(len(s.packets)) + lost; n != sent || len(s.lost) != 1 {
		t.Errorf("%d arrived and %v were lost: %d, want %d", len(s.packets), s.lost, n, sent)
	}
	if lost == 0 || len(s.packets) == 0 {
		t.Errorf("%d arrived and %d were lost: nothing was tested", len(s.packets), lost)
	}
}

// TestManyWatchesAsRoot opens and closes watches from many goroutines while packets arrive.
func TestManyWatchesAsRoot(t *testing.T) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 3 {
				w, err := Open(Options{}, Scope{All: true, Exclude: []int{os.Getpid()}}, func(*event.Event) {})
				if err != nil {
					t.Error(err)
					return
				}
				w.Begin()
				w.Exclude([]int{os.Getppid()})
				w.Sensed(&event.Event{Type: event.TypeNetwork, Data: &event.Network{Actor: event.Process{PID: os.Getpid()}, Protocol: "udp"}})
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// TestTheAgentStaysWhereItIsAsRoot checks that the process's first thread never enters
// another namespace. /proc shows the namespace of that thread, so the agent would look
// for its backend in the wrong one.
func TestTheAgentStaysWhereItIsAsRoot(t *testing.T) {
	a := startApart(t, "print(flush=True)")
	before, err := procfs.NetworkNamespace(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 25 {
				r, err := openRing(procfs.NetworkNamespacePath(a.cmd.Process.Pid), 2*blockBytes, snapBytes)
				if err != nil {
					t.Error(err)
					return
				}
				if err := r.close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if after, err := procfs.NetworkNamespace(os.Getpid()); err != nil || after != before {
		t.Errorf("the agent moved from namespace %d to %d, %v", before, after, err)
	}
	first := make(chan bool, 1000)
	for range 1000 { // some of these goroutines begin on the first thread
		onOwnThread(func() {
			if unix.Gettid() == os.Getpid() {
				first <- true
			}
		})
	}
	if len(first) > 0 {
		t.Error("onOwnThread used the first thread")
	}
	a.go1()
	if err := a.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenFaultsAsRoot(t *testing.T) {
	if _, err := Open(Options{}, Scope{PIDs: []int{1 << 30}}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open for a process that does not exist: %v", err)
	}
	w, err := Open(Options{}, Scope{PIDs: []int{os.Getpid()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil { // Begin was never called
		t.Error(err)
	}
	if _, err := openRing("/proc/self/ns/mnt", RingBytes, snapBytes); err == nil {
		t.Error("entered a file that is not a network namespace")
	}
}

// TestUnreadableNamespaceAsRoot checks that a process whose network namespace cannot be
// read loses only its own packets, and that a process that has ended is reported as gone.
func TestUnreadableNamespaceAsRoot(t *testing.T) {
	cmd := exec.Command("python3", "-c", `
import ctypes, sys, threading
def second():
    print(flush=True)
    sys.stdin.read()
threading.Thread(target=second).start()
ctypes.CDLL(None).pthread_exit(None)
`) // its first thread becomes a zombie, which has no namespaces
	in, err := cmd.StdinPipe()
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
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for { // the program ends its first thread at once
		if p, err := procfs.Read(cmd.Process.Pid); err != nil || p.Zombie {
			break
		}
	}
	w, err := Open(Options{}, Scope{PIDs: []int{os.Getpid(), cmd.Process.Pid}}, func(*event.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("packets of process %d", cmd.Process.Pid); !strings.Contains(w.Limits(), want) || len(w.spaces) != 1 {
		t.Errorf("Limits is %q with %d open namespaces", w.Limits(), len(w.spaces))
	}
	w.Begin()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	in.Close()
	cmd.Wait() //nolint:errcheck // its exit status does not matter
	if _, err := Open(Options{}, Scope{PIDs: []int{cmd.Process.Pid}}, func(*event.Event) {}); !errors.Is(err, os.ErrNotExist) {
		t.Error("Open for a process that is gone:", err)
	}
}
