//go:build linux

package attacks

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/inspect/fusetest"
	"ospulse/test/wait"
)

// TestRacesAsRoot: while a thread changes an address or a name in memory, the events have
// what the kernel used, or say that it is from the program's memory.
func TestRacesAsRoot(t *testing.T) {
	w := newWorld(t, "")
	t.Run("connect", func(t *testing.T) {
		arguments := []string{"/bin/sh", "-c", `read -r _; exec "$0" "$@"`, compile(t, "../../internal/sensor/testdata/programs/race.c")}
		for range 2 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conn.Close()
				}
			}()
			arguments = append(arguments, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
		}
		p := newProgram(t, arguments...)
		id := w.begin("x", "x", map[string]any{"mode": 2, "processes": []int{p.cmd.Process.Pid}})
		want := strings.Fields(p.run())
		w.end(id)
		var got []string
		for _, e := range w.events(id) {
			if e.Data["operation"] == "Connect" {
				got = append(got, fmt.Sprint(e.Data["dst_port"]))
			}
		}
		if len(want) != 300 || !slices.Equal(got, want) {
			t.Errorf("it connected %d times, and %d connections are reported:\n%v\n%v", len(want), len(got), want, got)
		}
	})
	t.Run("names", func(t *testing.T) {
		p := newProgram(t, compile(t, "race_paths.c"))
		id := w.begin("x", "x", map[string]any{"mode": 2, "processes": []int{p.cmd.Process.Pid}})
		want := strings.Fields(p.run())
		w.end(id)
		n := 0
		for _, e := range w.events(id) {
			if e.Data["operation"] != "DeleteFile" {
				continue
			}
			if n < len(want) && e.Data["fromMemory"] != true && filepath.Base(fmt.Sprint(e.Data["filePath"])) != want[n] {
				t.Errorf("removal %d: the event has %v, and %s is gone", n, e.Data["filePath"], want[n])
			}
			n++
		}
		if n != 300 || len(want) != n {
			t.Errorf("it removed %d files, and %d removals are reported", len(want), n)
		}
	})
}

// TestTakingTheBackendsPlaceAsRoot: a watched program listens at the backend's address while
// the backend is down, calls itself the backend, and answers the agent's heartbeats as one.
// The agent still reports what it does.
func TestTakingTheBackendsPlaceAsRoot(t *testing.T) {
	w := newWorld(t, "")
	p, id := w.watched(`
import http.server, json, os, sys, threading
open('/proc/self/comm', 'w').write('ospulse-backend')
class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.send_response(503 if 'events' in self.path else 200); self.send_header('Content-Type', 'application/json'); self.end_headers()
        boot = open('/proc/sys/kernel/random/boot_id').read().strip()
        start = int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[19])
        self.wfile.write(json.dumps({'backend': {'boot_id': boot, 'pid': os.getpid(), 'start_ticks': start, 'pid_namespace': os.readlink('/proc/self/ns/pid')}, 'interval_seconds': 1}).encode())
        if 'heartbeat' in self.path: heard.release()
    do_GET = do_POST
    def log_message(self, *a): pass
heard = threading.Semaphore(0)
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(3): heard.acquire()
for i in range(100): open('done-%d' % i, 'w').close()
os._exit(0)
`, strings.TrimPrefix(w.backend, "http://127.0.0.1:"))
	if err := w.backendProcess.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.backendProcess.Wait() // "signal: killed"
	p.run()
	w.startBackend()
	w.end(id)
	created := paths(w.events(id), "CreateFile")
	done := 0
	for _, path := range created {
		if strings.HasPrefix(filepath.Base(path), "done-") {
			done++
		}
	}
	if done != 100 {
		t.Errorf("%d of 100 files are reported", done)
	}
}

