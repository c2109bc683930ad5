//go:build linux

// Package sandbox runs a program that nobody trusts, so that it can be watched and
// can do no harm: in namespaces of its own, as a user that owns nothing, with a
// read-only root, a filter of system calls, limits, and an end. bubblewrap makes the
// namespaces. It knows nothing of events.
package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/procfs"
)

// Limits are what a sandbox may use.
type Limits struct {
	MemoryBytes int64
	Processes   int // and threads
	DiskBytes   int64
	CPUs        float64
	Timeout     time.Duration
}

// Options say how programs are run.
type Options struct {
	Limits  Limits
	Network string // none, host or nat
	Off     bool   // run them as this user, without any sandbox
	DataDir string // the agent's own folder, absolute, which no sample sees
	Log     *slog.Logger
}

const (
	setupTimeout = 20 * time.Second
	killTimeout  = 10 * time.Second

	inside = 1000 // the user and group in the sandbox

	// The users that samples are run as by root; systemd's UIDS-GIDS keeps this
	// range free. Each sandbox has one of its own, so that none can touch another's.
	firstUser, users = 1_900_000_000, 10_000

	workDir = "/tmp/sample"
)

//nolint:gochecknoglobals // numbers the sandboxes of this program
var nextUser atomic.Uint32

// Child is a program that was spawned. It waits before its first instruction until
// Release.
type Child struct {
	PID int // of the program, as this machine sees it

	options  Options
	cmd      *exec.Cmd
	init     int // process 1 of its namespace, 0 without a sandbox
	ns       string
	cgroup   *cgroup
	release  *os.File
	slirp    *exec.Cmd
	runDir   string
	timer    atomic.Pointer[time.Timer]
	timedOut atomic.Bool
	killed   atomic.Bool
	done     chan struct{}
	note     []string
}

// Notes tells what of the limits or the network is not as it was asked for.
func (c *Child) Notes() []string { return c.note }

// Find gives the path of bubblewrap.
func Find() (string, error) { return exec.LookPath("bwrap") }

// Spawn starts the program, and holds it. What it prints goes nowhere.
func Spawn(ctx context.Context, p *Program, o Options) (*Child, error) {
	if o.Off {
		return spawnBare(p, o)
	}
	bwrap, err := Find()
	if err != nil {
		return nil, fmt.Errorf("bubblewrap is not installed, without which no sandbox is made: %w", err)
	}
	return spawnSandboxed(ctx, bwrap, p, o)
}

// holdScript sets the limits that the kernel has for each process, and for the
// user's processes in this user namespace; says that it is there, waits, and
// becomes the program. To set them from outside would take a right that not every
// root has. The units are those of the standard's ulimit; processes are -u to bash
// and -p to dash.
func holdScript(l Limits) string {
	limits := fmt.Sprintf("ulimit -c 0 && ulimit -n 1024 && ulimit -d %d && ulimit -f %d && ulimit -t %d && ulimit -l 64",
		l.MemoryBytes>>10, l.DiskBytes>>9, int(l.Timeout/time.Second)+1)
	if l.Processes > 0 {
		limits += fmt.Sprintf(" && { ulimit -u %d 2>/dev/null || ulimit -p %d; }", l.Processes, l.Processes)
	}
	return limits + ` || exit 125; echo >&4; read -r _ <&3 || exit 125; exec 3<&- 4>&-; exec "$@" >/dev/null 2>&1`
}

