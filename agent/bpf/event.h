/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The format of records in the ring buffer: a header, then sections. A section is a
 * struct section and len bytes. agent/internal/sensor/record.go parses records and must
 * match this file.
 */
#ifndef OSPULSE_EVENT_H
#define OSPULSE_EVENT_H

enum event_type {
	EVENT_SYSCALL = 1, /* op: index into the table of system calls */
	EVENT_FORK = 2,    /* args: child pid, child tid, child start, clone flags */
	EVENT_EXEC = 3,    /* args: tid before the exec, effective user */
	EVENT_EXIT = 4,    /* ret: the wait status */
	EVENT_MORE = 5,    /* args: socket, offset in the call: more data of the preceding EVENT_SYSCALL */
	EVENT_TLS = 6,     /* args: connection, offset in the call, socket if HEADER_SOCKET; ret: bytes of the call; op: enum tls_op; one section */
	EVENT_PART = 7,    /* args: index; time: of the exec; one SECTION_ARGV or SECTION_ENV: a part of an EVENT_EXEC that follows */
};

enum tls_op {
	TLS_READ = 0,
	TLS_WRITTEN = 1,
	TLS_FREED = 2,
};

/* event_header.flags */
#define HEADER_COMPAT 1    /* a 32-bit system call */
#define HEADER_TRUNCATED 2 /* a section did not fit */
#define HEADER_TALK 4      /* on a TCP connection that speaks HTTP, or may */
#define HEADER_SOCKET 8    /* of EVENT_TLS: it has the socket; 0: unknown */

struct event_header {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	__u64 sessions;
	__s64 ret;
	__u64 args[6];
	__u64 start;        /* of the process, CLOCK_BOOTTIME, ns */
	__u64 parent_start; /* 0: unknown */
	__u64 cgroup;
	__u32 pid, tid, parent_pid, uid;
	__u16 type, op;
	__u32 flags;
	char comm[16];
};

enum section_type {
	SECTION_FILE = 1,   /* struct file_section, then the path */
	SECTION_SOCKET = 2, /* struct socket_section, then two names of unix sockets: u8 len, bytes */
	SECTION_RESULT = 3, /* as SECTION_FILE, of the descriptor that the call returned, or of fd2 */
	SECTION_PATH = 4,   /* a path as the program gave it, NUL-terminated */
	SECTION_DIR = 5,    /* as SECTION_FILE: where the preceding SECTION_PATH leads, as far as it was followed */
	SECTION_DATA = 6,   /* the first bytes read or written */
	SECTION_ADDR = 7,   /* a sockaddr that the program passed or received */
	SECTION_ARGV = 8,   /* NUL-separated */
	SECTION_CWD = 9,    /* as SECTION_FILE */
	SECTION_COMM = 10,  /* the parent's name */
	SECTION_REST = 11,  /* u32 mount namespace, then the rest of the path, relative to SECTION_DIR */
	SECTION_ENV = 12,   /* as SECTION_ARGV */
	SECTION_ROOT = 13,  /* as SECTION_FILE: the root of the process, if its root or its mount namespace is not the agent's */
	SECTION_PASSED = 14, /* s32: a descriptor in a control message; SECTION_HELD or SECTION_SOCKET follows */
	SECTION_HELD = 15,  /* as SECTION_FILE, of that descriptor */
	SECTION_TEXT = 16,  /* as SECTION_PATH, another text */
	SECTION_PARTS = 17, /* u32 number of EVENT_PART before SECTION_ARGV, u32 the same before SECTION_ENV */
};

/* section.flags */
#define SECTION_CUT 1     /* it does not hold everything */
#define SECTION_FAULT 2   /* it could not be read */
#define SECTION_DELETED 4 /* the file no longer has a name */
#define SECTION_ABSENT 8  /* no such descriptor */
#define SECTION_NAME 16   /* the name of a file that has no path, such as memfd:x */
#define SECTION_LAST 32   /* SECTION_REST: nothing in it must be looked up */
#define SECTION_FOLLOW 64 /* SECTION_REST: a link at its end must be followed */
#define SECTION_OUTSIDE 128 /* the file is not below the root of the process; its path begins at the root of a mount namespace */

struct section {
	__u8 type, flags;
	__u16 len;
};

/*
 * The path follows as its components in reverse order, each u8 len, bytes. They are read
 * from the file up to the root of the process, as the kernel links them. Those of SECTION_ROOT
 * are read up to the root of the mount namespace.
 */
struct file_section {
	__u64 inode;
	__u32 dev, mode, fmode, magic; /* magic: of the file system; fmode of SECTION_ROOT: the mount namespace */
};

struct socket_section {
	__u64 sock, inode;
	__u16 family, type, protocol;
	__u16 local_port, remote_port; /* host order */
	__u16 pad[3];
	__u8 local[16], remote[16];
};

