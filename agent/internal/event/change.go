package event

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"ospulse/agent/internal/syscalls"
)

// Change returns to what the call changes the file, as text: mode: 04755.
func (f *File) Change() string {
	o := begin(nil)
	o.change(f)
	return o.plain()
}

// plain returns the members as text without the signs of JSON.
func (o *object) plain() string {
	return strings.NewReplacer(`":"`, ": ", `":`, ": ", `","`, ", ", `,"`, ", ", `"`, "").Replace(string(o.out[1:]))
}

// change writes to what the call changes the file, or asked for if it failed.
func (o *object) change(f *File) {
	a, compat := f.Result.Args, f.Result.Compat
	switch f.Result.Syscall {
	case "chmod", "fchmod", "mkdir", "creat":
		o.mode(a[1])
	case "fchmodat", "fchmodat2", "mkdirat":
		o.mode(a[2])
	case "mknod":
		o.mode(a[1])
		o.device(a[1], a[2])
	case "mknodat":
		o.mode(a[2])
		o.device(a[2], a[3])
	case "open":
		o.openMode(a[1], a[2])
	case "openat":
		o.openMode(a[2], a[3])
	case "openat2":
		o.how(f.Struct)
	case "chown", "lchown", "fchown":
		if compat {
			a[1], a[2] = of16Bits(a[1]), of16Bits(a[2])
		}
		o.owner(a[1], a[2])
	case "chown32", "lchown32", "fchown32":
		o.owner(a[1], a[2])
	case "fchownat":
		o.owner(a[2], a[3])
	case "utime", "utimes", "futimesat", "utimensat", "utimensat_time64":
		o.times(f)
	case "truncate", "ftruncate":
		o.number("length", whole(a[1], 0, compat))
	case "truncate64", "ftruncate64":
		o.number("length", whole(a[1], a[2], compat))
	case "fallocate":
		o.some("flags", flagNames("", a[1], allocateFlags))
		if compat {
			o.number("offset", whole(a[2], a[3], compat))
			o.number("length", whole(a[4], a[5], compat))
		} else {
			o.number("offset", int64(a[2]))
			o.number("length", int64(a[3]))
		}
	case "setxattr", "lsetxattr", "fsetxattr":
		o.number("length", int64(a[3]))
	case "setxattrat":
		o.number("length", int64(a[5]))
	case "pread64", "pwrite64":
		o.number("offset", whole(a[3], a[4], compat))
	case "preadv", "pwritev", "preadv2", "pwritev2":
		if at := whole(a[3], a[4], compat); at >= 0 { // -1: where the descriptor is
			o.number("offset", at)
		}
	case "renameat2":
		o.some("flags", flagNames("", a[4]&0xffffffff, renameFlags))
	case "linkat":
		o.some("flags", flagNames("", a[4]&0xffffffff, linkFlags))
	case "umount2":
		o.some("flags", flagNames("", a[1]&0xffffffff, unmountFlags))
	case "mount":
		o.some("flags", flagNames("", a[3]&^mountMagic, mountFlags))
		o.some("fileSystemType", f.FileSystemType)
		o.some("mountOptions", f.MountOptions)
	case "ioctl":
		if f.Operation == "SetFlags" {
			o.text("flags", flagNames("", a[3], attributeFlags))
		}
	case "mmap", "mmap2":
		o.text("protection", protection(a[2]))
		o.some("flags", mapFlags(a[3]))
		o.number("length", int64(a[1]))
		offset := int64(a[5])
		if f.Result.Syscall == "mmap2" {
			offset *= 4096
		}
		o.number("offset", offset)
	}
}

// whole returns an offset or a length, which a 32-bit program passes in two arguments.
func whole(low, high uint64, compat bool) int64 {
	if compat {
		return int64(high<<32 | low&0xffffffff)
	}
	return int64(low)
}

// mode writes a mode as chmod takes it, in octal: 04755, 0600.
func (o *object) mode(mode uint64) {
	o.key("mode")
	o.out = append(o.out, '"', '0')
	o.out = append(strconv.AppendUint(o.out, mode&0xffff, 8), '"')
}

