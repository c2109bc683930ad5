//go:build linux

package confined

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ospulse/test/wait"
)

// The commands of this program for the tests.
const (
	commandTry   = "test-try"   // isolates itself, tells what it can still do, and waits
	commandHoard = "test-hoard" // isolates itself and allocates without end
)

const testMemory = 256 << 20

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case commandTry:
			try()
		case commandHoard:
			hoard()
		}
	}
	os.Exit(m.Run())
}

// try writes a line for each attempt, and the number of successes at the end.
func try() {
	socket := os.NewFile(Socket, "socket")
	parent := os.Getppid()
	if err := Isolate(testMemory); err != nil {
		_, _ = fmt.Fprintln(socket, "isolate:", err)
		os.Exit(1)
	}
	for name, attempt := range map[string]func() error{
		"open a file":       func() error { _, err := os.Open("/etc/passwd"); return err },
		"write a file":      func() error { return os.WriteFile("/tmp/ospulse-confined", nil, 0o600) },
		"open a socket":     func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
		"connect":           func() error { _, err := net.Dial("tcp", "127.0.0.1:1"); return err },
		"start a program":   func() error { return exec.Command("/bin/true").Run() },
		"execute a program": func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) },
		"signal the agent":  func() error { return unix.Kill(parent, 0) },
		"signal a thread":   func() error { return unix.Tgkill(parent, parent, 0) },
		"trace the agent":   func() error { return unix.PtraceAttach(parent) },
		"become root":       func() error { return unix.Setresuid(0, 0, 0) },
		"raise a limit":     func() error { return unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40}) },
		"load an eBPF program": func() error {
			if _, _, errno := unix.Syscall(unix.SYS_BPF, 0, 0, 0); errno != 0 {
				return errno
			}
			return nil
		},
	} {
		if err := attempt(); err == nil {
			_, _ = fmt.Fprintln(socket, "it can", name)
		}
	}
	_, _ = fmt.Fprintln(socket, "done")
	_, _ = socket.Read(make([]byte, 1))
	os.Exit(0)
}

// hoard allocates until the process ends.
func hoard() {
	socket := os.NewFile(Socket, "socket")
	if err := Isolate(testMemory); err != nil {
		_, _ = fmt.Fprintln(socket, "isolate:", err)
		os.Exit(1)
	}
	var all [][]byte
	for i := range 4 * testMemory >> 20 {
		all = append(all, make([]byte, 1<<20))
		all[i][i] = 1
	}
	_, _ = fmt.Fprintln(socket, "it has", len(all), "MB")
	os.Exit(0)
}

// TestIsolationAsRoot: an isolated process can do nothing but compute.
func TestIsolationAsRoot(t *testing.T) {
	ended := make(chan struct{})
	p, err := Start(commandTry, unix.SOCK_STREAM, nil, os.Stderr, func() { close(ended) })
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(p.Conn)
	for lines.Scan() && lines.Text() != "done" {
		t.Error(lines.Text())
	}
	if lines.Text() != "done" {
		t.Error("the process ended early")
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"CapEff": "0+", "CapPrm": "0+", "NoNewPrivs": "1", "Seccomp": "2", "Groups": "", "Uid": `(\d{5,}\s*){4}`, "Gid": `(\d{5,}\s*){4}`} {
		found := regexp.MustCompile(`(?m)^` + name + `:[ \t]*(.*?)[ \t]*$`).FindSubmatch(status)
		if len(found) != 2 || !regexp.MustCompile("^"+want+"$").Match(found[1]) {
			t.Errorf("%s is %q, want %s", name, found, want)
		}
	}
	p.Kill()
	wait.Receive(t, "the end of the process", ended)
}

// TestMemoryAsRoot: an isolated process dies when it takes more memory than its limit.
func TestMemoryAsRoot(t *testing.T) {
	ended := make(chan struct{})
	p, err := Start(commandHoard, unix.SOCK_STREAM, nil, nil, func() { close(ended) })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if lines := bufio.NewScanner(p.Conn); lines.Scan() {
		t.Error(strings.TrimSpace(lines.Text()))
	}
	wait.Receive(t, "the end of the process", ended)
}
