//go:build linux

package ptrace

import "golang.org/x/sys/unix"

// call describes a system call that is reported. Except for the first two and the lookups,
// each field is the index of an argument; -1 if the call has no such argument.
type call struct {
	name            string // of the system call
	operation       string // of the event; "" for exec
	dir, path       int    // the folder's descriptor and the path
	dir2, path2     int    // the same for the second path
	lookup, lookup2 lookup // how the call treats a link at the end of each path
	at              int    // flags such as AT_SYMLINK_NOFOLLOW
	fd              int    // a descriptor
	fd2             int    // the destination of a copy
	data            int    // a buffer; the next argument is its size
	address         int    // a socket address; the next argument is its size
	flags           int    // flags of open
	text            int    // a string that is not a path
}

// lookup says how a call treats a link that is the last component of a path.
type lookup uint8

const (
	follow   lookup = iota
	isLink          // does not follow the link, unless a slash follows it
	isName          // creates or removes a name in a folder
	isSource        // source of a mount: a path only for bind and move mounts
)

func plain(name, operation string) call {
	return call{name: name, operation: operation, dir: -1, path: -1, dir2: -1, path2: -1, at: -1, fd: -1, fd2: -1, data: -1, address: -1, flags: -1, text: -1}
}

// onName is a call that creates or removes a name.
func onName(name, operation string, dir, path int) call {
	c := onPath(name, operation, dir, path)
	c.lookup = isName
	return c
}

// onNames is a call that gives a file a new name; first applies to the old name.
func onNames(name, operation string, first lookup, dir, path, dir2, path2 int) call {
	c := onPaths(name, operation, dir, path, dir2, path2)
	c.lookup, c.lookup2 = first, isName
	return c
}

// onLink is a call that does not follow a link at the end of its path.
func onLink(name, operation string, dir, path int) call {
	c := onPath(name, operation, dir, path)
	c.lookup = isLink
	return c
}

func fromSource(c call) call {
	c.lookup2 = isSource
	return c
}

func withAt(c call, at int) call {
	c.at = at
	return c
}

// withText sets the argument that is a text: an attribute's name, or a link's target.
func withText(c call, text int) call {
	c.text = text
	return c
}

func onPath(name, operation string, dir, path int) call {
	c := plain(name, operation)
	c.dir, c.path = dir, path
	return c
}

func onPaths(name, operation string, dir, path, dir2, path2 int) call {
	c := onPath(name, operation, dir, path)
	c.dir2, c.path2 = dir2, path2
	return c
}

func onFD(name, operation string, data int) call {
	c := plain(name, operation)
	c.fd, c.data = 0, data
	return c
}

// onFDs is a copy from one descriptor to another.
func onFDs(name string, from, to int) call {
	c := plain(name, "CopyFile")
	c.fd, c.fd2 = from, to
	return c
}

// mapping is mmap; report skips mappings that are not executable or have no file.
func mapping() call {
	c := plain("mmap", "MapFile")
	c.fd = 4
	return c
}

func onSocket(name, operation string, data, address int) call {
	c := onFD(name, operation, data)
	c.address = address
	return c
}

func withFlags(c call, flags int) call {
	c.flags = flags
	return c
}

