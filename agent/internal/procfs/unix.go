//go:build linux

package procfs

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unixSocket is a connected Unix socket, as sock_diag(7) reports it.
type unixSocket struct {
	name string // the bound name; "" for most clients
	peer uint64 // the inode of the other end
}

// UnixUpstreams returns the processes to which a process has connected over Unix sockets,
// if the file name of the socket at the other end begins with lastPart. It leaves out the
// clients of sockets that the process itself has bound.
func UnixUpstreams(pid int, lastPart string) []int {
	sockets, err := unixSockets()
	if err != nil {
		return nil // the kernel has no unix_diag
	}
	peers := map[uint64]bool{}
	for inode := range socketsOf(pid) {
		mine, ok := sockets[inode]
		if ok && mine.name == "" && strings.HasPrefix(base(sockets[mine.peer].name), lastPart) {
			peers[mine.peer] = true
		}
	}
	return owners(peers)
}

// unixSockets returns the connected Unix sockets of this network namespace by inode.
func unixSockets() (map[uint64]unixSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("list Unix sockets: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	const (
		byFamily    = 20 // SOCK_DIAG_BY_FAMILY
		established = 1 << 1
		show        = 1 | 4 // UDIAG_SHOW_NAME, UDIAG_SHOW_PEER
		headBytes   = 16    // struct unix_diag_msg
		attrName    = 0     // UNIX_DIAG_NAME
		attrPeer    = 2     // UNIX_DIAG_PEER
	)
	order := binary.NativeEndian
	request := order.AppendUint32(nil, 40) // struct nlmsghdr, then struct unix_diag_req
	request = order.AppendUint16(request, byFamily)
	request = order.AppendUint16(request, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request = append(request, make([]byte, 8)...)
	request = append(request, unix.AF_UNIX, 0, 0, 0)
	request = order.AppendUint32(request, established)
	request = order.AppendUint32(request, 0)
	request = order.AppendUint32(request, show)
	request = append(request, make([]byte, 8)...)
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	if err == nil {
		err = unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		return nil, fmt.Errorf("list Unix sockets: %w", err)
	}
	sockets := map[uint64]unixSocket{}
	for buffer := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			return nil, fmt.Errorf("list Unix sockets: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return nil, fmt.Errorf("list Unix sockets: %w", err)
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return sockets, nil
			case m.Header.Type != byFamily || len(m.Data) < headBytes:
				return nil, fmt.Errorf("list Unix sockets: the kernel answered with message type %d", m.Header.Type)
			}
			var s unixSocket
			for attributes := m.Data[headBytes:]; len(attributes) >= 4; {
				length := int(order.Uint16(attributes))
				if length < 4 || length > len(attributes) {
					break
				}
				switch value := attributes[4:length]; {
				case order.Uint16(attributes[2:]) == attrName:
					s.name = string(value)
				case order.Uint16(attributes[2:]) == attrPeer && len(value) == 4:
					s.peer = uint64(order.Uint32(value))
				}
				attributes = attributes[min((length+3)&^3, len(attributes)):]
			}
			sockets[uint64(order.Uint32(m.Data[4:]))] = s
		}
	}
}
