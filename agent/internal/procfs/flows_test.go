//go:build linux

package procfs

import (
	"errors"
	"net"
	"os"
	"testing"
)

func TestSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	u, err := net.ListenPacket("udp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	all, err := Sockets(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	mine := SocketInodes(os.Getpid())
	udp := u.LocalAddr().(*net.UDPAddr).AddrPort()
	found := map[string]int{}
	for _, s := range all {
		if !mine[s.Inode] {
			continue
		}
		switch {
		case s.Protocol == "tcp" && s.Listening && s.Local.String() == l.Addr().String() && s.Remote.Port() == 0:
			found["listener"]++
		case s.Protocol == "tcp" && !s.Listening && s.Local.String() == c.LocalAddr().String() && s.Remote.String() == l.Addr().String():
			found["connection"]++
		case s.Protocol == "udp" && !s.Listening && s.Local.Port() == udp.Port() && s.Local.Addr().IsUnspecified():
			found["udp"]++
		}
	}
	for _, what := range []string{"listener", "connection", "udp"} {
		if found[what] != 1 {
			t.Errorf("%d of %s in %v", found[what], what, all)
		}
	}
	if _, err := Sockets(1 << 30); !errors.Is(err, ErrGone) {
		t.Errorf("Sockets of a process that does not exist: %v", err)
	}
	if own, err := NetworkNamespace(os.Getpid()); err != nil || own == 0 {
		t.Errorf("namespace %d, %v", own, err)
	}
	if _, err := NetworkNamespace(1 << 30); !errors.Is(err, ErrGone) {
		t.Errorf("NetworkNamespace of a process that does not exist: %v", err)
	}
}
