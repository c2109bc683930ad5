//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ospulse/agent/internal/procfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func small() Options {
	return Options{
		Limits:  Limits{MemoryBytes: 128 << 20, Processes: 32, DiskBytes: 8 << 20, CPUs: 1, Timeout: time.Minute},
		Network: "none", Log: slog.New(slog.DiscardHandler),
	}
}

func needsBwrap(t *testing.T) {
	t.Helper()
	if _, err := Find(); err != nil {
		t.Skip("bubblewrap is not installed")
	}
}

// script makes a program of a shell script. What it puts into $OUT can be read:
// by the test through /proc, since nothing leads out of a sandbox.
func script(t *testing.T, text string) *Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path, "sample", "", nil, t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// spawn runs a program and gives a function that reads a file of its scratch.
func spawn(t *testing.T, p *Program, o Options) (*Child, func(name string) string) {
	t.Helper()
	o.DataDir = t.TempDir()
	c, err := Spawn(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
	})
	dir := fmt.Sprintf("/proc/%d/root/tmp", c.init)
	if o.Off {
		dir = c.runDir
	}
	return c, func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		return string(text)
	}
}

// until waits for what a process that we are not the parent of does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("not in time: ", what)
		}
		<-tick.C
	}
}

// ends wants all of it gone after Kill, whatever the program does.
func ends(t *testing.T, c *Child) {
	t.Helper()
	began := time.Now()
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if left := c.rest(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if c.cgroup != nil {
		for _, dir := range c.cgroup.dirs {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("the cgroup %s is still there", dir)
			}
		}
	}
}

func TestHeldUntilReleased(t *testing.T) {
	needsBwrap(t)
	c, read := spawn(t, script(t, "#!/bin/sh\necho ran > /tmp/out\nexec sleep 100\n"), small())
	if p, err := procfs.Read(c.PID); err != nil || p.Name != "sh" {
		t.Errorf("the held process is %+v, %v", p, err)
	}
	if read("out") != "" {
		t.Error("it ran before it was released")
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	until(t, "it runs", func() bool { return read("out") == "ran\n" })
	ends(t, c)
}

func TestNeverReleased(t *testing.T) {
	needsBwrap(t)
	c, _ := spawn(t, script(t, "#!/bin/sh\n"), small())
	ends(t, c)
}

func TestEndsByItself(t *testing.T) {
	needsBwrap(t)
	for name, text := range map[string]string{"with #!": "#!/bin/sh\nexit 3\n", "without": "exit 3\n"} {
		c, _ := spawn(t, script(t, text), small())
		if err := c.Release(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-c.Done():
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it does not end", name)
		}
		ends(t, c)
	}
}

func TestTimeout(t *testing.T) {
	needsBwrap(t)
	o := small()
	o.Limits.Timeout = 300 * time.Millisecond
	c, _ := spawn(t, script(t, "#!/bin/sh\ntrap '' TERM INT HUP\nwhile :; do sleep 100; done\n"), o)
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if !c.TimedOut() {
		t.Error("it does not say why")
	}
	ends(t, c)
}

// What a program sees and may from within.
func TestWhatItMay(t *testing.T) {
	needsBwrap(t)
	home := t.TempDir()
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	checks := map[string]string{ // each must fail
		"another's file":     "cat " + secret,
		"root's home":        "ls /root /home/*/.ssh",
		"passwords":          "cat /etc/shadow",
		"the agent's data":   "ls " + home,
		"write to the root":  "touch /x",
		"write to /usr":      "touch /usr/bin/x",
		"write to /dev":      "touch /dev/x",
		"write to /etc":      "touch /etc/x",
		"a mount":            "mount -t tmpfs x /tmp",
		"a user namespace":   "unshare -U true",
		"a mount namespace":  "unshare -m true",
		"another process":    fmt.Sprintf("kill -0 %d", os.Getpid()),
		"see processes":      "test $(ls -d /proc/[0-9]* | wc -l) -gt 12",
		"become root":        "test $(id -u) = 0",
		"new privileges":     "grep -q 'NoNewPrivs:.*0' /proc/self/status",
		"a capability":       "grep -qv '0000000000000000' <<X\n$(grep -h 'Cap[PEA]' /proc/self/status | cut -f2)\nX\n",
		"no filter":          "grep -q 'Seccomp:.*0' /proc/self/status",
		"this machine's net": fmt.Sprintf("bash -c 'exec 9<>/dev/tcp/127.0.0.1/%d'", listener.Addr().(*net.TCPAddr).Port),
		"sysctl":             "echo 1 > /proc/sys/kernel/hostname",
		"set the host name":  "hostname other",
	}
	var text strings.Builder
	text.WriteString("#!/bin/sh\n")
	for name, command := range checks {
		fmt.Fprintf(&text, "if (%s) >/dev/null 2>&1; then echo %q; fi >> /tmp/may\n", command, name)
	}
	text.WriteString("echo hello > /tmp/sample/can; cat /tmp/sample/can > /tmp/done; exec sleep 100\n")
	c, read := spawn(t, script(t, text.String()), small())
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is done", func() bool { return read("done") == "hello\n" })
	if may := read("may"); may != "" {
		t.Errorf("it may:\n%s", may)
	}
	ends(t, c)
}

func TestForkBomb(t *testing.T) {
	needsBwrap(t)
	c, read := spawn(t, script(t, "#!/bin/bash\ntouch /tmp/began\nb() { while :; do b & done 2>/dev/null; }\nb & b & trap '' TERM; while :; do :; done\n"), small())
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is on", func() bool { return len(c.rest()) > 20 })
	most := 0
	for range 50 {
		most = max(most, len(c.rest()))
	}
	if most > 40 {
		t.Errorf("it has %d processes", most)
	}
	_ = read
	ends(t, c)
}

func TestFillsTheDisk(t *testing.T) {
	needsBwrap(t)
	c, read := spawn(t, script(t, `#!/bin/sh
for dir in /tmp /dev/shm /tmp/sample /var/tmp /dev /run /; do
	i=0
	while [ $i -lt 20 ]; do cat /dev/zero > $dir/fill$i 2>/dev/null; i=$((i+1)); done
done
du -sk / 2>/dev/null --exclude=/usr --exclude=/proc --exclude=/sys | cut -f1 > /dev/null
find /tmp /dev /dev/shm /run / -xdev -name 'fill*' 2>/dev/null | xargs cat 2>/dev/null | wc -c > /tmp/sample/../size; rm -f /tmp/fill0
find /tmp /dev/shm -name 'fill*' | xargs cat | wc -c > /tmp/size
exec sleep 100
`), small())
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is full", func() bool { return strings.HasSuffix(read("size"), "\n") })
	var size int
	if _, err := fmt.Sscan(read("size"), &size); err != nil {
		t.Fatal(err)
	}
	if size < 1<<20 || size > 2*(8<<20) {
		t.Errorf("it wrote %d bytes", size)
	}
	ends(t, c)
}

func TestDaemonises(t *testing.T) {
	needsBwrap(t)
	for name, text := range map[string]string{
		"setsid":           "#!/bin/sh\nsetsid sh -c 'trap \"\" TERM HUP INT; touch /tmp/up; while :; do sleep 100; done' &\nexit 0\n",
		"double fork":      "#!/bin/sh\n( ( trap '' TERM; touch /tmp/up; exec sleep 1000 ) & ) &\nwait\nexit 0\n",
		"kills its parent": "#!/bin/sh\ntrap '' TERM\n( touch /tmp/up; kill -9 $PPID; kill -9 1; kill -9 -1; exec sleep 1000 ) & exec sleep 1000\n",
		"ignores signals":  "#!/bin/sh\ntrap '' TERM INT HUP QUIT USR1 USR2 PIPE ALRM\ntouch /tmp/up\nwhile :; do sleep 100; done\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, read := spawn(t, script(t, text), small())
			if err := c.Release(); err != nil {
				t.Fatal(err)
			}
			gone := func() bool {
				select {
				case <-c.Done():
					return true
				default:
					return false
				}
			}
			until(t, "it is on", func() bool { return strings.Contains(name, "parent") || gone() || fileIn(c, "up") })
			_ = read
			ends(t, c)
		})
	}
}