func spawnSandboxed(ctx context.Context, bwrap string, p *Program, o Options) (c *Child, err error) {
	c = &Child{options: o, done: make(chan struct{})}
	seccomp, err := filterFile()
	if err != nil {
		return nil, fmt.Errorf("the system call filter: %w", err)
	}
	defer seccomp.Close()
	holdR, holdW, err1 := os.Pipe()
	readyR, readyW, err2 := os.Pipe()
	infoR, infoW, err3 := os.Pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	c.release = holdW
	defer readyR.Close()
	defer infoR.Close()

	var errOut limitedBuffer
	c.cmd = exec.Command(bwrap, append([]string{"--args", "5", "--", "/bin/sh", "-c", holdScript(o.Limits), "sh"}, p.argv...)...) //nolint:noctx // it ends by Kill, which makes sure
	c.cmd.Stderr = &errOut
	c.cmd.Env = []string{}
	c.cmd.Dir = "/"
	c.cmd.ExtraFiles = []*os.File{holdR, readyW, nil, infoW, seccomp} // 3 …
	pass := func(f *os.File) string {
		c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, f)
		return strconv.Itoa(2 + len(c.cmd.ExtraFiles))
	}
	var ours []*os.File
	defer func() {
		for _, f := range ours {
			_ = f.Close()
		}
	}()
	var faults []error
	text := func(name, content string) *os.File {
		f, err := memfd(name, []byte(content))
		ours, faults = append(ours, f), append(faults, err)
		return f
	}
	args := arguments(p, o, pass, text)
	argsFile := text("arguments", strings.Join(args, "\x00")+"\x00")
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	c.cmd.ExtraFiles[2] = argsFile
	if os.Getuid() == 0 {
		// As root's own user the sample would own what root owns.
		c.cmd.SysProcAttr = Unprivileged()
	}
	err = c.cmd.Start()
	_ = holdR.Close()
	_ = readyW.Close()
	_ = infoW.Close()
	if err != nil {
		_ = holdW.Close()
		return nil, fmt.Errorf("bubblewrap: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()

	deadline := time.Now().Add(setupTimeout)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	if err := c.prepare(infoR, readyR, deadline); err != nil {
		_ = holdW.Close()
		_ = c.cmd.Process.Kill() // die-with-parent takes the rest along
		<-ended                  //nolint:errcheck // its status is read elsewhere
		if c.cgroup != nil {
			c.cgroup.remove()
		}
		return nil, fmt.Errorf("the sandbox could not be made: %w: %s", err, strings.TrimSpace(errOut.String()))
	}
	go c.reap(ended)
	return c, nil
}

// prepare waits until the program is held, and sets its limits.
func (c *Child) prepare(infoR, readyR *os.File, deadline time.Time) error {
	_ = infoR.SetReadDeadline(deadline) // pipes can do that
	_ = readyR.SetReadDeadline(deadline)
	var info struct {
		ChildPID int `json:"child-pid"`
	}
	if err := json.NewDecoder(infoR).Decode(&info); err != nil || info.ChildPID <= 1 {
		return fmt.Errorf("bubblewrap did not tell its child: %w", err)
	}
	c.init = info.ChildPID
	if _, err := readyR.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the program did not get to its start: %w", err)
	}
	tree, err := procfs.Descendants(c.init)
	if err != nil || len(tree) < 2 {
		return fmt.Errorf("the held program is not to be found: %w", err)
	}
	c.PID = tree[len(tree)-1]
	if c.ns = procfs.PIDNamespace(c.init); c.ns == "" || c.ns == procfs.PIDNamespace(os.Getpid()) {
		return errors.New("the sandbox's processes cannot be told from others")
	}
	c.cgroup, err = newCgroup("ospulse-"+rand.Text()[:12], c.options.Limits)
	if err == nil {
		err = c.cgroup.add(c.cmd.Process.Pid, c.init, c.PID)
	}
	if err != nil {
		c.options.Log.Debug("no cgroup", "error", err)
		c.note = append(c.note, "memory is limited for each process, not for all together, and processors not at all: no cgroup can be made")
	} else if len(c.cgroup.lacks) > 0 {
		c.note = append(c.note, "processors are not limited: the cgroup has no cpu controller")
	}
	if c.options.Network == "nat" {
		return c.startNAT(deadline)
	}
	return nil
}

