//go:build linux

package sandbox

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/seccomp"
	"ospulse/agent/internal/syscalls"
)

// TestFilter runs the filter for all architectures, as the kernel would.
func TestFilter(t *testing.T) {
	var raw []bpf.RawInstruction
	compiled := filter(tables)
	for _, in := range compiled {
		raw = append(raw, bpf.RawInstruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K})
	}
	if n := len(compiled.Bytes()); n != 8*len(raw) || len(raw) > 4096 {
		t.Fatalf("%d bytes for %d instructions", n, len(raw))
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter has invalid instructions")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(arch, number uint32, args ...uint64) uint32 {
		t.Helper()
		// The virtual machine loads in big endian, the kernel in the byte order of the CPU.
		data := make([]byte, 64)
		binary.BigEndian.PutUint32(data[seccomp.Number:], number)
		binary.BigEndian.PutUint32(data[seccomp.Arch:], arch)
		for i, a := range args {
			binary.BigEndian.PutUint32(data[seccomp.Arg0+8*i:], uint32(a))
			binary.BigEndian.PutUint32(data[seccomp.Arg0+8*i+4:], uint32(a>>32))
		}
		got, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(got)
	}
	for _, table := range tables {
		verdicts := map[uint32]syscalls.Verdict{}
		for name, e := range syscalls.Table {
			number := e.Native()
			if table.arch == unix.AUDIT_ARCH_I386 {
				number = e.I386
			}
			if _, isKnown := verdicts[uint32(number)]; isKnown && number >= 0 {
				t.Errorf("architecture %#x: %s has the number of another call", table.arch, name)
			}
			verdicts[uint32(number)] = e.Sandbox
		}
		for n := range uint32(2000) {
			args := []uint64{0, 0}
			want := allow
			switch verdict, isKnown := verdicts[n]; {
			case !isKnown || verdict == syscalls.Absent:
				want = noCall
			case verdict == syscalls.Deny:
				want = noPerm
			case n == table.socket:
				want = noFamily // AF_UNSPEC
			}
			if got := answer(table.arch, n, args...); got != want {
				t.Errorf("architecture %#x, call %d: %#x, want %#x", table.arch, n, got, want)
			}
		}
		for _, test := range []struct {
			name   string
			number uint32
			args   []uint64
			want   uint32
		}{
			{"clone of a thread", table.clone, []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allow},
			{"clone of a user namespace", table.clone, []uint64{unix.CLONE_NEWUSER}, noPerm},
			{"clone of a time", table.clone, []uint64{unix.CLONE_NEWCGROUP | uint64(unix.SIGCHLD)}, noPerm},
			{"TIOCSTI", table.ioctl, []uint64{0, unix.TIOCSTI}, noPerm},
			{"TIOCSTI with more", table.ioctl, []uint64{0, 7<<32 | unix.TIOCSTI}, noPerm},
			{"TCGETS", table.ioctl, []uint64{0, unix.TCGETS}, allow},
			{"personality", table.personality, []uint64{0x0400000}, noPerm},
			{"personality asked for", table.personality, []uint64{0xffffffff}, allow},
			{"AF_INET6", table.socket, []uint64{unix.AF_INET6}, allow},
			{"AF_VSOCK", table.socket, []uint64{unix.AF_VSOCK}, noFamily},
			{"NETLINK_ROUTE", table.socket, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, allow},
			{"NETLINK_NETFILTER", table.socket, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, noProtocol},
			{"NETLINK_GENERIC", table.socket, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC}, noProtocol},
			{"x32", 0x40000000 + 39, nil, noCall},
			{"a negative number", 0xffffffff, nil, noCall},
		} {
			if got := answer(table.arch, test.number, test.args...); got != test.want {
				t.Errorf("architecture %#x, %s: %#x, want %#x", table.arch, test.name, got, test.want)
			}
		}
	}
	if got := answer(0xdead, 39); got != noPerm {
		t.Errorf("an architecture without rules: %#x", got)
	}
}