// calls are the reported system calls, by native number.
//
//nolint:gochecknoglobals // a table of constants
var calls = merge(map[uint64]call{
	unix.SYS_OPENAT:          withFlags(onPath("openat", "OpenFile", 0, 1), 2),
	unix.SYS_OPENAT2:         onPath("openat2", "OpenFile", 0, 1),
	unix.SYS_READ:            onFD("read", "ReadFile", 1),
	unix.SYS_PREAD64:         onFD("pread64", "ReadFile", 1),
	unix.SYS_READV:           onFD("readv", "ReadFile", -1),
	unix.SYS_WRITE:           onFD("write", "WriteFile", 1),
	unix.SYS_PWRITE64:        onFD("pwrite64", "WriteFile", 1),
	unix.SYS_WRITEV:          onFD("writev", "WriteFile", -1),
	unix.SYS_PREADV:          onFD("preadv", "ReadFile", -1),
	unix.SYS_PREADV2:         onFD("preadv2", "ReadFile", -1),
	unix.SYS_PWRITEV:         onFD("pwritev", "WriteFile", -1),
	unix.SYS_PWRITEV2:        onFD("pwritev2", "WriteFile", -1),
	unix.SYS_SENDFILE:        onFDs("sendfile", 1, 0),
	unix.SYS_SPLICE:          onFDs("splice", 0, 2),
	unix.SYS_COPY_FILE_RANGE: onFDs("copy_file_range", 0, 2),
	unix.SYS_FTRUNCATE:       onFD("ftruncate", "TruncateFile", -1),
	unix.SYS_TRUNCATE:        onPath("truncate", "TruncateFile", -1, 0),
	unix.SYS_FCHMOD:          onFD("fchmod", "ChangeMode", -1),
	unix.SYS_FCHMODAT:        onPath("fchmodat", "ChangeMode", 0, 1),
	unix.SYS_FCHMODAT2:       withAt(onPath("fchmodat2", "ChangeMode", 0, 1), 3),
	unix.SYS_FCHOWN:          onFD("fchown", "ChangeOwner", -1),
	unix.SYS_UTIMENSAT:       withAt(onPath("utimensat", "SetFileTime", 0, 1), 3),
	unix.SYS_SETXATTR:        withText(onPath("setxattr", "SetAttribute", -1, 0), 1),
	unix.SYS_LSETXATTR:       withText(onLink("lsetxattr", "SetAttribute", -1, 0), 1),
	unix.SYS_FSETXATTR:       withText(onFD("fsetxattr", "SetAttribute", -1), 1),
	unix.SYS_SETXATTRAT:      withText(withAt(onPath("setxattrat", "SetAttribute", 0, 1), 2), 3),
	unix.SYS_REMOVEXATTR:     withText(onPath("removexattr", "UnsetAttribute", -1, 0), 1),
	unix.SYS_LREMOVEXATTR:    withText(onLink("lremovexattr", "UnsetAttribute", -1, 0), 1),
	unix.SYS_FREMOVEXATTR:    withText(onFD("fremovexattr", "UnsetAttribute", -1), 1),
	unix.SYS_REMOVEXATTRAT:   withText(withAt(onPath("removexattrat", "UnsetAttribute", 0, 1), 2), 3),
	unix.SYS_FCHDIR:          onFD("fchdir", "ChangeDirectory", -1),
	unix.SYS_CHROOT:          onPath("chroot", "ChangeRoot", -1, 0),
	unix.SYS_PIVOT_ROOT:      onPaths("pivot_root", "ChangeRoot", -1, 0, -1, 1),
	unix.SYS_MOUNT:           fromSource(onPaths("mount", "MountFile", -1, 1, -1, 0)),
	unix.SYS_UMOUNT2:         withAt(onPath("umount2", "UnmountFile", -1, 0), 1),
	unix.SYS_MMAP:            mapping(),
	unix.SYS_IO_URING_SETUP:  plain("io_uring_setup", "SetupIoUring"),
	unix.SYS_IO_URING_ENTER:  onFD("io_uring_enter", "EnterIoUring", -1),
	unix.SYS_IO_SETUP:        plain("io_setup", "SetupAio"),
	unix.SYS_IO_SUBMIT:       plain("io_submit", "SubmitAio"),
	unix.SYS_FALLOCATE:       onFD("fallocate", "TruncateFile", -1),
	unix.SYS_OPEN_TREE:       onPath("open_tree", "OpenFile", 0, 1),
	unix.SYS_FSPICK:          onPath("fspick", "OpenFile", 0, 1),
	unix.SYS_MOVE_MOUNT:      onPaths("move_mount", "MountFile", 2, 3, 0, 1),
	unix.SYS_MOUNT_SETATTR:   onPath("mount_setattr", "MountFile", 0, 1),
	unix.SYS_FCHOWNAT:        withAt(onPath("fchownat", "ChangeOwner", 0, 1), 4),
	unix.SYS_UNLINKAT:        onName("unlinkat", "DeleteFile", 0, 1),
	unix.SYS_MKDIRAT:         onName("mkdirat", "CreateDirectory", 0, 1),
	unix.SYS_MKNODAT:         onName("mknodat", "CreateNode", 0, 1),
	unix.SYS_RENAMEAT2:       onNames("renameat2", "RenameFile", isName, 0, 1, 2, 3),
	unix.SYS_LINKAT:          withAt(onNames("linkat", "LinkFile", isLink, 0, 1, 2, 3), 4),
	unix.SYS_SYMLINKAT:       withText(onName("symlinkat", "SymlinkFile", 1, 2), 0),
	unix.SYS_CHDIR:           onPath("chdir", "ChangeDirectory", -1, 0),
	unix.SYS_EXECVE:          onPath("execve", "", -1, 0),
	unix.SYS_EXECVEAT:        withAt(onPath("execveat", "", 0, 1), 4),
	unix.SYS_CONNECT:         onSocket("connect", "Connect", -1, 1),
	unix.SYS_BIND:            onSocket("bind", "Bind", -1, 1),
	unix.SYS_LISTEN:          onFD("listen", "Listen", -1),
	unix.SYS_ACCEPT:          onFD("accept", "Accept", -1),
	unix.SYS_ACCEPT4:         onFD("accept4", "Accept", -1),
	unix.SYS_SENDTO:          onSocket("sendto", "Send", 1, 4),
	unix.SYS_RECVFROM:        onFD("recvfrom", "Receive", 1),
	unix.SYS_SENDMSG:         onFD("sendmsg", "Send", -1),
	unix.SYS_RECVMSG:         onFD("recvmsg", "Receive", -1),
	unix.SYS_SENDMMSG:        onFD("sendmmsg", "Send", -1),
	unix.SYS_RECVMMSG:        onFD("recvmmsg", "Receive", -1),

	unix.SYS_MEMFD_CREATE:      plain("memfd_create", "CreateMemoryFile"),
	unix.SYS_PTRACE:            plain("ptrace", "PtraceProcess"),
	unix.SYS_PROCESS_VM_READV:  plain("process_vm_readv", "ReadProcessMemory"),
	unix.SYS_PROCESS_VM_WRITEV: plain("process_vm_writev", "WriteProcessMemory"),
	unix.SYS_SETUID:            plain("setuid", "SetUserId"),
	unix.SYS_SETREUID:          plain("setreuid", "SetUserId"),
	unix.SYS_SETRESUID:         plain("setresuid", "SetUserId"),
	unix.SYS_SETFSUID:          plain("setfsuid", "SetUserId"),
	unix.SYS_SETGID:            plain("setgid", "SetGroupId"),
	unix.SYS_SETREGID:          plain("setregid", "SetGroupId"),
	unix.SYS_SETRESGID:         plain("setresgid", "SetGroupId"),
	unix.SYS_SETFSGID:          plain("setfsgid", "SetGroupId"),
	unix.SYS_SETGROUPS:         plain("setgroups", "SetGroupId"),
	unix.SYS_CAPSET:            plain("capset", "SetCapabilities"),
	unix.SYS_INIT_MODULE:       plain("init_module", "LoadModule"),
	unix.SYS_FINIT_MODULE:      plain("finit_module", "LoadModule"),
	unix.SYS_DELETE_MODULE:     plain("delete_module", "UnloadModule"),
	unix.SYS_UNSHARE:           plain("unshare", "UnshareNamespace"),
	unix.SYS_SETNS:             plain("setns", "EnterNamespace"),
	unix.SYS_BPF:               plain("bpf", "LoadBpf"),
	unix.SYS_FSOPEN:            plain("fsopen", "OpenFileSystem"),
	unix.SYS_FSMOUNT:           plain("fsmount", "MountFileSystem"),
	unix.SYS_PIDFD_GETFD:       plain("pidfd_getfd", "TakeHandle"),
	unix.SYS_PIDFD_SEND_SIGNAL: plain("pidfd_send_signal", "SendSignal"),
	unix.SYS_KILL:              plain("kill", "SendSignal"),
	unix.SYS_USERFAULTFD:       plain("userfaultfd", "CreateUserFault"),
	unix.SYS_PERF_EVENT_OPEN:   plain("perf_event_open", "OpenPerfEvent"),
	unix.SYS_FANOTIFY_INIT:     plain("fanotify_init", "CreateFileWatch"),
	unix.SYS_MEMFD_SECRET:      plain("memfd_secret", "CreateMemoryFile"),
}, callsHere)

func merge(a, b map[uint64]call) map[uint64]call {
	for n, c := range b {
		a[n] = c
	}
	return a
}
