//go:build linux

package procfs

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Socket is a TCP or UDP socket.
type Socket struct {
	Protocol      string // tcp or udp
	Local, Remote netip.AddrPort
	Listening     bool
	Inode         uint64
	UserID        int // the file system user that made it
}

// Sockets returns the TCP and UDP sockets in the network namespace of a process. The error
// is ErrGone if there is no such process.
func Sockets(pid int) ([]Socket, error) { return sockets(pid, "tcp", "tcp6", "udp", "udp6") }

// sockets returns the sockets in files of /proc/PID/net.
func sockets(pid int, files ...string) ([]Socket, error) {
	var all []Socket
	for _, file := range files {
		text, err := os.ReadFile(path(pid, "net/"+file))
		switch {
		case err == nil:
		case file == "tcp":
			return nil, gone(pid, err)
		default:
			continue // the kernel has no IPv6
		}
		for line := range strings.Lines(string(text)) {
			if c, ok := parseConnection(line); ok {
				all = append(all, Socket{strings.TrimSuffix(file, "6"), unmapped(c.local), unmapped(c.remote), c.listening, c.inode, c.userID})
			}
		}
	}
	return all, nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// SocketInodes returns the inodes of a process's sockets; none if the caller may not read
// them.
func SocketInodes(pid int) map[uint64]bool { return socketsOf(pid) }

// NetworkNamespace returns the inode of a process's network namespace.
func NetworkNamespace(pid int) (uint64, error) {
	info, err := os.Stat(NetworkNamespacePath(pid))
	if err != nil {
		return 0, gone(pid, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("process %d: its network namespace has no number", pid)
	}
	return stat.Ino, nil
}

// NetworkNamespacePath returns the path of a process's network namespace.
func NetworkNamespacePath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }
