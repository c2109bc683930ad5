// Package syscalls is the one table of system calls: their numbers, what their arguments are,
// which event reports them, and what the sandbox does with them. Both sensors, the decoder,
// the sandbox's filter and docs/syscalls.md come from it.
package syscalls

import (
	"runtime"
	"slices"
)

// Kind selects what event a call becomes.
type Kind uint8

// The kinds of calls.
const (
	File      Kind = iota + 1
	Transfer       // moves data of a file or a socket, such as read and write
	Symlink        // the second path is the text of the link
	Attribute      // the second path is an attribute's name
	Exec           // an exec; an event of its own reports one that succeeds
	Fork           // a fork; likewise
	Process
	Network
	NetTransfer
)

// Flags that tell the kernel side how to handle a call; bpf/event.h explains them.
const (
	AtEnter = 1 << iota
	Noted
	Failures
	ReturnsFD
	Iovec
	Msghdr
	AddrPointer
	Argv
	NewConnection
	Urgent
	Messages
	Socketcall
	Clone3
	Aio
	Writes
	Struct
	Mount
	Config
	Value
)

// SocketcallBase is where the calls of socketcall begin in the table of 32-bit calls.
const SocketcallBase = 480

// Call is a system call that an event reports.
type Call struct {
	Name       string
	Native     int // the number on this machine's architecture; -1: it lacks the call
	I386       int // the number for 32-bit programs of amd64; likewise
	X32        int // the number that only x32 has, without X32Bit; likewise
	Socketcall int // the number in socketcall of i386; 0: none
	Kind       Kind
	Operation  string // the event's
	Plain      int    // how many of the first arguments are numbers that an event has, for Process
	Flags      uint32
	When       When
	Args       Args
	At         int8  // the argument with flags such as AT_SYMLINK_NOFOLLOW; -1: none
	Lookup     uint8 // of path1, of path2 << 2, and flags such as LookupChdir
}

// When says for which arguments an event reports a call; bpf/event.h explains the values.
type When uint8

// The conditions.
const (
	Always When = iota
	WhenMap
	WhenDuplicate
	WhenIoctl
	WhenProtect
	WhenPrctl
	WhenSocketOption
	WhenOther
	WhenLimit
	WhenAttribute
)

// Args has the index of each argument, -1 if there is none, in the order of struct syscall.
type Args [10]int8

// Argument is an index into Args.
type Argument int

// The kinds of arguments.
const (
	ArgFd Argument = iota
	ArgFd2
	ArgDir1
	ArgPath1
	ArgDir2
	ArgPath2
	ArgData
	ArgLen
	ArgAddr
	ArgAddrLen
	ArgAt // not in Args: call.at
)

type argumentAt struct {
	argument Argument
	index    int8
	lookup   uint8
}

// How to treat a link at the end of a path, and flags for the paths of a few calls.
// bpf/event.h explains them.
const (
	LookupFollow = iota
	LookupLink
	LookupName
	LookupText
	LookupChdir = 16
	LookupRoot  = 32
	LookupHow   = 64
	LookupMount = 128
)

// is sets the argument's index. A path is followed through a link at its end.
func (a Argument) is(index int8) argumentAt { return argumentAt{argument: a, index: index} }

// link is like is, for a path whose last component is not followed if it is a link.
func (a Argument) link(index int8) argumentAt { return argumentAt{a, index, LookupLink} }

// name is like is, for a path whose last component the call makes or removes.
func (a Argument) name(index int8) argumentAt { return argumentAt{a, index, LookupName} }

// text is like is, for a string that is not a path.
func (a Argument) text(index int8) argumentAt { return argumentAt{a, index, LookupText} }

func (a argumentAt) with(special uint8) argumentAt {
	a.lookup |= special
	return a
}

// socketcalls are the numbers in socketcall of i386.
var socketcalls = map[string]int{ //nolint:gochecknoglobals // a constant
	"socket": 1, "bind": 2, "connect": 3, "listen": 4, "accept": 5, "socketpair": 8, "send": 9, "recv": 10, "sendto": 11, "recvfrom": 12,
	"shutdown": 13, "setsockopt": 14, "sendmsg": 16, "recvmsg": 17, "accept4": 18, "recvmmsg": 19, "sendmmsg": 20,
}

