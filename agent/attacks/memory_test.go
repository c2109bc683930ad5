//go:build linux

package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ospulse/test/wait"
)

// hoarder makes an agent keep as much as it can: heads and bodies without an end on many
// connections, requests without answers, answers that decompress to 1,000 times their size, and
// streams of HTTP/2 without an end.
const hoarder = `
import gzip, io, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(4096)
def pair():
    client = socket.create_connection(server.getsockname())
    other, _ = server.accept()
    for s in client, other: s.setblocking(False)
    return client, other
def send(to, data):
    try: to.send(data)
    except BlockingIOError: pass
def empty(s):
    try:
        while s.recv(1 << 20): pass
    except BlockingIOError: pass
kept = [pair() for _ in range(3000)]
for round in range(2):
    for client, other in kept:
        send(client, b"GET /%d HTTP/1.1\r\nX: " % round + b"x" * 60000); empty(other)
        send(other, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60000); empty(client)
for client, other in [pair() for _ in range(1000)]:
    kept.append((client, other))
    send(client, b"GET / HTTP/1.1\r\n\r\n" * 200); empty(other)
bomb = io.BytesIO()
with gzip.GzipFile(fileobj=bomb, mode="wb") as packed:
    for _ in range(100): packed.write(bytes(1 << 20))
for _ in range(200):
    client, other = pair()
    send(client, b"GET /bomb HTTP/1.1\r\n\r\n"); empty(other)
    send(other, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb.getvalue()) + bomb.getvalue()); empty(client)
    client.close(); other.close()
def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
def text(data): # of field compression
    n = len(data) - 127
    return b"\x7f" + bytes([n % 128 + 128, n // 128 % 128 + 128, n // 16384]) + data
post = b"\x83\x84" + b"".join(b"\x40\x02%02d\x00" % i for i in range(90)) # POST /, and fields for the table
for client, other in [pair() for _ in range(100)]:
    kept.append((client, other))
    send(client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")); empty(other)
    for stream in range(1, 101, 2):
        send(client, frame(1, 4, stream, post + b"\x00\x01x" + text(b"x" * 50000)) + frame(0, 0, stream, b"y" * 60000)); empty(other)
`

// unitMemory returns the MemoryMax of the unit for systemd in bytes.
func unitMemory(t *testing.T) int64 {
	t.Helper()
	unit, err := os.ReadFile("../../packaging/agent/ospulse-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^MemoryMax=(\d+)M$`).FindSubmatch(unit)
	if found == nil {
		t.Fatal("the unit has no MemoryMax in megabytes")
	}
	mb, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mb << 20
}

// memoryGroup is a cgroup with a memory limit, of version 2 or 1.
type memoryGroup struct {
	t        *testing.T
	dir      string
	isLegacy bool // version 1
}

// newMemoryGroup makes a group for the time of the test.
func newMemoryGroup(t *testing.T, limit int64) memoryGroup {
	t.Helper()
	g := memoryGroup{t: t, isLegacy: true}
	root, limits := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(root); err != nil {
		g.isLegacy, root, limits = false, "/sys/fs/cgroup", "memory.max"
		// If it fails, the limit below cannot be written.
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	var err error
	if g.dir, err = os.MkdirTemp(root, "ospulse-test-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		wait.For(t, "the cgroup is empty", func() bool { return os.Remove(g.dir) == nil })
	})
	if err := os.WriteFile(filepath.Join(g.dir, limits), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		t.Fatal(err)
	}
	return g
}

// reached returns how often the group has reached its limit, and kills how many of its
// processes the kernel has killed then.
func (g memoryGroup) reached() int {
	if g.isLegacy {
		return g.read("memory.failcnt", "")
	}
	return g.read("memory.events", "max ")
}

func (g memoryGroup) kills() int {
	if g.isLegacy {
		return g.read("memory.oom_control", "oom_kill ")
	}
	return g.read("memory.events", "oom_kill ")
}

// read returns the number after a prefix of a line in a file of the group.
func (g memoryGroup) read(name, prefix string) int {
	g.t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, isSo := strings.CutPrefix(line, prefix); isSo {
			n, err := strconv.Atoi(strings.TrimSpace(rest))
			if err != nil {
				g.t.Fatal(err)
			}
			return n
		}
	}
	g.t.Fatalf("%s lacks %q: %s", name, prefix, text)
	return 0
}

// processesOf returns a process and its children.
func processesOf(pid int) []int {
	all := []int{pid}
	paths, _ := filepath.Glob("/proc/[0-9]*/status") // the pattern is valid
	for _, path := range paths {
		status, err := os.ReadFile(path)
		if err != nil || statusLine(status, "PPid") != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(statusLine(status, "Pid")); err == nil {
			all = append(all, child)
		}
	}
	return all
}

// statusLine returns the value of a line in /proc/PID/status.
func statusLine(status []byte, name string) string {
	found := regexp.MustCompile(`(?m)^` + name + `:\s*(.*?)( kB)?$`).FindSubmatch(status)
	if found == nil {
		return ""
	}
	return string(found[1])
}

// TestMemoryAttackAsRoot checks that a program which makes the agent keep as much as it can
// does not bring it to the MemoryMax of its unit, and that the agent survives when the cached
// pages of its files do.
func TestMemoryAttackAsRoot(t *testing.T) {
	limit := unitMemory(t)
	group := newMemoryGroup(t, limit)
	w := newWorld(t, group.dir)
	p, id := w.watched(hoarder)
	p.run()
	w.end(id)
	for _, pid := range processesOf(w.agentProcess.Process.Pid) {
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
			t.Logf("%s held up to %s KiB of %d", statusLine(status, "Name"), statusLine(status, "VmHWM"), limit>>10)
		}
	}
	if n := group.reached(); n > 0 {
		t.Errorf("the program brought the agent to its limit %d times", n)
	}

	const fileBytes = 99_000_000
	content := make([]byte, fileBytes)
	for i := range limit/fileBytes + 1 {
		content[0] = byte(i)
		w.upload(w.agent+"/api/upload-file", fmt.Sprint(i), content, &map[string]any{})
	}
	_, id = w.watched("")
	w.stop(id)
	if group.reached() == 0 || group.kills() > 0 {
		t.Errorf("the agent reached its limit %d times, and %d processes were killed", group.reached(), group.kills())
	}
}
