//go:build linux

// Package confined runs the agent's own program again as a helper process with few
// privileges, and connects it to the agent by a socket. It must not know what the helper
// does.
package confined

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Socket is the helper's descriptor of its socket to the agent.
const Socket = 3

// Process is a helper process.
type Process struct {
	Conn *net.UnixConn
	PID  int

	cmd *exec.Cmd
}

// Start starts a hidden command of the agent. socketType is unix.SOCK_STREAM or
// unix.SOCK_SEQPACKET, environment is the whole environment of the helper, and stderr is
// its standard error, or nil. Start calls ended, from another goroutine, when the process
// has ended.
func Start(command string, socketType int, environment []string, stderr *os.File, ended func()) (*Process, error) {
	conn, theirs, err := SocketPair(socketType)
	if err != nil {
		return nil, fmt.Errorf("start the helper %s: %w", command, err)
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", command) //nolint:noctx // Kill ends it
	cmd.Dir, cmd.Env, cmd.ExtraFiles = "/", environment, []*os.File{theirs}
	if stderr != nil {
		cmd.Stderr = stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the agent
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the helper %s: %w", command, err), conn.Close())
	}
	go func() {
		_ = cmd.Wait() // the exit code does not matter
		ended()
	}()
	return &Process{conn, cmd.Process.Pid, cmd}, nil
}

// SocketPair returns two connected Unix sockets: one for this process, and one for a child. The
// type is unix.SOCK_STREAM or unix.SOCK_SEQPACKET.
func SocketPair(socketType int) (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, socketType|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create a pair of sockets: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "socket")
	defer file.Close()
	theirs = os.NewFile(uintptr(fds[1]), "socket")
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("create a pair of sockets: %w", err), theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil //nolint:forcetypeassert // the socket is a Unix socket
}

// Kill kills the process and does not wait for its end: it may hang in the kernel.
func (c *Process) Kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.Conn.Close()
}

// KeepCapabilities drops the capabilities of the calling thread except those in keep, and
// denies it new privileges.
func KeepCapabilities(keep ...uint) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	var kept [2]uint32
	for _, c := range keep {
		kept[c/32] |= 1 << (c % 32)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	for i := range data {
		data[i].Permitted &= kept[i]
		data[i].Effective = data[i].Permitted
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&head, &data[0]); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return nil
}