// startNAT connects the sandbox's network to the outside by user-mode networking.
func (c *Child) startNAT(deadline time.Time) error {
	slirp, err := exec.LookPath("slirp4netns")
	if err != nil {
		return fmt.Errorf("SPAWN_NETWORK=nat needs slirp4netns, please install it: %w", err)
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer readyR.Close()
	// bubblewrap's network belongs to the outer of two user namespaces.
	netns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.PID))
	if err != nil {
		_ = readyW.Close()
		return err
	}
	defer netns.Close()
	owner, err := unix.IoctlRetInt(int(netns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		_ = readyW.Close()
		return fmt.Errorf("the owner of the sandbox's network: %w", err)
	}
	userns := os.NewFile(uintptr(owner), "userns")
	defer userns.Close()
	var out limitedBuffer
	c.slirp = exec.Command(slirp, "--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=3", //nolint:noctx // it ends by Kill
		"--netns-type=path", "--userns-path=/proc/self/fd/4", "/proc/self/fd/5", "tap0")
	c.slirp.ExtraFiles = []*os.File{readyW, userns, netns}
	c.slirp.Stderr = &out
	if sys := c.cmd.SysProcAttr; sys != nil {
		c.slirp.SysProcAttr = &syscall.SysProcAttr{Credential: sys.Credential}
	}
	err = c.slirp.Start()
	_ = readyW.Close()
	if err != nil {
		c.slirp = nil
		return err
	}
	_ = readyR.SetReadDeadline(deadline)
	if _, err := readyR.Read(make([]byte, 1)); err != nil {
		_ = c.slirp.Process.Kill()
		_ = c.slirp.Wait()
		return fmt.Errorf("slirp4netns did not come up: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// arguments gives bubblewrap's. pass makes it inherit a file, text makes one.
func arguments(p *Program, o Options, pass func(*os.File) string, text func(name, content string) *os.File) []string {
	args := []string{
		"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
		"--uid", strconv.Itoa(inside), "--gid", strconv.Itoa(inside), "--hostname", "desktop",
		"--disable-userns", "--new-session", "--die-with-parent", "--info-fd", "6", "--seccomp", "7",
		"--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "--setenv", "HOME", "/tmp",
		"--setenv", "USER", "user", "--setenv", "LOGNAME", "user", "--setenv", "LANG", "C.UTF-8", "--setenv", "SHELL", "/bin/sh",
	}
	if o.Network != "host" {
		args = append(args, "--unshare-net")
	}
	// The root is made of what programs need, not of all that is here.
	args = append(args, "--ro-bind", "/usr", "/usr")
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if target, err := os.Readlink(dir); err == nil {
			args = append(args, "--symlink", target, dir)
		} else if _, err := os.Stat(dir); err == nil {
			args = append(args, "--ro-bind", dir, dir)
		}
	}
	for _, name := range []string{
		"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld-musl-x86_64.path", "alternatives", "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs",
		"nsswitch.conf", "gai.conf", "host.conf", "services", "protocols", "localtime", "timezone", "os-release", "debian_version", "mime.types", "terminfo", "profile", "bash.bashrc", "inputrc",
	} {
		args = append(args, "--ro-bind-try", "/etc/"+name, "/etc/"+name)
	}
	args = append(args,
		"--perms", "0444", "--ro-bind-data", pass(text("passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")), "/etc/passwd",
		"--perms", "0444", "--ro-bind-data", pass(text("group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n")), "/etc/group",
		"--perms", "0444", "--ro-bind-data", pass(text("hosts", "127.0.0.1 localhost desktop\n::1 localhost\n")), "/etc/hosts")
	switch o.Network {
	case "host":
		args = append(args, "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf")
	case "nat": // slirp4netns answers there
		args = append(args, "--perms", "0444", "--ro-bind-data", pass(text("resolv.conf", "nameserver 10.0.2.3\n")), "/etc/resolv.conf")
	}
	// No program of the agent, should it lie in the root's parts.
	if exe, err := os.Executable(); err == nil && strings.HasPrefix(exe, "/usr/") {
		args = append(args, "--ro-bind", "/dev/null", exe)
	}
	if strings.HasPrefix(o.DataDir, "/usr/") {
		args = append(args, "--size", "4096", "--tmpfs", o.DataDir, "--remount-ro", o.DataDir)
	}
	// What can be written has a size: /dev is a file system without one, so it is
	// made read-only.
	size := strconv.FormatInt(o.Limits.DiskBytes, 10)
	args = append(args, "--proc", "/proc", "--dev", "/dev",
		"--perms", "1777", "--size", strconv.FormatInt(min(o.Limits.DiskBytes, 16<<20), 10), "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
		"--perms", "1777", "--size", size, "--tmpfs", "/tmp", "--symlink", "/tmp", "/home/user", "--dir", "/var", "--symlink", "/tmp", "/var/tmp",
		"--perms", "0755", "--dir", workDir)
	made := map[string]bool{".": true}
	for _, f := range p.files {
		var dirs []string
		for dir := path.Dir(f.name); !made[dir]; dir = path.Dir(dir) {
			made[dir] = true
			dirs = append([]string{dir}, dirs...)
		}
		for _, dir := range dirs {
			args = append(args, "--perms", "0755", "--dir", workDir+"/"+dir)
		}
		args = append(args, "--perms", fmt.Sprintf("%#o", f.perm), "--file", pass(f.content), workDir+"/"+f.name)
	}
	args = append(args, "--remount-ro", "/", "--chdir", workDir)
	return args
}

func memfd(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.Write(content); err != nil {
		_ = file.Close()
		return nil, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}

// spawnBare runs the program as this user, with limits, in a session of its own.
func spawnBare(p *Program, o Options) (*Child, error) {
	c := &Child{options: o, done: make(chan struct{})}
	c.note = append(c.note, "there is no sandbox: the program has the rights of the agent's user (SPAWN_SANDBOX=false)")
	var err error
	if c.runDir, err = os.MkdirTemp(o.DataDir, "run-"); err != nil {
		return nil, err
	}
	fail := func(err error) (*Child, error) { return nil, errors.Join(err, os.RemoveAll(c.runDir)) }
	for _, f := range p.files {
		if err := writeFile(filepath.Join(c.runDir, f.name), f); err != nil {
			return fail(err)
		}
	}
	holdR, holdW, err1 := os.Pipe()
	readyR, readyW, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		return fail(err)
	}
	defer readyR.Close()
	c.release = holdW
	limits := o.Limits
	limits.Processes = 0 // those of this user that are no sample's would count
	// A process between: who waits for a process that is traced by another thread of
	// this program would take the tracer's stops from it.
	c.cmd = exec.Command("/bin/sh", append([]string{"-c", `"$@"; exit $?`, "sh", "/bin/sh", "-c", holdScript(limits), "sh"}, p.argv...)...) //nolint:noctx // it ends by Kill
	c.cmd.Dir = c.runDir
	c.cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + c.runDir, "LANG=C.UTF-8"}
	c.cmd.ExtraFiles = []*os.File{holdR, readyW}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.cmd.Start()
	_ = holdR.Close()
	_ = readyW.Close()
	if err != nil {
		_ = holdW.Close()
		return fail(err)
	}
	_ = readyR.SetReadDeadline(time.Now().Add(setupTimeout))
	_, err = readyR.Read(make([]byte, 1))
	var tree []int
	if err == nil {
		tree, err = procfs.Descendants(c.cmd.Process.Pid)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()
	if err != nil || len(tree) < 2 {
		_ = holdW.Close()
		_ = c.cmd.Process.Kill()
		<-ended //nolint:errcheck // its status is read elsewhere
		return fail(fmt.Errorf("the program did not get to its start: %w", err))
	}
	c.PID = tree[len(tree)-1]
	if c.cgroup, err = newCgroup("ospulse-"+rand.Text()[:12], o.Limits); err == nil {
		err = c.cgroup.add(c.cmd.Process.Pid, c.PID)
	}
	if err != nil {
		c.note = append(c.note, "what leaves the program's process tree may outlive it: no cgroup can be made")
	}
	go c.reap(ended)
	return c, nil
}

func writeFile(to string, f file) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(f.content, 0, 1<<62))
	return errors.Join(err, out.Close())
}

