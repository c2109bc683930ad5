//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/procfs"
	"ospulse/test/wait"
)

// The test binary acts as the agent: it implements LaunchCommand and the commands below.
const (
	asAgent = "test-agent" // start a file in a sandbox, print the pid of its process 1, and wait
	asCheck = "test-check" // start, release, stop at the limit of processes, and print the result
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case LaunchCommand:
			os.Exit(Launch(os.Args[2:], os.Stderr))
		case asAgent, asCheck:
			os.Exit(beAgent(os.Args[1], os.Args[2]))
		}
	}
	goleak.VerifyTestMain(m)
}

func beAgent(as, file string) int {
	p, err := Start(context.Background(), file, Options{MemoryMB: 128, DiskMB: 32, Processes: 40, Timeout: time.Minute})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stdout, "start:", err)
		return 1
	}
	if err := p.Release(); err != nil {
		_, _ = fmt.Fprintln(os.Stdout, "release:", err)
		return 1
	}
	if as == asAgent {
		_, _ = fmt.Fprintln(os.Stdout, p.init.Pid)
		<-p.Done()
		return 0
	}
	for tick := time.Tick(pollInterval); !isDone(p); <-tick {
		p.mu.Lock()
		full := p.limits["processes"]
		p.mu.Unlock()
		if full && bytes.HasSuffix(p.output.last(tailBytes), []byte("\n")) {
			_ = p.Stop() // the result says what is left
		}
	}
	r := p.Result()
	_, _ = fmt.Fprintf(os.Stdout, "%s exit=%d signal=%d limits=%v left=%v\nnotes=%q\n%s", r.Reason, r.ExitCode, r.Signal, r.Limits, r.Left, p.Notes(), r.Output)
	return 0
}

// support is the result of Check on this machine.
var support = sync.OnceValue(Check)

// needsBwrap skips the test if the kernel forbids user namespaces to this user.
func needsBwrap(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Fatal("bubblewrap is missing: tools/install-deps.sh")
	}
	if s := support().Sandbox; !s.OK && usernsHint() != "" && os.Geteuid() != 0 {
		t.Skip(s.Detail)
	}
}

func needsPython(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Fatal("/usr/bin/python3 is missing: tools/install-deps.sh")
	}
}

// sample writes a file to run and returns its path.
func sample(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func small() Options {
	return Options{Timeout: time.Minute, MemoryMB: 256, DiskMB: 32, Processes: 64, CPUs: 1}
}

// held starts a sample, which stays held.
func held(t *testing.T, text string, o Options) *Process {
	t.Helper()
	needsBwrap(t)
	p, err := Start(t.Context(), sample(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, p)
	})
	return p
}

// nothingLeft checks, without the package, that no process of the namespace or of the user
// and no cgroup is left.
func nothingLeft(t *testing.T, p *Process) {
	t.Helper()
	if left := p.Result().Left; len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left := p.members(); len(left) > 0 {
		t.Errorf("processes of the sample are left: %v", left)
	}
	if c := p.cmd.SysProcAttr.Credential; c != nil && c.Uid != nobody {
		all, err := procfs.List()
		if err != nil {
			t.Error(err)
		}
		for _, process := range all {
			if procfs.UserID(process.PID) == int(c.Uid) {
				t.Errorf("a process of the sample's user is left: %+v", process)
			}
		}
	}
	for _, dir := range p.cgroup.dirs {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

func released(t *testing.T, text string, o Options) *Process {
	t.Helper()
	p := held(t, text, o)
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	return p
}

// ended runs a sample and waits for its end.
func ended(t *testing.T, text string, o Options) Result {
	t.Helper()
	p := released(t, text, o)
	waitForEnd(t, p)
	return p.Result()
}

func waitForEnd(t *testing.T, p *Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(wait.Patience):
		t.Fatalf("the sample does not end; it printed: %s", p.output.last(2000))
	}
}

// says waits until the sample has printed something.
func says(t *testing.T, p *Process, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(wait.Patience); !bytes.Contains(p.output.last(tailBytes), []byte(text)); {
		select {
		case <-tick.C:
		case <-p.Done():
			if bytes.Contains(p.output.last(tailBytes), []byte(text)) {
				return
			}
			t.Fatalf("it ended (%+v) and never printed %q: %s", p.Result().Reason, text, p.output.last(2000))
		case <-deadline:
			t.Fatalf("it did not print %q: %s", text, p.output.last(2000))
		}
	}
}

// stops stops the sample.
func stops(t *testing.T, p *Process) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if r := p.Result(); r.Reason != ReasonStopped {
		t.Errorf("it ended: %s", r.Reason)
	}
	nothingLeft(t, p)
}