// openMode writes the mode for a file that open may create.
func (o *object) openMode(flags, mode uint64) {
	const create, temporary = 0o100, 0o20000000
	if flags&(create|temporary) != 0 {
		o.mode(mode)
	}
}

// device writes the device of a node (the encoding of dev_t in system calls).
func (o *object) device(mode, device uint64) {
	const typeMask, character, block = 0o170000, 0o020000, 0o060000
	if kind := mode & typeMask; kind != character && kind != block {
		return
	}
	major, minor := device>>8&0xfff, device&0xff|device>>12&0xfff00
	o.text("device", strconv.FormatUint(major, 10)+":"+strconv.FormatUint(minor, 10))
}

// owner writes the user and the group that a file gets. -1 leaves what it has.
func (o *object) owner(user, group uint64) {
	if int32(user) != -1 {
		o.number("ownerId", int64(uint32(user)))
	}
	if int32(group) != -1 {
		o.number("groupId", int64(uint32(group)))
	}
}

// of16Bits returns a user or a group of a call that has 16 bits for it.
func of16Bits(id uint64) uint64 {
	if id &= 1<<16 - 1; id == 1<<16-1 { // -1
		return 1<<32 - 1
	}
	return id
}

// how writes a struct open_how.
func (o *object) how(raw []byte) {
	if len(raw) < 24 {
		return
	}
	flags, mode, resolve := binary.NativeEndian.Uint64(raw), binary.NativeEndian.Uint64(raw[8:]), binary.NativeEndian.Uint64(raw[16:])
	o.text("flags", OpenFlags(flags))
	o.openMode(flags, mode)
	o.some("resolve", flagNames("", resolve, []bit{
		{1, "RESOLVE_NO_XDEV"}, {2, "RESOLVE_NO_MAGICLINKS"}, {4, "RESOLVE_NO_SYMLINKS"}, {8, "RESOLVE_BENEATH"}, {16, "RESOLVE_IN_ROOT"},
		{32, "RESOLVE_CACHED"},
	}))
}

// times writes the times that a file gets: of its last access and of its last change.
func (o *object) times(f *File) {
	c := syscalls.ByName(f.Result.Syscall)
	if f.Result.Args[c.Args[syscalls.ArgData]] == 0 { // no struct
		o.text("accessTime", "now")
		o.text("modificationTime", "now")
		return
	}
	size := c.StructSize(f.Result.Compat)
	if len(f.Struct) < size {
		return
	}
	const now, omit = 0x3fffffff, 0x3ffffffe // in place of nanoseconds
	half, long := size/2, 8
	for i, name := range [...]string{"accessTime", "modificationTime"} {
		raw := f.Struct[i*half : (i+1)*half]
		if f.Result.Compat && f.Result.Syscall != "utimensat_time64" {
			long = 4
		}
		seconds, part := integer(raw[:long]), int64(0)
		if len(raw) > long {
			part = integer(raw[long:])
		}
		switch f.Result.Syscall {
		case "utimes", "futimesat":
			part *= 1000
		case "utimensat", "utimensat_time64":
			if part == now {
				o.text(name, "now")
				continue
			}
			if part == omit {
				continue
			}
		}
		o.exact(name, seconds, part)
	}
}

func integer(raw []byte) int64 {
	if len(raw) == 4 {
		return int64(int32(binary.NativeEndian.Uint32(raw)))
	}
	return int64(binary.NativeEndian.Uint64(raw))
}

// exact writes a time to the nanosecond. One that no calendar has is @ and its seconds since
// 1970.
func (o *object) exact(name string, seconds, nanoseconds int64) {
	const first, last = -62167219200, 253402300799 // of the years 0 and 9999
	if seconds < first || seconds > last || nanoseconds < 0 || nanoseconds >= 1e9 {
		o.text(name, "@"+strconv.FormatInt(seconds, 10))
		return
	}
	o.text(name, time.Unix(seconds, nanoseconds).UTC().Format("2006-01-02T15:04:05.999999999Z"))
}