/* How to handle a system call. scope.go fills the tables from calls.go. -1: no such argument */
struct syscall {
	__u32 flags;
	__u16 op; /* 0: not handled */
	__s8 fd, fd2, dir1, path1, dir2, path2, data, len, addr, addr_len;
	__s8 at;     /* flags such as AT_SYMLINK_NOFOLLOW, for path1 */
	__u8 lookup; /* enum lookup of path1, of path2 << 2, and LOOKUP_… */
	__u8 when;   /* enum when */
	__u8 select; /* enum class, and SELECT_… */
};

/* Classes of events that sessions can leave out. */
enum class {
	CLASS_NONE = 0, /* never left out */
	CLASS_READS = 1,
	CLASS_WRITES = 2,
	CLASS_CLOSES = 3,
	CLASS_LOOKUPS = 4,
	CLASS_OPENS = 5,
	CLASS_DUPLICATES = 6,
	CLASS_TRANSFERS = 7,
	CLASS_PATHS = 8,    /* left out by a rule about paths */
	CLASS_CONTENTS = 9, /* the bytes of reads, writes and transfers */
};

#define SELECT_CLASS 15   /* mask of the class of a call that succeeds, and is not about a socket */
#define SELECT_LOOKUP 16  /* CLASS_LOOKUPS if the path does not exist */
#define SELECT_PATHS 32   /* rules about paths apply */
#define SELECT_HOW 64     /* the flags of an open are in struct open_how */

/* How to treat a link that is the last component of a path. */
enum lookup {
	LOOKUP_FOLLOW = 0,
	LOOKUP_LINK = 1, /* do not follow it, unless a slash follows */
	LOOKUP_NAME = 2, /* never look it up: the call makes or removes the name */
	LOOKUP_TEXT = 3, /* the argument is not a path */
};

#define LOOKUP_CHDIR 16 /* after success, path1 leads to the working directory */
#define LOOKUP_ROOT 32  /* the call replaces the root; look path1 up from the root before it */
#define LOOKUP_HOW 64   /* path1 is followed by struct open_how */
#define LOOKUP_MOUNT 128 /* path2 is a path only if the call binds or moves a mount */

#define CALL_ENTER 1      /* read fd at the start: it is gone at the end */
#define CALL_NOTE 2       /* remember the call at its start */
#define CALL_FAILURE 4    /* report only failures: success has an event of its own */
#define CALL_RETURNS_FD 8
#define CALL_IOVEC 16     /* data is an iovec of len entries */
#define CALL_MSGHDR 32    /* data is a msghdr */
#define CALL_ADDR_PTR 64  /* addr_len is a pointer to the length */
#define CALL_ARGV 128     /* path1 is followed by argv */
#define CALL_NEW_CONN 256 /* fd, or the returned descriptor, is a new connection */
#define CALL_URGENT 512   /* wake the reader at once */
#define CALL_MMSG 1024    /* data is an array of mmsghdr, of which ret were transferred */
#define CALL_SOCKETCALL 2048 /* the first argument is the number of the call, the second points to its arguments */
#define CALL_CLONE3 4096  /* the first argument points to the flags */
#define CALL_AIO 8192     /* the third argument is an array of pointers to struct iocb, of which ret were submitted */
#define CALL_WRITES 16384 /* the call writes data */
#define CALL_STRUCT 32768 /* data points to a struct of len bytes, or of addr_len bytes in a 32-bit program */
#define CALL_MOUNT 65536  /* mount: the third and the fifth argument are texts */
#define CALL_CONFIG 131072 /* fsconfig: the fourth argument is a value, as the second says */
#define CALL_VALUE 262144 /* data has len bytes, whatever the call returns */

/* For which arguments a call is reported. */
enum when {
	WHEN_ALWAYS = 0,
	WHEN_MAP = 1,     /* mmap: what may be executed, and files that may be changed through the memory */
	WHEN_DUP = 2,     /* fcntl: F_DUPFD and F_DUPFD_CLOEXEC */
	WHEN_IOCTL = 3,   /* ioctl: requests that change files */
	WHEN_PROTECT = 4, /* mprotect: memory that becomes executable */
	WHEN_PRCTL = 5,   /* prctl: options that change how the process looks, or what it may do */
	WHEN_SOCKOPT = 6, /* setsockopt: options that show or change the packets of others */
	WHEN_OTHER = 7,   /* signals to another process */
	WHEN_LIMIT = 8,   /* prlimit64: a new limit */
	WHEN_ATTRIBUTE = 9, /* setxattrat: always; the fifth argument points to the address and the size of the value */
};

/* Where the calls of socketcall begin in the table of 32-bit calls. */
#define SOCKETCALL_BASE 480

#endif