func TestHeldUntilReleased(t *testing.T) {
	p := held(t, "#!/bin/sh\necho it runs as $$\nexec sleep 60\n", small())
	cmdline := func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), "\x00", " ")
	}
	if got := cmdline(); !strings.Contains(got, LaunchCommand) {
		t.Errorf("before the release the process runs %q", got)
	}
	if n := p.output.total(); n != 0 {
		t.Errorf("before the release it printed %d bytes", n)
	}
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	// Release returns after the exec: the same pid is the program.
	if got := cmdline(); strings.Contains(got, LaunchCommand) {
		t.Errorf("after the release the process runs %q", got)
	}
	says(t, p, "it runs")
	if err := p.Release(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	stops(t, p)
	if err := p.Stop(); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestNeverReleased(t *testing.T) {
	p := held(t, "echo no\n", small())
	stops(t, p)
	if r := p.Result(); len(r.Output) > 0 || r.Duration != 0 {
		t.Errorf("it ran: %+v", r)
	}
	if err := p.Release(); err == nil {
		t.Error("Release succeeds after Stop")
	}
}

// TestStartIsGivenUp gives up starts at many moments: before bubblewrap has made its process 1,
// while process 1 waits for bubblewrap, and later. No process is left.
func TestStartIsGivenUp(t *testing.T) {
	needsBwrap(t)
	file := sample(t, "true\n")
	for after := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(after)*500*time.Microsecond, cancel)
		p, err := Start(ctx, file, small())
		timer.Stop()
		cancel()
		if err == nil { // on a fast machine
			stops(t, p)
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	wait.For(t, "the end of all that has the sample", func() bool { return len(havingOpen(t, file)) == 0 })
}

// havingOpen returns the pids of the other processes that have a file open.
func havingOpen(t *testing.T, file string) (pids []int) {
	t.Helper()
	all, err := procfs.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range all {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		if pid != os.Getpid() && slices.ContainsFunc(links, func(link string) bool { target, _ := os.Readlink(link); return target == file }) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestResults(t *testing.T) {
	signal.Ignore(syscall.SIGHUP) // as in a program that nohup starts
	t.Cleanup(func() { signal.Reset(syscall.SIGHUP) })
	for name, test := range map[string]struct {
		text   string
		code   int
		signal syscall.Signal
		output string
	}{
		"a script without #!":       {"echo out; echo err >&2; exit 3\n", 3, 0, "out\nerr\n"},
		"a script with #!":          {"#!/bin/sh\nexit 0\n", 0, 0, ""},
		"a signal":                  {"kill -SEGV $$\n", -1, syscall.SIGSEGV, ""},
		"an exit code like one":     {"exit 139\n", 139, 0, ""},
		"input is empty":            {"cat; echo $?\n", 0, 0, "0\n"},
		"signals are as ever":       {"grep -E 'Sig(Ign|Blk)' /proc/self/status\n", 0, 0, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"},
		"no descriptor is left":     {"exec 3</proc/self/fd && ls /proc/self/fd | tr '\\n' ' '\n", 0, 0, "0 1 2 3 4 "},
		"the environment is fixed":  {"env | sort | cut -d= -f1 | tr '\\n' ' '\n", 0, 0, "HOME LANG LOGNAME PATH PWD SHELL TMPDIR USER "},
		"it begins beside the file": {"pwd; ls\n", 0, 0, "/home/user\nDesktop\nDocuments\nDownloads\nsample\n"},
		"what a daemon does counts": {"(sleep 0.2; echo later) & exit 4\n", 4, 0, "later\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := ended(t, test.text, small())
			want := ReasonExited
			if test.signal != 0 {
				want = ReasonKilled
			}
			if r.Reason != want || r.ExitCode != test.code || r.Signal != test.signal || string(r.Output) != test.output {
				t.Errorf("got %s, code %d, signal %v, output %q", r.Reason, r.ExitCode, r.Signal, r.Output)
			}
			if len(r.Limits) > 0 || r.OutputBytes != int64(len(r.Output)) || r.Duration <= 0 {
				t.Errorf("got %+v", r)
			}
		})
	}
	t.Run("the umask is not the agent's", func(t *testing.T) {
		defer syscall.Umask(syscall.Umask(0o077))
		if r := ended(t, "umask; ls -l sample | cut -c1-10\n", small()); string(r.Output) != "0022\n-rwxr-xr-x\n" {
			t.Errorf("got %q", r.Output)
		}
	})
	t.Run("arguments", func(t *testing.T) {
		o := small()
		o.Args = []string{"a b", "", "$HOME", "ü"}
		if r := ended(t, "#!/bin/sh\nfor a; do echo \"<$a>\"; done\n", o); string(r.Output) != "<a b>\n<>\n<$HOME>\n<ü>\n" {
			t.Errorf("got %q", r.Output)
		}
	})
}

func TestOutputTail(t *testing.T) {
	r := ended(t, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end\n", small())
	if len(r.Output) != tailBytes || r.OutputBytes != 3000009 || !bytes.HasSuffix(r.Output, []byte("xxx\nthe end\n")) {
		t.Errorf("kept %d of %d bytes: …%q", len(r.Output), r.OutputBytes, r.Output[max(0, len(r.Output)-20):])
	}
}

func TestPrintsWithoutEnd(t *testing.T) {
	o := small()
	o.Timeout = 2 * time.Second
	r := ended(t, "while :; do echo y; done & exec yes\n", o)
	// The pipe and the last read may add the output of one second.
	most := int64(1.1 * printBytesPerSecond * (r.Duration + time.Second).Seconds())
	if r.Reason != ReasonTimeout || r.OutputBytes > most {
		t.Errorf("%s; it printed %d MB in %v", r.Reason, r.OutputBytes>>20, r.Duration)
	}
}

func TestTimeout(t *testing.T) {
	o := small()
	o.Timeout = 300 * time.Millisecond
	r := ended(t, "trap '' TERM INT HUP; while :; do :; done\n", o)
	if r.Reason != ReasonTimeout || r.Duration < o.Timeout {
		t.Errorf("%s after %v", r.Reason, r.Duration)
	}
}

// TestIdentity inspects the program from outside, where the program cannot fake the answer.
func TestIdentity(t *testing.T) {
	p := released(t, "#!/bin/sh\nexec sleep 60\n", small())
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n",
		"CapBnd:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n", "Groups:\t",
	} {
		if !strings.Contains(string(status), want) {
			t.Errorf("there is no %q in:\n%s", want, status)
		}
	}
	if os.Geteuid() == 0 {
		if user := procfs.UserID(p.PID()); user < firstUser || user >= firstUser+users {
			t.Errorf("root's sample is run as user %d", user)
		}
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		ours, err1 := os.Readlink("/proc/self/ns/" + ns)
		theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.PID(), ns))
		if err1 != nil || err2 != nil || ours == theirs {
			t.Errorf("the %s namespace is %q, the agent's %q (%v, %v)", ns, theirs, ours, err1, err2)
		}
	}
}

func TestFiles(t *testing.T) {
	secret := t.TempDir() // in /tmp, and it is there
	if err := os.WriteFile(filepath.Join(secret, "secret"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("#!/bin/sh\n")
	for _, path := range []string{
		"/root", "/home/*/.ssh", "/work", "/opt", "/srv", "/mnt", "/media", "/boot", "/sys/block", "/sys/fs", "/var/lib", "/var/log", "/var/run/docker.sock",
		"/run/docker.sock", "/run/systemd", "/etc/shadow", "/etc/ssh", "/etc/sudoers", "/dev/vsock", "/dev/kvm", "/dev/vda", "/dev/mem", "/dev/fuse", "/dev/net/tun",
		secret, exe, cwd, "/proc/1/root/root", fmt.Sprintf("/proc/%d", os.Getpid()),
	} {
		fmt.Fprintf(&script, "for f in %s; do [ ! -e $f ] || echo there is $f; done\n", path)
	}
	for _, path := range []string{"/", "/usr", "/usr/bin", "/bin", "/lib", "/etc", "/etc/ssl", "/dev", "/home", "/var", "/run", "/proc"} {
		fmt.Fprintf(&script, "if (: >%s/x) 2>/dev/null; then echo %s can be written; fi\n", path, path)
	}
	script.WriteString(`
		(: >>/etc/passwd) 2>/dev/null && echo passwd can be written
		(: >>/proc/sys/kernel/hostname) 2>/dev/null && echo sysctl can be written
		(echo c >/proc/sysrq-trigger) 2>/dev/null && echo sysrq can be written
		for f in exe fd environ mem maps; do (ls -l /proc/1/$f && cat /proc/1/$f) >/dev/null 2>&1 && echo /proc/1/$f can be read; done
		for d in /home/user /tmp /var/tmp /dev/shm; do (: >$d/x) || echo $d cannot be written; done
		cp /bin/true /tmp/t && /tmp/t || echo what is written cannot be run
		[ $(ls -d /proc/[0-9]* | wc -l) -lt 8 ] || echo there are more processes
		cat /etc/passwd >/dev/null && [ "$(id -un)" = user ] && [ "$(hostname)" = "$(cat /etc/hostname)" ] || echo it does not know who it is
		echo looked`)
	if r := ended(t, script.String(), small()); string(r.Output) != "looked\n" {
		t.Errorf("%s", r.Output)
	}
}

const python = "#!/usr/bin/python3\nimport ctypes, os, sys, errno, signal, time, socket, threading, mmap, resource\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n  ctypes.set_errno(0)\n  r = libc.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])\n  return ctypes.get_errno() if r == -1 else 0\n"

// TestDeniedCalls makes denied calls with harmless arguments. Calls that would work for root
// have a second error in their arguments.
func TestDeniedCalls(t *testing.T) {
	needsPython(t)
	calls := map[string][]uintptr{
		"mount": {unix.SYS_MOUNT}, "umount2": {unix.SYS_UMOUNT2}, "pivot_root": {unix.SYS_PIVOT_ROOT}, "move_mount": {unix.SYS_MOVE_MOUNT}, "fsopen": {unix.SYS_FSOPEN}, "fsmount": {unix.SYS_FSMOUNT},
		"open_tree": {unix.SYS_OPEN_TREE}, "mount_setattr": {unix.SYS_MOUNT_SETATTR}, "chroot": {unix.SYS_CHROOT},
		"unshare user": {unix.SYS_UNSHARE, unix.CLONE_NEWUSER}, "unshare files": {unix.SYS_UNSHARE, unix.CLONE_FILES}, "setns": {unix.SYS_SETNS, ^uintptr(0), 0},
		"clone user": {unix.SYS_CLONE, unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)}, "clone net": {unix.SYS_CLONE, unix.CLONE_NEWNET | uintptr(unix.SIGCHLD)},
		"bpf": {unix.SYS_BPF, 0, 0, 0}, "perf_event_open": {unix.SYS_PERF_EVENT_OPEN, 0, 0, ^uintptr(0), ^uintptr(0), 0}, "userfaultfd": {unix.SYS_USERFAULTFD, 1},
		"keyctl": {unix.SYS_KEYCTL, 0, ^uintptr(2)}, "add_key": {unix.SYS_ADD_KEY}, "request_key": {unix.SYS_REQUEST_KEY},
		"reboot": {unix.SYS_REBOOT, 0, 0, 0}, "kexec_load": {unix.SYS_KEXEC_LOAD, 0, 0, 0, ^uintptr(0)}, "init_module": {unix.SYS_INIT_MODULE}, "finit_module": {unix.SYS_FINIT_MODULE, ^uintptr(0)}, "delete_module": {unix.SYS_DELETE_MODULE},
		"swapon": {unix.SYS_SWAPON}, "swapoff": {unix.SYS_SWAPOFF}, "acct": {unix.SYS_ACCT, 1}, "syslog": {unix.SYS_SYSLOG, 10}, "quotactl": {unix.SYS_QUOTACTL},
		"settimeofday": {unix.SYS_SETTIMEOFDAY, 0, 0}, "clock_settime": {unix.SYS_CLOCK_SETTIME, 99}, "adjtimex": {unix.SYS_ADJTIMEX}, "sethostname": {unix.SYS_SETHOSTNAME, 0, 65},
		"name_to_handle_at": {unix.SYS_NAME_TO_HANDLE_AT}, "open_by_handle_at": {unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(0)}, "fanotify_init": {unix.SYS_FANOTIFY_INIT, 0xffff},
		"ioctl TIOCSTI": {unix.SYS_IOCTL, 0, unix.TIOCSTI}, "ioctl TIOCSTI, higher bits": {unix.SYS_IOCTL, 0, 1<<40 | unix.TIOCSTI}, "ioctl TIOCLINUX": {unix.SYS_IOCTL, 0, tiocLinux},
		"personality": {unix.SYS_PERSONALITY, 0x0400000}, "kcmp": {unix.SYS_KCMP, 1, 1, 99}, "set_mempolicy": {unix.SYS_SET_MEMPOLICY, 99}, "pidfd_getfd": {unix.SYS_PIDFD_GETFD, ^uintptr(0)},
	}
	others := map[string]struct {
		args []uintptr
		want syscall.Errno
	}{
		"clone3":                {[]uintptr{unix.SYS_CLONE3}, unix.ENOSYS},
		"io_uring_setup":        {[]uintptr{unix.SYS_IO_URING_SETUP, 1}, unix.ENOSYS},
		"io_setup":              {[]uintptr{unix.SYS_IO_SETUP, 1}, unix.ENOSYS},
		"io_submit":             {[]uintptr{unix.SYS_IO_SUBMIT, 0, 0, 0}, unix.ENOSYS},
		"a call of tomorrow":    {[]uintptr{1000}, unix.ENOSYS},
		"NETLINK_GENERIC":       {[]uintptr{unix.SYS_SOCKET, unix.AF_NETLINK, 3, unix.NETLINK_GENERIC}, unix.EPROTONOSUPPORT},
		"NETLINK_NETFILTER":     {[]uintptr{unix.SYS_SOCKET, unix.AF_NETLINK, 3, unix.NETLINK_NETFILTER}, unix.EPROTONOSUPPORT},
		"statmount":             {[]uintptr{unix.SYS_STATMOUNT}, unix.ENOSYS},
		"AF_VSOCK":              {[]uintptr{unix.SYS_SOCKET, unix.AF_VSOCK, 1, 0}, unix.EAFNOSUPPORT},
		"AF_ALG":                {[]uintptr{unix.SYS_SOCKET, unix.AF_ALG, 5, 0}, unix.EAFNOSUPPORT},
		"AF_INET":               {[]uintptr{unix.SYS_SOCKET, unix.AF_INET, 1, 0}, 0},
		"AF_UNIX":               {[]uintptr{unix.SYS_SOCKET, unix.AF_UNIX, 1, 0}, 0},
		"AF_NETLINK":            {[]uintptr{unix.SYS_SOCKET, unix.AF_NETLINK, 3, 0}, 0},
		"raw sockets":           {[]uintptr{unix.SYS_SOCKET, unix.AF_PACKET, 3, 0}, unix.EPERM}, // the kernel refuses: the sample has no capability
		"ask for personality":   {[]uintptr{unix.SYS_PERSONALITY, askPersonality}, 0},
		"ptrace is for itself":  {[]uintptr{unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1, 0, 0}, unix.EPERM}, // process 1 cannot be dumped
		"a signal to process 1": {[]uintptr{unix.SYS_KILL, 1, 9}, 0},                                  // the kernel ignores it
	}
	if runtime.GOARCH == "amd64" {
		others["x32"] = struct {
			args []uintptr
			want syscall.Errno
		}{[]uintptr{0x40000000 | unix.SYS_GETPID}, unix.ENOSYS}
	}
	var script strings.Builder
	script.WriteString(python)
	want := map[string]syscall.Errno{}
	line := func(name string, args []uintptr, errno syscall.Errno) {
		var list []string
		for _, a := range args {
			list = append(list, strconv.FormatInt(int64(a), 10))
		}
		for len(list) < 7 {
			list = append(list, "0")
		}
		want[name] = errno
		fmt.Fprintf(&script, "print(%q, call(%s), sep='=', flush=True)\n", name, strings.Join(list, ", "))
	}
	for name, args := range calls {
		line(name, args, unix.EPERM)
	}
	for name, call := range others {
		line(name, call.args, call.want)
	}
	r := ended(t, script.String(), small())
	got := map[string]string{}
	for l := range strings.Lines(string(r.Output)) {
		name, errno, _ := strings.Cut(strings.TrimSpace(l), "=")
		got[name] = errno
	}
	for name, errno := range want {
		if got[name] != strconv.Itoa(int(errno)) {
			t.Errorf("%s: got errno %s, want %d (%v)", name, got[name], errno, errno)
		}
	}
	if t.Failed() {
		t.Logf("%s %d %v: %.2000s", r.Reason, r.ExitCode, r.Signal, r.Output)
	}
}

func TestForkBomb(t *testing.T) {
	needsPython(t)
	for name, bomb := range map[string]string{
		"without end":          python + "print('begins', flush=True)\nwhile True:\n  try: os.fork()\n  except OSError: pass\n",
		"with signals ignored": "trap '' TERM HUP INT QUIT USR1 USR2 PIPE\nbomb() { (trap '' TERM; while :; do bomb & sleep 1000 & done) & }\necho begins\nbomb; bomb; bomb; while :; do sleep 1 & done\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := small()
			p := released(t, bomb, o)
			says(t, p, "begins")
			wait.For(t, "its limit is noted", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.limits["processes"]
			})
			// Keep the machine busy with other work.
			most := 0
			for range 20 {
				if err := exec.Command("/bin/true").Run(); err != nil {
					t.Fatal(err)
				}
				most = max(most, atOnce(p))
			}
			// The limit of a user counts the threads of process 1 too. See processLimits.
			if most > o.Processes+16 || p.cgroup.controls("pids") && most > o.Processes+1 { // and process 1
				t.Errorf("there were %d processes", most)
			}
			stops(t, p)
			if r := p.Result(); !slices.Equal(r.Limits, []string{"processes"}) {
				t.Errorf("limits: %v", r.Limits)
			}
		})
	}
}