var allocateFlags = []bit{ //nolint:gochecknoglobals // a constant
	{1, "FALLOC_FL_KEEP_SIZE"}, {2, "FALLOC_FL_PUNCH_HOLE"}, {4, "FALLOC_FL_NO_HIDE_STALE"}, {8, "FALLOC_FL_COLLAPSE_RANGE"},
	{16, "FALLOC_FL_ZERO_RANGE"}, {32, "FALLOC_FL_INSERT_RANGE"}, {64, "FALLOC_FL_UNSHARE_RANGE"}, {128, "FALLOC_FL_WRITE_ZEROES"},
}

var renameFlags = []bit{{1, "RENAME_NOREPLACE"}, {2, "RENAME_EXCHANGE"}, {4, "RENAME_WHITEOUT"}} //nolint:gochecknoglobals // a constant

var linkFlags = []bit{{0x400, "AT_SYMLINK_FOLLOW"}, {0x1000, "AT_EMPTY_PATH"}} //nolint:gochecknoglobals // a constant

var unmountFlags = []bit{{1, "MNT_FORCE"}, {2, "MNT_DETACH"}, {4, "MNT_EXPIRE"}, {8, "UMOUNT_NOFOLLOW"}} //nolint:gochecknoglobals // a constant

var attributeFlags = []bit{ //nolint:gochecknoglobals // a constant
	{0x1, "FS_SECRM_FL"}, {0x2, "FS_UNRM_FL"}, {0x4, "FS_COMPR_FL"}, {0x8, "FS_SYNC_FL"}, {0x10, "FS_IMMUTABLE_FL"}, {0x20, "FS_APPEND_FL"},
	{0x40, "FS_NODUMP_FL"}, {0x80, "FS_NOATIME_FL"}, {0x800, "FS_ENCRYPT_FL"}, {0x1000, "FS_INDEX_FL"}, {0x4000, "FS_JOURNAL_DATA_FL"},
	{0x8000, "FS_NOTAIL_FL"}, {0x10000, "FS_DIRSYNC_FL"}, {0x20000, "FS_TOPDIR_FL"}, {0x80000, "FS_EXTENT_FL"}, {0x100000, "FS_VERITY_FL"},
	{0x800000, "FS_NOCOW_FL"}, {0x2000000, "FS_DAX_FL"}, {0x20000000, "FS_PROJINHERIT_FL"}, {0x40000000, "FS_CASEFOLD_FL"},
}

// mountMagic is what old programs add to the flags of mount.
const mountMagic = 0xc0ed0000

var mountFlags = []bit{ //nolint:gochecknoglobals // a constant
	{1, "MS_RDONLY"}, {2, "MS_NOSUID"}, {4, "MS_NODEV"}, {8, "MS_NOEXEC"}, {16, "MS_SYNCHRONOUS"}, {32, "MS_REMOUNT"}, {64, "MS_MANDLOCK"},
	{128, "MS_DIRSYNC"}, {256, "MS_NOSYMFOLLOW"}, {1024, "MS_NOATIME"}, {2048, "MS_NODIRATIME"}, {4096, "MS_BIND"}, {8192, "MS_MOVE"},
	{16384, "MS_REC"}, {32768, "MS_SILENT"}, {1 << 16, "MS_POSIXACL"}, {1 << 17, "MS_UNBINDABLE"}, {1 << 18, "MS_PRIVATE"}, {1 << 19, "MS_SLAVE"},
	{1 << 20, "MS_SHARED"}, {1 << 21, "MS_RELATIME"}, {1 << 23, "MS_I_VERSION"}, {1 << 24, "MS_STRICTATIME"}, {1 << 25, "MS_LAZYTIME"},
}

// protection returns the names of a memory's protection.
func protection(bits uint64) string {
	if bits&0xffffffff == 0 {
		return "PROT_NONE"
	}
	return flagNames("", bits&0xffffffff, []bit{
		{1, "PROT_READ"}, {2, "PROT_WRITE"}, {4, "PROT_EXEC"}, {8, "PROT_SEM"}, {0x01000000, "PROT_GROWSDOWN"}, {0x02000000, "PROT_GROWSUP"},
	})
}