// Release lets the program run, for as long as it may.
func (c *Child) Release() error {
	c.timer.Store(time.AfterFunc(c.options.Limits.Timeout, func() {
		c.timedOut.Store(true)
		_ = c.Kill() // what is left is told to who asks next
	}))
	_, err := c.release.WriteString("\n")
	return errors.Join(err, c.release.Close())
}

// Done is closed when all of it has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// ExitCode gives that of the program, once all of it has ended; 128 and the number
// of the signal that ended it, if one did.
func (c *Child) ExitCode() int { return c.cmd.ProcessState.ExitCode() }

// Killed reports whether Kill was called.
func (c *Child) Killed() bool { return c.killed.Load() }

// TimedOut reports whether it was ended because its time was up.
func (c *Child) TimedOut() bool { return c.timedOut.Load() }

// reap waits for the end. In a sandbox that of process 1 is that of all. Without,
// the program's children go on when it has ended, and are waited for as far as
// they can be found.
func (c *Child) reap(ended chan error) {
	<-ended //nolint:errcheck // its status is read elsewhere
	if c.init == 0 {
		for !c.killed.Load() && len(c.rest()) > 0 {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if c.slirp != nil {
		_ = c.slirp.Process.Kill()
		_ = c.slirp.Wait()
	}
	close(c.done)
}

// rest lists what is left of it.
func (c *Child) rest() []int {
	if c.init != 0 {
		pids, err := procfs.PIDs()
		if err != nil {
			return nil
		}
		var left []int
		for _, pid := range pids {
			if p, err := procfs.Read(pid); err == nil && !p.Zombie && procfs.PIDNamespace(pid) == c.ns {
				left = append(left, pid)
			}
		}
		return left
	}
	all, err := procfs.List()
	if err != nil {
		return nil
	}
	grouped := map[int]bool{}
	if c.cgroup != nil && len(c.cgroup.dirs) > 0 {
		text, _ := os.ReadFile(filepath.Join(c.cgroup.dirs[0], "cgroup.procs"))
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				grouped[pid] = true
			}
		}
	}
	var left []int
	for _, p := range all {
		if p.Session == c.cmd.Process.Pid || grouped[p.PID] {
			left = append(left, p.PID)
		}
	}
	return left
}

