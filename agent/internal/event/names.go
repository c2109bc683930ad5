package event

import (
	"strconv"
	"strings"
)

// errnos are the names of Linux error numbers (asm-generic). They are the same on all
// architectures that the agent supports.
var errnos = [...]string{
	1: "EPERM", 2: "ENOENT", 3: "ESRCH", 4: "EINTR", 5: "EIO", 6: "ENXIO", 7: "E2BIG", 8: "ENOEXEC", 9: "EBADF",
	10: "ECHILD", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES", 14: "EFAULT", 15: "ENOTBLK", 16: "EBUSY", 17: "EEXIST",
	18: "EXDEV", 19: "ENODEV", 20: "ENOTDIR", 21: "EISDIR", 22: "EINVAL", 23: "ENFILE", 24: "EMFILE", 25: "ENOTTY",
	26: "ETXTBSY", 27: "EFBIG", 28: "ENOSPC", 29: "ESPIPE", 30: "EROFS", 31: "EMLINK", 32: "EPIPE", 33: "EDOM",
	34: "ERANGE", 35: "EDEADLK", 36: "ENAMETOOLONG", 37: "ENOLCK", 38: "ENOSYS", 39: "ENOTEMPTY", 40: "ELOOP",
	61: "ENODATA", 62: "ETIME", 67: "ENOLINK", 71: "EPROTO", 74: "EBADMSG", 75: "EOVERFLOW", 84: "EILSEQ",
	87: "EUSERS", 88: "ENOTSOCK", 89: "EDESTADDRREQ", 90: "EMSGSIZE", 91: "EPROTOTYPE", 92: "ENOPROTOOPT",
	93: "EPROTONOSUPPORT", 94: "ESOCKTNOSUPPORT", 95: "EOPNOTSUPP", 96: "EPFNOSUPPORT", 97: "EAFNOSUPPORT",
	98: "EADDRINUSE", 99: "EADDRNOTAVAIL", 100: "ENETDOWN", 101: "ENETUNREACH", 102: "ENETRESET",
	103: "ECONNABORTED", 104: "ECONNRESET", 105: "ENOBUFS", 106: "EISCONN", 107: "ENOTCONN", 108: "ESHUTDOWN",
	110: "ETIMEDOUT", 111: "ECONNREFUSED", 112: "EHOSTDOWN", 113: "EHOSTUNREACH", 114: "EALREADY",
	115: "EINPROGRESS", 116: "ESTALE", 122: "EDQUOT", 125: "ECANCELED", 126: "ENOKEY", 129: "EKEYREJECTED",
	133:  "EHWPOISON",
	512:  "ERESTARTSYS", // a signal interrupted the call; this code and the next three are internal to the kernel
	513:  "ERESTARTNOINTR",
	514:  "ERESTARTNOHAND",
	516:  "ERESTART_RESTARTBLOCK",
	524:  "ENOTSUPP",
	4095: "",
}

// Errno returns the name of the error that a call returned: Errno(-2) is ENOENT.
func Errno(ret int64) string {
	n := -ret
	if n > 0 && n < int64(len(errnos)) && errnos[n] != "" {
		return errnos[n]
	}
	return "errno " + strconv.FormatInt(n, 10)
}

var signals = [...]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
	16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU",
	23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO",
	30: "SIGPWR", 31: "SIGSYS",
}

// SignalName returns the name of a signal, such as SIGKILL.
func SignalName(n int) string {
	if n > 0 && n < len(signals) {
		return signals[n]
	}
	return "SIGRT" + strconv.Itoa(n)
}

// bit is a flag and its name.
type bit struct {
	mask uint64
	name string
}

// flagNames joins first and the names of the set flags with "|". Flags without a name follow
// as one hexadecimal number.
func flagNames(first string, flags uint64, bits []bit) string {
	var out strings.Builder
	out.WriteString(first)
	add := func(name string) {
		if out.Len() > 0 {
			out.WriteByte('|')
		}
		out.WriteString(name)
	}
	for _, b := range bits {
		if flags&b.mask == b.mask {
			add(b.name)
			flags &^= b.mask
		}
	}
	if flags != 0 {
		add("0x" + strconv.FormatUint(flags, 16))
	}
	return out.String()
}

