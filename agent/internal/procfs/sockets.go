//go:build linux

package procfs

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// connection is a line of /proc/net/tcp.
type connection struct {
	local, remote netip.AddrPort
	listening     bool
	inode         uint64
	userID        int
}

// Listeners returns the processes that connections to an address reach in the caller's
// network namespace: those that listen on it, else those that listen on every address.
// Only root sees the processes of other users.
func Listeners(address netip.AddrPort) []int {
	sockets, err := Sockets(os.Getpid())
	if err != nil {
		return nil
	}
	exact, every := map[uint64]bool{}, map[uint64]bool{}
	for _, s := range sockets {
		switch {
		case !s.Listening || s.Protocol != "tcp":
		case s.Local == unmapped(address):
			exact[s.Inode] = true
		case s.Local.Addr().IsUnspecified() && s.Local.Port() == address.Port():
			every[s.Inode] = true
		}
	}
	if len(exact) > 0 {
		return owners(exact)
	}
	return owners(every)
}

// Clients returns the processes that have a TCP connection to one of the addresses, in the
// caller's network namespace. Only root sees the processes of other users.
func Clients(addresses []netip.AddrPort) []int {
	sockets, err := Sockets(os.Getpid())
	if err != nil {
		return nil
	}
	inodes := map[uint64]bool{}
	for _, s := range sockets {
		if s.Protocol == "tcp" && !s.Listening && slices.Contains(addresses, s.Remote) {
			inodes[s.Inode] = true
		}
	}
	return owners(inodes)
}

// Peers returns the processes on this machine that have the other end of a process's TCP
// connections to an address. Peers searches the process's network namespace if the
// connection stays within it. Otherwise it searches only namespaces that belong to the
// machine itself, because a user can give any address to a namespace that he made.
func Peers(pid int, remote netip.AddrPort) []int {
	mine, remote := socketsOf(pid), unmapped(remote)
	own, err := Sockets(pid)
	if err != nil {
		return nil
	}
	others := map[Socket]bool{} // the sockets at the other ends
	for _, s := range own {
		if mine[s.Inode] && s.Protocol == "tcp" && !s.Listening && s.Remote == remote {
			others[Socket{Protocol: "tcp", Local: s.Remote, Remote: s.Local}] = true
		}
	}
	if len(others) == 0 {
		return nil
	}
	if found := owners(among(own, others)); len(found) > 0 || remote.Addr().IsLoopback() {
		return found
	}
	inodes := map[uint64]bool{}
	for _, representative := range machineNamespaces() {
		if sockets, err := Sockets(representative); err == nil {
			maps.Copy(inodes, among(sockets, others))
		}
	}
	return owners(inodes)
}

// among returns the inodes of the wanted sockets.
func among(sockets []Socket, wanted map[Socket]bool) map[uint64]bool {
	inodes := map[uint64]bool{}
	for _, s := range sockets {
		if wanted[Socket{Protocol: s.Protocol, Local: s.Local, Remote: s.Remote}] && s.Inode != 0 {
			inodes[s.Inode] = true
		}
	}
	return inodes
}

// machineNamespaces returns one process of each network namespace that belongs to the
// caller's user namespace.
func machineNamespaces() []int {
	pids, err := PIDs()
	if err != nil {
		return nil
	}
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &own); err != nil {
		return nil
	}
	seen := map[uint64]bool{}
	var representatives []int
	for _, pid := range pids {
		id, err := NetworkNamespace(pid)
		if err != nil || seen[id] {
			continue
		}
		seen[id] = true
		if ownerOfNamespace(pid) == own.Ino {
			representatives = append(representatives, pid)
		}
	}
	return representatives
}

// ownerOfNamespace returns the user namespace that owns a process's network namespace; 0
// if it is not known.
func ownerOfNamespace(pid int) uint64 {
	namespace, err := os.Open(NetworkNamespacePath(pid))
	if err != nil {
		return 0
	}
	defer namespace.Close()
	fd, err := unix.IoctlRetInt(int(namespace.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return 0
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0
	}
	return stat.Ino
}

// Upstreams returns the addresses to which a process has connected over TCP. It leaves
// out connections that the process accepted.
func Upstreams(pid int) []netip.AddrPort {
	mine := socketsOf(pid)
	sockets, err := Sockets(pid)
	if err != nil {
		return nil
	}
	listens := map[uint16]bool{}
	for _, s := range sockets {
		if mine[s.Inode] && s.Listening {
			listens[s.Local.Port()] = true
		}
	}
	var upstreams []netip.AddrPort
	for _, s := range sockets {
		if mine[s.Inode] && s.Protocol == "tcp" && !s.Listening && !listens[s.Local.Port()] && !slices.Contains(upstreams, s.Remote) {
			upstreams = append(upstreams, s.Remote)
		}
	}
	return upstreams
}

// parseConnection parses "sl: local remote state queues timer retransmits uid timeout
// inode …". It returns false if the line is malformed or has no inode.
func parseConnection(line string) (connection, bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return connection{}, false
	}
	local, ok1 := parseAddress(fields[1])
	remote, ok2 := parseAddress(fields[2])
	inode, err1 := strconv.ParseUint(fields[9], 10, 64)
	user, err2 := strconv.ParseUint(fields[7], 10, 32)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || inode == 0 {
		return connection{}, false
	}
	const listen = "0A"
	return connection{local, remote, fields[3] == listen, inode, int(user)}, true
}

// parseAddress parses "0100007F:1F90": 32-bit words in the machine's byte order, which is
// little-endian on all machines that the agent supports.
func parseAddress(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(address)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(bytes)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(bytes, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(bytes)
	return netip.AddrPortFrom(ip, uint16(number)), ok
}

// owners returns the processes that have any of the sockets open.
func owners(inodes map[uint64]bool) []int {
	if len(inodes) == 0 {
		return nil
	}
	pids, err := PIDs()
	if err != nil {
		return nil
	}
	var found []int
	for _, pid := range pids {
		for inode := range socketsOf(pid) {
			if inodes[inode] {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// socketsOf returns the inodes of a process's sockets; none if the caller may not read
// them.
func socketsOf(pid int) map[uint64]bool {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	inodes := map[uint64]bool{}
	for _, entry := range entries {
		target, err := os.Readlink(folder + "/" + entry.Name())
		if err != nil {
			continue
		}
		if number, ok := strings.CutPrefix(target, "socket:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
				inodes[inode] = true
			}
		}
	}
	return inodes
}