// Kill ends all of it, whatever it does, and returns when that is so. It is an
// error if something is left.
func (c *Child) Kill() error {
	c.killed.Store(true)
	if timer := c.timer.Load(); timer != nil {
		timer.Stop()
	}
	_ = c.release.Close() // one that is held gives up
	deadline := time.Now().Add(killTimeout)
	for {
		if c.cgroup != nil {
			c.cgroup.killAll()
		}
		left := c.rest()
		if c.init != 0 { // the kernel ends the namespace with it, before it is gone itself
			for _, pid := range left {
				if pid == c.init {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
			if len(left) > 0 {
				_ = c.cmd.Process.Kill()
			}
		} else {
			for _, pid := range left {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of the sample are still there: %v", len(left), left)
		}
		time.Sleep(5 * time.Millisecond)
	}
	select {
	case <-c.done:
	case <-time.After(time.Until(deadline)):
		return errors.New("the sandbox does not end")
	}
	if c.cgroup != nil {
		c.cgroup.remove()
	}
	if c.runDir != "" {
		return os.RemoveAll(c.runDir)
	}
	return nil
}

// limitedBuffer keeps the beginning of what a program complains about.
type limitedBuffer struct{ text bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := 4096 - b.text.Len(); room > 0 {
		b.text.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *limitedBuffer) String() string { return b.text.String() }

// Unprivileged gives the attributes by which root starts a process as a user that
// owns nothing.
func Unprivileged() *syscall.SysProcAttr {
	user := firstUser + nextUser.Add(1)%users
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, Groups: []uint32{}}}
}
