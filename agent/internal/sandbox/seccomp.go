//go:build linux

package sandbox

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// denied are the system calls that a sample has no business with: those that
// change the machine, reach out of the sandbox, are known for holes of the kernel,
// or act where no sensor sees it (io_uring). The rest is what it came to do.
//
//nolint:gochecknoglobals // a table of constants
var denied = append([]uint32{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN,
	unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_CHROOT,
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS_MBIND, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
}, deniedHere...)

// missing are answered as if the kernel did not have them, and programs then do
// without: clone3, whose flags no filter can see, and io_uring.
//
//nolint:gochecknoglobals // a table of constants
var missing = []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}

// The offsets in struct seccomp_data, and what a filter returns; see seccomp(2).
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16 // its lower half; both architectures are little endian

	returnAllow = unix.SECCOMP_RET_ALLOW
	returnPerm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	returnNoSys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

	newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
)

// table is the rules for one architecture.
type table struct {
	arch            uint32
	clone           uint32
	denied, missing []uint32
	numbersBelow    uint32 // more is another set of numbers, such as x32's
}

type program []unix.SockFilter

func (p *program) add(code uint16, jt, jf uint8, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *program) load(offset uint32)  { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset) }
func (p *program) answer(value uint32) { p.add(unix.BPF_RET|unix.BPF_K, 0, 0, value) }

// filter compiles the rules. An architecture that has none gets no system call.
func filter(tables []table) program {
	var p program
	p.load(dataArch)
	for _, t := range tables {
		var body program
		body.load(dataNumber)
		body.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, 0, 1, t.numbersBelow)
		body.answer(returnNoSys)
		for _, n := range t.missing {
			body.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, n)
			body.answer(returnNoSys)
		}
		for _, n := range t.denied {
			body.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, n)
			body.answer(returnPerm)
		}
		body.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 3, t.clone)
		body.load(dataArg0)
		body.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 0, 1, newNamespaces)
		body.answer(returnPerm)
		body.answer(returnAllow)
		p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, t.arch)
		p.add(unix.BPF_JMP|unix.BPF_JA, 0, 0, uint32(len(body)))
		p = append(p, body...)
	}
	p.answer(returnNoSys)
	return p
}

// filterFile gives the filter as bwrap reads it.
func filterFile() (*os.File, error) {
	var text []byte
	for _, in := range filter(tables) {
		text = binary.NativeEndian.AppendUint16(text, in.Code)
		text = append(text, in.Jt, in.Jf)
		text = binary.NativeEndian.AppendUint32(text, in.K)
	}
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "seccomp")
	if _, err := file.Write(text); err != nil {
		_ = file.Close()
		return nil, err
	}
	if _, err := file.Seek(0, 0); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
