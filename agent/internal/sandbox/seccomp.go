//go:build linux

package sandbox

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// denied are the system calls that a sample has no business with: those that
// change the machine, reach out of the sandbox, or are known for holes of the
// kernel. The rest, ptrace among it, is what it came to do.
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

// missing are answered as if the kernel did not have them, and programs then do
// without: clone3, whose flags no filter can see, and io_uring and native AIO, of
// whose work a sensor sees little.
//
//nolint:gochecknoglobals // a table of constants
var missing = []uint32{
	unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_IO_SETUP, unix.SYS_IO_DESTROY, unix.SYS_IO_SUBMIT, unix.SYS_IO_CANCEL, unix.SYS_IO_GETEVENTS, unix.SYS_IO_PGETEVENTS,
}

// newest is the last system call whose meaning is known here; what is newer is
// answered as if it were missing. The numbers are the same on all architectures.
const newest = unix.SYS_RSEQ_SLICE_YIELD

// families are the sockets that there are. Of the others some reach further than
// any network namespace (AF_VSOCK: the hypervisor), and most are old.
//
//nolint:gochecknoglobals // a table of constants
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// The offsets in struct seccomp_data, and what a filter returns; see seccomp(2).
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16 // its lower half; both architectures are little endian
	dataArg1   = 24

	allow    = uint32(unix.SECCOMP_RET_ALLOW)
	noPerm   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	noCall   = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	noFamily = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)

	newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
		unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
)

// table is the rules for one architecture: numbers of system calls.
type table struct {
	arch                              uint32
	denied, missing                   []uint32
	clone, ioctl, personality, socket uint32
	socketcall                        uint32 // where it is
}

type instructions []unix.SockFilter

func (p *instructions) add(code uint16, jt, jf uint8, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *instructions) load(offset uint32)  { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset) }
func (p *instructions) answer(value uint32) { p.add(unix.BPF_RET|unix.BPF_K, 0, 0, value) }

// each answers if what is loaded is one of the values.
func (p *instructions) each(values []uint32, value uint32) {
	for _, v := range values {
		p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, v)
		p.answer(value)
	}
}

// call is what follows for one system call, by what is at offset of its data.
func (p *instructions) call(number, offset uint32, rules instructions) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, uint8(len(rules)+2), number)
	p.load(offset)
	*p = append(*p, rules...)
	p.answer(allow)
}

// filter compiles the rules. An architecture that has none gets no system call.
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
	p.add(unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K, 0, 1, newest) // x32's numbers too
	p.answer(noCall)
	p.each(t.missing, noCall)
	p.each(t.denied, noPerm)

	var clone instructions
	clone.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 0, 1, newNamespaces)
	clone.answer(noPerm)
	p.call(t.clone, dataArg0, clone)

	var ioctl instructions // both put input into terminals; the kernel looks at 32 bits too
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
		// The family is in memory, where no filter can see it.
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

// bytes gives it as bwrap reads it.
func (p instructions) bytes() []byte {
	text := make([]byte, 0, 8*len(p))
	for _, in := range p {
		text = binary.NativeEndian.AppendUint16(text, in.Code)
		text = append(text, in.Jt, in.Jf)
		text = binary.NativeEndian.AppendUint32(text, in.K)
	}
	return text
}