func fileIn(c *Child, name string) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/root/tmp/%s", c.init, name))
	return err == nil
}

func TestMemory(t *testing.T) {
	needsBwrap(t)
	c, read := spawn(t, script(t, "#!/bin/sh\ntail /dev/zero\necho $? > /tmp/out\nexec sleep 100\n"), small())
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	until(t, "it was refused", func() bool { return read("out") != "" })
	if read("out") == "0\n" {
		t.Error("it got all memory that it wanted")
	}
	ends(t, c)
}

// Where user-mode networking cannot be had, a start says what it lacks; elsewhere
// the sample has a network.
func TestNAT(t *testing.T) {
	needsBwrap(t)
	o := small()
	o.Network = "nat"
	if info, err := os.Stat("/dev/net/tun"); err != nil || info.Mode()&0o006 != 0o006 {
		program := script(t, "#!/bin/sh\n")
		if c, err := Spawn(t.Context(), program, o); err == nil || !strings.Contains(err.Error(), "slirp4netns") {
			t.Errorf("without /dev/net/tun it gave %v, %v", c, err)
		}
		return
	}
	c, read := spawn(t, script(t, "#!/bin/sh\ncat /proc/net/route /etc/resolv.conf > /tmp/net; exec sleep 100\n"), o)
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	until(t, "it has a network", func() bool { return strings.Contains(read("net"), "10.0.2.3") })
	if !strings.Contains(read("net"), "tap0") {
		t.Errorf("its routes are:\n%s", read("net"))
	}
	ends(t, c)
}

func TestOff(t *testing.T) {
	o := small()
	o.Off = true
	c, read := spawn(t, script(t, "#!/bin/sh\npwd > out\n( trap '' TERM; exec sleep 1000 ) &\nexit 0\n"), o)
	if read("out") != "" {
		t.Error("it ran before it was released")
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	until(t, "it runs", func() bool { return read("out") == c.runDir+"\n" })
	ends(t, c)
	if _, err := os.Stat(c.runDir); err == nil {
		t.Error("its files are still there")
	}
}

func TestWithoutBubblewrap(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Spawn(context.Background(), script(t, "x\n"), small())
	if err == nil || !strings.Contains(err.Error(), "bubblewrap") {
		t.Errorf("got %v", err)
	}
}