// atOnce counts processes of the tree that certainly run at the same time: processes that
// two consecutive listings contain.
func atOnce(p *Process) (n int) {
	first := p.members()
	for _, pid := range p.members() {
		if slices.Contains(first, pid) {
			n++
		}
	}
	return n
}

func TestIgnoresAllSignals(t *testing.T) {
	needsPython(t)
	p := released(t, python+`
for s in range(1, 65):
  try: signal.signal(s, signal.SIG_IGN)
  except (OSError, ValueError): pass
print('ignores', flush=True)
while True: time.sleep(1000)
`, small())
	says(t, p, "ignores")
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := syscall.Kill(p.PID(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(p.PID(), 0); err != nil {
		t.Fatal("it does not")
	}
	stops(t, p)
}

func TestFillsTheDisk(t *testing.T) {
	o := small()
	p := released(t, `
for d in /home/user /tmp /dev/shm; do
  i=0; while dd if=/dev/zero of=$d/f$i bs=1M count=64 2>/dev/null; do i=$((i+1)); done
done
sum=$(du -skc /home/user /tmp /dev/shm | tail -1 | cut -f1)
echo "full $sum"
rm -f /home/user/f* /tmp/f* /dev/shm/f*
dd if=/dev/zero of=/usr/x bs=1M count=1 2>/dev/null && echo usr
for d in / /etc /dev /run /var /home; do dd if=/dev/zero of=$d/x bs=1M count=1 2>/dev/null && echo $d; done
echo end
`, o)
	waitForEnd(t, p)
	r := p.Result()
	var kb int
	if _, err := fmt.Sscanf(string(r.Output), "full %d\nend\n", &kb); err != nil || !bytes.HasSuffix(r.Output, []byte("\nend\n")) {
		t.Fatalf("%+v: %s", err, r.Output)
	}
	if kb > o.DiskMB<<10 || kb < (o.DiskMB<<10)*9/10 {
		t.Errorf("it wrote %d KiB of %d", kb, o.DiskMB<<10)
	}
	if r.Reason != ReasonExited || r.ExitCode != 0 {
		t.Errorf("it ended: %s, %d, %v, %v", r.Reason, r.ExitCode, r.Signal, r.Limits)
	}
}

func TestFillsTheDiskWithEmptyFilesAsRoot(t *testing.T) {
	needsPython(t)
	o := small()
	r := ended(t, python+`
total = 0
for d in ('/tmp', '/home/user', '/dev/shm'):
  try:
    for i in range(1000000):
      os.close(os.open(d + '/%d' % i, os.O_CREAT | os.O_WRONLY)); total += 1
  except OSError as e: print(errno.errorcode[e.errno])
print(total)
`, o)
	var total int
	if _, err := fmt.Sscanf(string(r.Output), "ENOSPC\nENOSPC\nENOSPC\n%d\n", &total); err != nil || total > 3*inodes(o.DiskMB) || total < inodes(o.DiskMB) {
		t.Errorf("%d files (%v): %s", total, err, r.Output)
	}
}

func TestFileSizeSignal(t *testing.T) {
	needsPython(t)
	r := ended(t, python+`
f = os.open('/home/user/sparse', os.O_CREAT | os.O_WRONLY)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.ftruncate(f, 1 << 40)
`, small())
	if r.Reason != ReasonDisk || r.Signal != syscall.SIGXFSZ || !slices.Equal(r.Limits, []string{"disk"}) {
		t.Errorf("%s %v %v: %s", r.Reason, r.Signal, r.Limits, r.Output)
	}
}

func TestEatsMemory(t *testing.T) {
	needsPython(t)
	t.Run("alone", func(t *testing.T) {
		r := ended(t, python+`
try:
  x = []
  while True: x.append(bytearray(1 << 20))
except MemoryError: print('no more at', len(x))
`, small())
		var mb int
		if _, err := fmt.Sscanf(string(r.Output), "no more at %d", &mb); err != nil || mb > 256 || mb < 100 {
			t.Errorf("%v: %s (%s %v)", err, r.Output, r.Reason, r.Signal)
		}
	})
	t.Run("many", func(t *testing.T) {
		p := released(t, python+`
for i in range(8):
  if os.fork() == 0:
    x = []
    while True:
      try: x.append(bytearray(os.urandom(1) * (1 << 20)))
      except MemoryError: time.sleep(100)
time.sleep(100)
`, small())
		most, bound := int64(0), int64(small().MemoryMB+small().DiskMB)<<20 // files are in memory too
		wait.For(t, "a limit ends some of it", func() bool {
			most = max(most, peakOf(t, p))
			return slices.Contains(p.cgroup.hit(), "memory") || isDone(p)
		})
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if r := p.Result(); !slices.Contains(r.Limits, "memory") || most > bound {
			t.Errorf("%s %v; it used %d MB", r.Reason, r.Limits, most>>20)
		}
	})
	t.Run("shared, which no limit of processes counts", func(t *testing.T) {
		r := ended(t, python+`
m = mmap.mmap(-1, 1 << 30)
for i in range(0, 1 << 30, 4096): m[i] = 1
time.sleep(1000)
`, small())
		if r.Reason != ReasonMemory || !slices.Equal(r.Limits, []string{"memory"}) {
			t.Errorf("%s %v %v: %s", r.Reason, r.Signal, r.Limits, r.Output)
		}
	})
}

// peakOf returns the peak memory use of a sample as the kernel counts it, in bytes, and 0 if
// the kernel does not provide it. A sum over the processes would mix different moments:
// memory that one process lost when it was killed may count again for another.
func peakOf(t *testing.T, p *Process) int64 {
	t.Helper()
	if !p.cgroup.controls("memory") {
		return 0
	}
	for _, name := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
		text, err := os.ReadFile(filepath.Join(p.cgroup.dirs["memory"], name))
		if err != nil {
			continue
		}
		peak, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return peak
	}
	return 0 // a kernel without memory.peak, or it has ended
}

func isDone(p *Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// TestEatsProcessors checks that four busy processes together use at most half a CPU.
func TestEatsProcessors(t *testing.T) {
	needsPython(t)
	o := small()
	o.CPUs = 0.5
	p := held(t, python+"import multiprocessing\nfor i in range(3): multiprocessing.Process(target=lambda: [None for _ in iter(int, 1)]).start()\nwhile True: pass\n", o)
	if !p.cgroup.controls("cpu") { // then Notes must say so
		if notes := strings.Join(p.Notes(), "\n"); !strings.Contains(notes, "processors are not limited") {
			t.Errorf("notes: %s", notes)
		}
		return
	}
	began, before := time.Now(), processorTime(t, p)
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	var used, most time.Duration
	wait.For(t, "it uses a processor", func() bool {
		used = processorTime(t, p) - before
		most = time.Duration(o.CPUs*float64(time.Since(began))) + 200*time.Millisecond // two periods of the quota
		return used > 600*time.Millisecond
	})
	if used > most {
		t.Errorf("it used %v of CPU time, want at most %v", used, most)
	}
	stops(t, p)
}

// processorTime returns the CPU time that the processes of the tree have used.
func processorTime(t *testing.T, p *Process) (total time.Duration) {
	t.Helper()
	for _, pid := range p.members() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, ticks := range fields[11:13] { // utime and stime, see proc(5)
			n, err := strconv.Atoi(ticks)
			if err != nil {
				t.Fatal(err)
			}
			total += time.Duration(n) * (time.Second / 100)
		}
	}
	return total
}

func TestKillsItsParent(t *testing.T) {
	r := ended(t, `
for s in KILL TERM INT HUP SEGV QUIT ABRT STOP USR1 ALRM; do kill -$s 1; kill -$s $PPID; done
sleep 0.3
kill -0 1 && echo process 1 is there
echo I am there
kill -KILL -1 2>/dev/null
sleep 0.1; echo and still
exit 9
`, small())
	if want := "process 1 is there\nI am there\nand still\n"; string(r.Output) != want || r.ExitCode != 9 {
		t.Errorf("code %d, signal %v: %s", r.ExitCode, r.Signal, r.Output)
	}
}

func TestDaemon(t *testing.T) {
	needsPython(t)
	p := released(t, python+`
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    os.setsid() if os.getsid(0) == os.getpid() else None
    libc.prctl(15, b'kworker/0:1', 0, 0, 0)
    for fd in range(0, 10):
      try: os.close(fd)
      except OSError: pass
    for s in range(1, 65):
      try: signal.signal(s, signal.SIG_IGN)
      except (OSError, ValueError): pass
    open('/tmp/daemon', 'w').write(str(os.getppid()))
    while True: time.sleep(1000)
  os._exit(0)
os.wait()
os._exit(5)
`, small())
	wait.For(t, "the daemon runs alone", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root/tmp/daemon", p.init.Pid))
		return p.status != nil && err == nil
	})
	if isDone(p) {
		t.Fatal("Done is closed while a daemon runs")
	}
	if n := len(p.members()); n != 2 {
		t.Errorf("there are %d processes, not process 1 and the daemon", n)
	}
	stops(t, p)
	if r := p.Result(); r.ExitCode != 5 {
		t.Errorf("the program's exit code is %d", r.ExitCode)
	}
}