// X32Bit marks the numbers of x32, programs with 32-bit pointers on amd64. Most of its calls
// have the numbers of amd64. Those with structures that hold pointers have numbers of their
// own, from FirstX32 on.
const (
	X32Bit   = 0x40000000
	FirstX32 = 512
)

// x32 are the numbers that only x32 has, without X32Bit.
var x32 = map[string]int{ //nolint:gochecknoglobals // a constant
	"ioctl": 514, "readv": 515, "writev": 516, "recvfrom": 517, "sendmsg": 518, "recvmsg": 519, "execve": 520, "ptrace": 521,
	"rt_sigqueueinfo": 524, "kexec_load": 528, "vmsplice": 532, "move_pages": 533, "preadv": 534, "pwritev": 535, "rt_tgsigqueueinfo": 536,
	"recvmmsg": 537, "sendmmsg": 538, "process_vm_readv": 539, "process_vm_writev": 540, "setsockopt": 541,
	"io_setup": 543, "io_submit": 544, "execveat": 545, "preadv2": 546, "pwritev2": 547,
}

func add(name string, k Kind, op string, flags uint32, args ...argumentAt) Call {
	e, ok := Table[name]
	if !ok { // only in socketcall, or no system call at all
		e = Entry{AMD64: -1, ARM64: -1, I386: -1}
	}
	c := Call{
		Name: name, Native: e.Native(), I386: -1, X32: -1, Kind: k, Operation: op, Flags: flags, Args: Args{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1}, At: -1,
	}
	if runtime.GOARCH == "amd64" {
		c.I386, c.Socketcall = e.I386, socketcalls[name]
		if n, ok := x32[name]; ok {
			c.X32 = n
		}
	}
	for _, a := range args {
		switch a.argument {
		case ArgAt:
			c.At = a.index
			continue
		case ArgPath2:
			c.Lookup |= a.lookup&3<<2 | a.lookup&^3
		default:
			c.Lookup |= a.lookup
		}
		c.Args[a.argument] = a.index
	}
	if c.writes() {
		c.Flags |= Writes
	}
	return c
}

// plain returns the call with the number of its first arguments that are plain numbers.
func (c Call) plain(n int) Call {
	c.Plain = n
	return c
}

// reads returns the call with a struct to which an argument points. size is how many bytes an
// event needs of it, compat the same for a 32-bit program.
func (c Call) reads(argument, size, compat int8) Call {
	c.Flags |= Struct
	c.Args[ArgData], c.Args[ArgLen], c.Args[ArgAddrLen] = argument, size, compat
	return c
}

// StructSize returns how many bytes an event needs of the struct that a call with Struct
// reads; isCompat says that a 32-bit program made the call.
func (c *Call) StructSize(isCompat bool) int {
	if isCompat {
		return int(c.Args[ArgAddrLen])
	}
	return int(c.Args[ArgLen])
}

// only returns the call for programs of this machine's architecture, or for 32-bit ones.
func (c Call) only(native bool) Call {
	if native {
		c.I386 = -1
	} else {
		c.Native, c.X32 = -1, -1
	}
	return c
}

// when returns the call with a condition.
func (c Call) when(condition When) Call {
	c.When = condition
	return c
}

// writes reports whether a transfer writes its data.
func (c *Call) writes() bool {
	return c.Operation == "Send" || c.Operation == "WriteFile" || c.Name == AioName
}

// UringName and AioName are the names in calls of operations of io_uring and of native AIO,
// which are not system calls.
const (
	UringName = "io_uring"
	AioName   = "aio"
)

// byName are the calls by name. Of two calls with a name, one is that of 32-bit programs.
var byName = func() map[string]*Call { //nolint:gochecknoglobals // a constant
	all := map[string]*Call{}
	for i := range Calls {
		all[Calls[i].Name] = &Calls[i]
	}
	return all
}()

// ByName returns a call; nil if no event reports it.
func ByName(name string) *Call { return byName[name] }

// IndexOf returns the index in Calls of the call with the name.
func IndexOf(name string) uint32 {
	return uint32(slices.IndexFunc(Calls[:], func(c Call) bool { return c.Name == name }))
}

