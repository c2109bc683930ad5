//go:build linux

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/monitor"
	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// talker sends data over TCP and UDP to the port in its argument, sends a DNS query, and
// connects to a closed port. Then it prints its local ports.
const talker = `
import socket, sys
sys.stdin.readline()
port = int(sys.argv[1])
ports = []
t = socket.create_connection(("127.0.0.1", port))
ports.append(t.getsockname()[1])
for i in range(5):
    t.sendall(b"tcp %d" % i)
    t.recv(100)
t.close()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(5):
    u.sendto(b"udp %d" % i, ("127.0.0.1", port))
    u.recvfrom(100)
ports.append(u.getsockname()[1])
u.close()
d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
d.sendto(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01", ("127.0.5.3", 53))
ports.append(d.getsockname()[1])
d.close()
r = socket.socket()
r.settimeout(5)
try:
    r.connect(("127.0.0.1", 9))
except OSError:
    pass
print(*ports, flush=True)
sys.stdin.readline()
`

// echo starts an echo server for TCP and UDP on one port and returns the port.
func echo(t *testing.T) int {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil { // the port is in use for UDP
			l.Close()
			continue
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					io.Copy(c, c) //nolint:errcheck // the other end decides when it ends
				}()
			}
		}()
		go func() {
			b := make([]byte, 100)
			for {
				n, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				u.WriteTo(b[:n], from) //nolint:errcheck // the sender may be gone
			}
		}()
		return l.Addr().(*net.TCPAddr).Port
	}
	t.Fatal("no port is free for TCP and UDP")
	return 0
}

// talk is a running talker.
type talk struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ports []int
}

func startTalk(t *testing.T, port int) *talk {
	t.Helper()
	cmd := exec.Command("python3", "-c", talker, fmt.Sprint(port))
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
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &talk{cmd: cmd, in: in, out: bufio.NewReader(out)}
}

func (k *talk) speak(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(k.in, "go\n"); err != nil {
		t.Fatal(err)
	}
	line, err := k.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.FieldsSeq(line) {
		var port int
		if _, err := fmt.Sscan(text, &port); err != nil {
			t.Fatal(err)
		}
		k.ports = append(k.ports, port)
	}
}

// packetShape has the fields of a packet that the tests check.
type packetShape struct {
	Timestamp float64
	Frame     int `json:"frame_number"`
	Protocol  string
	Src, Dst  string
	SrcPort   int `json:"src_port"`
	DstPort   int `json:"dst_port"`
	Length    int
	Info      string
	Text      string `json:"info_raw"`
	Direction string
	Content   string
	Payload   int `json:"payloadLength"`
	DNS       []struct{ Questions []struct{ Name string } }
	Metadata  struct {
		Name  string `json:"processName"`
		PID   int    `json:"processId"`
		Start string `json:"processStartTime"`
	}
}

// gather is a sink that keeps packets.
type gather struct {
	mu      sync.Mutex
	packets []packetShape
	lost    uint64
}

func (g *gather) sink(t *testing.T) func(*event.Event) {
	busy := false
	return func(e *event.Event) {
		if busy {
			t.Error("the sink is called from two goroutines at once")
		}
		busy = true
		defer func() { busy = false }()
		g.mu.Lock()
		defer g.mu.Unlock()
		switch data := e.Data.(type) {
		case *event.Packet:
			var p packetShape
			if err := json.Unmarshal(data.AppendJSON(nil), &p); err != nil {
				t.Error(err)
			}
			g.packets = append(g.packets, p)
		case *event.Lost:
			g.lost += data.Count
		}
	}
}

