package database

import (
	"net"
	"syscall"
)

// peerPID returns the pid of the process that listens at the other end of a Unix socket,
// or 0 if that process is in another pid namespace.
func peerPID(c net.Conn) int {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) { // fails on a closed connection: pid stays 0
		if credentials, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(credentials.Pid)
		}
	})
	return pid
}
