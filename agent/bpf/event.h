/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What goes through the ring buffer: a header, then sections one after the other,
 * each a struct section and len bytes. agent/internal/sensor/decode.go reads it;
 * a change here is a change there.
 */
#ifndef OSPULSE_EVENT_H
#define OSPULSE_EVENT_H

enum event_type {
	EVENT_SYSCALL = 1, /* op: index into the table of system calls */
	EVENT_FORK = 2,    /* args: child pid, child tid, child start, clone flags */
	EVENT_EXEC = 3,    /* args: tid before the exec, effective user */
	EVENT_EXIT = 4,    /* ret: the wait status */
	EVENT_MORE = 5,    /* args: socket, offset in the call: more of the data of the EVENT_SYSCALL before */
	EVENT_TLS = 6,     /* args: SSL, offset in the call; ret: bytes of the call; op: enum tls_op; one section */
};

enum tls_op {
	TLS_READ = 0,
	TLS_WRITTEN = 1,
	TLS_FREED = 2,
};

/* event_header.flags */
#define HEADER_COMPAT 1    /* a 32-bit system call */
#define HEADER_TRUNCATED 2 /* a section did not fit */
#define HEADER_TALK 4      /* of a TCP connection that speaks HTTP/1, or may */

struct event_header {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	__u64 sessions;
	__s64 ret;
	__u64 args[6];
	__u64 start;        /* of the process, CLOCK_BOOTTIME, ns */
	__u64 parent_start; /* 0: not known */
	__u64 cgroup;
	__u32 pid, tid, parent_pid, uid;
	__u16 type, op;
	__u32 flags;
	char comm[16];
};

enum section_type {
	SECTION_FILE = 1,   /* struct file_section, then the path */
	SECTION_SOCKET = 2, /* struct socket_section, then two names of unix sockets: u8 len, bytes */
	SECTION_RESULT = 3, /* as SECTION_FILE, of the descriptor that the call returned */
	SECTION_PATH = 4,   /* a path as the program gave it, NUL-terminated */
	SECTION_DIR = 5,    /* as SECTION_FILE: where the SECTION_PATH before leads, as far as it was followed */
	SECTION_DATA = 6,   /* the first bytes read or written */
	SECTION_ADDR = 7,   /* a sockaddr that the program gave or got */
	SECTION_ARGV = 8,   /* NUL-separated */
	SECTION_CWD = 9,    /* as SECTION_FILE */
	SECTION_COMM = 10,  /* the parent's name */
	SECTION_REST = 11,  /* u32 mount namespace, then what is left of the path from SECTION_DIR on */
};

/* section.flags */
#define SECTION_CUT 1     /* there is more than fitted */
#define SECTION_FAULT 2   /* it could not be read */
#define SECTION_DELETED 4 /* the file has no name any more */
#define SECTION_ABSENT 8  /* no such descriptor */
#define SECTION_NAME 16   /* not a path: the name of something that has none, such as memfd:x */
#define SECTION_LAST 32   /* of a rest: nothing in it is to be followed */
#define SECTION_FOLLOW 64 /* of a rest: if its last component is a link, it is to be followed */

struct section {
	__u8 type, flags;
	__u16 len;
};

/*
 * A path follows as its components, the last first, each u8 len, bytes: walked as
 * the kernel keeps them, from the file up to the root of the process.
 */
struct file_section {
	__u64 inode;
	__u32 dev, mode, fmode, magic; /* magic: of the file system */
};

struct socket_section {
	__u64 sock, inode;
	__u16 family, type, protocol;
	__u16 local_port, remote_port; /* host order */
	__u16 pad[3];
	__u8 local[16], remote[16];
};

/* What to do for a system call; one for each number, filled from syscalls.go. */
struct syscall {
	__u32 flags;
	__u16 op; /* 0: not looked at */
	__s8 fd, fd2, dir1, path1, dir2, path2, data, len, addr, addr_len;
	__s8 at;     /* flags that say whether path1 follows a link: AT_SYMLINK_NOFOLLOW and the like */
	__u8 lookup; /* enum lookup of path1, of path2 << 2, and LOOKUP_… */
};

/* What becomes of a link that is the last component of a path. */
enum lookup {
	LOOKUP_FOLLOW = 0,
	LOOKUP_LINK = 1, /* it is meant itself, unless a slash follows */
	LOOKUP_NAME = 2, /* the call is about a name in a folder */
	LOOKUP_TEXT = 3, /* this is no path */
};

#define LOOKUP_CHDIR 16 /* the folder that it led to is the working directory now */
#define LOOKUP_ROOT 32  /* it was looked up from the root that the call replaced */
#define LOOKUP_HOW 64   /* struct open_how follows */
#define LOOKUP_MOUNT 128 /* path2 is a path only of a mount that binds or moves */

#define CALL_ENTER 1      /* look at fd at the start: it is gone at the end */
#define CALL_NOTE 2       /* remember at the start, for the event of fork or exec */
#define CALL_FAILURE 4    /* report only failures: success has an event of its own */
#define CALL_RETURNS_FD 8
#define CALL_IOVEC 16     /* data is an iovec of len entries */
#define CALL_MSGHDR 32    /* data is a msghdr */
#define CALL_ADDR_PTR 64  /* addr_len is a pointer to the length */
#define CALL_EXEC_MAP 128 /* only with PROT_EXEC in the third argument, of a file */
#define CALL_DUP 256      /* fcntl: only F_DUPFD and F_DUPFD_CLOEXEC */
#define CALL_ARGV 512     /* path1 is followed by argv */
#define CALL_NEW_CONN 1024 /* fd (or the one returned) is a new connection */
#define CALL_URGENT 2048  /* do not wait for more */
#define CALL_MMSG 4096    /* data is an array of msghdr, of which ret were moved */
#define CALL_SOCKETCALL 8192 /* the first argument says which call, the second where its arguments are */
#define CALL_CLONE3 16384 /* the first argument points to the flags */

#define CALL_AIO 32768    /* the third argument is an array of struct iocb, of which ret were handed in */
#define CALL_IOCTL 65536  /* only the requests that change files */

#define CALL_WRITES 131072 /* data goes out */

/* Where socketcall's calls are in the table of 32-bit calls. */
#define SOCKETCALL_BASE 480

#endif