func packetEyes(t *testing.T, kind string) eyes {
	t.Helper()
	cfg, err := config.Load(nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	e := newEyes(cfg, log)
	if kind == "procfs" {
		e.close()
		e = procEyes(cfg, log, nil)
	}
	t.Cleanup(e.close)
	if e.fault != nil || e.packetFault != nil {
		t.Fatal(e.fault, e.packetFault)
	}
	return e
}

// TestPacketsOfTheWatchedAsRoot runs two programs that do the same at the same time and
// watches one of them. It checks that all packets of that one are reported, and none of the
// other. TCP may retransmit a segment on a busy machine: it counts once, by its number.
// On a busy machine packets are lost and reported as lost: it runs them again until none is.
func TestPacketsOfTheWatchedAsRoot(t *testing.T) {
	e := packetEyes(t, "ebpf")
	const tries = 20
	for range tries {
		lost := packetsOfTheWatched(t, e)
		if lost == 0 || t.Failed() {
			return
		}
		t.Logf("%d packets are reported as lost: it runs again", lost)
	}
	t.Errorf("in each of %d runs packets were lost", tries)
}

// packetsOfTheWatched is one run. It returns how many packets are reported as lost.
func packetsOfTheWatched(t *testing.T, e eyes) (lost uint64) {
	t.Helper()
	names, err := net.ListenPacket("udp", "127.0.5.3:53")
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	port := echo(t)
	watched, other := startTalk(t, port), startTalk(t, port)
	var got gather
	w, err := e.sensor.Watch(monitor.Scope{PIDs: []int{watched.cmd.Process.Pid}}, got.sink(t))
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	both.Go(func() { other.speak(t) })
	watched.speak(t)
	both.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	tcp, udp, dns := watched.ports[0], watched.ports[1], watched.ports[2]
	count, segments := map[string]int{}, map[string]bool{}
	for i, p := range got.packets {
		if p.Metadata.PID != watched.cmd.Process.Pid || p.Metadata.Start == "" || !strings.HasPrefix(p.Metadata.Name, "python3") {
			t.Errorf("a packet of another process: %+v", p)
		}
		if p.Frame != i+1 {
			t.Errorf("number %d after %d", p.Frame, i)
		}
		mine, theirs, direction := p.SrcPort, p.DstPort, "out"
		if p.SrcPort == port || p.SrcPort == 9 || p.SrcPort == 53 {
			mine, theirs, direction = theirs, mine, "in"
		}
		if p.Direction != direction {
			t.Errorf("the direction is not %s: %+v", direction, p)
		}
		segment := func(what string) {
			_, numbers, _ := strings.Cut(p.Text, " Seq=")
			number, _, _ := strings.Cut(numbers, " ")
			what += " " + direction
			if key := what + " " + number; !segments[key] {
				segments[key] = true
				count[what]++
			}
		}
		switch {
		case slices.Contains(other.ports, mine):
			t.Errorf("a packet of the other program: %+v", p)
		case theirs == 9:
			segment("knock")
		case mine == tcp && theirs == port:
			if p.Payload > 0 {
				segment("tcp data")
			}
			for _, flag := range []string{"SYN", "FIN"} {
				if strings.Contains(p.Text, flag) {
					segment("tcp " + flag)
				}
			}
		case mine == udp && theirs == port:
			count["udp "+direction]++
			want := fmt.Sprintf("75 64 70 20 3%d", (count["udp "+direction]-1)%5)
			if got.lost == 0 && p.Content != want || p.Length != 14+20+8+5 {
				t.Errorf("content %s, want %s, of %+v", p.Content, want, p)
			}
		case mine == dns && p.Protocol == "DNS" && p.Dst == "127.0.5.3" && len(p.DNS) == 1 && p.DNS[0].Questions[0].Name == "example.org":
			count["dns "+direction]++
		default:
			t.Errorf("an unexpected packet: %+v", p)
		}
	}
	want := map[string]int{
		"tcp SYN out": 1, "tcp SYN in": 1, "tcp FIN out": 1, "tcp FIN in": 1, "tcp data out": 5, "tcp data in": 5,
		"udp out": 5, "udp in": 5, "dns out": 1, "knock out": 1, "knock in": 1,
	}
	for what, n := range want {
		if count[what] > n || count[what] < n && got.lost == 0 {
			t.Errorf("%s: %d, want %d (%d are reported as lost)", what, count[what], n, got.lost)
		}
	}
	if !slices.IsSortedFunc(got.packets, func(a, b packetShape) int {
		if a.SrcPort != b.SrcPort {
			return 0
		}
		return cmp.Compare(a.Timestamp, b.Timestamp)
	}) {
		t.Error("the packets of a flow are not in order")
	}
	return got.lost
}

// TestBothViewsOfDNSAsRoot watches a program that answers DNS with malformed messages. The
// calls and the packets must say the same of each message.
func TestBothViewsOfDNSAsRoot(t *testing.T) {
	e := packetEyes(t, "ebpf")
	names, err := net.ListenPacket("udp", "127.0.5.4:53")
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	const (
		dotted = `{"id":4660,"response":false,"questions":[{"name":"exa\\.mple.com","type":"TXT"}]}`
		short  = `{"id":4660,"response":true,"code":"NOERROR","questions":[{"name":"r1.test","type":"A"}],"answers":[` +
			`{"name":"r1.test","type":"A","data":"\\# 3 0a0000","ttl":60},{"name":"r1.test","type":"A","data":"10.0.0.4","ttl":60}]}`
	)
	want := []string{dotted, short}
	for range 20 { // packets may be lost, which is reported
		program := exec.Command("python3", "-c", `
import socket, sys
sys.stdin.readline()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for message in sys.argv[1:]:
    s.sendto(bytes.fromhex(message), ("127.0.5.4", 53))
print("sent", flush=True)
sys.stdin.readline()
`, "123401000001000000000000086578612e6d706c6503636f6d0000100001",
			"12348180000100020000000002723104746573740000010001c00c000100010000003c00030a0000c00c000100010000003c00040a000004")
		in, err := program.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := program.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		var calls, packets []string
		lost := false
		w, err := e.sensor.Watch(monitor.Scope{PIDs: []int{program.Process.Pid}}, func(e *event.Event) {
			var data struct{ DNS []json.RawMessage }
			if err := json.Unmarshal(e.Data.AppendJSON(nil), &data); err != nil {
				t.Error(err)
			}
			for _, m := range data.DNS {
				if e.Type == event.TypeNetwork {
					calls = append(calls, string(m))
				} else {
					packets = append(packets, string(m))
				}
			}
			_, isLoss := e.Data.(*event.Lost)
			lost = lost || isLoss
		})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(in, "\n") //nolint:errcheck // the program would print nothing
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(line, err)
		}
		in.Close()
		if err := errors.Join(program.Wait(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if lost {
			continue
		}
		if !slices.Equal(calls, want) || !slices.Equal(packets, want) {
			t.Errorf("the calls say   %q\nthe packets say %q\nwant            %q", calls, packets, want)
		}
		return
	}
	t.Error("in each of 20 runs packets were lost")
}

// TestPacketsOfAllAsRoot watches the whole machine except for excluded processes. It checks
// that no packet to or from an excluded server is reported, whichever process owns it.
func TestPacketsOfAllAsRoot(t *testing.T) {
	e := packetEyes(t, "ebpf")
	port, free := echo(t), freeport.For(t) // the server is this process, which is excluded
	visible := exec.Command("python3", "-c", "import socket, sys\n"+
		"l = socket.create_server((\"127.0.0.1\", int(sys.argv[1])))\nprint(flush=True)\n"+
		"c, _ = l.accept()\nc.sendall(b\"seen\")\nc.recv(1)", fmt.Sprint(free))
	out, err := visible.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := visible.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	hidden, own := startTalk(t, port), echo(t)
	var got gather
	w, err := e.sensor.Watch(monitor.Scope{All: true, PIDs: []int{visible.Process.Pid}, Exclude: []int{os.Getpid(), hidden.cmd.Process.Pid}}, got.sink(t))
	if err != nil {
		t.Fatal(err)
	}
	hidden.speak(t)
	for _, p := range []int{own, free} { // this process connects to itself, then to the watched server
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", p))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("seen")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if err := visible.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, p := range got.packets {
		for _, end := range []int{p.SrcPort, p.DstPort} {
			switch {
			case end == port || end == own || slices.Contains(hidden.ports, end):
				t.Errorf("a packet of an excluded process: %+v", p)
			case end == free:
				seen++
				if p.Metadata.PID != visible.Process.Pid {
					t.Errorf("not a packet of the server: %+v", p)
				}
			}
		}
	}
	if seen < 8 && got.lost == 0 { // handshake, data both ways and end; on a busy machine some may be lost, which is reported
		t.Errorf("%d packets of the watched server", seen)
	}
}

// TestPacketsFromBeforeAsRoot watches a program that had connected before the watch: no event
// names the owner of the connection, but /proc does. It does so with and without eBPF.
func TestPacketsFromBeforeAsRoot(t *testing.T) {
	for _, kind := range []string{"ebpf", "procfs"} {
		t.Run(kind, func(t *testing.T) {
			e := packetEyes(t, kind)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			k := exec.Command("python3", "-c", "import socket, sys, time\n"+
				"c = socket.create_connection((\"127.0.0.1\", int(sys.argv[1])))\nsys.stdin.readline()", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
			in, err := k.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Start(); err != nil {
				t.Fatal(err)
			}
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var got gather
			w, err := e.sensor.Watch(monitor.Scope{PIDs: []int{k.Process.Pid}}, got.sink(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			// The last packet of the handshake may be reported first.
			hello := func(p packetShape) bool { return p.Content == "68 65 6C 6C 6F" && p.Direction == "in" }
			lost := uint64(0)
			wait.For(t, "the packet and its answer are reported", func() bool {
				got.mu.Lock()
				defer got.mu.Unlock()
				if got.lost > lost { // on a busy machine it may be lost, which is reported
					t.Logf("%d packets are reported as lost: it is sent again", got.lost-lost)
					lost = got.lost
					if _, err := c.Write([]byte("hello")); err != nil {
						t.Fatal(err)
					}
				}
				i := slices.IndexFunc(got.packets, hello)
				return i >= 0 && slices.ContainsFunc(got.packets[i:], func(p packetShape) bool { return p.Direction == "out" })
			})
			in.Close()
			if err := k.Wait(); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			for _, p := range got.packets {
				if p.Metadata.PID != k.Process.Pid {
					t.Errorf("a packet of another process: %+v", p)
				}
			}
		})
	}
}

// TestPacketsWithTheBackendAsRoot spawns a program that sends packets in its sandbox and
// checks that they are in the session, with its process. Then it watches this process and
// checks that its packets to the agent and the backend are not reported, and others are.
func TestPacketsWithTheBackendAsRoot(t *testing.T) {
	backendPort, agentPort := freeport.For(t), freeport.For(t)
	backend, agent := fmt.Sprintf("http://127.0.0.1:%d", backendPort), fmt.Sprintf("http://127.0.0.1:%d", agentPort)
	start(t, backend+"/api/health", []string{
		fmt.Sprint("PORT=", backendPort), "DATA_DIR=" + t.TempDir(), "AGENT_SERVICE_URL=" + agent, "DATABASE_URL=",
	}, buildBackend(t))
	start(t, agent+"/health", []string{"OSPULSE_TEST_AGENT=1"}, "/proc/self/exe", "--port", fmt.Sprint(agentPort), "--data", t.TempDir(), "--backend", backend)

	session := upload(t, backend, "talk.sh", "#!/bin/bash\nexec 3<>/dev/udp/127.0.0.1/3003\necho in the sandbox >&3\n")
	var answer map[string]any
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": session, "mode": 3}, &answer)
	wait.For(t, "session_end is in the session", func() bool {
		return slices.ContainsFunc(events(t, backend, session), func(e sessionEvent) bool { return e.Type == "session_end" })
	})
	callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": session}, &answer)
	var page struct {
		Events []struct {
			Type    string `json:"event_type"`
			PID     int    `json:"pid"`
			Name    string `json:"process_name"`
			Target  string `json:"target"`
			Preview string `json:"preview"`
		}
	}
	call(t, "GET", backend+"/api/sessions/"+session+"/events?limit=1000", "", nil, &page)
	data, refused := 0, 0
	for _, e := range page.Events {
		if e.Type != "raw_network_operation" {
			continue
		}
		if e.Name != "bash" || e.PID == 0 {
			t.Errorf("a packet of another process: %+v", e)
		}
		switch {
		case e.Target == "127.0.0.1:3003" && strings.Contains(e.Preview, `"info_raw":"`) && strings.Contains(e.Preview, " → 3003 Len=15"):
			data++
		case strings.Contains(e.Preview, `"protocol":"ICMP"`):
			refused++
		}
	}
	if data != 1 || refused != 1 {
		t.Errorf("%d packets with the data, %d that refuse it, in %d events", data, refused, len(page.Events))
	}

	second := upload(t, backend, "x.sh", "true")
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": second, "mode": 2, "processes": []int{os.Getpid()}}, &answer)
	for range 20 {
		call(t, "GET", backend+"/api/health", "", nil, &answer)
		call(t, "GET", agent+"/health", "", nil, &answer)
	}
	port := echo(t)
	c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": second}, &answer)
	wait.For(t, "session_end is in the session", func() bool {
		return slices.ContainsFunc(events(t, backend, second), func(e sessionEvent) bool { return e.Type == "session_end" })
	})
	reported := 0
	for _, e := range events(t, backend, second) {
		if e.Type != "raw_network_operation" {
			continue
		}
		if strings.Contains(string(e.Data), fmt.Sprintf(`_port":%d,`, port)) {
			reported++
		}
		for _, own := range []int{backendPort, agentPort} {
			if strings.Contains(string(e.Data), fmt.Sprintf(`_port":%d,`, own)) {
				t.Fatalf("OS-Pulse reports itself: %s", e.Data)
			}
		}
	}
	if reported < 4 {
		t.Errorf("%d packets of the other connection", reported)
	}
}