// service is a service of this machine on its loopback and on an abstract socket.
func service(t *testing.T) (port int, abstract string) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	abstract = fmt.Sprintf("ospulse-test-%d", os.Getpid())
	local, err := net.Listen("unix", "@"+abstract)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{tcp, local} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "hello")
				_ = c.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-ended })
	}
	return tcp.Addr().(*net.TCPAddr).Port, abstract
}

const reach = python + `
def reach(family, address):
  try:
    s = socket.socket(family); s.settimeout(60); s.connect(address); return s.recv(10).decode()
  except OSError as e: return errno.errorcode.get(e.errno, str(e))
`

func TestNetworkNone(t *testing.T) {
	needsPython(t)
	port, abstract := service(t)
	r := ended(t, reach+fmt.Sprintf(`
print(reach(socket.AF_INET, ('127.0.0.1', %d)))
print(reach(socket.AF_UNIX, '\0%s'))
print(reach(socket.AF_INET, ('192.0.2.1', 80)))
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
threading.Thread(target=lambda: l.accept()[0].send(b'own')).start()
print(reach(socket.AF_INET, l.getsockname()))
print([i[1] for i in socket.if_nameindex()])
`, port, abstract), small())
	if want := "ECONNREFUSED\nECONNREFUSED\nENETUNREACH\nown\n['lo']\n"; string(r.Output) != want {
		t.Errorf("got %q", r.Output)
	}
}

