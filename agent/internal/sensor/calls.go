//go:build linux

package sensor

import "slices"

// kind selects how the decoder makes an event of a call.
type kind uint8

const (
	kindFile      kind = iota + 1
	kindTransfer       // moves data of a file or a socket, such as read and write
	kindSymlink        // the second path is the text of the link
	kindAttribute      // the second path is an attribute's name
	kindExec           // a failed exec; a successful one has a record of its own
	kindFork           // a failed fork; likewise
	kindProcess
	kindNetwork
	kindNetTransfer
)

// Flags that tell the kernel side how to handle a call; bpf/event.h explains them.
const (
	callAtEnter = 1 << iota
	callNoted
	callFailures
	callReturnsFD
	callIovec
	callMsghdr
	callAddrPointer
	callExecutable
	callDuplicates
	callArgv
	callNewConnection
	callUrgent
	callMessages
	callSocketcall
	callClone3
	callAio
	callIoctl
	callWrites
)

// socketcallBase is where the calls of socketcall begin in the table of 32-bit calls.
const socketcallBase = 480

// numbers are a call's numbers on amd64, on arm64, on i386, and in i386's socketcall. -1
// (0 for socketcall) means that the call does not exist there.
type numbers [4]int

// call describes a system call. Fields for arguments hold the argument's index; -1 if the
// call has none.
type call struct {
	name    string
	numbers numbers
	kind    kind
	op      string // the event's operation
	flags   uint32
	args    callArgs
	at      int8  // the argument with flags such as AT_SYMLINK_NOFOLLOW
	lookup  uint8 // of path1, of path2 << 2, and flags such as lookupChdir
}

// callArgs holds the index of each argument, in the order of struct syscall.
type callArgs [10]int8

// argument is an index into callArgs.
type argument int

const (
	argFd argument = iota
	argFd2
	argDir1
	argPath1
	argDir2
	argPath2
	argData
	argLen
	argAddr
	argAddrLen
	argAt // not in callArgs: call.at
)

type argumentAt struct {
	argument argument
	index    int8
	lookup   uint8
}

// How to treat a link at the end of a path, and flags for the paths of a few calls.
// bpf/event.h explains them.
const (
	lookupFollow = iota
	lookupLink
	lookupName
	lookupText
	lookupChdir = 16
	lookupRoot  = 32
	lookupHow   = 64
	lookupMount = 128
)

// is sets the argument's index. A path is followed through a link at its end.
func (a argument) is(index int8) argumentAt { return argumentAt{argument: a, index: index} }

// link is like is, for a path whose last component is not followed if it is a link.
func (a argument) link(index int8) argumentAt { return argumentAt{a, index, lookupLink} }

// name is like is, for a path whose last component the call makes or removes.
func (a argument) name(index int8) argumentAt { return argumentAt{a, index, lookupName} }

// text is like is, for a string that is not a path.
func (a argument) text(index int8) argumentAt { return argumentAt{a, index, lookupText} }

func (a argumentAt) with(special uint8) argumentAt {
	a.lookup |= special
	return a
}

func add(name string, n numbers, k kind, op string, flags uint32, args ...argumentAt) call {
	c := call{name: name, numbers: n, kind: k, op: op, flags: flags, args: callArgs{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1}, at: -1}
	for _, a := range args {
		switch a.argument {
		case argAt:
			c.at = a.index
			continue
		case argPath2:
			c.lookup |= a.lookup&3<<2 | a.lookup&^3
		default:
			c.lookup |= a.lookup
		}
		c.args[a.argument] = a.index
	}
	if c.writes() {
		c.flags |= callWrites
	}
	return c
}

// writes reports whether a transfer writes its data.
func (c *call) writes() bool { return c.op == "Send" || c.op == "WriteFile" || c.name == aioName }

// uringName and aioName are the names in calls of operations of io_uring and of native AIO,
// which are not system calls.
const (
	uringName = "io_uring"
	aioName   = "aio"
)

// opOf returns the index in calls of the call with the name.
func opOf(name string) uint32 {
	return uint32(slices.IndexFunc(calls[:], func(c call) bool { return c.name == name }))
}

