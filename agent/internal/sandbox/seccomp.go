//go:build linux

package sandbox

import (
	"encoding/binary"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/syscalls"
)

// families lists the allowed families of sockets, besides AF_NETLINK. Some of the others reach out of every
// network namespace (AF_VSOCK: the hypervisor), and most are obsolete.
//
//nolint:gochecknoglobals // a table of constants
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_PACKET}

// protocols lists the allowed protocols of AF_NETLINK, which programs use to ask for
// addresses, routes, sockets and devices. The others configure the kernel.
//
//nolint:gochecknoglobals // a table of constants
var protocols = []uint32{unix.NETLINK_ROUTE, unix.NETLINK_SOCK_DIAG, unix.NETLINK_KOBJECT_UEVENT}

// The offsets in struct seccomp_data, and the return values of a filter; see seccomp(2).
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16 // the lower half; both architectures are little endian
	dataArg1   = 24
	dataArg2   = 32

	allow      = uint32(unix.SECCOMP_RET_ALLOW)
	noPerm     = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	noCall     = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	noFamily   = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	noProtocol = unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)

	newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
		unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
)

// table has the rules for one architecture, as numbers of system calls. The sandbox allows
// only the calls that the table of system calls allows; it began as Docker's default
// profile. It denies calls that change the machine, reach out of the sandbox, or are known
// for kernel vulnerabilities. It allows others, such as ptrace, because the agent wants to
// see the sample use them. All other calls are missing, as in a kernel without them, so that
// programs use older ones. Also missing are clone3, whose flags a filter cannot read, and
// io_uring and native AIO, of which a sensor sees little.
type table struct {
	arch                              uint32
	allowed, denied                   []uint32 // sorted
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
	for _, e := range syscalls.Table {
		switch n := number(&e); {
		case n < 0:
		case e.Sandbox == syscalls.Deny:
			t.denied = append(t.denied, uint32(n))
		case e.Sandbox == syscalls.Allow:
			t.allowed = append(t.allowed, uint32(n))
		}
	}
	slices.Sort(t.allowed)
	slices.Sort(t.denied)
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

	var netlink instructions
	netlink.load(dataArg2)
	netlink.each(protocols, allow)
	netlink.answer(noProtocol)
	var socket instructions
	socket.each(families, allow)
	socket.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, uint8(len(netlink)), unix.AF_NETLINK)
	socket = append(socket, netlink...)
	socket.answer(noFamily)
	p.call(t.socket, dataArg0, socket)

	if t.socketcall != 0 {
		// The family is in memory, which a filter cannot read.
		var socketcall instructions
		socketcall.each([]uint32{1}, noPerm)
		p.call(t.socketcall, dataArg0, socketcall)
	}
	for i := 0; i < len(t.allowed); { // each span of numbers
		first := t.allowed[i]
		for i++; i < len(t.allowed) && t.allowed[i] == t.allowed[i-1]+1; i++ {
		}
		p.add(unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K, 3, 0, t.allowed[i-1])
		p.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, 0, 1, first)
		p.answer(allow)
		p.answer(noCall)
	}
	p.answer(noCall)
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