func TestNetworkHost(t *testing.T) {
	needsPython(t)
	port, _ := service(t)
	o := small()
	o.Network = NetworkHost
	r := ended(t, reach+fmt.Sprintf("print(reach(socket.AF_INET, ('127.0.0.1', %d)))\n", port), o)
	if string(r.Output) != "hello\n" {
		t.Errorf("got %q", r.Output)
	}
}

// TestNetworkNAT checks that NAT works if the machine supports it, and otherwise that Start
// and Check return the reason and how to fix it.
func TestNetworkNAT(t *testing.T) {
	needsPython(t)
	o := small()
	o.Network = NetworkNAT
	if _, err := exec.LookPath("slirp4netns"); err != nil {
		noNAT(t, o, errNoSlirp.Error())
		return
	}
	if err := checkTun(tunDevice, os.Geteuid() == 0); err != nil {
		noNAT(t, o, err.Error())
		return
	}
	port, abstract := service(t)
	// An address of this machine that is not its loopback.
	lan := outside(t)
	r := ended(t, reach+fmt.Sprintf(`
print(sorted(i[1] for i in socket.if_nameindex()))
print(reach(socket.AF_INET, ('127.0.0.1', %d)))
print(reach(socket.AF_INET, ('10.0.2.2', %d)) != 'hello')
print(reach(socket.AF_UNIX, '\0%s'))
print(open('/etc/resolv.conf').read().strip())
print(reach(socket.AF_INET, %s) if %s else 'hello')
`, port, port, abstract, lan, lan), o)
	if want := "['lo', 'tap0']\nECONNREFUSED\nTrue\nECONNREFUSED\nnameserver 10.0.2.3\nhello\n"; string(r.Output) != want {
		t.Errorf("got %q", r.Output)
	}
}

