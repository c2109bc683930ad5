//go:build linux

package sandbox

import (
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/seccomp"
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

// The return values of the filter, and flags of clone.
const (
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
	all := []table{tableOf(seccomp.NativeArch, (*syscalls.Entry).Native)}
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

// filter compiles the rules. It denies every system call of an architecture without rules.
func filter(tables []table) seccomp.Program {
	var p seccomp.Program
	p.Load(seccomp.Arch)
	for _, t := range tables {
		body := t.compile()
		p.Add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, t.arch)
		p.Add(unix.BPF_JMP|unix.BPF_JA, 0, 0, uint32(len(body)))
		p = append(p, body...)
	}
	p.Answer(noPerm)
	return p
}

func (t table) compile() seccomp.Program {
	var p seccomp.Program
	p.Load(seccomp.Number)
	p.Each(t.denied, noPerm)

	var clone seccomp.Program
	clone.Add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 0, 1, newNamespaces)
	clone.Answer(noPerm)
	p.Call(t.clone, seccomp.Arg0, clone)

	var ioctl seccomp.Program // both insert input into terminals; the kernel uses only 32 bits too
	ioctl.Each([]uint32{unix.TIOCSTI, tiocLinux}, noPerm)
	p.Call(t.ioctl, seccomp.Arg1, ioctl)

	var personality seccomp.Program
	personality.Each([]uint32{0, askPersonality}, allow)
	personality.Answer(noPerm)
	p.Call(t.personality, seccomp.Arg0, personality)

	var netlink seccomp.Program
	netlink.Load(seccomp.Arg2)
	netlink.Each(protocols, allow)
	netlink.Answer(noProtocol)
	var socket seccomp.Program
	socket.Each(families, allow)
	socket.Add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, uint8(len(netlink)), unix.AF_NETLINK)
	socket = append(socket, netlink...)
	socket.Answer(noFamily)
	p.Call(t.socket, seccomp.Arg0, socket)

	if t.socketcall != 0 {
		// The family is in memory, which a filter cannot read.
		var socketcall seccomp.Program
		socketcall.Each([]uint32{1}, noPerm)
		p.Call(t.socketcall, seccomp.Arg0, socketcall)
	}
	for i := 0; i < len(t.allowed); { // each span of numbers
		first := t.allowed[i]
		for i++; i < len(t.allowed) && t.allowed[i] == t.allowed[i-1]+1; i++ {
		}
		p.Add(unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K, 3, 0, t.allowed[i-1])
		p.Add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, 0, 1, first)
		p.Answer(allow)
		p.Answer(noCall)
	}
	p.Answer(noCall)
	return p
}

const (
	tiocLinux      = 0x541c
	askPersonality = 0xffffffff
)