// calls are the system calls that the sensor reports. A record has the index of its call,
// which is never 0.
var calls = [...]call{
	{},
	add("open", numbers{2, -1, 5, 0}, kindFile, "OpenFile", callReturnsFD, argPath1.is(0)),
	add("openat", numbers{257, 56, 295, 0}, kindFile, "OpenFile", callReturnsFD, argDir1.is(0), argPath1.is(1)),
	add("openat2", numbers{437, 437, 437, 0}, kindFile, "OpenFile", callReturnsFD, argDir1.is(0), argPath1.is(1).with(lookupHow)),
	add("creat", numbers{85, -1, 8, 0}, kindFile, "OpenFile", callReturnsFD, argPath1.is(0)),
	add("open_by_handle_at", numbers{304, 265, 342, 0}, kindFile, "OpenFile", callReturnsFD),
	add("read", numbers{0, 63, 3, 0}, kindTransfer, "ReadFile", 0, argFd.is(0), argData.is(1), argLen.is(2)),
	add("pread64", numbers{17, 67, 180, 0}, kindTransfer, "ReadFile", 0, argFd.is(0), argData.is(1), argLen.is(2)),
	add("readv", numbers{19, 65, 145, 0}, kindTransfer, "ReadFile", callIovec, argFd.is(0), argData.is(1), argLen.is(2)),
	add("preadv", numbers{295, 69, 333, 0}, kindTransfer, "ReadFile", callIovec, argFd.is(0), argData.is(1), argLen.is(2)),
	add("preadv2", numbers{327, 286, 378, 0}, kindTransfer, "ReadFile", callIovec, argFd.is(0), argData.is(1), argLen.is(2)),
	add("write", numbers{1, 64, 4, 0}, kindTransfer, "WriteFile", 0, argFd.is(0), argData.is(1), argLen.is(2)),
	add("pwrite64", numbers{18, 68, 181, 0}, kindTransfer, "WriteFile", 0, argFd.is(0), argData.is(1), argLen.is(2)),
	add("writev", numbers{20, 66, 146, 0}, kindTransfer, "WriteFile", callIovec, argFd.is(0), argData.is(1), argLen.is(2)),
	add("pwritev", numbers{296, 70, 334, 0}, kindTransfer, "WriteFile", callIovec, argFd.is(0), argData.is(1), argLen.is(2)),
	add("pwritev2", numbers{328, 287, 379, 0}, kindTransfer, "WriteFile", callIovec, argFd.is(0), argData.is(1), argLen.is(2)),
	add("vmsplice", numbers{278, 75, 316, 0}, kindTransfer, "WriteFile", callIovec, argFd.is(0), argData.is(1), argLen.is(2)),
	add("sendfile", numbers{40, 71, 187, 0}, kindTransfer, "CopyFile", 0, argFd.is(1), argFd2.is(0)),
	add("sendfile64", numbers{-1, -1, 239, 0}, kindTransfer, "CopyFile", 0, argFd.is(1), argFd2.is(0)),
	add("copy_file_range", numbers{326, 285, 377, 0}, kindTransfer, "CopyFile", 0, argFd.is(0), argFd2.is(2)),
	add("splice", numbers{275, 76, 313, 0}, kindTransfer, "CopyFile", 0, argFd.is(0), argFd2.is(2)),
	add("tee", numbers{276, 77, 315, 0}, kindTransfer, "CopyFile", 0, argFd.is(0), argFd2.is(1)),
	add("close", numbers{3, 57, 6, 0}, kindFile, "CloseFile", callAtEnter, argFd.is(0)),
	add("close_range", numbers{436, 436, 436, 0}, kindFile, "CloseFile", 0),
	add("rename", numbers{82, -1, 38, 0}, kindFile, "RenameFile", 0, argPath1.name(0), argPath2.name(1)),
	add("renameat", numbers{264, 38, 302, 0}, kindFile, "RenameFile", 0, argDir1.is(0), argPath1.name(1), argDir2.is(2), argPath2.name(3)),
	add("renameat2", numbers{316, 276, 353, 0}, kindFile, "RenameFile", 0, argDir1.is(0), argPath1.name(1), argDir2.is(2), argPath2.name(3)),
	add("link", numbers{86, -1, 9, 0}, kindFile, "LinkFile", 0, argPath1.link(0), argPath2.name(1)),
	add("linkat", numbers{265, 37, 303, 0}, kindFile, "LinkFile", 0, argDir1.is(0), argPath1.link(1), argDir2.is(2), argPath2.name(3), argAt.is(4)),
	add("symlink", numbers{88, -1, 83, 0}, kindSymlink, "SymlinkFile", 0, argPath1.name(1), argPath2.text(0)),
	add("symlinkat", numbers{266, 36, 304, 0}, kindSymlink, "SymlinkFile", 0, argDir1.is(1), argPath1.name(2), argPath2.text(0)),
	add("unlink", numbers{87, -1, 10, 0}, kindFile, "DeleteFile", 0, argPath1.name(0)),
	add("unlinkat", numbers{263, 35, 301, 0}, kindFile, "DeleteFile", 0, argDir1.is(0), argPath1.name(1)),
	add("mkdir", numbers{83, -1, 39, 0}, kindFile, "CreateDirectory", 0, argPath1.name(0)),
	add("mkdirat", numbers{258, 34, 296, 0}, kindFile, "CreateDirectory", 0, argDir1.is(0), argPath1.name(1)),
	add("rmdir", numbers{84, -1, 40, 0}, kindFile, "DeleteDirectory", 0, argPath1.name(0)),
	add("mknod", numbers{133, -1, 14, 0}, kindFile, "CreateNode", 0, argPath1.name(0)),
	add("mknodat", numbers{259, 33, 297, 0}, kindFile, "CreateNode", 0, argDir1.is(0), argPath1.name(1)),
	add("chmod", numbers{90, -1, 15, 0}, kindFile, "ChangeMode", 0, argPath1.is(0)),
	add("fchmod", numbers{91, 52, 94, 0}, kindFile, "ChangeMode", 0, argFd.is(0)),
	add("fchmodat", numbers{268, 53, 306, 0}, kindFile, "ChangeMode", 0, argDir1.is(0), argPath1.is(1)),
	add("fchmodat2", numbers{452, 452, 452, 0}, kindFile, "ChangeMode", 0, argDir1.is(0), argPath1.is(1), argAt.is(3)),
	add("chown", numbers{92, -1, 182, 0}, kindFile, "ChangeOwner", 0, argPath1.is(0)),
	add("lchown", numbers{94, -1, 16, 0}, kindFile, "ChangeOwner", 0, argPath1.link(0)),
	add("chown32", numbers{-1, -1, 212, 0}, kindFile, "ChangeOwner", 0, argPath1.is(0)),
	add("lchown32", numbers{-1, -1, 198, 0}, kindFile, "ChangeOwner", 0, argPath1.link(0)),
	add("fchown", numbers{93, 55, 95, 0}, kindFile, "ChangeOwner", 0, argFd.is(0)),
	add("fchown32", numbers{-1, -1, 207, 0}, kindFile, "ChangeOwner", 0, argFd.is(0)),
	add("fchownat", numbers{260, 54, 298, 0}, kindFile, "ChangeOwner", 0, argDir1.is(0), argPath1.is(1), argAt.is(4)),
	add("truncate", numbers{76, 45, 92, 0}, kindFile, "TruncateFile", 0, argPath1.is(0)),
	add("truncate64", numbers{-1, -1, 193, 0}, kindFile, "TruncateFile", 0, argPath1.is(0)),
	add("ftruncate", numbers{77, 46, 93, 0}, kindFile, "TruncateFile", 0, argFd.is(0)),
	add("ftruncate64", numbers{-1, -1, 194, 0}, kindFile, "TruncateFile", 0, argFd.is(0)),
	add("utimensat", numbers{280, 88, 320, 0}, kindFile, "SetFileTime", 0, argDir1.is(0), argPath1.is(1), argAt.is(3)),
	add("utimensat_time64", numbers{-1, 412, 412, 0}, kindFile, "SetFileTime", 0, argDir1.is(0), argPath1.is(1), argAt.is(3)),
	add("utime", numbers{132, -1, 30, 0}, kindFile, "SetFileTime", 0, argPath1.is(0)),
	add("utimes", numbers{235, -1, 271, 0}, kindFile, "SetFileTime", 0, argPath1.is(0)),
	add("futimesat", numbers{261, -1, 299, 0}, kindFile, "SetFileTime", 0, argDir1.is(0), argPath1.is(1)),
	add("setxattr", numbers{188, 5, 226, 0}, kindAttribute, "SetAttribute", 0, argPath1.is(0), argPath2.text(1)),
	add("lsetxattr", numbers{189, 6, 227, 0}, kindAttribute, "SetAttribute", 0, argPath1.link(0), argPath2.text(1)),
	add("fsetxattr", numbers{190, 7, 228, 0}, kindAttribute, "SetAttribute", 0, argFd.is(0), argPath1.text(1)),
	add("setxattrat", numbers{463, 463, 463, 0}, kindAttribute, "SetAttribute", 0, argDir1.is(0), argPath1.is(1), argPath2.text(3), argAt.is(2)),
	add("removexattr", numbers{197, 14, 235, 0}, kindAttribute, "UnsetAttribute", 0, argPath1.is(0), argPath2.text(1)),
	add("lremovexattr", numbers{198, 15, 236, 0}, kindAttribute, "UnsetAttribute", 0, argPath1.link(0), argPath2.text(1)),
	add("fremovexattr", numbers{199, 16, 237, 0}, kindAttribute, "UnsetAttribute", 0, argFd.is(0), argPath1.text(1)),
	add("removexattrat", numbers{466, 466, 466, 0}, kindAttribute, "UnsetAttribute", 0, argDir1.is(0), argPath1.is(1), argPath2.text(3), argAt.is(2)),
	add("mmap", numbers{9, 222, -1, 0}, kindFile, "MapFile", callExecutable|callUrgent, argFd.is(4)),
	add("mmap2", numbers{-1, -1, 192, 0}, kindFile, "MapFile", callExecutable|callUrgent, argFd.is(4)),
	add("dup", numbers{32, 23, 41, 0}, kindFile, "DuplicateHandle", 0, argFd.is(0)),
	add("dup2", numbers{33, -1, 63, 0}, kindFile, "DuplicateHandle", 0, argFd.is(0)),
	add("dup3", numbers{292, 24, 330, 0}, kindFile, "DuplicateHandle", 0, argFd.is(0)),
	add("fcntl", numbers{72, 25, 55, 0}, kindFile, "DuplicateHandle", callDuplicates, argFd.is(0)),
	add("fcntl64", numbers{-1, -1, 221, 0}, kindFile, "DuplicateHandle", callDuplicates, argFd.is(0)),
	add("chdir", numbers{80, 49, 12, 0}, kindFile, "ChangeDirectory", 0, argPath1.is(0).with(lookupChdir)),
	add("fchdir", numbers{81, 50, 133, 0}, kindFile, "ChangeDirectory", 0, argFd.is(0)),
	add("chroot", numbers{161, 51, 61, 0}, kindFile, "ChangeRoot", callNoted, argPath1.is(0).with(lookupRoot)),
	add("pivot_root", numbers{155, 41, 217, 0}, kindFile, "ChangeRoot", callNoted, argPath1.is(0).with(lookupRoot), argPath2.is(1)),
	add("mount", numbers{165, 40, 21, 0}, kindFile, "MountFile", 0, argPath1.is(1).with(lookupMount), argPath2.is(0)),
	add("umount", numbers{-1, -1, 22, 0}, kindFile, "UnmountFile", 0, argPath1.is(0)),
	add("umount2", numbers{166, 39, 52, 0}, kindFile, "UnmountFile", 0, argPath1.is(0), argAt.is(1)),
	add("io_uring_setup", numbers{425, 425, 425, 0}, kindFile, "SetupIoUring", callReturnsFD),
	add("io_uring_enter", numbers{426, 426, 426, 0}, kindFile, "EnterIoUring", 0, argFd.is(0)),
	add("io_uring_register", numbers{427, 427, 427, 0}, kindFile, "RegisterIoUring", 0, argFd.is(0)),
	add("io_setup", numbers{206, 0, 245, 0}, kindFile, "SetupAio", 0),
	add("io_submit", numbers{209, 2, 248, 0}, kindFile, "SubmitAio", callAio),
	add("fallocate", numbers{285, 47, 324, 0}, kindFile, "TruncateFile", 0, argFd.is(0)),
	add("ioctl", numbers{16, 29, 54, 0}, kindFile, "CopyFile", callIoctl, argFd.is(2), argFd2.is(0)),
	add("open_tree", numbers{428, 428, 428, 0}, kindFile, "OpenFile", callReturnsFD, argDir1.is(0), argPath1.is(1)),
	add("move_mount", numbers{429, 429, 429, 0}, kindFile, "MountFile", 0, argDir1.is(2), argPath1.is(3), argDir2.is(0), argPath2.is(1)),
	add("fspick", numbers{433, 433, 433, 0}, kindFile, "OpenFile", callReturnsFD, argDir1.is(0), argPath1.is(1)),
	add("mount_setattr", numbers{442, 442, 442, 0}, kindFile, "MountFile", 0, argDir1.is(0), argPath1.is(1)),
	add("execve", numbers{59, 221, 11, 0}, kindExec, "", callNoted|callFailures|callArgv, argPath1.is(0)),
	add("execveat", numbers{322, 281, 358, 0}, kindExec, "", callNoted|callFailures|callArgv, argDir1.is(0), argPath1.is(1), argAt.is(4)),
	add("fork", numbers{57, -1, 2, 0}, kindFork, "", callNoted|callFailures),
	add("vfork", numbers{58, -1, 190, 0}, kindFork, "", callNoted|callFailures),
	add("clone", numbers{56, 220, 120, 0}, kindFork, "", callNoted|callFailures),
	add("clone3", numbers{435, 435, 435, 0}, kindFork, "", callNoted|callFailures|callClone3),
	add("ptrace", numbers{101, 117, 26, 0}, kindProcess, "PtraceProcess", 0),
	add("setuid", numbers{105, 146, 23, 0}, kindProcess, "SetUserId", 0),
	add("setreuid", numbers{113, 145, 70, 0}, kindProcess, "SetUserId", 0),
	add("setresuid", numbers{117, 147, 164, 0}, kindProcess, "SetUserId", 0),
	add("setfsuid", numbers{122, 151, 138, 0}, kindProcess, "SetUserId", 0),
	add("setuid32", numbers{-1, -1, 213, 0}, kindProcess, "SetUserId", 0),
	add("setreuid32", numbers{-1, -1, 203, 0}, kindProcess, "SetUserId", 0),
	add("setresuid32", numbers{-1, -1, 208, 0}, kindProcess, "SetUserId", 0),
	add("setfsuid32", numbers{-1, -1, 215, 0}, kindProcess, "SetUserId", 0),
	add("setgid", numbers{106, 144, 46, 0}, kindProcess, "SetGroupId", 0),
	add("setregid", numbers{114, 143, 71, 0}, kindProcess, "SetGroupId", 0),
	add("setresgid", numbers{119, 149, 170, 0}, kindProcess, "SetGroupId", 0),
	add("setfsgid", numbers{123, 152, 139, 0}, kindProcess, "SetGroupId", 0),
	add("setgroups", numbers{116, 159, 81, 0}, kindProcess, "SetGroupId", 0),
	add("setgid32", numbers{-1, -1, 214, 0}, kindProcess, "SetGroupId", 0),
	add("setregid32", numbers{-1, -1, 204, 0}, kindProcess, "SetGroupId", 0),
	add("setresgid32", numbers{-1, -1, 210, 0}, kindProcess, "SetGroupId", 0),
	add("setfsgid32", numbers{-1, -1, 216, 0}, kindProcess, "SetGroupId", 0),
	add("setgroups32", numbers{-1, -1, 206, 0}, kindProcess, "SetGroupId", 0),
	add("capset", numbers{126, 91, 185, 0}, kindProcess, "SetCapabilities", 0),
	add("init_module", numbers{175, 105, 128, 0}, kindProcess, "LoadModule", 0),
	add("finit_module", numbers{313, 273, 350, 0}, kindProcess, "LoadModule", 0, argFd.is(0)),
	add("delete_module", numbers{176, 106, 129, 0}, kindProcess, "UnloadModule", 0, argPath1.text(0)),
	add("memfd_create", numbers{319, 279, 356, 0}, kindProcess, "CreateMemoryFile", callReturnsFD, argPath1.text(0)),
	add("unshare", numbers{272, 97, 310, 0}, kindProcess, "UnshareNamespace", 0),
	add("setns", numbers{308, 268, 346, 0}, kindProcess, "EnterNamespace", 0, argFd.is(0)),
	add("process_vm_readv", numbers{310, 270, 347, 0}, kindProcess, "ReadProcessMemory", 0),
	add("process_vm_writev", numbers{311, 271, 348, 0}, kindProcess, "WriteProcessMemory", 0),
	add("fsopen", numbers{430, 430, 430, 0}, kindProcess, "OpenFileSystem", callReturnsFD, argPath1.text(0)),
	add("fsmount", numbers{432, 432, 432, 0}, kindProcess, "MountFileSystem", callReturnsFD, argFd.is(0)),
	add("pidfd_getfd", numbers{438, 438, 438, 0}, kindProcess, "TakeHandle", callReturnsFD, argFd.is(0)),
	add("pidfd_send_signal", numbers{424, 424, 424, 0}, kindProcess, "SendSignal", 0, argFd.is(0)),
	add("kill", numbers{62, 129, 37, 0}, kindProcess, "SendSignal", 0),
	add("userfaultfd", numbers{323, 282, 374, 0}, kindProcess, "CreateUserFault", callReturnsFD),
	add("perf_event_open", numbers{298, 241, 336, 0}, kindProcess, "OpenPerfEvent", callReturnsFD),
	add("fanotify_init", numbers{300, 262, 338, 0}, kindProcess, "CreateFileWatch", callReturnsFD),
	add("memfd_secret", numbers{447, 447, 447, 0}, kindProcess, "CreateMemoryFile", callReturnsFD),
	add("bpf", numbers{321, 280, 357, 0}, kindProcess, "LoadBpf", 0),
	add("socketcall", numbers{-1, -1, 102, 0}, kindNetwork, "", callSocketcall),
	add("socket", numbers{41, 198, 359, 1}, kindNetwork, "Socket", callReturnsFD),
	add("socketpair", numbers{53, 199, 360, 8}, kindNetwork, "SocketPair", 0),
	add("connect", numbers{42, 203, 362, 3}, kindNetwork, "Connect", callNewConnection|callUrgent, argFd.is(0), argAddr.is(1), argAddrLen.is(2)),
	add("accept", numbers{43, 202, -1, 5}, kindNetwork, "Accept", callReturnsFD|callNewConnection, argFd.is(0)),
	add("accept4", numbers{288, 242, 364, 18}, kindNetwork, "Accept", callReturnsFD|callNewConnection, argFd.is(0)),
	add("bind", numbers{49, 200, 361, 2}, kindNetwork, "Bind", 0, argFd.is(0), argAddr.is(1), argAddrLen.is(2)),
	add("listen", numbers{50, 201, 363, 4}, kindNetwork, "Listen", 0, argFd.is(0)),
	add("shutdown", numbers{48, 210, 373, 13}, kindNetwork, "Shutdown", 0, argFd.is(0)),
	add("sendto", numbers{44, 206, 369, 11}, kindNetTransfer, "Send", 0, argFd.is(0), argData.is(1), argLen.is(2), argAddr.is(4), argAddrLen.is(5)),
	add("recvfrom", numbers{45, 207, 371, 12}, kindNetTransfer, "Receive", callAddrPointer, argFd.is(0), argData.is(1), argLen.is(2), argAddr.is(4), argAddrLen.is(5)),
	add("sendmsg", numbers{46, 211, 370, 16}, kindNetTransfer, "Send", callMsghdr, argFd.is(0), argData.is(1)),
	add("recvmsg", numbers{47, 212, 372, 17}, kindNetTransfer, "Receive", callMsghdr, argFd.is(0), argData.is(1)),
	add("sendmmsg", numbers{307, 269, 345, 20}, kindNetTransfer, "Send", callMessages, argFd.is(0), argData.is(1)),
	add("recvmmsg", numbers{299, 243, 337, 19}, kindNetTransfer, "Receive", callMessages, argFd.is(0), argData.is(1)),
	add("recvmmsg_time64", numbers{-1, 417, 417, 0}, kindNetTransfer, "Receive", callMessages, argFd.is(0), argData.is(1)),
	add("send", numbers{-1, -1, -1, 9}, kindNetTransfer, "Send", 0, argFd.is(0), argData.is(1), argLen.is(2)),
	add("recv", numbers{-1, -1, -1, 10}, kindNetTransfer, "Receive", 0, argFd.is(0), argData.is(1), argLen.is(2)),
	// Not system calls: the arguments are the operation's number and its descriptor.
	add(uringName, numbers{-1, -1, -1, 0}, kindFile, "SubmitIoUring", 0, argFd.is(1), argPath1.is(2)),
	add(aioName, numbers{-1, -1, -1, 0}, kindFile, "SubmitAio", 0, argFd.is(1)),
}