// noNAT checks that NAT fails with a reason.
func noNAT(t *testing.T, o Options, why string) {
	t.Helper()
	p, err := Start(t.Context(), sample(t, "true\n"), o)
	if err == nil {
		t.Fatalf("it starts: %v", p.Stop())
	}
	if errors.Is(err, ErrProgram) || err.Error() != why {
		t.Errorf("Start returned %q, want %q", err, why)
	}
	if nat := Check().NAT; nat.OK || nat.Detail != why {
		t.Errorf("Check returned %+v, want %q", nat, why)
	}
}

func TestNoSlirp(t *testing.T) {
	needsBwrap(t)
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // the sample's user must be able to pass
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // as it says
			t.Fatal(err)
		}
	}
	if err := os.Symlink(bwrap, filepath.Join(dir, "bwrap")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	o := small()
	o.Network = NetworkNAT
	noNAT(t, o, "network nat needs slirp4netns, which is not installed; apt install slirp4netns")
}

func TestCheckTun(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "tun")
	if err := checkTun(device, true); err == nil || !strings.HasSuffix(err.Error(), "no such file or directory; modprobe tun") {
		t.Errorf("without one: %v", err)
	}
	for mode, want := range map[os.FileMode]string{
		0o600: "network nat: slirp4netns, which is not run as root, may not use " + device + "; chmod 666 " + device,
		0o666: "<nil>",
	} {
		if err := os.WriteFile(device, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(device, mode); err != nil {
			t.Fatal(err)
		}
		if err := checkTun(device, true); fmt.Sprint(err) != want {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := checkTun(device, false); err != nil {
		t.Errorf("as oneself: %v", err)
	}
}

// outside returns, as a Python literal, the address of a service on this machine outside of
// its loopback, or None if the machine has no such address.
func outside(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.To4() == nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip.IP.String(), "0"))
		if err != nil {
			continue
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "hello")
				_ = c.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-ended })
		return fmt.Sprintf("('%s', %d)", ip.IP, l.Addr().(*net.TCPAddr).Port)
	}
	return "None"
}

