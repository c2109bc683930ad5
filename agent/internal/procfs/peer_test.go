//go:build linux

package procfs

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
)

// TestPeerOf checks that PeerOf finds the open other end of a connection, and none after it
// was closed.
func TestPeerOf(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		local, remote := addrPort(server.LocalAddr()), addrPort(server.RemoteAddr())
		peer, err := PeerOf(local, remote)
		if err != nil || peer.UserID != os.Geteuid() || !slices.Contains(SocketOwners(peer.Inode), os.Getpid()) {
			t.Errorf("%s: %+v, %v", address, peer, err)
		}
		if mine, err := PeerOf(remote, local); err != nil || mine.Inode == peer.Inode {
			t.Errorf("%s: both ends are the same socket: %+v, %v", address, mine, err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if peer, err := PeerOf(local, remote); !errors.Is(err, ErrNoPeer) {
			t.Errorf("%s: after its end: %+v, %v", address, peer, err)
		}
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// TestSocketUser checks SocketUser, and which users stand for several.
func TestSocketUser(t *testing.T) {
	if id, ok := SocketUser(os.Getpid()); !ok || id != os.Geteuid() {
		t.Errorf("%d, %v", id, ok)
	}
	if _, ok := SocketUser(1 << 30); ok {
		t.Error("a process that does not exist has a user")
	}
	if IsAmbiguousUser(0) || IsAmbiguousUser(1000) {
		t.Error("a usual user is ambiguous")
	}
}