// mapFlags returns the names of mmap's flags.
func mapFlags(flags uint64) string {
	kind := ""
	switch flags & 15 {
	case 1:
		kind = "MAP_SHARED"
	case 2:
		kind = "MAP_PRIVATE"
	case 3:
		kind = "MAP_SHARED_VALIDATE"
	}
	rest := flags & 0xffffffff
	if kind != "" {
		rest &^= 15
	}
	return flagNames(kind, rest, []bit{
		{0x10, "MAP_FIXED"}, {0x20, "MAP_ANONYMOUS"}, {0x40, "MAP_32BIT"}, {0x100, "MAP_GROWSDOWN"}, {0x800, "MAP_DENYWRITE"}, {0x1000, "MAP_EXECUTABLE"},
		{0x2000, "MAP_LOCKED"}, {0x4000, "MAP_NORESERVE"}, {0x8000, "MAP_POPULATE"}, {0x10000, "MAP_NONBLOCK"}, {0x20000, "MAP_STACK"},
		{0x40000, "MAP_HUGETLB"}, {0x80000, "MAP_SYNC"}, {0x100000, "MAP_FIXED_NOREPLACE"},
	})
}

// controls are the options of prctl that are reported: they change how the process looks, or
// what it may do.
var controls = map[uint32]string{ //nolint:gochecknoglobals // a constant
	1: "PR_SET_PDEATHSIG", 4: "PR_SET_DUMPABLE", 8: "PR_SET_KEEPCAPS", 15: "PR_SET_NAME", 22: "PR_SET_SECCOMP", 24: "PR_CAPBSET_DROP",
	28: "PR_SET_SECUREBITS", 35: "PR_SET_MM", 36: "PR_SET_CHILD_SUBREAPER", 38: "PR_SET_NO_NEW_PRIVS", 47: "PR_CAP_AMBIENT",
	53: "PR_SET_SPECULATION_CTRL", 59: "PR_SET_SYSCALL_USER_DISPATCH", 65: "PR_SET_MDWE", 0x59616d61: "PR_SET_PTRACER",
}

// configs are the commands of fsconfig, by number.
var configs = [...]string{ //nolint:gochecknoglobals // a constant
	"FSCONFIG_SET_FLAG", "FSCONFIG_SET_STRING", "FSCONFIG_SET_BINARY", "FSCONFIG_SET_PATH", "FSCONFIG_SET_PATH_EMPTY", "FSCONFIG_SET_FD",
	"FSCONFIG_CMD_CREATE", "FSCONFIG_CMD_RECONFIGURE", "FSCONFIG_CMD_CREATE_EXCL",
}

// TellsControl reports whether an option of prctl is reported. The kernel side has the same
// list.
func TellsControl(option uint64) bool { return controls[uint32(option)] != "" }

// options are the options of setsockopt that are reported, by level and number: they show or
// change the packets of others.
var options = map[[2]uint32]string{ //nolint:gochecknoglobals // a constant
	{0, 3}: "IP_HDRINCL", {0, 19}: "IP_TRANSPARENT", {41, 36}: "IPV6_HDRINCL", {41, 75}: "IPV6_TRANSPARENT", {6, 19}: "TCP_REPAIR", {6, 31}: "TCP_ULP",
	{1, 25}: "SO_BINDTODEVICE", {1, 26}: "SO_ATTACH_FILTER", {1, 27}: "SO_DETACH_FILTER", {1, 36}: "SO_MARK", {1, 44}: "SO_LOCK_FILTER",
	{1, 50}: "SO_ATTACH_BPF", {1, 51}: "SO_ATTACH_REUSEPORT_CBPF", {1, 52}: "SO_ATTACH_REUSEPORT_EBPF",
	{263, 1}: "PACKET_ADD_MEMBERSHIP", {263, 5}: "PACKET_RX_RING", {263, 13}: "PACKET_TX_RING", {263, 18}: "PACKET_FANOUT",
}

// TellsOption reports whether an option of setsockopt is reported. The kernel side has the
// same list.
func TellsOption(level, option uint64) bool { return SocketOption(level, option) != "" }

// SocketOption returns the name of an option of setsockopt that is reported, "" of others.
func SocketOption(level, option uint64) string {
	return options[[2]uint32{uint32(level), uint32(option)}]
}