// TestAgentIsKilled checks that samples end with the agent.
func TestAgentIsKilled(t *testing.T) {
	needsBwrap(t)
	// No &: a background shell would be another process that leaves the tree.
	file := sample(t, "#!/bin/sh\ntrap '' TERM HUP INT\nsetsid sleep 1000 </dev/null >/dev/null 2>&1 &\nwhile :; do sleep 1; done\n")
	agent := exec.Command(testProgram(t), asAgent, file)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var first int
	if _, err := fmt.Fscan(out, &first); err != nil {
		t.Fatal(err)
	}
	var tree []int
	wait.For(t, "it has children", func() bool {
		tree, err = descendants(first)
		return err == nil && len(tree) >= 4
	})
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	wait.For(t, "all of it has ended", func() bool {
		return !slices.ContainsFunc(tree, func(pid int) bool { p, err := procfs.Read(pid); return err == nil && !p.Zombie })
	})
	if left := cgroups()[agent.Process.Pid]; support().Limits.OK && len(left) == 0 {
		t.Error("the sample has no cgroup, so nothing can become stale")
	}
	RemoveStale()
	if left := cgroups()[agent.Process.Pid]; len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// descendants returns a process and all its descendants through living parents, parents
// before children.
func descendants(of int) ([]int, error) {
	all, err := procfs.List()
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, p := range all {
		children[p.ParentPID] = append(children[p.ParentPID], p.PID)
	}
	found := []int{of}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found, nil
}

func testProgram(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// TestWithoutRootAsRoot runs an agent that is not root and has no cgroup.
func TestWithoutRootAsRoot(t *testing.T) {
	needsBwrap(t)
	needsPython(t)
	dir := t.TempDir()
	for d := dir; d != "/"; d = filepath.Dir(d) { // let every user enter
		if info, err := os.Stat(d); err != nil {
			t.Fatal(err)
		} else if err := os.Chmod(d, info.Mode().Perm()|0o111|info.Mode()&os.ModeSticky); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "agent")
	content, err := os.ReadFile(testProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, content, 0o755); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	run := func(text string) string {
		t.Helper()
		file := filepath.Join(dir, "sample")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // it is to be read
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, asCheck, file)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1_899_999_999, Gid: 1_899_999_999, Groups: []uint32{}}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for name, test := range map[string]struct{ text, begin, end string }{
		"runs":          {"id -u; exit 7\n", "exited exit=7 signal=0 limits=[] left=[]\n", "\n1000\n"},
		"shared memory": {python + "m = mmap.mmap(-1, 1 << 30)\nfor i in range(0, 1 << 30, 4096): m[i] = 1\ntime.sleep(1000)\n", "memory exit=-1 signal=0 limits=[memory] left=[]\n", "\n"},
		"forks":         {python + "n = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(1000)\n    n += 1\nexcept OSError as e: print(errno.errorcode[e.errno], n < 40 + 16, flush=True)\ntime.sleep(1000)\n", "stopped exit=-1 signal=0 limits=[processes] left=[]\n", "\nEAGAIN True\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(test.text)
			if !strings.HasPrefix(got, test.begin) || !strings.HasSuffix(got, test.end) {
				t.Errorf("got %s", got)
			}
			if !strings.Contains(got, "memory is limited for each process") {
				t.Errorf("no note says that the sample has no cgroup: %s", got)
			}
		})
	}
}