// CloneFlags returns the names of clone's flags, without the signal in their lowest byte.
func CloneFlags(flags uint64) string {
	return flagNames("", flags&^0xff, []bit{
		{0x100, "CLONE_VM"}, {0x200, "CLONE_FS"}, {0x400, "CLONE_FILES"}, {0x800, "CLONE_SIGHAND"},
		{0x1000, "CLONE_PIDFD"}, {0x2000, "CLONE_PTRACE"}, {0x4000, "CLONE_VFORK"}, {0x8000, "CLONE_PARENT"},
		{0x10000, "CLONE_THREAD"}, {0x20000, "CLONE_NEWNS"}, {0x40000, "CLONE_SYSVSEM"}, {0x80000, "CLONE_SETTLS"},
		{0x100000, "CLONE_PARENT_SETTID"}, {0x200000, "CLONE_CHILD_CLEARTID"}, {0x800000, "CLONE_UNTRACED"},
		{0x1000000, "CLONE_CHILD_SETTID"}, {0x2000000, "CLONE_NEWCGROUP"}, {0x4000000, "CLONE_NEWUTS"},
		{0x8000000, "CLONE_NEWIPC"}, {0x10000000, "CLONE_NEWUSER"}, {0x20000000, "CLONE_NEWPID"},
		{0x40000000, "CLONE_NEWNET"}, {0x80000000, "CLONE_IO"},
	})
}

// openFlagsOf holds the flags of open whose bits differ between architectures. openFlags has
// the values for the architecture of this build.
type openFlagsOf struct{ directory, noFollow, direct, largeFile uint64 }

// OpenFlags returns the names of open's flags.
func OpenFlags(flags uint64) string {
	mode := [...]string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[flags&3]
	return flagNames(mode, flags&^3, []bit{
		{0o20000000 | openFlags.directory, "O_TMPFILE"}, {0o100, "O_CREAT"}, {0o200, "O_EXCL"}, {0o400, "O_NOCTTY"},
		{0o1000, "O_TRUNC"}, {0o2000, "O_APPEND"}, {0o4000, "O_NONBLOCK"}, {0o4010000, "O_SYNC"}, {0o10000, "O_DSYNC"},
		{openFlags.direct, "O_DIRECT"}, {openFlags.largeFile, "O_LARGEFILE"}, {openFlags.directory, "O_DIRECTORY"},
		{openFlags.noFollow, "O_NOFOLLOW"}, {0o1000000, "O_NOATIME"}, {0o2000000, "O_CLOEXEC"}, {0o10000000, "O_PATH"},
	})
}

// UringOperation returns the kernel's name of an io_uring operation.
func UringOperation(n uint64) string {
	names := [...]string{
		"NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE", "SYNC_FILE_RANGE", "SENDMSG",
		"RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL", "LINK_TIMEOUT", "CONNECT", "FALLOCATE", "OPENAT", "CLOSE",
		"FILES_UPDATE", "STATX", "READ", "WRITE", "FADVISE", "MADVISE", "SEND", "RECV", "OPENAT2", "EPOLL_CTL", "SPLICE",
		"PROVIDE_BUFFERS", "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT", "UNLINKAT", "MKDIRAT", "SYMLINKAT", "LINKAT", "MSG_RING",
		"FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR", "SOCKET", "URING_CMD", "SEND_ZC", "SENDMSG_ZC", "READ_MULTISHOT", "WAITID",
		"FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_WAITV", "FIXED_FD_INSTALL", "FTRUNCATE", "BIND", "LISTEN", "RECV_ZC", "EPOLL_WAIT",
		"READV_FIXED", "WRITEV_FIXED", "PIPE",
	}
	if n < uint64(len(names)) {
		return names[n]
	}
	return "operation " + strconv.FormatUint(n, 10)
}

// AioOperation returns the kernel's name of an operation of native AIO.
func AioOperation(n uint64) string {
	names := [...]string{"PREAD", "PWRITE", "FSYNC", "FDSYNC", "PREADX", "POLL", "NOOP", "PREADV", "PWRITEV"}
	if n < uint64(len(names)) {
		return names[n]
	}
	return "operation " + strconv.FormatUint(n, 10)
}
