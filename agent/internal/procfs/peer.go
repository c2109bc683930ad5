//go:build linux

package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Peer is the other end of a TCP connection within this machine.
type Peer struct {
	UserID int
	Inode  uint64 // of its socket
}

// ErrNoPeer means that no open socket of this network namespace is the other end of a
// connection: it is closed, or on another machine.
var ErrNoPeer = errors.New("its other end is not an open socket of this machine")

// peerLooks is how often PeerOf reads the list. The kernel may leave out a socket if others
// near it in the list begin or end while it is read.
const peerLooks = 3

// PeerOf returns the other end of a connection, of which local and remote are the
// caller's addresses, in the caller's network namespace. The error may be ErrNoPeer. It is
// another one if several sockets have these addresses.
//
// The kernel lists a socket without an owner, for example after its process closed it, as
// one of user 0 with inode 0. PeerOf does not count it.
func PeerOf(local, remote netip.AddrPort) (Peer, error) {
	local, remote = unmapped(local), unmapped(remote)
	for range peerLooks {
		all, err := sockets(os.Getpid(), "tcp", "tcp6")
		if err != nil {
			return Peer{}, err
		}
		var found Peer
		for _, s := range all {
			if s.Listening || s.Local != remote || s.Remote != local {
				continue
			}
			if found.Inode != 0 && found.Inode != s.Inode {
				return Peer{}, fmt.Errorf("several sockets have its address %s", remote)
			}
			found = Peer{s.UserID, s.Inode}
		}
		if found.Inode != 0 {
			return found, nil
		}
	}
	return Peer{}, ErrNoPeer
}

// SocketOwners returns the processes that have a socket open. Only root sees the processes
// of other users.
func SocketOwners(inode uint64) []int { return owners(map[uint64]bool{inode: true}) }

// SocketUser returns the user that owns the sockets which a process makes; false if the
// process is gone.
func SocketUser(pid int) (id int, ok bool) {
	status, err := os.ReadFile(path(pid, "status"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			fields := strings.Fields(ids) // real, effective, saved, file system
			if len(fields) != 4 {
				return 0, false
			}
			id, err = strconv.Atoi(fields[3])
			return id, err == nil
		}
	}
	return 0, false
}

// IsAmbiguousUser reports whether id stands for several users: the kernel shows users that
// this user namespace does not have as one, usually 65534.
func IsAmbiguousUser(id int) bool {
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return true
	}
	if overflow, err := strconv.Atoi(string(bytes.TrimSpace(text))); err != nil || id != overflow {
		return err != nil
	}
	users, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(string(users)), " ") != "0 0 4294967295"
}
