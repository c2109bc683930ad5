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
	localDir = "/usr/local" // what this machine's administrator installed
	homeDir  = "/home/user" // holds the file; the working directory of the program
	inside   = 1000         // the uid and gid of the program in the sandbox
)

// errNoBubblewrap means that bubblewrap is not installed.
var errNoBubblewrap = errors.New("bubblewrap (bwrap) is not installed, and the sandbox needs it; apt install bubblewrap")

// etc lists what programs need from /etc: no secrets and nothing about people.
var etc = []string{ //nolint:gochecknoglobals // a table of constants
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld-musl-x86_64.path", "ld-musl-aarch64.path", "alternatives",
	"ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/ca-trust/extracted",
	"nsswitch.conf", "gai.conf", "host.conf", "services", "protocols", "localtime", "timezone",
	"os-release", "debian_version", "mime.types", "terminfo", "profile", "bash.bashrc", "inputrc", "fonts",
}

// systemDirs are the folders of this machine that sandboxes share. A folder that is a link
// here is a link in the sandbox too.
var systemDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} //nolint:gochecknoglobals // a table of constants

// command creates the command of process 1. The rest is as for bubblewrap.
func (p *Process) command(files []*os.File) (made []*os.File, err error) {
	if p.options.User == nil {
		return p.bubblewrap(files)
	}
	p.cmd = exec.Command(programPath, LaunchCommand, roleInit, p.programFiles()) //nolint:noctx // killAll ends it
	p.cmd.Dir, p.cmd.Env, p.cmd.ExtraFiles = homeDir, []string{}, files
	return nil, nil
}

// programFiles returns the number of Options.Program's files, as text.
func (p *Process) programFiles() string {
	if p.options.Program == nil {
		return "0"
	}
	return strconv.Itoa(len(p.options.Program.Files))
}

// bubblewrap creates the command that runs a program in a sandbox. The command inherits
// files first. The caller must close the returned files after it has started the command.
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
	arguments = append(arguments, "--seccomp", pass("seccomp", filter(tables).Bytes()))
	list := pass("arguments", []byte(strings.Join(arguments, "\x00")+"\x00"))
	if err != nil {
		return made, err
	}
	command := append(longRunning(), path, "--args", list, "--", programPath, LaunchCommand, roleInit, p.programFiles())
	p.cmd = exec.Command(command[0], command[1:]...) //nolint:noctx // killAll ends it
	p.cmd.Dir, p.cmd.Env, p.cmd.ExtraFiles = "/", []string{}, files
	if p.options.Program != nil {
		p.cmd.Stdin = p.options.Program.Stdin
	}
	return made, nil
}

// sandboxArguments returns the arguments of bubblewrap. pass makes it inherit a file.
func sandboxArguments(o Options, pass func(name string, content []byte) string) []string {
	args := []string{
		"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
		"--uid", strconv.Itoa(inside), "--gid", strconv.Itoa(inside),
		"--new-session", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", "--clearenv",
	}
	if o.Network != NetworkHost {
		args = append(args, "--unshare-net")
	}
	if disablesUserns() {
		args = append(args, "--disable-userns") // else only the filter forbids user namespaces
	}
	// The root has only what programs need.
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
	args = append(args, machineArguments(pass)...)
	if !o.ShowLocal {
		args = append(args, "--perms", "0755", "--size", "4096", "--tmpfs", localDir)
		for _, dir := range []string{"bin", "etc", "games", "include", "lib", "sbin", "share", "src"} {
			args = append(args, "--perms", "0755", "--dir", localDir+"/"+dir)
		}
		args = append(args, "--remount-ro", localDir)
	}
	switch o.Network {
	case NetworkHost:
		args = append(args, "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf")
	case NetworkNAT: // the name server of slirp4netns
		args = append(args, "--perms", "0444", "--file", pass("resolv.conf", []byte("nameserver 10.0.2.3\n")), "/etc/resolv.conf")
	case NetworkNone:
	}
	args = append(args, hideAgent(o)...)
	// All writable folders together have DiskMB. bubblewrap cannot limit /dev, so it is
	// read-only.
	size := func(parts int) string { return strconv.FormatInt(int64(o.DiskMB)<<20/8*int64(parts), 10) }
	args = append(args, "--proc", "/proc")
	args = append(args, procArguments(pass)...)
	args = append(args, "--dev", "/dev")
	if o.Program != nil {
		for _, device := range o.Program.Devices {
			args = append(args, "--dev-bind-try", device, device)
		}
	}
	return append(args,
		"--perms", "1777", "--size", size(1), "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
		"--perms", "1777", "--size", size(3), "--tmpfs", "/tmp",
		"--perms", "0755", "--size", size(4), "--tmpfs", homeDir,
		"--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--dir", "/run",
		"--remount-ro", "/", "--chdir", homeDir)
}

// hideAgent hides the agent's program and its data folder, if they are in a folder that
// the sandbox shares.
func hideAgent(o Options) []string {
	var args []string
	shown := func(path string) bool {
		return shown(path) && (o.ShowLocal || !strings.HasPrefix(path, localDir+"/"))
	}
	if exe, err := os.Executable(); err == nil && shown(exe) {
		args = append(args, "--ro-bind", "/dev/null", exe)
	}
	if dir, err := filepath.EvalSymlinks(o.DataDir); err == nil && shown(dir) { // it may not exist yet
		args = append(args, "--perms", "0700", "--size", "4096", "--tmpfs", dir, "--remount-ro", dir)
	}
	return args
}

// shown reports whether sandboxes share a path of this machine.
func shown(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.Contains(systemDirs, "/"+first)
}

// disablesUserns reports whether bubblewrap has --disable-userns (0.8.0 and newer).
var disablesUserns = sync.OnceValue(func() bool { //nolint:gochecknoglobals // what is installed does not change
	help, err := exec.CommandContext(context.Background(), "bwrap", "--help").Output() // it ends by itself
	return err == nil && strings.Contains(string(help), "--disable-userns")
})

// ownProgram opens the agent's program so that any user can execute it.
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
	// Linux does not execute a file that is open for writing.
	file2, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("copy the agent's program: %w", err)
	}
	return file2, nil
}

// programFolders is $PATH in the sandbox.
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
		return nil, fmt.Errorf("create a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.Write(content); err != nil {
		return file, fmt.Errorf("create a file in memory: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return file, fmt.Errorf("create a file in memory: %w", err)
	}
	return file, nil
}