// TestFreezingAsRoot: files that never answer, or have no end, are mapped as programs and
// libraries. The agent answers meanwhile, and reports what follows.
func TestFreezingAsRoot(t *testing.T) {
	w := newWorld(t, "")
	silent := fusetest.Mount(t, 1<<20)
	p := newProgram(t, "/usr/bin/python3", "-c", `
import ctypes, os, struct, sys, threading
os.close(os.open(sys.argv[1], os.O_RDONLY)) # from now on the kernel does not ask the file system about a close
kept = os.open(sys.argv[1], os.O_RDONLY)
sys.stdin.readline()
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def load(fd):
    libc.mmap(None, 4096, 5, 2, fd, 0)
endless = open('endless.so', 'wb')
endless.write(b'\x7fELF\x02\x01\x01' + bytes(9) + struct.pack('<HHIQQQIHHHHHH', 3, 62, 1, 0, 64, 1 << 39, 0, 64, 56, 8, 64, 0xfff0, 3))
endless.truncate(1 << 40); endless.close()
load(os.open('endless.so', os.O_RDONLY))
os.mkfifo('fifo')
threading.Thread(target=lambda: os.execv('fifo', ['fifo']) if os.fork() == 0 else None, daemon=True).start()
load(kept)
os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')
open('/proc/self/comm', 'wb').write(b'\n\x1b]0;x\xff\xfe')
marker = sys.argv[2]
for i in range(100): open(marker + '/after-%d' % i, 'w').close()
os._exit(0)
`, silent.File("libssl-x.so"), t.TempDir())
	id := w.begin("x", "x", map[string]any{"mode": 2, "processes": []int{p.cmd.Process.Pid}})
	silent.Silence(t)
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.cmd.Wait() }()
	began := time.Now()
	w.get(w.agent+"/health", &map[string]any{})
	t.Logf("the agent answered after %s", time.Since(began))
	wait.Receive(t, "the program ends", ended)
	w.stop(id)
	after := 0
	for _, path := range paths(w.events(id), "CreateFile") {
		if strings.HasPrefix(filepath.Base(path), "after-") {
			after++
		}
	}
	if s := w.session(id); after != 100 || len(s.Completeness.Missing)+len(s.Completeness.Damaged) > 0 {
		t.Errorf("%d of 100 files are reported: %+v", after, s)
	}
}

// TestSignalsAsRoot: a sample in the sandbox sends every signal to every process that it can
// name, and ends process 1. Only its own tree ends.
func TestSignalsAsRoot(t *testing.T) {
	w := newWorld(t, "")
	id := w.begin("signals.py", `#!/usr/bin/python3
import os, signal
for s in range(1, 65):
    for pid in [1, os.getppid(), -1] + list(range(2, 400)):
        if s in (9, 19, 32, 33) and pid in (-1, os.getpid()): continue
        signal.signal(s, signal.SIG_IGN) if s not in (9, 19, 32, 33) else None
        try: os.kill(pid, s)
        except (OSError, ValueError): pass
print('sent', flush=True)
try: os.kill(-1, 9)
except OSError: pass
os.kill(os.getpid(), 9)
`, map[string]any{"mode": 3})
	w.end(id)
	events := w.events(id)
	last := events[len(events)-1]
	if last.Type != "session_end" || !strings.Contains(fmt.Sprint(last.Data["sandbox"]), "sent") || last.Data["signal"] != 9.0 {
		t.Errorf("the session ends with %+v", last)
	}
	if s := w.session(id); !s.Completeness.Complete {
		t.Errorf("%+v", s)
	}
	var health struct {
		Sessions int `json:"active_sessions"`
	}
	if w.get(w.agent+"/health", &health); health.Sessions != 0 {
		t.Errorf("%d sessions run", health.Sessions)
	}
}

// TestFloodAsRoot: a sample makes calls as fast as it can. It is paused, and each call is
// reported.
func TestFloodAsRoot(t *testing.T) {
	const calls = 100_000
	w := newWorld(t, "", "--ring", "1")
	id := w.begin("flood.py", fmt.Sprintf(`#!/usr/bin/python3
import os
fd = os.open('x', os.O_CREAT | os.O_WRONLY)
for i in range(%d): os.pwrite(fd, b'x', 0)
`, calls), map[string]any{"mode": 3})
	w.end(id)
	all := w.events(id)
	writes := map[string]int{} // by path
	for _, path := range paths(all, "WriteFile") {
		writes[path]++
	}
	if s := w.session(id); writes["/home/user/x"] != calls || int64(len(all)) != s.Count || s.Completeness.Lost != 0 || !s.Completeness.Complete {
		t.Errorf("of %d writes these are in %d events: %v; %+v", calls, len(all), writes, s)
	}
}

