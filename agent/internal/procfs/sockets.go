//go:build linux

package procfs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// connection is a line of /proc/net/tcp.
type connection struct {
	local, remote netip.AddrPort
	listening     bool
	inode         uint64
}

// Listeners gives the processes that listen on the port of this machine. Those
// of other users are only seen by root.
func Listeners(port uint16) []int {
	inodes := map[uint64]bool{}
	for _, c := range connections() {
		if c.listening && c.local.Port() == port {
			inodes[c.inode] = true
		}
	}
	return owners(inodes)
}

// Databases gives the PostgreSQL servers on this machine that the process is
// connected to: over loopback, whoever listens on the port if it is 5432 or calls
// itself postgres; over a Unix socket, whoever owns a listening .s.PGSQL.* while
// the process has a connected Unix socket at all.
func Databases(pid int) []int {
	mine := socketsOf(pid)
	if len(mine) == 0 {
		return nil
	}
	all := connections()
	ports := map[uint16]bool{}
	for _, c := range all {
		if mine[c.inode] && !c.listening && c.remote.Addr().Unmap().IsLoopback() {
			ports[c.remote.Port()] = true
		}
	}
	inodes := map[uint64]bool{}
	certain := map[uint64]bool{}
	for _, c := range all {
		if c.listening && ports[c.local.Port()] {
			inodes[c.inode] = true
			certain[c.inode] = c.local.Port() == 5432
		}
	}
	connected := false
	for _, s := range unixSockets() {
		switch {
		case s.listening && strings.HasPrefix(base(s.name), ".s.PGSQL."):
			inodes[s.inode], certain[s.inode] = true, true
		case !s.listening && mine[s.inode]:
			connected = true
		}
	}
	if !connected {
		for _, s := range unixSockets() {
			delete(inodes, s.inode)
		}
	}
	var pids []int
	for inode := range inodes {
		for _, owner := range owners(map[uint64]bool{inode: true}) {
			if certain[inode] || isPostgres(owner) {
				pids = append(pids, owner)
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

func isPostgres(pid int) bool {
	p, err := Read(pid)
	return err == nil && (p.Name == "postgres" || p.Name == "postmaster")
}

func connections() []connection {
	var all []connection
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a kernel without IPv6 has none
		}
		for line := range strings.Lines(string(text)) {
			if c, ok := parseConnection(line); ok {
				all = append(all, c)
			}
		}
	}
	return all
}

// parseConnection reads "sl: local remote state queues timer retransmits uid
// timeout inode …".
func parseConnection(line string) (connection, bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return connection{}, false
	}
	local, ok1 := parseAddress(fields[1])
	remote, ok2 := parseAddress(fields[2])
	inode, err := strconv.ParseUint(fields[9], 10, 64)
	if !ok1 || !ok2 || err != nil || inode == 0 {
		return connection{}, false
	}
	const listen = "0A"
	return connection{local, remote, fields[3] == listen, inode}, true
}

// parseAddress reads "0100007F:1F90": words in the machine's order, which is
// little-endian wherever the agent runs.
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

type unixSocket struct {
	name      string
	listening bool
	inode     uint64
}

// unixSockets reads "address: references protocol flags type state inode path".
func unixSockets() []unixSocket {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil
	}
	var all []unixSocket
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 7 || fields[4] != "0001" { // SOCK_STREAM
			continue
		}
		inode, err := strconv.ParseUint(fields[6], 10, 64)
		if err != nil {
			continue
		}
		s := unixSocket{inode: inode, listening: fields[3] == "00010000"} // SO_ACCEPTCON
		if len(fields) > 7 {
			s.name = fields[7]
		}
		all = append(all, s)
	}
	return all
}

// owners gives the processes that have any of the sockets open.
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

// socketsOf gives the inodes of a process's sockets; none if it may not be looked at.
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
