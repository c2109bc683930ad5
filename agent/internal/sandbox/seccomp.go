//go:build linux

package sandbox

import (
	"encoding/binary"
	"maps"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/syscalls"
)

// newest is the last system call that this filter knows. Newer ones fail with ENOSYS. The
// numbers of new system calls are the same on all architectures.
const newest = unix.SYS_RSEQ_SLICE_YIELD

// families lists the allowed families of sockets. Some of the others reach out of every
// network namespace (AF_VSOCK: the hypervisor), and most are obsolete.
//
//nolint:gochecknoglobals // a table of constants
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// The offsets in struct seccomp_data, and the return values of a filter; see seccomp(2).
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16 // the lower half; both architectures are little endian
	dataArg1   = 24

	allow    = uint32(unix.SECCOMP_RET_ALLOW)
	noPerm   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	noCall   = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	noFamily = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)

	newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
		unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
)

// table has the rules for one architecture, as numbers of system calls. The sandbox denies
// calls that change the machine, reach out of the sandbox, or are known for kernel
// vulnerabilities. It allows others, such as ptrace, because the agent wants to see the
// sample use them. A filter cannot read the flags of clone3, and a sensor sees little of what
// io_uring and native AIO do: these are missing, as in a kernel without them, so that
// programs use other calls.
type table struct {
	arch                              uint32
	denied, missing                   []uint32
	clone, ioctl, personality, socket uint32
	socketcall                        uint32 // 0: this architecture has none
}

// tables has the rules for programs of this architecture and, on amd64, for 32-bit ones.
var tables = func() []table { //nolint:gochecknoglobals // a constant
	arch := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	all := []table{tableOf(arch, (*syscalls.Entry).Native)}
	if runtime.GOARCH == "amd64" {
		all = append(all, tableOf(unix.AUDIT_ARCH_I386, func(e *syscalls.Entry) int { return e.I386 }))
	}
	return all
}()

// tableOf returns the rules for an architecture. number returns a call's number there, -1 if
// it lacks the call.
func tableOf(arch uint32, number func(*syscalls.Entry) int) table {
	of := func(name string) uint32 {
		e := syscalls.Table[name]
		return uint32(max(number(&e), 0))
	}
	t := table{arch: arch, clone: of("clone"), ioctl: of("ioctl"), personality: of("personality"), socket: of("socket"), socketcall: of("socketcall")}
	for _, name := range slices.Sorted(maps.Keys(syscalls.Table)) {
		e := syscalls.Table[name]
		switch n := number(&e); {
		case n < 0:
		case e.Sandbox == syscalls.Deny:
			t.denied = append(t.denied, uint32(n))
		case e.Sandbox == syscalls.Absent:
			t.missing = append(t.missing, uint32(n))
		}
	}
	return t
}

type instructions []unix.SockFilter

func (p *instructions) add(code uint16, jt, jf uint8, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *instructions) load(offset uint32)  { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset) }
func (p *instructions) answer(value uint32) { p.add(unix.BPF_RET|unix.BPF_K, 0, 0, value) }

// each returns an answer if the loaded value is one of the values.
func (p *instructions) each(values []uint32, value uint32) {
	for _, v := range values {
		p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, v)
		p.answer(value)
	}
}

// call adds the rules for one system call. They test the value at an offset in its data.
func (p *instructions) call(number, offset uint32, rules instructions) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, uint8(len(rules)+2), number)
	p.load(offset)
	*p = append(*p, rules...)
	p.answer(allow)
}

// filter compiles the rules. It denies every system call of an architecture without rules.
func filter(tables []table) instructions {
	var p instructions
	p.load(dataArch)
	for _, t := range tables {
		body := t.compile()
		p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, t.arch)
		p.add(unix.BPF_JMP|unix.BPF_JA, 0, 0, uint32(len(body)))
		p = append(p, body...)
	}
	p.answer(noPerm)
	return p
}

func (t table) compile() instructions {
	var p instructions
	p.load(dataNumber)
	p.add(unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K, 0, 1, newest) // also excludes the numbers of x32
	p.answer(noCall)
	p.each(t.missing, noCall)
	p.each(t.denied, noPerm)

	var clone instructions
	clone.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 0, 1, newNamespaces)
	clone.answer(noPerm)
	p.call(t.clone, dataArg0, clone)

	var ioctl instructions // both insert input into terminals; the kernel uses only 32 bits too
	ioctl.each([]uint32{unix.TIOCSTI, tiocLinux}, noPerm)
	p.call(t.ioctl, dataArg1, ioctl)

	var personality instructions
	personality.each([]uint32{0, askPersonality}, allow)
	personality.answer(noPerm)
	p.call(t.personality, dataArg0, personality)

	var socket instructions
	socket.each(families, allow)
	socket.answer(noFamily)
	p.call(t.socket, dataArg0, socket)

	if t.socketcall != 0 {
		// The family is in memory, which a filter cannot read.
		var socketcall instructions
		socketcall.each([]uint32{1}, noPerm)
		p.call(t.socketcall, dataArg0, socketcall)
	}
	p.answer(allow)
	return p
}

const (
	tiocLinux      = 0x541c
	askPersonality = 0xffffffff
)

// bytes returns the filter in the format that bubblewrap reads.
func (p instructions) bytes() []byte {
	text := make([]byte, 0, 8*len(p))
	for _, in := range p {
		text = binary.NativeEndian.AppendUint16(text, in.Code)
		text = append(text, in.Jt, in.Jf)
		text = binary.NativeEndian.AppendUint32(text, in.K)
	}
	return text
}
