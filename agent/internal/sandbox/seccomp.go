//go:build linux

package sandbox

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// denied lists the system calls that a sample does not need: those that change the
// machine, reach out of the sandbox, or are known for kernel vulnerabilities. All others,
// such as ptrace, are allowed, because the agent wants to see the sample use them.
//
//nolint:gochecknoglobals // a table of constants
var denied = append([]uint32{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN,
	unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_TREE_ATTR, unix.SYS_CHROOT,
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
	unix.SYS_MBIND, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
}, deniedHere...)

// missing lists the system calls that fail with ENOSYS, as in a kernel without them.
// Programs then use others. A filter cannot read the flags of clone3, and a sensor sees
// little of what io_uring and native AIO do.
//
//nolint:gochecknoglobals // a table of constants
var missing = []uint32{
	unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_IO_SETUP, unix.SYS_IO_DESTROY, unix.SYS_IO_SUBMIT, unix.SYS_IO_CANCEL, unix.SYS_IO_GETEVENTS, unix.SYS_IO_PGETEVENTS,
}

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

// table has the rules for one architecture, as numbers of system calls.
type table struct {
	arch                              uint32
	denied, missing                   []uint32
	clone, ioctl, personality, socket uint32
	socketcall                        uint32 // 0: this architecture has none
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