func TestWithoutBubblewrap(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(t.Context(), sample(t, "true\n"), small()); !errors.Is(err, errNoBubblewrap) {
		t.Errorf("error %v", err)
	}
	if s := Check(); s.Sandbox.OK || s.NAT.OK || s.Limits.OK || !strings.Contains(s.Sandbox.Detail, "apt install bubblewrap") || !strings.Contains(s.NAT.Detail, "apt install slirp4netns") {
		t.Errorf("%+v", s)
	}
}

func TestCheck(t *testing.T) {
	needsBwrap(t)
	s := Check()
	if !s.Sandbox.OK || !strings.HasPrefix(s.Sandbox.Detail, "bubblewrap ") {
		t.Errorf("%+v", s)
	}
	if s.Limits.OK != strings.HasPrefix(s.Limits.Detail, "memory, processes and processors by cgroup") || s.Limits.Detail == "" || s.NAT.Detail == "" {
		t.Errorf("%+v", s)
	}
}

func TestOptions(t *testing.T) {
	for name, test := range map[string]struct {
		o       Options
		program bool // the file is at fault
	}{
		"network":            {Options{Network: "lan"}, false},
		"negative":           {Options{MemoryMB: -1}, false},
		"zero byte":          {Options{Args: []string{"a\x00b"}}, true},
		"too many arguments": {Options{Args: []string{strings.Repeat("x", maxArgsBytes+1)}}, true},
		"in JSON they are":   {Options{Args: []string{strings.Repeat("<", maxArgsBytes/2)}}, true},
		"a long entry":       {Options{Entry: strings.Repeat("x", maxArgsBytes+1)}, true},
	} {
		if _, err := Start(t.Context(), "/dev/null", test.o); err == nil || errors.Is(err, ErrProgram) != test.program {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Start(t.Context(), "/dev/null", Options{}); !errors.Is(err, ErrProgram) {
		t.Errorf("a device: %v", err)
	}
}

// TestManyAtOnce checks that sandboxes do not interfere with each other.
func TestManyAtOnce(t *testing.T) {
	needsBwrap(t)
	for i := range 8 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			if r := ended(t, fmt.Sprintf("sleep 0.2; ls -d /proc/[0-9]* | wc -l; exit %d\n", i), small()); r.ExitCode != i {
				t.Errorf("%s, %d, %v: %s", r.Reason, r.ExitCode, r.Signal, r.Output)
			}
		})
	}
}

// TestAgentIsHiddenAsRoot checks that a sample sees neither the agent's program nor its data
// folder, although it sees other files in the same folder.
func TestAgentIsHiddenAsRoot(t *testing.T) {
	needsBwrap(t)
	dir, err := os.MkdirTemp("/usr/local", "ospulse-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil { //nolint:gosec // the test is about a readable folder
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, "neighbor"), filepath.Join(data, "secret")} {
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	o := small()
	o.DataDir, o.ShowLocal = data, true
	r := ended(t, fmt.Sprintf("ls %s; ls %s 2>/dev/null; cat %[2]s/secret 2>/dev/null; echo end", dir, data), o)
	if want := "data\nneighbor\nend\n"; string(r.Output) != want {
		t.Errorf("got %q", r.Output)
	}
	if !shown("/usr/local/bin/ospulse-agent") || !shown("/lib/x") || shown("/opt/ospulse-agent") || shown("/var/lib/ospulse-agent") {
		t.Error("shown is wrong about the agent's folders")
	}
}

// BenchmarkStart measures the time to hold a program, and the time until it has ended.
func BenchmarkStart(b *testing.B) {
	if _, err := exec.LookPath("bwrap"); err != nil {
		b.Skip("bubblewrap is not installed")
	}
	file := filepath.Join(b.TempDir(), "sample")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 0\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	var starts, stops []time.Duration
	for b.Loop() {
		at := time.Now()
		p, err := Start(b.Context(), file, Options{})
		if err != nil {
			b.Fatal(err)
		}
		starts = append(starts, time.Since(at))
		if err := p.Release(); err != nil {
			b.Fatal(err)
		}
		at = time.Now()
		if err := p.Stop(); err != nil {
			b.Fatal(err)
		}
		stops = append(stops, time.Since(at))
	}
	slices.Sort(starts)
	slices.Sort(stops)
	b.ReportMetric(float64(starts[len(starts)/2].Microseconds())/1000, "ms/start")
	b.ReportMetric(float64(stops[len(stops)/2].Microseconds())/1000, "ms/stop")
}