// TestGarbageAsRoot: names that are no text, and packets and messages that are almost right.
// Each event is valid JSON with the bytes that were there, and no call is lost.
func TestGarbageAsRoot(t *testing.T) {
	w := newWorld(t, "")
	p, id := w.watched(`
import gzip, os, random, socket, subprocess
for name in [b'\xff\xfe', b'a\nb', b'\x1b[2J', b'"\\', b'caf\xc3\xa9', '\u202egpj.exe'.encode(), b'x' * 255]:
    os.close(os.open(name, os.O_CREAT))
    subprocess.run([b'/bin/true', name, b'\x80' * 1000], env={b'N\xff': name})
random.seed(1)
def pair():
    server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen()
    client = socket.create_connection(server.getsockname()); other, _ = server.accept()
    return client, other
def talk(request, answer):
    client, other = pair()
    client.send(request); other.recv(1 << 20); other.send(answer); client.recv(1 << 20); client.close(); other.close()
whole = b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'
for i in range(300):
    broken = bytearray(whole)
    for _ in range(1 + i % 20): broken[random.randrange(len(broken))] = random.randrange(256)
    talk(b'GET /%d HTTP/1.1\r\nHost: x\r\n\r\n' % i, bytes(broken))
hello = bytes.fromhex('16030100760100007203030000000000000000000000000000000000000000000000000000000000000000000002130101000047000000120010000000000d6578616d706c652e6f72670000')
query = bytes.fromhex('123401000001000100000000076578616d706c65036f72670000010001c00c00010001000000000004ffffffff')
udp, to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ('127.0.0.1', 53)
for i in range(300):
    for data, send in (hello, lambda b: talk(b, b)), (query, lambda b: udp.sendto(b, to)):
        broken = bytearray(data)
        for _ in range(1 + i % 10): broken[random.randrange(len(broken))] = random.randrange(256)
        try: send(bytes(broken[:1 + random.randrange(len(broken))]))
        except OSError: pass
open('last', 'w').close()
os._exit(0)
`)
	p.run()
	w.end(id)
	created := paths(w.events(id), "CreateFile")
	for _, want := range []string{"\ufffd\ufffd", "a\nb", "\x1b[2J", `"\`, "café", "\u202egpj.exe", "last"} {
		if !slices.ContainsFunc(created, func(path string) bool { return strings.HasSuffix(path, "/"+want) || want == "\ufffd\ufffd" }) {
			t.Errorf("%q is not reported: %q", want, created)
		}
	}
	if s := w.session(id); len(s.Completeness.Missing)+len(s.Completeness.Damaged) > 0 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", w.agentProcess.Process.Pid)); err != nil {
		t.Error("the agent has ended")
	}
}

// TestNumbersOfX32AsRoot: calls by the numbers of x32, which few kernels know, are reported
// as what they are, with the kernel's answer.
func TestNumbersOfX32AsRoot(t *testing.T) {
	w := newWorld(t, "")
	p, id := w.watched(`
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
text = ctypes.create_string_buffer(b'hello')
vector = ctypes.create_string_buffer(struct.pack('<II', ctypes.addressof(text) & 0xffffffff, 5))
file = os.open('file', os.O_CREAT | os.O_WRONLY)
for call in (83, b'folder', 0o755), (516, file, vector, 1):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(0x40000000 | call[0]), *[ctypes.c_long(x) if isinstance(x, int) else x for x in call[1:]])
    print(-ctypes.get_errno() if result < 0 else 0)
os._exit(0)
`)
	want := strings.Fields(p.run())
	w.end(id)
	got := map[string]string{}
	for _, e := range w.events(id) {
		name := fmt.Sprint(e.Data["syscall"])
		path := filepath.Base(fmt.Sprint(e.Data["filePath"]))
		if name == "mkdir" && path == "folder" || name == "writev" && path == "file" {
			got[name] = fmt.Sprint(e.Data["status"])
		}
	}
	if fmt.Sprint(want) != fmt.Sprint([]string{got["mkdir"], got["writev"]}) {
		t.Errorf("the kernel answered %v, and %v is reported", want, got)
	}
}
