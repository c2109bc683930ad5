//go:build linux

package ptrace

import "golang.org/x/sys/unix"

// nativeArch is the arch that PTRACE_GET_SYSCALL_INFO reports for calls with native numbers.
const nativeArch = unix.AUDIT_ARCH_X86_64

// callsHere are the calls that only older architectures have.
//
//nolint:gochecknoglobals // a table of constants
var callsHere = map[uint64]call{
	unix.SYS_OPEN:      withFlags(onPath("open", "OpenFile", -1, 0), 1),
	unix.SYS_CREAT:     onPath("creat", "OpenFile", -1, 0),
	unix.SYS_UNLINK:    onName("unlink", "DeleteFile", -1, 0),
	unix.SYS_RMDIR:     onName("rmdir", "DeleteDirectory", -1, 0),
	unix.SYS_MKDIR:     onName("mkdir", "CreateDirectory", -1, 0),
	unix.SYS_MKNOD:     onName("mknod", "CreateNode", -1, 0),
	unix.SYS_RENAME:    onNames("rename", "RenameFile", isName, -1, 0, -1, 1),
	unix.SYS_RENAMEAT:  onNames("renameat", "RenameFile", isName, 0, 1, 2, 3),
	unix.SYS_LINK:      onNames("link", "LinkFile", isLink, -1, 0, -1, 1),
	unix.SYS_SYMLINK:   withText(onName("symlink", "SymlinkFile", -1, 1), 0),
	unix.SYS_CHMOD:     onPath("chmod", "ChangeMode", -1, 0),
	unix.SYS_CHOWN:     onPath("chown", "ChangeOwner", -1, 0),
	unix.SYS_UTIME:     onPath("utime", "SetFileTime", -1, 0),
	unix.SYS_UTIMES:    onPath("utimes", "SetFileTime", -1, 0),
	unix.SYS_FUTIMESAT: onPath("futimesat", "SetFileTime", 0, 1),
	unix.SYS_LCHOWN:    onLink("lchown", "ChangeOwner", -1, 0),
}

// compat maps numbers of 32-bit calls to the native numbers of calls with the same
// arguments. Other calls of 32-bit programs are not reported.
//
//nolint:gochecknoglobals // a table of constants
var compat = map[uint64]uint64{
	3: unix.SYS_READ, 4: unix.SYS_WRITE, 5: unix.SYS_OPEN, 8: unix.SYS_CREAT, 9: unix.SYS_LINK, 10: unix.SYS_UNLINK, 11: unix.SYS_EXECVE,
	15: unix.SYS_CHMOD, 38: unix.SYS_RENAME, 39: unix.SYS_MKDIR, 40: unix.SYS_RMDIR, 83: unix.SYS_SYMLINK, 295: unix.SYS_OPENAT,
	301: unix.SYS_UNLINKAT, 353: unix.SYS_RENAMEAT2, 361: unix.SYS_BIND, 362: unix.SYS_CONNECT, 369: unix.SYS_SENDTO, 371: unix.SYS_RECVFROM,
}