// Calls are the system calls that events report. A record of the kernel side has the index
// of its call, which is never 0. Recordings of the tests have indexes too: add new calls at
// the end.
var Calls = [...]Call{ //nolint:gochecknoglobals // a constant
	{Native: -1, I386: -1, X32: -1}, // no call
	add("open", File, "OpenFile", ReturnsFD, ArgPath1.is(0)),
	add("openat", File, "OpenFile", ReturnsFD, ArgDir1.is(0), ArgPath1.is(1)),
	add("openat2", File, "OpenFile", ReturnsFD, ArgDir1.is(0), ArgPath1.is(1).with(LookupHow)).reads(2, 24, 24),
	add("creat", File, "OpenFile", ReturnsFD, ArgPath1.is(0)),
	add("open_by_handle_at", File, "OpenFile", ReturnsFD),
	add("read", Transfer, "ReadFile", 0, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("pread64", Transfer, "ReadFile", 0, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("readv", Transfer, "ReadFile", Iovec, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("preadv", Transfer, "ReadFile", Iovec, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("preadv2", Transfer, "ReadFile", Iovec, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("write", Transfer, "WriteFile", 0, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("pwrite64", Transfer, "WriteFile", 0, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("writev", Transfer, "WriteFile", Iovec, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("pwritev", Transfer, "WriteFile", Iovec, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("pwritev2", Transfer, "WriteFile", Iovec, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("vmsplice", Transfer, "WriteFile", Iovec, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("sendfile", Transfer, "CopyFile", 0, ArgFd.is(1), ArgFd2.is(0)),
	add("sendfile64", Transfer, "CopyFile", 0, ArgFd.is(1), ArgFd2.is(0)),
	add("copy_file_range", Transfer, "CopyFile", 0, ArgFd.is(0), ArgFd2.is(2)),
	add("splice", Transfer, "CopyFile", 0, ArgFd.is(0), ArgFd2.is(2)),
	add("tee", Transfer, "CopyFile", 0, ArgFd.is(0), ArgFd2.is(1)),
	add("close", File, "CloseFile", AtEnter, ArgFd.is(0)),
	add("close_range", File, "CloseFile", 0),
	add("rename", File, "RenameFile", 0, ArgPath1.name(0), ArgPath2.name(1)),
	add("renameat", File, "RenameFile", 0, ArgDir1.is(0), ArgPath1.name(1), ArgDir2.is(2), ArgPath2.name(3)),
	add("renameat2", File, "RenameFile", 0, ArgDir1.is(0), ArgPath1.name(1), ArgDir2.is(2), ArgPath2.name(3)),
	add("link", File, "LinkFile", 0, ArgPath1.link(0), ArgPath2.name(1)),
	add("linkat", File, "LinkFile", 0, ArgDir1.is(0), ArgPath1.link(1), ArgDir2.is(2), ArgPath2.name(3), ArgAt.is(4)),
	add("symlink", Symlink, "SymlinkFile", 0, ArgPath1.name(1), ArgPath2.text(0)),
	add("symlinkat", Symlink, "SymlinkFile", 0, ArgDir1.is(1), ArgPath1.name(2), ArgPath2.text(0)),
	add("unlink", File, "DeleteFile", 0, ArgPath1.name(0)),
	add("unlinkat", File, "DeleteFile", 0, ArgDir1.is(0), ArgPath1.name(1)),
	add("mkdir", File, "CreateDirectory", 0, ArgPath1.name(0)),
	add("mkdirat", File, "CreateDirectory", 0, ArgDir1.is(0), ArgPath1.name(1)),
	add("rmdir", File, "DeleteDirectory", 0, ArgPath1.name(0)),
	add("mknod", File, "CreateNode", 0, ArgPath1.name(0)),
	add("mknodat", File, "CreateNode", 0, ArgDir1.is(0), ArgPath1.name(1)),
	add("chmod", File, "ChangeMode", 0, ArgPath1.is(0)),
	add("fchmod", File, "ChangeMode", 0, ArgFd.is(0)),
	add("fchmodat", File, "ChangeMode", 0, ArgDir1.is(0), ArgPath1.is(1)),
	add("fchmodat2", File, "ChangeMode", 0, ArgDir1.is(0), ArgPath1.is(1), ArgAt.is(3)),
	add("chown", File, "ChangeOwner", 0, ArgPath1.is(0)),
	add("lchown", File, "ChangeOwner", 0, ArgPath1.link(0)),
	add("chown32", File, "ChangeOwner", 0, ArgPath1.is(0)),
	add("lchown32", File, "ChangeOwner", 0, ArgPath1.link(0)),
	add("fchown", File, "ChangeOwner", 0, ArgFd.is(0)),
	add("fchown32", File, "ChangeOwner", 0, ArgFd.is(0)),
	add("fchownat", File, "ChangeOwner", 0, ArgDir1.is(0), ArgPath1.is(1), ArgAt.is(4)),
	add("truncate", File, "TruncateFile", 0, ArgPath1.is(0)),
	add("truncate64", File, "TruncateFile", 0, ArgPath1.is(0)),
	add("ftruncate", File, "TruncateFile", 0, ArgFd.is(0)),
	add("ftruncate64", File, "TruncateFile", 0, ArgFd.is(0)),
	add("utimensat", File, "SetFileTime", 0, ArgDir1.is(0), ArgPath1.is(1), ArgAt.is(3)).reads(2, 32, 16),
	add("utimensat_time64", File, "SetFileTime", 0, ArgDir1.is(0), ArgPath1.is(1), ArgAt.is(3)).reads(2, 32, 32),
	add("utime", File, "SetFileTime", 0, ArgPath1.is(0)).reads(1, 16, 8),
	add("utimes", File, "SetFileTime", 0, ArgPath1.is(0)).reads(1, 32, 16),
	add("futimesat", File, "SetFileTime", 0, ArgDir1.is(0), ArgPath1.is(1)).reads(2, 32, 16),
	add("setxattr", Attribute, "SetAttribute", Value, ArgPath1.is(0), ArgPath2.text(1), ArgData.is(2), ArgLen.is(3)),
	add("lsetxattr", Attribute, "SetAttribute", Value, ArgPath1.link(0), ArgPath2.text(1), ArgData.is(2), ArgLen.is(3)),
	add("fsetxattr", Attribute, "SetAttribute", Value, ArgFd.is(0), ArgPath1.text(1), ArgData.is(2), ArgLen.is(3)),
	add("setxattrat", Attribute, "SetAttribute", Value, ArgDir1.is(0), ArgPath1.is(1), ArgPath2.text(3), ArgAt.is(2), ArgData.is(4), ArgLen.is(5)).when(WhenAttribute),
	add("removexattr", Attribute, "UnsetAttribute", 0, ArgPath1.is(0), ArgPath2.text(1)),
	add("lremovexattr", Attribute, "UnsetAttribute", 0, ArgPath1.link(0), ArgPath2.text(1)),
	add("fremovexattr", Attribute, "UnsetAttribute", 0, ArgFd.is(0), ArgPath1.text(1)),
	add("removexattrat", Attribute, "UnsetAttribute", 0, ArgDir1.is(0), ArgPath1.is(1), ArgPath2.text(3), ArgAt.is(2)),
	add("mmap", File, "MapFile", Urgent, ArgFd.is(4)).when(WhenMap),
	add("mmap2", File, "MapFile", Urgent, ArgFd.is(4)).when(WhenMap),
	add("dup", File, "DuplicateHandle", 0, ArgFd.is(0)),
	add("dup2", File, "DuplicateHandle", 0, ArgFd.is(0)),
	add("dup3", File, "DuplicateHandle", 0, ArgFd.is(0)),
	add("fcntl", File, "DuplicateHandle", 0, ArgFd.is(0)).when(WhenDuplicate),
	add("fcntl64", File, "DuplicateHandle", 0, ArgFd.is(0)).when(WhenDuplicate),
	add("chdir", File, "ChangeDirectory", 0, ArgPath1.is(0).with(LookupChdir)),
	add("fchdir", File, "ChangeDirectory", 0, ArgFd.is(0)),
	add("chroot", File, "ChangeRoot", Noted, ArgPath1.is(0).with(LookupRoot)),
	add("pivot_root", File, "ChangeRoot", Noted, ArgPath1.is(0).with(LookupRoot), ArgPath2.is(1)),
	add("mount", File, "MountFile", Mount, ArgPath1.is(1).with(LookupMount), ArgPath2.is(0)),
	add("umount", File, "UnmountFile", 0, ArgPath1.is(0)),
	add("umount2", File, "UnmountFile", 0, ArgPath1.is(0), ArgAt.is(1)),
	add("io_uring_setup", File, "SetupIoUring", ReturnsFD),
	add("io_uring_enter", File, "EnterIoUring", 0, ArgFd.is(0)),
	add("io_uring_register", File, "RegisterIoUring", 0, ArgFd.is(0)),
	add("io_setup", File, "SetupAio", 0),
	add("io_submit", File, "SubmitAio", Aio),
	add("fallocate", File, "TruncateFile", 0, ArgFd.is(0)),
	add("ioctl", File, "CopyFile", 0, ArgFd.is(2), ArgFd2.is(0)).when(WhenIoctl),
	add("open_tree", File, "OpenFile", ReturnsFD, ArgDir1.is(0), ArgPath1.is(1)),
	add("move_mount", File, "MountFile", 0, ArgDir1.is(2), ArgPath1.is(3), ArgDir2.is(0), ArgPath2.is(1)),
	add("fspick", File, "OpenFile", ReturnsFD, ArgDir1.is(0), ArgPath1.is(1)),
	add("mount_setattr", File, "MountFile", 0, ArgDir1.is(0), ArgPath1.is(1)),
	add("execve", Exec, "", Noted|Failures|Argv, ArgPath1.is(0)),
	add("execveat", Exec, "", Noted|Failures|Argv, ArgDir1.is(0), ArgPath1.is(1), ArgAt.is(4)),
	add("fork", Fork, "", Noted|Failures),
	add("vfork", Fork, "", Noted|Failures),
	add("clone", Fork, "", Noted|Failures),
	add("clone3", Fork, "", Noted|Failures|Clone3),
	add("ptrace", Process, "PtraceProcess", 0).plain(4),
	add("setuid", Process, "SetUserId", 0).plain(1),
	add("setreuid", Process, "SetUserId", 0).plain(2),
	add("setresuid", Process, "SetUserId", 0).plain(3),
	add("setfsuid", Process, "SetUserId", 0).plain(1),
	add("setuid32", Process, "SetUserId", 0).plain(1),
	add("setreuid32", Process, "SetUserId", 0).plain(2),
	add("setresuid32", Process, "SetUserId", 0).plain(3),
	add("setfsuid32", Process, "SetUserId", 0).plain(1),
	add("setgid", Process, "SetGroupId", 0).plain(1),
	add("setregid", Process, "SetGroupId", 0).plain(2),
	add("setresgid", Process, "SetGroupId", 0).plain(3),
	add("setfsgid", Process, "SetGroupId", 0).plain(1),
	add("setgroups", Process, "SetGroupId", 0).plain(1),
	add("setgid32", Process, "SetGroupId", 0).plain(1),
	add("setregid32", Process, "SetGroupId", 0).plain(2),
	add("setresgid32", Process, "SetGroupId", 0).plain(3),
	add("setfsgid32", Process, "SetGroupId", 0).plain(1),
	add("setgroups32", Process, "SetGroupId", 0).plain(1),
	add("capset", Process, "SetCapabilities", 0),
	add("init_module", Process, "LoadModule", 0),
	add("finit_module", Process, "LoadModule", 0, ArgFd.is(0)),
	add("delete_module", Process, "UnloadModule", 0, ArgPath1.text(0)),
	add("memfd_create", Process, "CreateMemoryFile", ReturnsFD, ArgPath1.text(0)),
	add("unshare", Process, "UnshareNamespace", 0).plain(1),
	add("setns", Process, "EnterNamespace", 0, ArgFd.is(0)).plain(2),
	add("process_vm_readv", Process, "ReadProcessMemory", 0).plain(1),
	add("process_vm_writev", Process, "WriteProcessMemory", 0).plain(1),
	add("fsopen", Process, "OpenFileSystem", ReturnsFD, ArgPath1.text(0)),
	add("fsmount", Process, "MountFileSystem", ReturnsFD, ArgFd.is(0)),
	add("pidfd_getfd", Process, "TakeHandle", ReturnsFD, ArgFd.is(0)).plain(2),
	add("pidfd_send_signal", Process, "SendSignal", 0, ArgFd.is(0)).plain(2),
	add("kill", Process, "SendSignal", 0).plain(2),
	add("userfaultfd", Process, "CreateUserFault", ReturnsFD).plain(1),
	add("perf_event_open", Process, "OpenPerfEvent", ReturnsFD),
	add("fanotify_init", Process, "CreateFileWatch", ReturnsFD).plain(1),
	add("memfd_secret", Process, "CreateMemoryFile", ReturnsFD).plain(1),
	add("bpf", Process, "LoadBpf", 0).plain(1),
	add("socketcall", Network, "", Socketcall),
	add("socket", Network, "Socket", ReturnsFD),
	add("socketpair", Network, "SocketPair", 0),
	add("connect", Network, "Connect", NewConnection|Urgent, ArgFd.is(0), ArgAddr.is(1), ArgAddrLen.is(2)),
	add("accept", Network, "Accept", ReturnsFD|NewConnection, ArgFd.is(0)),
	add("accept4", Network, "Accept", ReturnsFD|NewConnection, ArgFd.is(0)),
	add("bind", Network, "Bind", 0, ArgFd.is(0), ArgAddr.is(1), ArgAddrLen.is(2)),
	add("listen", Network, "Listen", 0, ArgFd.is(0)),
	add("shutdown", Network, "Shutdown", 0, ArgFd.is(0)),
	add("sendto", NetTransfer, "Send", 0, ArgFd.is(0), ArgData.is(1), ArgLen.is(2), ArgAddr.is(4), ArgAddrLen.is(5)),
	add("recvfrom", NetTransfer, "Receive", AddrPointer, ArgFd.is(0), ArgData.is(1), ArgLen.is(2), ArgAddr.is(4), ArgAddrLen.is(5)),
	add("sendmsg", NetTransfer, "Send", Msghdr, ArgFd.is(0), ArgData.is(1)),
	add("recvmsg", NetTransfer, "Receive", Msghdr, ArgFd.is(0), ArgData.is(1)),
	add("sendmmsg", NetTransfer, "Send", Messages, ArgFd.is(0), ArgData.is(1)),
	add("recvmmsg", NetTransfer, "Receive", Messages, ArgFd.is(0), ArgData.is(1)),
	add("recvmmsg_time64", NetTransfer, "Receive", Messages, ArgFd.is(0), ArgData.is(1)),
	add("send", NetTransfer, "Send", 0, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	add("recv", NetTransfer, "Receive", 0, ArgFd.is(0), ArgData.is(1), ArgLen.is(2)),
	// Not system calls: the arguments are the operation's number and its descriptor.
	add(UringName, File, "SubmitIoUring", 0, ArgFd.is(1), ArgPath1.is(2)),
	add(AioName, File, "SubmitAio", 0, ArgFd.is(1)),
	// The calls of this part came later.
	add("mprotect", Process, "ProtectMemory", 0).when(WhenProtect).plain(3),
	add("pkey_mprotect", Process, "ProtectMemory", 0).when(WhenProtect).plain(4),
	add("prctl", Process, "ControlProcess", 0, ArgPath1.text(1)).when(WhenPrctl).plain(2),
	add("setsid", Process, "CreateSession", 0),
	add("tgkill", Process, "SendSignal", 0).when(WhenOther).plain(3),
	add("tkill", Process, "SendSignal", 0).when(WhenOther).plain(2),
	add("rt_sigqueueinfo", Process, "SendSignal", 0).when(WhenOther).plain(2),
	add("rt_tgsigqueueinfo", Process, "SendSignal", 0).when(WhenOther).plain(3),
	add("seccomp", Process, "SetSeccomp", 0).plain(2),
	add("landlock_restrict_self", Process, "SetLandlock", 0, ArgFd.is(0)).plain(2),
	add("lsm_set_self_attr", Process, "SetSecurityAttribute", 0).plain(1),
	add("personality", Process, "SetPersonality", 0).plain(1),
	add("setrlimit", Process, "SetLimit", 0).plain(1),
	add("prlimit64", Process, "SetLimit", 0).when(WhenLimit).plain(2),
	add("process_madvise", Process, "AdviseProcessMemory", 0, ArgFd.is(0)).plain(1),
	add("process_mrelease", Process, "ReleaseProcessMemory", 0, ArgFd.is(0)).plain(1),
	add("sethostname", Process, "SetHostName", 0, ArgPath1.text(0)),
	add("setdomainname", Process, "SetHostName", 0, ArgPath1.text(0)),
	add("settimeofday", Process, "SetClock", 0),
	add("stime", Process, "SetClock", 0),
	add("clock_settime", Process, "SetClock", 0).plain(1),
	add("clock_settime64", Process, "SetClock", 0).plain(1),
	add("adjtimex", Process, "SetClock", 0),
	add("clock_adjtime", Process, "SetClock", 0).plain(1),
	add("clock_adjtime64", Process, "SetClock", 0).plain(1),
	add("reboot", Process, "Reboot", 0).plain(3),
	add("kexec_load", Process, "LoadKernel", 0).plain(2),
	add("kexec_file_load", Process, "LoadKernel", 0, ArgFd.is(0)).plain(2),
	add("swapon", File, "StartSwap", 0, ArgPath1.is(0)),
	add("swapoff", File, "StopSwap", 0, ArgPath1.is(0)),
	add("acct", File, "StartAccounting", 0, ArgPath1.is(0)),
	add("quotactl", Process, "ControlQuota", 0, ArgPath1.text(1)).plain(1),
	add("quotactl_fd", Process, "ControlQuota", 0, ArgFd.is(0)).plain(2),
	add("ioperm", Process, "AccessPorts", 0).plain(3),
	add("iopl", Process, "AccessPorts", 0).plain(1),
	add("syslog", Process, "ReadKernelLog", 0).plain(1),
	add("vhangup", Process, "HangUpTerminal", 0),
	add("keyctl", Process, "UseKeyring", 0).plain(2),
	add("add_key", Process, "UseKeyring", 0, ArgPath1.text(1)),
	add("request_key", Process, "UseKeyring", 0, ArgPath1.text(1)),
	add("shmget", Process, "OpenSharedMemory", 0).plain(3),
	add("shmat", Process, "AttachSharedMemory", 0).plain(3),
	add("msgget", Process, "OpenMessageQueue", 0).plain(2),
	add("msgsnd", Process, "SendMessage", 0).plain(1),
	add("msgrcv", Process, "ReceiveMessage", 0).plain(1),
	add("ipc", Process, "CallIpc", 0).plain(2), // all of the above for 32-bit programs
	add("mq_open", Process, "OpenMessageQueue", ReturnsFD, ArgPath1.text(0)),
	add("mq_unlink", Process, "DeleteMessageQueue", 0, ArgPath1.text(0)),
	add("mq_timedsend", Process, "SendMessage", 0, ArgFd.is(0)).plain(1),
	add("mq_timedsend_time64", Process, "SendMessage", 0, ArgFd.is(0)).plain(1),
	add("mq_timedreceive", Process, "ReceiveMessage", 0, ArgFd.is(0)).plain(1),
	add("mq_timedreceive_time64", Process, "ReceiveMessage", 0, ArgFd.is(0)).plain(1),
	add("open_tree_attr", File, "OpenFile", ReturnsFD, ArgDir1.is(0), ArgPath1.is(1)),
	add("fsconfig", Process, "ConfigureFileSystem", Config, ArgFd.is(0), ArgPath1.text(2)).plain(2),
	add("file_setattr", File, "SetFlags", 0, ArgDir1.is(0), ArgPath1.is(1), ArgAt.is(4)),
	add("inotify_add_watch", File, "WatchFile", 0, ArgPath1.is(1)),
	add("fanotify_mark", File, "WatchFile", 0, ArgDir1.is(3), ArgPath1.is(4)).only(true),
	add("fanotify_mark", File, "WatchFile", 0, ArgDir1.is(4), ArgPath1.is(5)).only(false), // its mask takes two arguments
	add("setsockopt", Network, "SetSocketOption", 0, ArgFd.is(0)).when(WhenSocketOption),
}

// Target returns the process that a call acts on; 0 if it names none.
func Target(name string, args *[6]uint64) int {
	switch name {
	case "kill", "tgkill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "process_vm_readv", "process_vm_writev", "prlimit64":
		return int(int32(args[0]))
	case "ptrace":
		return int(int32(args[1]))
	default:
		return 0
	}
}

// TextOf returns what the text means to which an argument of a Process call points: "" if it
// is no text for these arguments.
func TextOf(name, text string, args *[6]uint64) string {
	const setName = 15 // PR_SET_NAME
	switch name {
	case "prctl":
		if args[0] != setName {
			return ""
		}
		return text[:min(len(text), 15)] // as the kernel keeps it
	case "sethostname", "setdomainname": // its length follows
		return text[:min(uint64(len(text)), args[1])]
	default:
		return text
	}
}

// IsAnonymous reports whether a mapping by mmap has no file.
func IsAnonymous(args *[6]uint64) bool {
	const anonymous = 0x20 // MAP_ANONYMOUS
	return int32(args[4]) < 0 || args[3]&anonymous != 0
}
