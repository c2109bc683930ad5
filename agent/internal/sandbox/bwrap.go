//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	homeDir = "/home/user" // where the file lies, and where it begins
	inside  = 1000         // the user and group that it has there
)

// errNoBubblewrap tells what is missing.
var errNoBubblewrap = errors.New("bubblewrap (bwrap) is not installed, without which no sandbox is made; apt install bubblewrap")

// etc is what programs need of /etc: nothing that is secret, nor about people.
var etc = []string{ //nolint:gochecknoglobals // a table of constants
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld-musl-x86_64.path", "ld-musl-aarch64.path", "alternatives",
	"ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/ca-trust/extracted",
	"nsswitch.conf", "gai.conf", "host.conf", "services", "protocols", "localtime", "timezone",
	"os-release", "debian_version", "mime.types", "terminfo", "profile", "bash.bashrc", "inputrc", "fonts",
}

// systemDirs are the folders of this machine's that sandboxes have, as links where
// they are.
var systemDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} //nolint:gochecknoglobals // a table of constants

// bubblewrap makes the command of a program in a sandbox. files come first; what is
// returned is to be closed when it has started.
func (p *Process) bubblewrap(files []*os.File) (made []*os.File, err error) {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, errNoBubblewrap
	}
	pass := func(name string, content []byte) string {
		f, memErr := memfd(name, content)
		err = errors.Join(err, memErr)
		made = append(made, f)
		files = append(files, f)
		return strconv.Itoa(2 + len(files))
	}
	arguments := sandboxArguments(p.options, pass)
	arguments = append(arguments, "--seccomp", pass("seccomp", filter(tables).bytes()))
	list := pass("arguments", []byte(strings.Join(arguments, "\x00")+"\x00"))
	if err != nil {
		return made, err
	}
	p.cmd = exec.Command(path, "--args", list, "--", programPath, LaunchCommand, roleInit) //nolint:noctx // killAll ends it
	p.cmd.Dir, p.cmd.Env, p.cmd.ExtraFiles = "/", []string{}, files
	return made, nil
}

// sandboxArguments gives bubblewrap's; pass makes it inherit a file.
func sandboxArguments(o Options, pass func(name string, content []byte) string) []string {
	args := []string{
		"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
		"--uid", strconv.Itoa(inside), "--gid", strconv.Itoa(inside), "--hostname", "desktop",
		"--new-session", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", "--clearenv",
	}
	if o.Network != NetworkHost {
		args = append(args, "--unshare-net")
	}
	if disablesUserns() {
		args = append(args, "--disable-userns") // else the filter alone forbids them
	}
	// The root is made of what programs need, not of all that is here.
	for _, dir := range systemDirs {
		if target, err := os.Readlink(dir); err == nil {
			args = append(args, "--symlink", target, dir)
		} else if _, err := os.Stat(dir); err == nil {
			args = append(args, "--ro-bind", dir, dir)
		}
	}
	for _, dir := range []string{"/etc", "/etc/ssl", "/etc/pki", "/etc/pki/tls", "/etc/pki/ca-trust"} {
		args = append(args, "--perms", "0755", "--dir", dir)
	}
	for _, name := range etc {
		args = append(args, "--ro-bind-try", "/etc/"+name, "/etc/"+name)
	}
	text := func(path, content string) {
		args = append(args, "--perms", "0444", "--ro-bind-data", pass(filepath.Base(path), []byte(content)), path)
	}
	text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:"+homeDir+":/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	text("/etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n")
	text("/etc/hosts", "127.0.0.1 localhost desktop\n::1 localhost\n")
	switch o.Network {
	case NetworkHost:
		args = append(args, "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf")
	case NetworkNAT: // slirp4netns answers there
		text("/etc/resolv.conf", "nameserver 10.0.2.3\n")
	case NetworkNone:
	}
	args = append(args, hideAgent(o.DataDir)...)
	// What can be written has a size, all of it together DiskMB. /dev is a file system
	// without one, so it is made read-only.
	size := func(parts int) string { return strconv.FormatInt(int64(o.DiskMB)<<20/8*int64(parts), 10) }
	return append(args, "--proc", "/proc", "--dev", "/dev",
		"--perms", "1777", "--size", size(1), "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
		"--perms", "1777", "--size", size(3), "--tmpfs", "/tmp",
		"--perms", "0755", "--size", size(4), "--tmpfs", homeDir,
		"--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--dir", "/run",
		"--remount-ro", "/", "--chdir", homeDir)
}

// hideAgent covers the agent's program and its folder, should they lie in the parts
// of the root that sandboxes have.
func hideAgent(dataDir string) []string {
	var args []string
	if exe, err := os.Executable(); err == nil && shown(exe) {
		args = append(args, "--ro-bind", "/dev/null", exe)
	}
	if dir, err := filepath.EvalSymlinks(dataDir); err == nil && shown(dir) { // else there is none yet
		args = append(args, "--perms", "0700", "--size", "4096", "--tmpfs", dir, "--remount-ro", dir)
	}
	return args
}

// shown reports whether sandboxes have a path of this machine's.
func shown(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.Contains(systemDirs, "/"+first)
}

// disablesUserns tells whether bubblewrap can (0.8.0 and newer).
var disablesUserns = sync.OnceValue(func() bool { //nolint:gochecknoglobals // what is installed does not change
	help, err := exec.CommandContext(context.Background(), "bwrap", "--help").Output() // which ends by itself
	return err == nil && strings.Contains(string(help), "--disable-userns")
})

// ownProgram gives the agent's program, as anybody may execute it.
func ownProgram() (*os.File, error) {
	const self = "/proc/self/exe"
	file, err := os.Open(self)
	if err != nil {
		return nil, fmt.Errorf("open the agent's program: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.Mode()&0o001 != 0 {
		return file, nil
	}
	defer file.Close()
	if err != nil {
		return nil, fmt.Errorf("open the agent's program: %w", err)
	}
	fd, err := unix.MemfdCreate("ospulse-agent", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy the agent's program: %w", err)
	}
	writable := os.NewFile(uintptr(fd), "memfd")
	defer writable.Close()
	if _, err := io.Copy(writable, file); err != nil {
		return nil, fmt.Errorf("copy the agent's program: %w", err)
	}
	// What is open for writing cannot be executed.
	file2, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("copy the agent's program: %w", err)
	}
	return file2, nil
}

// programFolders is the PATH of programs.
const programFolders = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

func environment() []string {
	return []string{
		"PATH=" + programFolders, "HOME=" + homeDir, "PWD=" + homeDir,
		"USER=user", "LOGNAME=user", "SHELL=/bin/sh", "LANG=C.UTF-8", "TMPDIR=/tmp",
	}
}

func memfd(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.Write(content); err != nil {
		return file, fmt.Errorf("make a file in memory: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return file, fmt.Errorf("make a file in memory: %w", err)
	}
	return file, nil
}
