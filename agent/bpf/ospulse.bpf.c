// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The kernel side of the sensor. It writes what watched processes do to a ring buffer.
 *
 * It reads the arguments of a system call at the end of the call. By then the kernel has
 * read them itself, so that their pages are in memory, which at the start they often are
 * not. The registers still hold the arguments. Only what is gone at the end, such as the
 * file behind a closed descriptor, is read at the start.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "event.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_SYSCALLS 1024
#define FIRST_X32 512 /* the first number that only x32 has */
#define MAX_SESSIONS 64
#define MAX_RULES 8192 /* about paths, of all sessions */
#define MAX_COMPONENTS 96 /* of a path, in one call of climb */
#define MAX_CLIMBS 24
#define MAX_PATH 4096
#define MAX_DATA 16384
#define MAX_CHUNKS 8 /* pieces of MAX_DATA that one call on an HTTP connection sends */
#define MAX_ARGV 16384  /* in one event */
#define MAX_ARGS 128    /* of an exec that failed */
#define MAX_PARTS 64    /* of the arguments, of MAX_ARGV bytes */
#define MAX_ENV_PARTS 8 /* of the environment */
#define MAX_ADDR 128
#define MAX_IOVECS 8
#define MAX_MESSAGES 16
#define MAX_CONTROLS 16
#define MAX_PASSED 253 /* SCM_MAX_FD */
#define BUFFER 65536
#define PAGE 4096

#define PF_KTHREAD 0x00200000
#define SIGSTOP 19
#define SIGNAL_GROUP_EXIT 4
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define PROC_MAGIC 0x9fa0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_PRIVATE 2
#define MAP_TYPE 15
#define MAP_ANONYMOUS 32
#define FMODE_WRITE 2
#define FMODE_CREATED 0x100000
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030
#define AT_FDCWD (-100)
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0100
#define O_TRUNC 01000
#define MAX_TURNED 8192 /* bytes of a path in turn */
#define MAX_SECTIONS 8  /* of an event, in which select_paths looks for paths */

/* Settings from the agent. It changes those without const while the programs run. */
volatile __u64 all_sessions; /* sessions that watch every process */
volatile __u64 selecting;    /* sessions that leave something out */
volatile __u64 left_out[SELECT_CLASS + 1]; /* sessions that leave out a class; for CLASS_PATHS, those with rules about paths */
volatile __u32 content_bytes = 256;
volatile __u32 wakeup_bytes = 65536;
volatile __u64 epoch; /* counts the agent's readings of losses */
volatile __u64 pausing; /* sessions whose processes are paused when the ring is nearly full */
volatile __u32 pause_bytes = 12 << 20;
volatile const __u32 uring_op; /* op of operations of io_uring */
volatile const __u32 aio_op;   /* op of operations of native AIO */
volatile const __u8 environment; /* whether to read the environment of programs */

/* The agent's root and mount namespace, by the numbers that user space knows. */
volatile const __u32 home_mount;     /* mnt_id */
volatile const __u64 home_inode;
volatile const __u8 home_is_mounted; /* the root is the root of its mount */
volatile const __u32 home_namespace;

/*
 * For each system call number, in either table: whether the start and the end of the call
 * are handled. Most calls need no more than this check.
 */
#define LOOK_ENTER 1
#define LOOK_EXIT 2
volatile const __u8 looks[MAX_SYSCALLS];

/* proc.flags */
#define PROC_EXCLUDED 1
#define PROC_KNOWN 2

/* A process. The key is its pid (tgid). */
struct proc {
	__u64 sessions; /* sessions that watch it */
	__u64 on_exec;  /* sessions that watch it from its next exec on */
	__u64 hidden;   /* sessions that watch every process, but not this one */
	__u64 start, parent_start;
	__u32 parent_pid, flags;
};

struct loss {
	__u64 count, first, last, epoch;
};

struct raw_path { /* struct path, the same in all kernels */
	__u64 mnt, dentry;
};

/*
 * The same, by address. put_root stores them when it first sees a process that shares them.
 * The agent keeps them in use, so the addresses stay valid.
 */
struct raw_path home_root;
__u64 home_mounts;

struct raw_qstr { /* struct qstr, the same in all kernels */
	__u32 hash, len;
	const void *name;
};

/* The state of the way from a file up to the root. */
struct climb {
	struct raw_path at, root;
	__u32 limit; /* the last position for a component */
	__u32 flags; /* of the section */
};

struct msghdr {
	__u64 name;
	__u32 name_len, pad;
	__u64 iov, iov_count, control, control_len;
};

struct compat_msghdr {
	__u32 name, name_len, iov, iov_count, control, control_len;
};

struct cmsghdr {
	__u64 len;
	__s32 level, type;
};

/*
 * The buffer in which a CPU makes an event. It also has what would take too much of the stack:
 * all functions of a chain of calls share 512 bytes.
 */
struct buffer {
	__u32 busy, off;
	__u64 args[8];      /* of the call; arg() needs a power of two */
	struct msghdr msg;  /* what put_msghdr reads */
	struct cmsghdr control;
	struct raw_path root; /* of the process; paths are relative to it */
	__u32 parts;          /* events that send_parts has sent */
	struct climb climb;
	__u8 data[BUFFER];
};

/* A path as the trie of rules has it: from the root, with a slash at its end. */
struct path_key {
	__u32 bits; /* of path */
	__u8 path[256];
};

/* The state of following a path, component by component. */
#define MAX_TEXTS 8
struct walk {
	struct raw_path at, root;
	__u64 child;         /* the dentry of name, if it was found */
	__u32 lookup, links;
	__u32 len;           /* of name */
	__u32 last, slashed; /* name is the last component; slashes follow it */
	/*
	 * What is left to follow: the rest of the path in texts[0], and of each link in
	 * progress the rest of its target. texts[text] is the innermost.
	 */
	__u32 text;
	__u32 begin[MAX_TEXTS]; /* where the rest of each text begins */
	__u32 text_before, begin_before; /* text and its begin before name was taken */
	__u32 from, to, end; /* of turn: what is left of the section, and where the text begins */
	__u8 name[264], other[264];
	__u8 texts[MAX_TEXTS * MAX_PATH + 512];
	struct path_key key;
};

/* A call that has begun. */
struct note {
	__u64 flags;
	struct raw_path root;
	__u32 op;
};

/* The section of a descriptor that is being closed. */
struct closing {
	__u32 len;
	__u8 data[508];
};

struct long_closing {
	__u32 len;
	__u8 data[MAX_PATH + 1020];
};

/* Verdicts on a direction of a connection. */
#define TALK_OPEN 0  /* the first line is incomplete */
#define TALK_HTTP 1  /* the first line contains HTTP/1 or HTTP/2 */
#define TALK_OTHER 2 /* neither */

struct talk {
	struct {
		__u64 tail; /* the last bytes of the first line */
		__u32 verdict, seen;
	} way[2]; /* what the process reads; what it writes */
};

/* A process that is paused. */
struct pause {
	__u64 since, sessions;
};

/* A call of SSL_read or SSL_write that has begun. */
struct tls_call {
	__u64 ssl, data, done; /* done: where the _ex functions store the number of bytes; else 0 */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct proc);
} procs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SYSCALLS);
	__type(key, __u32);
	__type(value, struct syscall);
} syscalls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SYSCALLS);
	__type(key, __u32);
	__type(value, struct syscall);
} syscalls_compat SEC(".maps");

/* One for each CPU. It is a plain array because per-CPU values are limited to 32 KiB. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct buffer);
} buffers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__type(value, struct loss);
} losses SEC(".maps");

/* How many events each session has left out, by class. */
struct counts {
	__u64 of[SELECT_CLASS + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

/*
 * The rules about paths of all sessions. The value has the sessions that leave out the paths
 * below the key. A lookup finds the longest key, so each key has the verdicts of all sessions.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct path_key);
	__type(value, __u64);
} paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct note);
} notes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, struct closing);
} closings SEC(".maps");

/* Sections that are too long for closings. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct long_closing);
} long_closings SEC(".maps");

/* Verdicts on TCP connections. The key is the address of the struct sock. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct talk);
} talks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

/* Paused processes, which the agent resumes. The key is the pid (tgid). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct pause);
} pauses SEC(".maps");

/*
 * Limits n to max. Inline assembly keeps clang from optimising the check away, so that the
 * verifier sees it.
 */
#define BOUND(n, max)                                              \
	asm volatile("if %[value] <= %[limit] goto +1\n"           \
		     "%[value] = %[limit]\n"                        \
		     : [value] "+r"(n)                             \
		     : [limit] "i"(max))

/* Counts a lost event for each of the sessions. */
__noinline int lose(__u64 sessions)
{
	__u64 now = bpf_ktime_get_boot_ns();

	for (__u32 i = 0; i < MAX_SESSIONS; i++) {
		struct loss *loss;
		__u32 key = i;

		if (!(sessions >> i & 1))
			continue;
		loss = bpf_map_lookup_elem(&losses, &key);
		if (!loss)
			return 0;
		if (loss->epoch != epoch || !loss->count) {
			loss->epoch = epoch;
			loss->first = now;
		}
		loss->last = now;
		loss->count++;
	}
	return 0;
}

/* Returns the sessions that watch a process; proc may be NULL. */
static __always_inline __u64 sessions_of(struct proc *proc)
{
	if (!proc)
		return all_sessions;
	if (proc->flags & PROC_EXCLUDED)
		return 0;
	return proc->sessions | (all_sessions & ~proc->hidden);
}

static __always_inline struct buffer *buffer_of_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&buffers, &cpu);
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline struct walk *walk_of_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&walks, &cpu);
}

/* Reads the root of the process. */
static __always_inline void read_root(struct raw_path *root)
{
	struct fs_struct *fs = BPF_CORE_READ(current_task(), fs);

	bpf_probe_read_kernel(root, sizeof(*root), (void *)fs + bpf_core_field_offset(struct fs_struct, root));
}

/* Reads the start time and the parent of a process. */
static __always_inline void know(struct proc *proc, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct task_struct *parent = BPF_CORE_READ(leader, real_parent);

	proc->start = BPF_CORE_READ(leader, start_boottime);
	proc->parent_pid = BPF_CORE_READ(parent, tgid);
	proc->parent_start = BPF_CORE_READ(parent, group_leader, start_boottime);
	proc->flags |= PROC_KNOWN;
}

__noinline int put_root(void);

/* Fills in the header's part about the process, and remembers it. */
__noinline int put_process(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid), made = {};
	struct buffer *buffer = buffer_of_cpu();
	struct event_header *header;

	if (!buffer)
		return 0;
	if (proc)
		made = *proc;
	know(&made, current_task());
	bpf_map_update_elem(&procs, &pid, &made, BPF_ANY);
	header = (struct event_header *)buffer->data;
	header->start = made.start;
	header->parent_pid = made.parent_pid;
	header->parent_start = made.parent_start;
	return 0;
}

/*
 * Takes this CPU's buffer and fills in the header of an event of the current process.
 * Returns NULL if the buffer is in use. Programs at tracepoints do not preempt each other;
 * if they ever do, the second event is counted as lost.
 */
static __always_inline struct buffer *begin(struct proc *proc, __u64 sessions, __u16 type)
{
	struct event_header *header;
	struct buffer *buffer = buffer_of_cpu();
	__u64 id = bpf_get_current_pid_tgid();

	if (!buffer)
		return NULL;
	if (buffer->busy) {
		lose(sessions);
		return NULL;
	}
	buffer->busy = 1;
	buffer->off = sizeof(*header);
	read_root(&buffer->root);
	header = (struct event_header *)buffer->data;
	header->time = bpf_ktime_get_boot_ns();
	header->sessions = sessions;
	header->pid = id >> 32;
	header->tid = id;
	header->uid = bpf_get_current_uid_gid();
	header->cgroup = bpf_get_current_cgroup_id();
	header->type = type;
	header->op = 0;
	header->flags = 0;
	header->ret = 0;
	bpf_get_current_comm(header->comm, sizeof(header->comm));
	if (!proc || !(proc->flags & PROC_KNOWN)) {
		put_process();
	} else {
		header->start = proc->start;
		header->parent_pid = proc->parent_pid;
		header->parent_start = proc->parent_start;
	}
	put_root();
	return buffer;
}

/*
 * Stops the current process, because the ring is nearly full. The agent resumes it when it
 * has read the ring. The process stops on its way back to user space, with all its threads,
 * so that each thread sends one more event at most.
 */
__noinline int pause_process(__u64 sessions)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct pause pause = {.since = bpf_ktime_get_boot_ns(), .sessions = sessions};

	/* Without an entry nobody would resume it. */
	if (bpf_map_update_elem(&pauses, &pid, &pause, BPF_NOEXIST) && !bpf_map_lookup_elem(&pauses, &pid))
		return 0;
	bpf_send_signal(SIGSTOP);
	/* The agent may have removed the entry, and resumed the process, before that signal. */
	bpf_map_update_elem(&pauses, &pid, &pause, BPF_NOEXIST);
	return 0;
}

/* Sends the buffer to the ring and releases it. urgent wakes the reader. */
static __always_inline void end(struct buffer *buffer, bool urgent)
{
	struct event_header *header = (struct event_header *)buffer->data;
	__u64 off = buffer->off, flags = BPF_RB_NO_WAKEUP, sessions = header->sessions, unread;

	BOUND(off, BUFFER);
	unread = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	if (urgent || unread >= wakeup_bytes)
		flags = BPF_RB_FORCE_WAKEUP;
	if (bpf_ringbuf_output(&events, buffer->data, off, flags))
		lose(sessions);
	buffer->busy = 0;
	if (unread >= pause_bytes && sessions & pausing)
		pause_process(sessions & pausing);
}

/*
 * Sections. Most writers are global functions, which the verifier checks once. They find the
 * buffer themselves, because global functions take only scalars.
 */
static __always_inline struct section *section_at(struct buffer *buffer, __u32 off, __u8 type)
{
	struct section *section = (struct section *)&buffer->data[off];

	section->type = type;
	section->flags = 0;
	section->len = 0;
	return section;
}

#define ROOM(buffer, off, need)                                                      \
	do {                                                                         \
		if ((off) > BUFFER - sizeof(struct section) - (need)) {              \
			((struct event_header *)(buffer)->data)->flags |= HEADER_TRUNCATED; \
			return 0;                                                    \
		}                                                                    \
	} while (0)

/*
 * Writes the next components of a path, from its end. Returns whether there are more. One
 * function cannot write a whole path: the verifier would have to follow too many jumps. The
 * position of the next component is kept in the buffer, not in a register. In a register it
 * would make each iteration of the loop a new state for the verifier: thousands instead of a
 * hundred.
 */
__noinline int climb(void)
{
	struct buffer *buffer = buffer_of_cpu();
	struct vfsmount *vfsmount;
	struct dentry *dentry, *top;
	struct climb *state;
	struct mount *mount;
	volatile __u32 *next;

	if (!buffer)
		return 0;
	state = &buffer->climb;
	next = &buffer->off;
	dentry = (struct dentry *)state->at.dentry;
	vfsmount = (struct vfsmount *)state->at.mnt;
	mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	top = BPF_CORE_READ(vfsmount, mnt_root);
	for (int i = 0; i < MAX_COMPONENTS; i++) {
		struct dentry *parent;
		struct raw_qstr name;
		__u64 off, len;

		if ((__u64)dentry == state->root.dentry && (__u64)vfsmount == state->root.mnt)
			return 0;
		if (dentry == top) {
			struct mount *up = BPF_CORE_READ(mount, mnt_parent);

			if (up == mount || !up) {
				if (state->root.mnt)
					state->flags |= SECTION_OUTSIDE;
				return 0;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = up;
			vfsmount = (void *)mount + bpf_core_field_offset(struct mount, mnt);
			top = BPF_CORE_READ(vfsmount, mnt_root);
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		if (bpf_probe_read_kernel(&name, sizeof(name), (void *)dentry + bpf_core_field_offset(struct dentry, d_name))) {
			state->flags |= SECTION_FAULT;
			return 0;
		}
		if (parent == dentry) /* in no directory */
			state->flags |= SECTION_NAME;
		off = *next;
		if (off > state->limit) {
			state->flags |= SECTION_CUT;
			return 0;
		}
		BOUND(off, BUFFER - 512);
		len = name.len & 0xff;
		buffer->data[off] = len;
		if (bpf_probe_read_kernel(&buffer->data[off + 1], len, name.name)) {
			state->flags |= SECTION_FAULT;
			return 0;
		}
		*next = off + len + 1;
		if (parent == dentry)
			return 0;
		dentry = parent;
	}
	state->at.dentry = (__u64)dentry;
	state->at.mnt = (__u64)vfsmount;
	return 1;
}

/* Writes the path of (mount, dentry) as a section. */
__noinline int put_path_section(__u64 mount_address, __u64 dentry_address, __u64 inode_address, __u32 fmode, __u32 type)
{
	struct dentry *dentry = (struct dentry *)dentry_address;
	struct inode *inode = (struct inode *)inode_address;
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	struct file_section *head;
	struct climb *state;
	__u32 start;
	int more = 1;

	if (!buffer)
		return 0;
	start = buffer->off;
	ROOM(buffer, start, MAX_PATH + 1024);
	section = section_at(buffer, start, type);
	start += sizeof(*section);
	head = (struct file_section *)&buffer->data[start];
	head->inode = BPF_CORE_READ(inode, i_ino);
	head->mode = BPF_CORE_READ(inode, i_mode);
	head->dev = BPF_CORE_READ(sb, s_dev);
	head->fmode = fmode;
	head->magic = BPF_CORE_READ(sb, s_magic);
	buffer->off = start + sizeof(*head);

	state = &buffer->climb;
	state->at.mnt = mount_address;
	state->at.dentry = dentry_address;
	state->root = buffer->root;
	if (type == SECTION_ROOT)
		state->root.mnt = 0; /* do not stop there */
	state->limit = buffer->off + MAX_PATH;
	state->flags = 0;
	/* as d_unlinked(): unhashed, and not a root */
	if (!BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry)
		state->flags = SECTION_DELETED;
	for (int i = 0; i < MAX_CLIMBS && more; i++)
		more = climb();
	section->flags = state->flags | (more ? SECTION_CUT : 0);
	section->len = buffer->off - start;
	return 0;
}

/* Writes the root and the mount namespace of the process, unless both are the agent's. */
__noinline int put_root(void)
{
	struct mnt_namespace *mounts = BPF_CORE_READ(current_task(), nsproxy, mnt_ns);
	struct buffer *buffer = buffer_of_cpu();
	struct dentry *dentry;
	struct mount *mount;
	struct inode *inode;
	__u32 namespace;

	if (!buffer || !buffer->root.mnt)
		return 0;
	if (buffer->root.mnt == home_root.mnt && buffer->root.dentry == home_root.dentry && (__u64)mounts == home_mounts)
		return 0;
	mount = (void *)buffer->root.mnt - bpf_core_field_offset(struct mount, mnt);
	dentry = (struct dentry *)buffer->root.dentry;
	inode = BPF_CORE_READ(dentry, d_inode);
	namespace = BPF_CORE_READ(mounts, ns.inum);
	if (namespace == home_namespace && BPF_CORE_READ(mount, mnt_id) == home_mount && BPF_CORE_READ(inode, i_ino) == home_inode &&
	    (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) == home_is_mounted) {
		home_root = buffer->root;
		home_mounts = (__u64)mounts;
		return 0;
	}
	return put_path_section(buffer->root.mnt, (__u64)dentry, (__u64)inode, namespace, SECTION_ROOT);
}

static __always_inline void put_name(struct buffer *buffer, __u32 off, struct unix_sock *sock)
{
	struct unix_address *addr = sock ? BPF_CORE_READ(sock, addr) : NULL;
	__u64 len = addr ? BPF_CORE_READ(addr, len) - 2 : 0;

	if (off > BUFFER - 256)
		return;
	buffer->data[off] = 0;
	BOUND(len, 108);
	if (len == 0)
		return;
	if (!bpf_probe_read_kernel(&buffer->data[off + 1], len, (void *)addr + bpf_core_field_offset(struct unix_address, name) + 2))
		buffer->data[off] = len;
}

__noinline int put_socket(__u64 sock_address, __u64 inode_address)
{
	struct sock *sock = (struct sock *)sock_address;
	struct inode *inode = (struct inode *)inode_address;
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	struct socket_section *head;
	__u32 off, start;

	if (!buffer)
		return 0;
	off = buffer->off;
	ROOM(buffer, off, 1024);
	section = section_at(buffer, off, SECTION_SOCKET);
	start = off + sizeof(*section);
	head = (struct socket_section *)&buffer->data[start];
	__builtin_memset(head, 0, sizeof(*head));
	head->sock = (__u64)sock;
	head->inode = BPF_CORE_READ(inode, i_ino);
	head->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	head->type = BPF_CORE_READ(sock, sk_type);
	head->protocol = BPF_CORE_READ(sock, sk_protocol);
	off = start + sizeof(*head);
	if (head->family == AF_INET || head->family == AF_INET6) {
		head->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
		head->remote_port = __builtin_bswap16(BPF_CORE_READ(sock, __sk_common.skc_dport));
	}
	if (head->family == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)head->local, sock, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)head->remote, sock, __sk_common.skc_daddr);
	} else if (head->family == AF_INET6) {
		BPF_CORE_READ_INTO(&head->local, sock, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&head->remote, sock, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else if (head->family == AF_UNIX) {
		struct unix_sock *unix_sock = (struct unix_sock *)sock;

		put_name(buffer, off, unix_sock);
		off += buffer->data[off] + 1;
		if (off > BUFFER - 256)
			return 0;
		put_name(buffer, off, (struct unix_sock *)BPF_CORE_READ(unix_sock, peer));
		off += buffer->data[off] + 1;
	}
	section->len = off - start;
	buffer->off = off;
	return 0;
}

static __always_inline int put_file(struct file *file, __u32 type)
{
	struct raw_path path = {};

	bpf_probe_read_kernel(&path, sizeof(path), (void *)file + bpf_core_field_offset(struct file, f_path));
	return put_path_section(path.mnt, path.dentry, (__u64)BPF_CORE_READ(file, f_inode), BPF_CORE_READ(file, f_mode), type);
}

/* Returns the file behind a descriptor of a task; NULL if there is none. */
static __always_inline struct file *file_in(struct task_struct *task, int fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;

	if (fd < 0 || (__u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

static __always_inline struct file *file_of(int fd)
{
	return file_in(current_task(), fd);
}

/* Returns the socket of a file; NULL if the file is not a socket. */
static __always_inline struct sock *sock_of(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct socket *socket;

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline bool is_socket_fd(int fd)
{
	struct file *file = file_of(fd);

	return file && sock_of(file);
}

/* Writes the file or socket behind a descriptor. Returns whether it is a socket. */
__noinline int put_fd(int fd, __u32 type)
{
	struct file *file = file_of(fd);
	struct sock *sock;

	if (!file) {
		struct buffer *buffer = buffer_of_cpu();
		__u32 off;

		if (!buffer)
			return 0;
		off = buffer->off;
		ROOM(buffer, off, 0);
		section_at(buffer, off, type)->flags = SECTION_ABSENT;
		buffer->off = off + sizeof(struct section);
		return 0;
	}
	sock = sock_of(file);
	if (sock) {
		put_socket((__u64)sock, (__u64)BPF_CORE_READ(file, f_inode));
		return 1;
	}
	put_file(file, type);
	return 0;
}

/* Writes the executable of the process. */
__noinline int put_image(void)
{
	struct file *file = BPF_CORE_READ(current_task(), mm, exe_file);

	if (!file)
		return 0;
	return put_file(file, SECTION_FILE);
}

/* Writes the working directory. */
__noinline int put_cwd(__u32 type)
{
	struct fs_struct *fs = BPF_CORE_READ(current_task(), fs);
	struct dentry *dentry = BPF_CORE_READ(fs, pwd.dentry);

	return put_path_section((__u64)BPF_CORE_READ(fs, pwd.mnt), (__u64)dentry, (__u64)BPF_CORE_READ(dentry, d_inode), 0, type);
}

/* Writes a string from user memory, or from kernel memory. Returns whether it is a relative path. */
__noinline int put_string(__u64 address, __u32 kernel, __u32 type)
{
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	__u32 off;
	long len;

	if (!buffer)
		return 0;
	off = buffer->off;
	ROOM(buffer, off, MAX_PATH);
	section = section_at(buffer, off, type);
	off += sizeof(*section);
	if (kernel)
		len = bpf_probe_read_kernel_str(&buffer->data[off], MAX_PATH, (void *)address);
	else
		len = bpf_probe_read_user_str(&buffer->data[off], MAX_PATH, (void *)address);
	if (len < 0 || len > MAX_PATH) {
		section->flags = SECTION_FAULT;
		len = 0;
	}
	if (len == MAX_PATH)
		section->flags = SECTION_CUT;
	section->len = len;
	buffer->off = off + len;
	return len > 0 && buffer->data[off] != '/';
}

/*
 * Paths. At the end of a call the kernel has followed its path, so that the dentries on the
 * way are cached. The functions below follow the path again, by searching the first
 * MAX_CHILDREN children of each dentry, newest first. They leave what they do not find to
 * the agent.
 */
#define MAX_STEPS 2100
#define MAX_CHILDREN 1024
#define MAX_MOUNTS 256
#define MAX_SLASHES 256
#define MAX_STACKED 8 /* mounts on the same place */
#define S_IFLNK 0120000

/* Results of a step. */
#define WALK_ON 0
#define WALK_END 1   /* at is where the path leads */
#define WALK_LAST 2  /* at is the folder of a component that is not followed */
#define WALK_STUCK 3 /* the agent has to follow the rest */

/* Returns the position in texts of byte begin of a text. */
static __always_inline __u64 text_at(__u32 text, __u32 begin)
{
	__u64 off = (text & (MAX_TEXTS - 1)) * MAX_PATH + begin;

	BOUND(off, MAX_TEXTS * MAX_PATH);
	return off;
}

/* Skips slashes. Returns the byte after them, NUL at the end of the text; -1 on failure. */
__noinline int skip_slashes(__u32 text)
{
	struct walk *w = walk_of_cpu();
	__u64 off;

	if (!w)
		return -1;
	off = text_at(text, w->begin[text & (MAX_TEXTS - 1)]);
	for (__u32 i = 0; i < MAX_SLASHES; i++) {
		__u8 c = w->texts[off + i];

		if (c != '/') {
			w->begin[text & (MAX_TEXTS - 1)] += i;
			return c;
		}
	}
	return -1;
}

/* Takes the next component into name. Returns whether that succeeded. */
__noinline int next_name(void)
{
	struct walk *w = walk_of_cpu();
	__u32 text, i;
	__u64 off;
	int c = -1;

	if (!w)
		return 0;
	text = w->text & (MAX_TEXTS - 1);
	w->text_before = text;
	w->begin_before = w->begin[text];
	off = text_at(text, w->begin[text]);
	for (i = 0; i < 256; i++) {
		c = w->texts[off + i];
		if (c == 0 || c == '/')
			break;
		w->name[i] = c;
	}
	if (i == 0 || i == 256)
		return 0;
	*(__u64 *)&w->name[i] = 0;
	w->len = i;
	w->begin[text] += i;
	w->slashed = c == '/';
	w->last = 0;
	c = skip_slashes(text);
	if (c < 0)
		return 0;
	if (c == 0) {
		if (text == 0)
			w->last = 1;
		else
			w->text = text - 1;
	}
	return 1;
}

/* Returns whether a dentry has the name that is looked for, and is not deleted. */
__noinline int has_name(__u64 address)
{
	struct dentry *dentry = (struct dentry *)address;
	struct walk *w = walk_of_cpu();
	struct raw_qstr name;
	__u64 len;

	if (!w || bpf_probe_read_kernel(&name, sizeof(name), (void *)dentry + bpf_core_field_offset(struct dentry, d_name)) ||
	    name.len != w->len)
		return 0;
	len = name.len;
	BOUND(len, 255);
	if (bpf_probe_read_kernel(w->other, len, name.name))
		return 0;
	*(__u64 *)&w->other[len] = 0;
	for (__u32 i = 0; i < 32; i++) {
		if (i * 8 >= len)
			break;
		if (*(__u64 *)&w->name[i * 8] != *(__u64 *)&w->other[i * 8])
			return 0;
	}
	return BPF_CORE_READ(dentry, d_hash.pprev) != NULL;
}

/* Finds the child with the name. Returns whether there is one. */
__noinline int find_child(void)
{
	struct walk *w = walk_of_cpu();
	struct dentry *dentry;
	void *link;

	if (!w)
		return 0;
	dentry = (struct dentry *)w->at.dentry;
	if (bpf_core_field_exists(dentry->d_children)) {
		link = BPF_CORE_READ(dentry, d_children.first);
		for (__u32 i = 0; i < MAX_CHILDREN; i++) {
			if (!link)
				return 0;
			w->child = (__u64)(link - bpf_core_field_offset(struct dentry, d_sib));
			if (has_name(w->child))
				return 1;
			link = BPF_CORE_READ((struct hlist_node *)link, next);
		}
		return 0;
	}
	struct dentry___before_6_8 *old = (void *)dentry;
	void *head = (void *)old + bpf_core_field_offset(struct dentry___before_6_8, d_subdirs);

	link = BPF_CORE_READ(old, d_subdirs.next);
	for (__u32 i = 0; i < MAX_CHILDREN; i++) {
		if (link == head || !link)
			return 0;
		w->child = (__u64)(link - bpf_core_field_offset(struct dentry___before_6_8, d_child));
		if (has_name(w->child))
			return 1;
		link = BPF_CORE_READ((struct list_head *)link, next);
	}
	return 0;
}

static __always_inline struct mount *mount_of(__u64 vfsmount)
{
	return (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
}

/* Goes from a folder to the root of the file system mounted on it. Returns whether it did. */
__noinline int enter_mount(void)
{
	struct walk *w = walk_of_cpu();
	__u32 mounted = 1 << 16; /* the value in kernels where it is a macro */
	struct dentry *dentry;
	struct mount *mount;
	void *head, *link;

	if (!w)
		return 0;
	if (bpf_core_enum_value_exists(enum dentry_flags, DCACHE_MOUNTED))
		mounted = bpf_core_enum_value(enum dentry_flags, DCACHE_MOUNTED);
	dentry = (struct dentry *)w->at.dentry;
	if (!(BPF_CORE_READ(dentry, d_flags) & mounted))
		return 0;
	mount = mount_of(w->at.mnt);
	head = (void *)mount + bpf_core_field_offset(struct mount, mnt_mounts);
	link = BPF_CORE_READ(mount, mnt_mounts.next);
	for (__u32 i = 0; i < MAX_MOUNTS; i++) {
		if (link == head || !link)
			return 0;
		mount = link - bpf_core_field_offset(struct mount, mnt_child);
		if (BPF_CORE_READ(mount, mnt_mountpoint) == dentry) {
			w->at.mnt = (__u64)mount + bpf_core_field_offset(struct mount, mnt);
			w->at.dentry = (__u64)BPF_CORE_READ(mount, mnt.mnt_root);
			return 1;
		}
		link = BPF_CORE_READ((struct list_head *)link, next);
	}
	return 0;
}

static __always_inline void enter_mounts(void)
{
	for (int i = 0; i < MAX_STACKED; i++) {
		if (!enter_mount())
			break;
	}
}

/* Goes to the parent folder (".."). */
__noinline int go_up(void)
{
	struct walk *w = walk_of_cpu();

	if (!w)
		return 0;
	for (int i = 0; i < MAX_STACKED; i++) {
		struct dentry *dentry = (struct dentry *)w->at.dentry;
		struct mount *mount = mount_of(w->at.mnt), *up;

		if (w->at.dentry == w->root.dentry && w->at.mnt == w->root.mnt)
			return 0;
		if (dentry != BPF_CORE_READ(mount, mnt.mnt_root)) {
			w->at.dentry = (__u64)BPF_CORE_READ(dentry, d_parent);
			enter_mounts();
			return 0;
		}
		up = BPF_CORE_READ(mount, mnt_parent);
		if (up == mount || !up)
			return 0;
		w->at.dentry = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
		w->at.mnt = (__u64)up + bpf_core_field_offset(struct mount, mnt);
	}
	return 0;
}

/* Goes to where a text starts. Returns its first byte to follow, as skip_slashes does. */
__noinline int begin_text(__u32 text)
{
	struct walk *w = walk_of_cpu();

	if (!w)
		return 0;
	w->begin[text & (MAX_TEXTS - 1)] = 0;
	if (w->texts[text_at(text, 0)] == '/')
		w->at = w->root;
	return skip_slashes(text);
}

/* Follows the link child. Returns WALK_…. */
__noinline int follow_link(void)
{
	struct walk *w = walk_of_cpu();
	struct dentry *child;
	char *link;
	__u32 text;
	__u64 off;
	long len;
	int c;

	if (!w)
		return WALK_STUCK;
	child = (struct dentry *)w->child;
	link = BPF_CORE_READ(child, d_inode, i_link);
	text = w->last ? 0 : w->text + 1;
	if (text >= MAX_TEXTS || w->links++ >= 40)
		return WALK_STUCK;
	off = text_at(text, 0);
	len = bpf_probe_read_kernel_str(&w->texts[off], MAX_PATH, link);
	if (len <= 1 || len >= MAX_PATH)
		return WALK_STUCK;
	c = begin_text(text);
	if (c < 0) {
		w->text_before = text;
		w->begin_before = 0;
		return WALK_STUCK;
	}
	if (c == 0)
		return w->last ? WALK_END : WALK_ON;
	w->text = text;
	return WALK_ON;
}

/* Replaces name by a number. */
static __always_inline void set_number(struct walk *w, __u32 number)
{
	__u32 len = 0;

	*(__u64 *)w->name = 0;
	*(__u64 *)&w->name[8] = 0;
	for (__u32 scale = 1000000; scale; scale /= 10) { /* PID_MAX_LIMIT has seven digits */
		if (len || number >= scale || scale == 1)
			w->name[len++ & 7] = '0' + number / scale % 10;
	}
	w->len = len;
}

/* Returns the number of a pid in a pid namespace of this level. */
static __always_inline __u32 number_in(struct pid *pid, __u32 level)
{
	struct upid own = {};

	if (level > 32) /* MAX_PID_NS_LEVEL */
		return 0;
	bpf_probe_read_kernel(&own, sizeof(own), (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid));
	return own.nr;
}

/* Goes from the root of a proc file system to the folder of the process, or of the thread. Returns whether it did. */
static __always_inline int enter_self(struct walk *w, struct super_block *sb, bool thread)
{
	struct proc_fs_info *info = BPF_CORE_READ(sb, s_fs_info);
	__u32 level = BPF_CORE_READ(info, pid_ns, level);
	__u64 before = w->at.dentry;

	for (int i = 0; i < 3; i++) {
		if (i == 1) {
			*(__u64 *)w->name = 0x6b736174; /* task */
			w->len = 4;
		} else if (i == 0) {
			set_number(w, number_in(BPF_CORE_READ(current_task(), group_leader, thread_pid), level));
		} else {
			set_number(w, number_in(BPF_CORE_READ(current_task(), thread_pid), level));
		}
		if (!find_child()) {
			w->at.dentry = before;
			return 0;
		}
		w->at.dentry = w->child;
		if (!thread)
			break;
	}
	return 1;
}

/*
 * Follows the link child if it is one that the proc file system makes: self and thread-self,
 * and fd/N, cwd, root and exe of any process. Returns whether it did.
 */
__noinline int follow_proc(void)
{
	struct walk *w = walk_of_cpu();
	struct proc_inode *proc;
	struct super_block *sb;
	struct file *file = NULL;
	struct task_struct *task;
	struct dentry *child;
	struct inode *inode;
	struct pid *pid;
	__u32 folder = 0;
	__u64 name;
	void *path;

	if (!w || !bpf_core_field_exists(struct proc_inode, vfs_inode) || !bpf_core_field_exists(struct proc_fs_info, pid_ns))
		return 0;
	child = (struct dentry *)w->child;
	inode = BPF_CORE_READ(child, d_inode);
	sb = BPF_CORE_READ(inode, i_sb);
	if (BPF_CORE_READ(sb, s_magic) != PROC_MAGIC)
		return 0;
	name = *(__u64 *)w->name;
	if (w->len == 4 && name == 0x666c6573) /* self */
		return enter_self(w, sb, false);
	if (w->len == 11 && name == 0x732d646165726874) /* thread-s */
		return enter_self(w, sb, true);
	proc = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	pid = BPF_CORE_READ(proc, pid);
	path = pid ? BPF_CORE_READ(pid, tasks[0].first) : NULL;
	if (!path)
		return 0;
	task = path - bpf_core_field_offset(struct task_struct, pid_links);
	bpf_probe_read_kernel_str(&folder, sizeof(folder), BPF_CORE_READ(child, d_parent, d_name.name));
	if (folder == 0x6466) /* fd */
		file = file_in(task, BPF_CORE_READ(proc, fd));
	else if (w->len == 3 && name == 0x657865) /* exe */
		file = BPF_CORE_READ(task, mm, exe_file);
	if (file)
		path = (void *)file + bpf_core_field_offset(struct file, f_path);
	else if (w->len == 3 && name == 0x647763) /* cwd */
		path = (void *)BPF_CORE_READ(task, fs) + bpf_core_field_offset(struct fs_struct, pwd);
	else if (w->len == 4 && name == 0x746f6f72) /* root */
		path = (void *)BPF_CORE_READ(task, fs) + bpf_core_field_offset(struct fs_struct, root);
	else
		return 0;
	return !bpf_probe_read_kernel(&w->at, sizeof(w->at), path);
}

/* Follows the next component. Returns WALK_…. */
__noinline int step(void)
{
	struct walk *w = walk_of_cpu();
	struct dentry *child;
	struct inode *inode;

	if (!w || !next_name())
		return WALK_STUCK;
	if (w->name[0] == '.' && w->len == 1)
		return w->last ? WALK_END : WALK_ON;
	if (w->name[0] == '.' && w->name[1] == '.' && w->len == 2) {
		go_up();
		return w->last ? WALK_END : WALK_ON;
	}
	if (w->last && (w->lookup == LOOKUP_NAME || (w->lookup == LOOKUP_LINK && !w->slashed)))
		return WALK_LAST;
	if (!find_child())
		return WALK_STUCK;
	child = (struct dentry *)w->child;
	inode = BPF_CORE_READ(child, d_inode);
	if (!inode)
		return WALK_LAST; /* a negative dentry: the name does not exist */
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFLNK) {
		if (BPF_CORE_READ(inode, i_link))
			return follow_link();
		if (w->links++ >= 40 || !follow_proc())
			return WALK_STUCK;
		return w->last ? WALK_END : WALK_ON;
	}
	w->at.dentry = w->child;
	enter_mounts();
	return w->last ? WALK_END : WALK_ON;
}

/* Follows the path. Returns the result of the last step. */
__noinline int walk(void)
{
	struct walk *w = walk_of_cpu();
	int c, end;

	if (!w)
		return WALK_STUCK;
	w->text = 0;
	w->links = 0;
	w->text_before = 0;
	w->begin_before = 0;
	c = begin_text(0);
	if (c < 0)
		return WALK_STUCK;
	if (c == 0)
		return WALK_END;
	for (int i = 0; i < MAX_STEPS; i++) {
		end = step();
		if (end != WALK_ON)
			return end;
	}
	w->text_before = w->text;
	w->begin_before = w->begin[w->text & (MAX_TEXTS - 1)];
	return WALK_STUCK;
}

/* Writes the rest of a path. */
__noinline int put_rest(__u32 flags)
{
	struct buffer *buffer = buffer_of_cpu();
	struct walk *w = walk_of_cpu();
	struct section *section;
	__u32 start, text;
	__u64 off;

	if (!buffer || !w)
		return 0;
	start = buffer->off;
	ROOM(buffer, start, 3 * MAX_PATH);
	section = section_at(buffer, start, SECTION_REST);
	section->flags = flags;
	start += sizeof(*section);
	*(__u32 *)&buffer->data[start] = BPF_CORE_READ(current_task(), nsproxy, mnt_ns, ns.inum);
	off = start + sizeof(__u32);
	text = w->text_before & (MAX_TEXTS - 1);
	w->begin[text] = w->begin_before;
	for (int i = 0; i < MAX_TEXTS; i++) {
		long len;

		if (off > start + MAX_PATH) {
			section->flags |= SECTION_CUT;
			break;
		}
		BOUND(off, BUFFER - MAX_PATH);
		len = bpf_probe_read_kernel_str(&buffer->data[off], MAX_PATH, &w->texts[text_at(text, w->begin[text & (MAX_TEXTS - 1)])]);
		if (len < 1 || len > MAX_PATH)
			break;
		off += len - 1;
		if (text == 0)
			break;
		text--;
		BOUND(off, BUFFER - MAX_PATH);
		buffer->data[off] = '/';
		off++;
	}
	section->len = off - start;
	buffer->off = off;
	return 0;
}

/*
 * Writes a path as the program gave it, where it leads, and the rest from there. source is
 * an enum lookup. PATH_KERNEL means that address is in kernel memory, PATH_ROOTED that dir
 * is the root of the path.
 */
#define PATH_KERNEL 4
#define PATH_ROOTED 8
__noinline int put_path(__u64 address, int dir, __u32 source)
{
	struct buffer *buffer = buffer_of_cpu();
	struct walk *w = walk_of_cpu();
	struct dentry *dentry;
	__u32 off;
	__u64 len;
	int end;

	if (!buffer || !w)
		return 0;
	off = buffer->off + sizeof(struct section);
	put_string(address, source & PATH_KERNEL, SECTION_PATH);
	w->lookup = source & 3;
	if (w->lookup == LOOKUP_TEXT || buffer->off < off)
		return 0;
	len = buffer->off - off;
	if (len == 0 && address) /* it could not be read */
		return 0;
	BOUND(len, MAX_PATH);
	BOUND(off, BUFFER - MAX_PATH);
	bpf_probe_read_kernel(w->texts, len, &buffer->data[off]);
	if (len == 0) /* a NULL path: the descriptor itself */
		w->texts[0] = 0;
	w->root = buffer->root;
	if (dir == AT_FDCWD) {
		struct fs_struct *fs = BPF_CORE_READ(current_task(), fs);

		bpf_probe_read_kernel(&w->at, sizeof(w->at), (void *)fs + bpf_core_field_offset(struct fs_struct, pwd));
	} else if (w->texts[0] != '/' || source & PATH_ROOTED) {
		struct file *file = file_of(dir);

		if (!file) {
			put_fd(dir, SECTION_DIR);
			return 0;
		}
		if (w->texts[0] == 0) {
			put_fd(dir, SECTION_DIR); /* a file of any type */
			return 0;
		}
		bpf_probe_read_kernel(&w->at, sizeof(w->at), (void *)file + bpf_core_field_offset(struct file, f_path));
		if (source & PATH_ROOTED)
			w->root = w->at;
	}
	end = walk();
	dentry = (struct dentry *)w->at.dentry;
	put_path_section(w->at.mnt, (__u64)dentry, (__u64)BPF_CORE_READ(dentry, d_inode), 0, SECTION_DIR);
	if (end == WALK_LAST)
		put_rest(SECTION_LAST);
	else if (end == WALK_STUCK)
		put_rest(w->lookup == LOOKUP_FOLLOW ? SECTION_FOLLOW : 0);
	return 0;
}

/* Writes at most max bytes of the program's memory. */
__noinline int put_bytes(__u64 address, __u64 len, __u32 max, __u32 type)
{
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	__u64 n = len;
	__u32 off;

	if (!buffer)
		return 0;
	off = buffer->off;
	ROOM(buffer, off, MAX_DATA);
	section = section_at(buffer, off, type);
	off += sizeof(*section);
	if (n > max)
		n = max;
	BOUND(n, MAX_DATA);
	if (len > n)
		section->flags = SECTION_CUT;
	if (n && bpf_probe_read_user(&buffer->data[off], n, (void *)address)) {
		section->flags |= SECTION_FAULT;
		n = 0;
	}
	section->len = n;
	buffer->off = off + n;
	return 0;
}

#define FSCONFIG_SET_STRING 1
#define FSCONFIG_SET_BINARY 2
#define FSCONFIG_SET_PATH 3
#define FSCONFIG_SET_PATH_EMPTY 4
#define FSCONFIG_SET_FD 5

/* Writes the value that fsconfig sets. aux is its last argument. */
__noinline int put_config(__u32 command, __u64 value, __u64 aux)
{
	switch (command) {
	case FSCONFIG_SET_STRING:
		return put_string(value, 0, SECTION_TEXT);
	case FSCONFIG_SET_BINARY:
		return put_bytes(value, aux, content_bytes, SECTION_DATA);
	case FSCONFIG_SET_PATH:
	case FSCONFIG_SET_PATH_EMPTY:
		return put_path(value, aux, LOOKUP_FOLLOW);
	case FSCONFIG_SET_FD:
		return put_fd(aux, SECTION_RESULT);
	}
	return 0;
}

struct iovec {
	__u64 base, len;
};

struct compat_iovec {
	__u32 base, len;
};

static __always_inline bool read_iovec(struct iovec *v, __u64 address, __u32 i, bool compat)
{
	struct compat_iovec c;

	if (!compat)
		return !bpf_probe_read_user(v, sizeof(*v), (void *)(address + i * sizeof(*v)));
	if (bpf_probe_read_user(&c, sizeof(c), (void *)(address + i * sizeof(c))))
		return false;
	v->base = c.base;
	v->len = c.len;
	return true;
}

/*
 * Writes at most left and at most max bytes of an array of iovecs. Bit 0 of shape is set for
 * a 32-bit program; the other bits are how many times MAX_DATA bytes to skip.
 */
__noinline int put_iovec(__u64 address, __u64 count, __u64 left, __u32 max, __u32 shape)
{
	__u64 skip = (__u64)(shape >> 1) * MAX_DATA;
	bool compat = shape & 1;
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	__u64 off, start;

	if (!buffer)
		return 0;
	off = buffer->off;
	ROOM(buffer, off, 2 * MAX_DATA);
	section = section_at(buffer, off, SECTION_DATA);
	start = off + sizeof(*section);
	off = start;
	if (max > MAX_DATA)
		max = MAX_DATA;
	if (left > max) {
		left = max;
		section->flags = SECTION_CUT;
	}
	for (__u32 i = 0; i < MAX_IOVECS; i++) {
		struct iovec v;
		__u64 n;

		if (i >= count || !left)
			break;
		if (!read_iovec(&v, address, i, compat))
			break;
		if (v.len <= skip) {
			skip -= v.len;
			continue;
		}
		v.base += skip;
		v.len -= skip;
		skip = 0;
		n = v.len > left ? left : v.len;
		if (off > BUFFER - MAX_DATA)
			break;
		BOUND(off, BUFFER - MAX_DATA);
		BOUND(n, MAX_DATA);
		if (n && bpf_probe_read_user(&buffer->data[off], n, (void *)v.base)) {
			section->flags |= SECTION_FAULT;
			break;
		}
		off += n;
		left -= n;
	}
	if (left)
		section->flags |= SECTION_CUT;
	section->len = off - start;
	buffer->off = off;
	return 0;
}

/* Reads a msghdr. Returns whether that succeeded. */
static __always_inline bool read_msghdr(struct msghdr *m, __u64 address, __u32 compat)
{
	struct compat_msghdr c;

	if (!compat)
		return !bpf_probe_read_user(m, sizeof(*m), (void *)address);
	if (bpf_probe_read_user(&c, sizeof(c), (void *)address))
		return false;
	m->name = c.name;
	m->name_len = c.name_len;
	m->iov = c.iov;
	m->iov_count = c.iov_count;
	m->control = c.control;
	m->control_len = c.control_len;
	return true;
}

/* Writes an array of descriptors with what is behind them. */
__noinline int put_passed(__u64 address, __u64 count)
{
	struct buffer *buffer = buffer_of_cpu();

	if (!buffer)
		return 0;
	for (__u32 i = 0; i < MAX_PASSED; i++) {
		__u32 off = buffer->off;
		struct section *section;
		__s32 fd;

		if (i >= count || bpf_probe_read_user(&fd, sizeof(fd), (void *)(address + i * sizeof(fd))))
			break;
		ROOM(buffer, off, sizeof(fd));
		section = section_at(buffer, off, SECTION_PASSED);
		section->len = sizeof(fd);
		*(__s32 *)&buffer->data[off + sizeof(*section)] = fd;
		buffer->off = off + sizeof(*section) + sizeof(fd);
		put_fd(fd, SECTION_HELD);
	}
	return 0;
}

/* Writes the descriptors in the control messages of the msghdr that put_msghdr has read. */
__noinline int put_control(__u32 compat)
{
	__u64 size = compat ? 12 : sizeof(struct cmsghdr), align = compat ? 4 : 8, address, len;
	struct buffer *buffer = buffer_of_cpu();
	struct cmsghdr *head;

	if (!buffer)
		return 0;
	head = &buffer->control;
	address = buffer->msg.control;
	len = address ? buffer->msg.control_len : 0;
	for (int i = 0; i < MAX_CONTROLS; i++) {
		__u64 next;

		head->len = 0;
		if (len < size || bpf_probe_read_user(&head->len, compat ? 4 : 8, (void *)address) ||
		    bpf_probe_read_user(&head->level, 8, (void *)(address + size - 8)) || head->len < size || head->len > len)
			break;
		if (head->level == SOL_SOCKET && head->type == SCM_RIGHTS)
			put_passed(address + size, (head->len - size) / 4);
		next = (head->len + align - 1) & -align;
		if (next >= len)
			break;
		address += next;
		len -= next;
	}
	return 0;
}

/* Reads a msghdr, and writes its address and its data. */
__noinline int put_msghdr(__u64 address, __s64 ret, __u32 max, __u32 compat)
{
	struct buffer *buffer = buffer_of_cpu();
	struct msghdr *m;

	if (!buffer)
		return 0;
	m = &buffer->msg;
	if (!read_msghdr(m, address, compat)) {
		m->control = 0;
		return 0;
	}
	if (m->name && m->name_len)
		put_bytes(m->name, m->name_len, MAX_ADDR, SECTION_ADDR);
	if (ret > 0)
		put_iovec(m->iov, m->iov_count, ret, max, compat);
	return 0;
}

/* Writes the first messages of sendmmsg or recvmmsg. Returns how many bytes these have. */
__noinline int put_messages(__u64 address, __s64 count, __u32 max, __u32 compat)
{
	__u32 size = 0;

	for (int i = 0; i < MAX_MESSAGES; i++) {
		__u32 len = 0;

		if (i >= count)
			break;
		if (bpf_probe_read_user(&len, sizeof(len), (void *)(address + (compat ? 28 : 56))))
			break;
		put_msghdr(address, len, max, compat);
		put_control(compat);
		address += compat ? 32 : 64;
		size += len;
	}
	return size;
}

/*
 * Writes the arguments or the environment of a program from the memory to which exec copied
 * them, at most MAX_ARGV bytes. Returns how many.
 */
__noinline int put_argv(__u64 start, __u64 end, __u32 type)
{
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	__u32 off, first;
	__u64 stop = start + MAX_ARGV < end ? start + MAX_ARGV : end;

	if (!buffer)
		return 0;
	off = buffer->off;
	ROOM(buffer, off, MAX_ARGV + 2 * PAGE);
	section = section_at(buffer, off, type);
	first = off + sizeof(*section);
	off = first;
	for (int i = 0; i < MAX_ARGV / PAGE + 1; i++) {
		__u64 n = PAGE - (start & (PAGE - 1)); /* to the end of the page: the next may not be in memory */

		if (start >= stop)
			break;
		if (n > stop - start)
			n = stop - start;
		if (off > BUFFER - 2 * PAGE)
			break;
		BOUND(n, PAGE);
		if (bpf_probe_read_user(&buffer->data[off], n, (void *)start)) {
			section->flags = SECTION_FAULT;
			break;
		}
		off += n;
		start += n;
	}
	if (start < end)
		section->flags |= SECTION_CUT;
	section->len = off - first;
	buffer->off = off;
	return off - first;
}

/*
 * Sends long arguments, or a long environment, in events of their own, and returns how many
 * bytes these have. The rest fits into one event, if there are not more than most parts. A part
 * that finds no room in the ring is not counted as a lost event: the agent sees that it is
 * missing, and says so in the event of the exec.
 */
__noinline int send_parts(__u64 start, __u64 end, __u32 type, __u32 most)
{
	struct buffer *buffer = buffer_of_cpu();
	struct event_header *header;
	__u64 sent = 0;

	if (!buffer)
		return 0;
	header = (struct event_header *)buffer->data;
	header->type = EVENT_PART;
	for (__u32 i = 0; i < MAX_PARTS; i++) {
		__u64 off;
		int n;

		if (i >= most || start + sent + MAX_ARGV >= end)
			break;
		header->args[0] = i;
		buffer->off = sizeof(*header);
		n = put_argv(start + sent, end, type);
		if (n < MAX_ARGV)
			break;
		off = buffer->off;
		BOUND(off, BUFFER);
		bpf_ringbuf_output(&events, buffer->data, off, BPF_RB_NO_WAKEUP);
		buffer->parts++;
		sent += n;
	}
	return sent;
}

/* Writes the arguments of a failed exec from the program's own array. See climb for next. */
__noinline int put_argv_array(__u64 array, __u32 compat)
{
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	volatile __u32 *next;
	__u32 first;
	__u8 flags = SECTION_CUT;

	if (!buffer)
		return 0;
	next = &buffer->off;
	first = *next;
	ROOM(buffer, first, MAX_PATH * 2);
	section = section_at(buffer, first, SECTION_ARGV);
	first += sizeof(*section);
	*next = first;
	for (int i = 0; i < MAX_ARGS; i++) {
		__u64 arg = 0, off = *next;
		long n;

		if (bpf_probe_read_user(&arg, compat ? 4 : 8, (void *)(array + i * (compat ? 4 : 8)))) {
			flags = SECTION_FAULT;
			break;
		}
		if (!arg) {
			flags = 0;
			break;
		}
		if (off > BUFFER - MAX_PATH)
			break;
		n = bpf_probe_read_user_str(&buffer->data[off], MAX_PATH, (void *)arg);
		if (n < 0 || n > MAX_PATH) {
			flags = SECTION_FAULT;
			break;
		}
		if (n == MAX_PATH)
			section->flags = SECTION_CUT;
		*next = off + n;
	}
	section->flags |= flags;
	section->len = *next - first;
	return 0;
}

static __always_inline bool is_compat(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(task, thread_info.status) & 2; /* TS_COMPAT */
#else
	return BPF_CORE_READ(task, thread_info.flags) >> 22 & 1; /* TIF_32BIT */
#endif
}

/* Returns the index of a call in the tables. No call has the last index. */
static __always_inline __u64 number_of(__u64 number)
{
#if defined(__TARGET_ARCH_x86)
	number = (__u32)number & ~0x40000000; /* without the bit of x32 */
#endif
	BOUND(number, MAX_SYSCALLS - 1);
	return number;
}

static __always_inline __s64 number_at(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(regs, orig_ax);
#else
	return BPF_CORE_READ(regs, syscallno);
#endif
}

#if defined(__TARGET_ARCH_x86)
/* struct pt_regs, the same in all kernels because ptrace exposes it. */
struct all_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
};
#else
struct all_regs {
	__u64 regs[6];
};
#endif

/* Reads the arguments of a call into the buffer. */
__noinline int read_args(__u64 address, __u32 compat)
{
	struct pt_regs *regs = (struct pt_regs *)address;
	struct buffer *buffer = buffer_of_cpu();
	struct all_regs all;
	__u64 *args;

	if (!buffer || bpf_probe_read_kernel(&all, sizeof(all), regs))
		return 0;
	args = buffer->args;
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		args[0] = (__u32)all.bx;
		args[1] = (__u32)all.cx;
		args[2] = (__u32)all.dx;
		args[3] = (__u32)all.si;
		args[4] = (__u32)all.di;
		args[5] = (__u32)all.bp;
		return 0;
	}
	args[0] = all.di;
	args[1] = all.si;
	args[2] = all.dx;
	args[3] = all.r10;
	args[4] = all.r8;
	args[5] = all.r9;
#else
	for (int i = 1; i < 6; i++)
		args[i] = all.regs[i];
	args[0] = BPF_CORE_READ(regs, orig_x0);
#endif
	return 0;
}

/* Returns how to handle a call; NULL if it is not handled. */
static __always_inline struct syscall *syscall_of(__u32 key, bool compat)
{
	struct syscall *call;

	if (compat)
		call = bpf_map_lookup_elem(&syscalls_compat, &key);
	else
		call = bpf_map_lookup_elem(&syscalls, &key);
	return call && call->op ? call : NULL;
}

/* Returns an argument by its index. The mask bounds the index for the verifier. */
static __always_inline __u64 arg(const __u64 *args, __s8 i)
{
	return args[i & 7];
}

/*
 * The start of a call. It is handled only for the few calls of which something must be kept.
 */
SEC("raw_tracepoint/sys_enter")
int sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	__u64 number = number_of(ctx->args[1]), id, sessions, *args;
	struct buffer *buffer;
	struct syscall *call;
	struct proc *proc;
	__u32 pid, tid;
	bool compat;

	if (!(looks[number] & LOOK_ENTER))
		return 0;
	id = bpf_get_current_pid_tgid();
	pid = id >> 32;
	tid = id;
	proc = bpf_map_lookup_elem(&procs, &pid);
	sessions = sessions_of(proc);
	if (!sessions && !(proc && proc->on_exec))
		return 0;
	compat = is_compat(current_task());
	call = syscall_of(number, compat);
	if (!call || !(call->flags & (CALL_ENTER | CALL_NOTE)))
		return 0;
	buffer = buffer_of_cpu();
	if (!buffer || buffer->busy)
		return 0;
	args = buffer->args;
	read_args((__u64)regs, compat);
	if (call->flags & CALL_NOTE) {
		struct note note = {.op = call->op, .flags = args[0]};

		if (call->lookup & LOOKUP_ROOT)
			read_root(&note.root);
		if (call->flags & CALL_CLONE3 && bpf_probe_read_user(&note.flags, sizeof(note.flags), (void *)args[0]))
			note.flags = 0;
		bpf_map_update_elem(&notes, &tid, &note, BPF_ANY);
		return 0;
	}
	if (!(sessions & ~left_out[CLASS_CLOSES]) && !is_socket_fd(arg(args, call->fd))) {
		bpf_map_delete_elem(&closings, &tid); /* of a thread that had this tid, and was killed */
		return 0; /* nobody gets the event */
	}
	/* The section follows its length, as in struct closing. */
	buffer->off = sizeof(__u32);
	read_root(&buffer->root);
	put_fd(arg(args, call->fd), SECTION_FILE);
	*(__u32 *)buffer->data = buffer->off - sizeof(__u32);
	if (buffer->off <= sizeof(struct closing))
		bpf_map_update_elem(&closings, &tid, buffer->data, BPF_ANY);
	else
		bpf_map_update_elem(&long_closings, &tid, buffer->data, BPF_ANY);
	return 0;
}

/* Writes the section that sys_enter kept of the closed descriptor. */
__noinline int put_closed(__u32 tid)
{
	struct buffer *buffer = buffer_of_cpu();
	struct closing *closing;
	struct long_closing *long_closing;
	__u64 len;
	__u32 off;

	if (!buffer)
		return 0;
	off = buffer->off;
	ROOM(buffer, off, sizeof(*long_closing));
	closing = bpf_map_lookup_elem(&closings, &tid);
	if (closing) {
		len = closing->len;
		BOUND(len, sizeof(closing->data));
		bpf_probe_read_kernel(&buffer->data[off], len, closing->data);
		buffer->off = off + len;
		bpf_map_delete_elem(&closings, &tid);
		return 0;
	}
	long_closing = bpf_map_lookup_elem(&long_closings, &tid);
	if (long_closing) {
		len = long_closing->len;
		BOUND(len, sizeof(long_closing->data));
		bpf_probe_read_kernel(&buffer->data[off], len, long_closing->data);
		buffer->off = off + len;
		bpf_map_delete_elem(&long_closings, &tid);
	}
	return 0;
}

#define MAX_JUDGED 256     /* bytes that judge_some reads */
#define MAX_JUDGEMENTS 16  /* calls of judge_some for the data of one call */
#define MAX_FIRST_LINE 65536

/*
 * Determines whether a connection speaks HTTP, by the first line that each side sends: a
 * request or status line of HTTP/1, after any empty lines, or the first line of HTTP/2. The line may be split across calls.
 * Returns whether more data is needed.
 */
__noinline int judge_some(__u64 sock, __u64 address, __u64 len, __u32 way)
{
	struct talk *talk = bpf_map_lookup_elem(&talks, &sock), made = {};
	struct walk *w = walk_of_cpu(); /* used as scratch memory */
	volatile __u64 *tail;
	__u64 n = len;

	if (!w)
		return 0;
	if (!talk) {
		bpf_map_update_elem(&talks, &sock, &made, BPF_ANY);
		talk = bpf_map_lookup_elem(&talks, &sock);
		if (!talk)
			return 0;
	}
	way &= 1;
	if (talk->way[way].verdict == TALK_HTTP)
		return 0;
	BOUND(n, MAX_JUDGED);
	if (bpf_probe_read_user(w->texts, n, (void *)address))
		return 0;
	/* In memory, not in a register, so that the verifier does not track its values. */
	tail = &talk->way[way].tail;
	if (talk->way[way].verdict == TALK_OTHER)
		*tail = 0; /* a new first line may begin */
	for (__u32 i = 0; i < MAX_JUDGED; i++) {
		__u8 c;

		if (i >= n)
			break;
		c = w->texts[i];
		if (!*tail && (c == '\r' || c == '\n'))
			continue;
		*tail = *tail << 8 | c;
		if ((*tail & 0xffffffffffffULL) - 0x485454502f31ULL <= 1) { /* HTTP/1 or HTTP/2 */
			talk->way[way].verdict = TALK_HTTP;
			return 0;
		}
		if (c == '\n' || (*tail == c && (c <= ' ' || c >= 0x7f))) {
			talk->way[way].verdict = TALK_OTHER;
			return 0;
		}
	}
	talk->way[way].seen += n;
	if (talk->way[way].seen >= MAX_FIRST_LINE)
		talk->way[way].verdict = TALK_OTHER;
	return talk->way[way].verdict == TALK_OPEN;
}

__noinline int judge(__u64 sock, __u64 address, __u64 len, __u32 way)
{
	for (__u32 i = 0; i < MAX_JUDGEMENTS; i++) {
		__u64 begin = i * MAX_JUDGED;

		if (begin >= len || !judge_some(sock, address + begin, len - begin, way))
			break;
	}
	return 0;
}

#define MAX_JUDGED_IOVECS 4

/* For judge_call and put_more, in the flags of a call: they are of a 32-bit program. */
#define CALL_COMPAT (1U << 31)

/* Calls judge for the len bytes that a call moved. address and count are its arguments data and len. */
__noinline int judge_call(__u32 flags, __u64 address, __u64 count, __u64 len, __u64 sock)
{
	__u32 way = flags & CALL_WRITES ? 1 : 0;
	bool compat = flags & CALL_COMPAT;
	struct buffer *buffer = buffer_of_cpu();

	if (!buffer || flags & CALL_MMSG)
		return 0;
	if (flags & CALL_MSGHDR) {
		struct msghdr *m = &buffer->msg;

		if (!read_msghdr(m, address, compat))
			return 0;
		address = m->iov;
		count = m->iov_count;
	} else if (!(flags & CALL_IOVEC)) {
		judge(sock, address, len, way);
		return 0;
	}
	for (__u32 i = 0; i < MAX_JUDGED_IOVECS; i++) {
		struct iovec v;

		if (i >= count || !len || !read_iovec(&v, address, i, compat))
			break;
		if (v.len > len)
			v.len = len;
		judge(sock, v.base, v.len, way);
		len -= v.len;
	}
	return 0;
}

/*
 * Returns how many bytes of a call to keep: more on a TCP connection that speaks HTTP, or
 * may. It sets sock for such a connection.
 */
static __always_inline __u32 data_limit(struct syscall *call, __u64 *args, __s64 ret, __u64 *sock, bool compat)
{
	struct file *file;
	struct sock *s;
	struct talk *talk;
	bool is_open;
	__u32 family;

	file = file_of(arg(args, call->fd));
	if (!file)
		return content_bytes;
	s = sock_of(file);
	if (!s)
		return content_bytes;
	family = BPF_CORE_READ(s, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(s, sk_type) != SOCK_STREAM)
		return content_bytes > MAX_DATA / 8 ? content_bytes : MAX_DATA / 8; /* a whole datagram of DNS */
	*sock = (__u64)s;
	/* keep all data until the verdict: the other side may show that it is HTTP */
	talk = bpf_map_lookup_elem(&talks, sock);
	is_open = !talk || talk->way[call->flags & CALL_WRITES ? 1 : 0].verdict == TALK_OPEN;
	if (ret > 0)
		judge_call(call->flags | (compat ? CALL_COMPAT : 0), arg(args, call->data), arg(args, call->len), ret, *sock);
	talk = bpf_map_lookup_elem(&talks, sock);
	if (is_open || (talk && (talk->way[0].verdict == TALK_HTTP || talk->way[1].verdict == TALK_HTTP)))
		return MAX_DATA;
	*sock = 0;
	if (content_bytes < MAX_DATA / 8 &&
	    (BPF_CORE_READ(s, __sk_common.skc_dport) == __builtin_bswap16(53) || BPF_CORE_READ(s, __sk_common.skc_num) == 53))
		return MAX_DATA / 8;
	return content_bytes;
}

/*
 * Writes the rest of a call's data on a connection that speaks HTTP, as events after the
 * call's. The call's header is still in the buffer.
 */
__noinline int put_more(__u32 flags, __u64 data, __u64 count, __s64 ret, __u64 sock)
{
	struct buffer *buffer = buffer_of_cpu();
	bool compat = flags & CALL_COMPAT;
	struct event_header *header;

	if (!buffer)
		return 0;
	header = (struct event_header *)buffer->data;
	if (flags & CALL_MSGHDR) {
		struct msghdr *m = &buffer->msg;

		if (!read_msghdr(m, data, compat))
			return 0;
		data = m->iov;
		count = m->iov_count;
	}
	for (__u32 i = 1; i < MAX_CHUNKS; i++) {
		if ((__u64)ret <= i * MAX_DATA)
			break;
		buffer->busy = 1;
		buffer->off = sizeof(*header);
		header->type = EVENT_MORE;
		header->args[0] = sock;
		header->args[1] = i * MAX_DATA;
		if (flags & (CALL_MSGHDR | CALL_IOVEC))
			put_iovec(data, count, ret - i * MAX_DATA, MAX_DATA, i << 1 | compat);
		else
			put_bytes(data + i * MAX_DATA, ret - i * MAX_DATA, MAX_DATA, SECTION_DATA);
		end(buffer, false);
	}
	return 0;
}

struct iocb { /* the same on all architectures and in 32-bit programs */
	__u64 data;
	__u32 key, rw_flags;
	__u16 opcode, priority;
	__u32 fd;
	__u64 buffer, len;
};

#define AIO_PWRITE 1
#define AIO_PWRITEV 8
#define MAX_IOCBS 64

/*
 * Writes an event of an operation of native AIO, with the bytes that it writes. Its result
 * is unknown.
 */
__noinline int put_iocb(__u64 address, __u32 compat)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32, limit = content_bytes;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);
	__u64 sessions = sessions_of(proc);
	struct event_header *header;
	struct buffer *buffer;
	struct iocb iocb;

	if (!sessions || bpf_probe_read_user(&iocb, sizeof(iocb), (void *)address))
		return 0;
	buffer = begin(proc, sessions, EVENT_SYSCALL);
	if (!buffer)
		return 0;
	header = (struct event_header *)buffer->data;
	header->op = aio_op;
	header->ret = iocb.len;
	for (int i = 2; i < 6; i++)
		header->args[i] = 0;
	header->args[0] = iocb.opcode;
	header->args[1] = iocb.fd;
	if (put_fd(iocb.fd, SECTION_FILE)) {
		limit = MAX_DATA;
		header->flags |= HEADER_TALK; /* the socket may be a TCP connection */
	}
	if (iocb.opcode == AIO_PWRITE)
		put_bytes(iocb.buffer, iocb.len, limit, SECTION_DATA);
	else if (iocb.opcode == AIO_PWRITEV)
		put_iovec(iocb.buffer, iocb.len, MAX_DATA, limit, compat);
	end(buffer, false);
	return 0;
}

/* Writes an event of each operation that io_submit submitted. */
static __always_inline void put_iocbs(__u64 array, __s64 count, bool compat)
{
	for (int i = 0; i < MAX_IOCBS; i++) {
		__u64 address = 0;

		if (i >= count || bpf_probe_read_user(&address, compat ? 4 : 8, (void *)(array + i * (compat ? 4 : 8))))
			break;
		put_iocb(address, compat);
	}
}

/* Requests of ioctl. FICLONERANGE has its source descriptor in memory. */
#define FICLONE 0x40049409
#define FICLONERANGE 0x4020940d
#define FS_IOC_SETFLAGS 0x40086602
#define FS_IOC32_SETFLAGS 0x40046602

/*
 * Returns whether a request of ioctl is reported. It sets the third argument to the source
 * descriptor of a copy; to -1 if the request copies nothing. It sets the fourth to the flags
 * that a file gets.
 */
static __always_inline bool is_reported(__u64 *args)
{
	switch ((__u32)args[1]) {
	case FICLONERANGE: {
		__u64 fd = -1;

		bpf_probe_read_user(&fd, sizeof(fd), (void *)args[2]);
		args[2] = fd;
		return true;
	}
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS: {
		__u32 attributes = 0;

		bpf_probe_read_user(&attributes, sizeof(attributes), (void *)args[2]);
		args[3] = attributes;
		args[2] = -1;
		return true;
	}
	case FICLONE:
		return true;
	}
	return false;
}

/*
 * Returns whether a mapping is reported: memory that may be written and executed, a file that
 * may be executed, and a file that the program may change through the memory, now or after
 * mprotect.
 */
static __always_inline bool is_reported_map(const __u64 *args)
{
	if ((__s32)args[4] < 0 || args[3] & MAP_ANONYMOUS)
		return (args[2] & (PROT_WRITE | PROT_EXEC)) == (PROT_WRITE | PROT_EXEC);
	if (args[2] & PROT_EXEC)
		return true;
	return (args[3] & MAP_TYPE) != MAP_PRIVATE && BPF_CORE_READ(file_of(args[4]), f_mode) & FMODE_WRITE;
}

/* Returns whether a pid, in the namespace of the process, is the process itself. */
static __always_inline bool is_itself(__u32 number)
{
	struct pid *pid = BPF_CORE_READ(current_task(), group_leader, thread_pid);

	return number_in(pid, BPF_CORE_READ(pid, level)) == number;
}

/* Returns whether an option of setsockopt is reported. */
static __always_inline bool is_reported_option(__u32 level, __u32 option)
{
	switch (level) {
	case 0: /* IPPROTO_IP: IP_HDRINCL, IP_TRANSPARENT */
		return option == 3 || option == 19;
	case 1: /* SOL_SOCKET: SO_BINDTODEVICE, SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MARK, SO_LOCK_FILTER, SO_ATTACH_BPF and its kin */
		return option == 25 || option == 26 || option == 27 || option == 36 || option == 44 || (option >= 50 && option <= 52);
	case 6: /* SOL_TCP: TCP_REPAIR, TCP_ULP */
		return option == 19 || option == 31;
	case 41: /* IPPROTO_IPV6: IPV6_HDRINCL, IPV6_TRANSPARENT */
		return option == 36 || option == 75;
	case 263: /* SOL_PACKET: PACKET_ADD_MEMBERSHIP, PACKET_RX_RING, PACKET_TX_RING, PACKET_FANOUT */
		return option == 1 || option == 5 || option == 13 || option == 18;
	}
	return false;
}

/* Returns whether an option of prctl is reported. */
static __always_inline bool is_reported_control(__u32 option)
{
	switch (option) {
	case 1:  /* PR_SET_PDEATHSIG */
	case 4:  /* PR_SET_DUMPABLE */
	case 8:  /* PR_SET_KEEPCAPS */
	case 15: /* PR_SET_NAME */
	case 22: /* PR_SET_SECCOMP */
	case 24: /* PR_CAPBSET_DROP */
	case 28: /* PR_SET_SECUREBITS */
	case 35: /* PR_SET_MM */
	case 36: /* PR_SET_CHILD_SUBREAPER */
	case 38: /* PR_SET_NO_NEW_PRIVS */
	case 47: /* PR_CAP_AMBIENT */
	case 53: /* PR_SET_SPECULATION_CTRL */
	case 59: /* PR_SET_SYSCALL_USER_DISPATCH */
	case 65: /* PR_SET_MDWE */
	case 0x59616d61: /* PR_SET_PTRACER */
		return true;
	}
	return false;
}

struct xattr_args {
	__u64 value;
	__u32 size, flags;
};

/* Returns whether a call is reported with these arguments. It may change them, as is_reported does. */
static __always_inline bool is_wanted(__u8 when, __u64 *args)
{
	switch (when) {
	case WHEN_MAP:
		return is_reported_map(args);
	case WHEN_DUP:
		return args[1] == F_DUPFD || args[1] == F_DUPFD_CLOEXEC;
	case WHEN_IOCTL:
		return is_reported(args);
	case WHEN_PROTECT:
		return args[2] & PROT_EXEC;
	case WHEN_PRCTL:
		return is_reported_control(args[0]);
	case WHEN_SOCKOPT:
		return is_reported_option(args[1], args[2]);
	case WHEN_OTHER:
		return !is_itself(args[0]);
	case WHEN_LIMIT:
		return args[2] != 0;
	case WHEN_ATTRIBUTE: {
		struct xattr_args attribute = {};

		bpf_probe_read_user(&attribute, sizeof(attribute), (void *)args[4]);
		args[4] = attribute.value;
		args[5] = attribute.size;
		return true;
	}
	}
	return true;
}

#define EPERM 1
#define ENOENT 2
#define EACCES 13
#define EEXIST 17
#define ENOTDIR 20
#define ENOSYS 38
#define ELOOP 40
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_SYMLINK_FOLLOW 0x400
#define UMOUNT_NOFOLLOW 8
#define MS_BIND 0x1000
#define MS_MOVE 0x2000
#define RESOLVE_IN_ROOT 0x10

struct open_how {
	__u64 flags, mode, resolve;
};

/* Counts an event for each of the sessions, which leave it out. */
__noinline int count(__u64 sessions, __u32 class)
{
	for (__u32 i = 0; i < MAX_SESSIONS; i += 8) {
		__u8 some = sessions >> i;

		if (!some)
			continue;
		for (__u32 bit = 0; bit < 8; bit++) {
			__u32 key = i + bit;
			struct counts *of;

			if (!(some >> bit & 1))
				continue;
			of = bpf_map_lookup_elem(&counts, &key);
			if (of)
				of->of[class & SELECT_CLASS]++;
		}
	}
	return 0;
}

/* Returns whether the descriptor that a call has closed was a socket. */
static __always_inline bool was_socket(void)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct closing *closing = bpf_map_lookup_elem(&closings, &tid);

	return closing && closing->data[0] == SECTION_SOCKET; /* such a section always fits */
}

/* Returns whether an open that succeeded cannot change the file. flags is the argument with its flags, or their address. */
static __always_inline bool only_reads(__u32 select, __u64 flags, int fd)
{
	if (select & SELECT_HOW && bpf_probe_read_user(&flags, sizeof(flags), (void *)flags))
		return false;
	/* The file itself, because a thread may have changed the flags in memory. */
	if (BPF_CORE_READ(file_of(fd), f_mode) & (FMODE_WRITE | FMODE_CREATED))
		return false;
	return !(flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC));
}

static __always_inline bool is_denied(__s64 ret)
{
	return ret == -EPERM || ret == -EACCES || ret == -ENOSYS;
}

/*
 * Returns those of the sessions that do not leave out the class of a call, and counts the call
 * for the others. number is an argument: the descriptor of reads and writes, the flags of opens.
 */
__noinline __u64 select_class(__u64 sessions, __u32 select, __s64 ret, __u64 number)
{
	__u32 class = select & SELECT_CLASS;
	__u64 without;

	if (is_denied(ret))
		return sessions;
	if (select & SELECT_LOOKUP && (ret == -ENOENT || ret == -ENOTDIR))
		class = CLASS_LOOKUPS;
	else if (class == CLASS_OPENS && (ret < 0 || !only_reads(select, number, ret)))
		return sessions;
	else if (class == CLASS_CLOSES && was_socket())
		return sessions;
	else if ((class == CLASS_READS || class == CLASS_WRITES) && is_socket_fd(number))
		class = CLASS_TRANSFERS;
	without = sessions & left_out[class];
	if (without)
		count(without, class);
	return sessions & ~without;
}

/*
 * Copies the components of a file section, which are in reverse order, to the end of a text.
 * Returns whether there are more. The positions are kept in memory: see climb.
 */
__noinline int turn(void)
{
	struct buffer *buffer = buffer_of_cpu();
	struct walk *w = walk_of_cpu();
	volatile __u32 *from, *to;

	if (!buffer || !w)
		return 0;
	from = &w->from;
	to = &w->to;
	for (int i = 0; i < MAX_COMPONENTS; i++) {
		__u64 off = *from, at = *to, len;

		if (off >= w->end)
			return 0;
		BOUND(off, BUFFER - 512);
		len = buffer->data[off];
		if (at < len + 1)
			return 0;
		at -= len + 1;
		BOUND(at, MAX_TURNED);
		w->texts[at] = '/';
		bpf_probe_read_kernel(&w->texts[at + 1], len, &buffer->data[off + 1]);
		*from = off + len + 1;
		*to = at;
	}
	return 1;
}

/*
 * Returns the sessions that leave out the path of the file section at off. The text rest_len
 * bytes from rest on continues the path.
 */
__noinline __u64 rules_of(__u32 off, __u32 rest, __u32 rest_len)
{
	struct buffer *buffer = buffer_of_cpu();
	struct walk *w = walk_of_cpu();
	__u64 *sessions, at = off, len, n = rest_len;
	int more = 1;

	if (!buffer || !w)
		return 0;
	BOUND(at, BUFFER - 512);
	w->from = at + sizeof(struct section) + sizeof(struct file_section);
	w->end = at + sizeof(struct section) + *(__u16 *)&buffer->data[at + 2];
	w->to = MAX_TURNED;
	for (int i = 0; i < MAX_CLIMBS && more; i++)
		more = turn();
	if (w->from != w->end)
		return 0;
	len = MAX_TURNED;
	if (n) {
		at = rest;
		BOUND(at, BUFFER - 512);
		BOUND(n, sizeof(w->key.path) - 1);
		w->texts[len] = '/';
		bpf_probe_read_kernel(&w->texts[len + 1], n, &buffer->data[at]);
		len += n + 1;
	}
	w->texts[len & (2 * MAX_TURNED - 1)] = '/';
	at = w->to;
	BOUND(at, MAX_TURNED);
	bpf_probe_read_kernel(w->key.path, sizeof(w->key.path), &w->texts[at]);
	len -= at;
	w->key.bits = 8 * (len < sizeof(w->key.path) ? len + 1 : sizeof(w->key.path));
	sessions = bpf_map_lookup_elem(&paths, &w->key);
	return sessions ? *sessions : 0;
}

/*
 * Returns those of the sessions that do not leave out an event for its paths, and counts it for
 * the others. The paths are in the buffer. What cannot be decided here, because a path is not
 * followed to its end, is left to the agent.
 */
__noinline __u64 select_paths(__u64 sessions)
{
	__u64 without = sessions & left_out[CLASS_PATHS];
	struct buffer *buffer = buffer_of_cpu();
	struct event_header *header;
	bool is_found = false;
	__u64 off = sizeof(*header);

	if (!buffer || !without)
		return sessions;
	header = (struct event_header *)buffer->data;
	if (is_denied(header->ret))
		return sessions;
	for (int i = 0; i < MAX_SECTIONS && off < buffer->off; i++) {
		__u32 type, flags, len, rest_len = 0;
		struct section *section;
		__u64 next;

		BOUND(off, BUFFER - 512);
		section = (struct section *)&buffer->data[off];
		type = section->type;
		flags = section->flags;
		len = section->len;
		next = off + sizeof(*section) + len;
		if (type == SECTION_SOCKET || (type == SECTION_PATH && len <= 1 && header->ret == -ENOENT)) /* an empty path stands for no file */
			return sessions;
		if (type == SECTION_FILE || type == SECTION_RESULT || type == SECTION_DIR) {
			__u64 rest = next;

			if (flags & (SECTION_CUT | SECTION_FAULT | SECTION_ABSENT | SECTION_NAME))
				return sessions;
			BOUND(rest, BUFFER - 512);
			section = (struct section *)&buffer->data[rest];
			if (next < buffer->off && section->type == SECTION_REST) {
				if (!(section->flags & SECTION_LAST) || section->len <= sizeof(__u32))
					return sessions;
				rest_len = section->len - sizeof(__u32);
			}
			without &= rules_of(off, rest + sizeof(*section) + sizeof(__u32), rest_len);
			is_found = true;
		}
		off = next;
	}
	if (!is_found || !without || off < buffer->off)
		return sessions;
	count(without, CLASS_PATHS);
	return sessions & ~without;
}

/* Writes the paths of a call. */
static __always_inline void put_paths(struct syscall *call, __u64 *args, __s64 ret)
{
	__u32 lookup = call->lookup & 3, source;

	if (call->path1 < 0)
		return;
	if (call->at >= 0) {
		__u64 at = arg(args, call->at);

		if (lookup == LOOKUP_LINK && at & AT_SYMLINK_FOLLOW)
			lookup = LOOKUP_FOLLOW;
		else if (lookup == LOOKUP_FOLLOW && at & (AT_SYMLINK_NOFOLLOW | UMOUNT_NOFOLLOW))
			lookup = LOOKUP_LINK;
	}
	if (call->flags & CALL_RETURNS_FD) {
		if (ret >= 0)
			lookup = LOOKUP_TEXT; /* SECTION_RESULT has where it led */
		else if (lookup == LOOKUP_FOLLOW && (ret == -ELOOP || ret == -EEXIST))
			lookup = LOOKUP_LINK; /* O_NOFOLLOW, O_EXCL */
	}
	source = lookup;
	if (call->lookup & LOOKUP_HOW) {
		struct open_how how = {};

		if (!bpf_probe_read_user(&how, sizeof(how), (void *)arg(args, call->path1 + 1)) && how.resolve & RESOLVE_IN_ROOT)
			source |= PATH_ROOTED;
	}
	if (call->lookup & LOOKUP_CHDIR && ret == 0) {
		put_string(arg(args, call->path1), 0, SECTION_PATH);
		put_cwd(SECTION_DIR);
		return;
	}
	put_path(arg(args, call->path1), call->dir1 >= 0 ? (int)arg(args, call->dir1) : AT_FDCWD, source);
	if (call->path2 < 0)
		return;
	source = call->lookup >> 2 & 3;
	if (call->lookup & LOOKUP_MOUNT && !(args[3] & (MS_BIND | MS_MOVE)))
		source = LOOKUP_TEXT;
	put_path(arg(args, call->path2), call->dir2 >= 0 ? (int)arg(args, call->dir2) : AT_FDCWD, source);
}

/*
 * The end of a call, which reports it.
 */
SEC("raw_tracepoint/sys_exit")
int sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	__s64 ret = ctx->args[1];
	__u64 number = number_of(number_at(regs)), id, sessions, sock = 0, *args;
	__u32 pid, tid, flags, limit = 0;
	struct raw_path root = {};
	struct event_header *header;
	struct syscall *call;
	struct buffer *buffer;
	struct proc *proc;
	bool compat, is_socket = false;

	if (!(looks[number] & LOOK_EXIT))
		return 0;
	id = bpf_get_current_pid_tgid();
	pid = id >> 32;
	tid = id;
	proc = bpf_map_lookup_elem(&procs, &pid);
	sessions = sessions_of(proc);
	if (!sessions)
		return 0;
	compat = is_compat(current_task());
	call = syscall_of(number, compat);
	if (!call)
		return 0;
	flags = call->flags;
	if (flags & CALL_NOTE) {
		struct note *note = bpf_map_lookup_elem(&notes, &tid);

		if (note)
			root = note->root;
		bpf_map_delete_elem(&notes, &tid);
	}
	if (flags & CALL_FAILURE && ret >= 0)
		return 0;
	buffer = buffer_of_cpu();
	if (!buffer)
		return 0;
	if (buffer->busy) {
		lose(sessions);
		return 0;
	}
	args = buffer->args;
	read_args((__u64)regs, compat);
	compat |= number >= FIRST_X32; /* its structures are those of 32-bit programs */
	if (flags & CALL_SOCKETCALL) {
		__u32 inner[6] = {}, key = SOCKETCALL_BASE + args[0];

		if (bpf_probe_read_user(inner, sizeof(inner), (void *)args[1]) || args[0] > 20)
			return 0;
		call = bpf_map_lookup_elem(&syscalls_compat, &key);
		if (!call || !call->op)
			return 0;
		flags = call->flags;
		for (int i = 0; i < 6; i++)
			args[i] = inner[i];
	}
	if (call->when && !is_wanted(call->when, args))
		return 0;
	if (sessions & selecting && call->select) {
		__s8 at = (call->select & SELECT_CLASS) == CLASS_OPENS ? call->path1 + 1 : call->fd;

		sessions = select_class(sessions, call->select, ret, arg(args, at));
		if (!sessions)
			return 0;
	}

	buffer = begin(proc, sessions, EVENT_SYSCALL);
	if (!buffer)
		return 0;
	header = (struct event_header *)buffer->data;
	if (call->lookup & LOOKUP_ROOT && root.mnt)
		buffer->root = root;
	header->op = call->op;
	header->ret = ret;
	header->flags = compat ? HEADER_COMPAT : 0;
	for (int i = 0; i < 6; i++)
		header->args[i] = args[i];

	if (flags & CALL_NEW_CONN) {
		struct file *file = file_of(flags & CALL_RETURNS_FD ? (int)ret : (int)arg(args, call->fd));
		__u64 s = file ? (__u64)sock_of(file) : 0;

		if (s)
			bpf_map_delete_elem(&talks, &s);
	}
	if (flags & CALL_ENTER)
		put_closed(tid);
	else if (call->fd >= 0)
		is_socket = put_fd(arg(args, call->fd), SECTION_FILE);
	if (flags & CALL_RETURNS_FD && ret >= 0)
		put_fd(ret, SECTION_RESULT);
	if (call->fd2 >= 0)
		put_fd(arg(args, call->fd2), SECTION_RESULT);
	put_paths(call, args, ret);
	if (sessions & selecting && call->select & SELECT_PATHS) {
		header->sessions = select_paths(sessions);
		if (!header->sessions) {
			buffer->busy = 0;
			return 0;
		}
	}
	if (flags & CALL_MOUNT) {
		put_string(args[2], 0, SECTION_TEXT);
		put_string(args[4], 0, SECTION_TEXT);
	}
	if (flags & CALL_CONFIG)
		put_config(args[1], args[3], args[4]);
	if (flags & CALL_ARGV)
		put_argv_array(arg(args, call->path1 + 1), compat);
	if (call->addr >= 0) {
		__u64 len = arg(args, call->addr_len);

		if (flags & CALL_ADDR_PTR) {
			__u32 got = 0;

			if (ret < 0 || !len || bpf_probe_read_user(&got, sizeof(got), (void *)len))
				got = 0;
			len = got;
		}
		if (arg(args, call->addr) && len)
			put_bytes(arg(args, call->addr), (__u32)len, MAX_ADDR, SECTION_ADDR);
	}
	if (flags & CALL_STRUCT) {
		if (arg(args, call->data))
			put_bytes(arg(args, call->data), compat ? call->addr_len : call->len, MAX_DATA, SECTION_DATA);
	} else if (flags & CALL_VALUE) {
		put_bytes(arg(args, call->data), arg(args, call->len), content_bytes, SECTION_DATA);
	} else if (call->data >= 0) {
		if (is_socket)
			limit = data_limit(call, args, ret, &sock, compat);
		else if (header->sessions & ~left_out[CLASS_CONTENTS])
			limit = content_bytes;
		if (sock)
			header->flags |= HEADER_TALK;
		if (flags & CALL_MMSG) {
			header->args[5] = (__u32)put_messages(arg(args, call->data), ret, limit, compat);
		} else if (flags & CALL_MSGHDR) {
			put_msghdr(arg(args, call->data), ret, limit, compat);
			if (ret >= 0)
				put_control(compat);
		} else if (ret > 0 && limit && flags & CALL_IOVEC) {
			put_iovec(arg(args, call->data), arg(args, call->len), ret, limit, compat);
		} else if (ret > 0 && limit) {
			put_bytes(arg(args, call->data), ret, limit, SECTION_DATA);
		}
	}
	end(buffer, flags & CALL_URGENT);

	if (sock && ret > MAX_DATA && !(flags & CALL_MMSG))
		put_more(flags | (compat ? CALL_COMPAT : 0), arg(args, call->data), arg(args, call->len), ret, sock);
	if (flags & CALL_AIO)
		put_iocbs(args[2], ret, compat);
	return 0;
}

/*
 * Operations of an io_uring are not system calls. They are reported when they are submitted;
 * their results are unknown. Kernels before 6.3 lack this tracepoint: there, only the system
 * calls on the ring itself are reported.
 */
#define URING_FIXED_FILE 1 /* the descriptor is an index into the ring's own table */
#define URING_OPENAT 18
#define URING_OPENAT2 28

/* The operations on a descriptor, by their numbers. */
#define URING_ON_FD                                                                                                           \
	(1ULL << 1 | 1ULL << 2 | 1ULL << 3 | 1ULL << 4 | 1ULL << 5 | 1ULL << 6 | 1ULL << 8 | 1ULL << 9 | 1ULL << 10 | 1ULL << 13 | \
	 1ULL << 16 | 1ULL << 17 | 1ULL << 22 | 1ULL << 23 | 1ULL << 24 | 1ULL << 26 | 1ULL << 27 | 1ULL << 30 | 1ULL << 33 |      \
	 1ULL << 34 | 1ULL << 41 | 1ULL << 43 | 1ULL << 46 | 1ULL << 47 | 1ULL << 48 | 1ULL << 49 | 1ULL << 55 | 1ULL << 56 |      \
	 1ULL << 57 | 1ULL << 58 | 1ULL << 59 | 1ULL << 60 | 1ULL << 61)

SEC("raw_tracepoint/io_uring_submit_req")
int uring_submit(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx->args[0];
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);
	__u64 sessions = sessions_of(proc), opcode;
	struct event_header *header;
	struct buffer *buffer;

	if (!sessions || !bpf_core_field_exists(req->opcode) || !bpf_core_field_exists(req->cqe.fd))
		return 0;
	buffer = begin(proc, sessions, EVENT_SYSCALL);
	if (!buffer)
		return 0;
	header = (struct event_header *)buffer->data;
	opcode = BPF_CORE_READ(req, opcode);
	header->op = uring_op;
	header->args[0] = opcode;
	header->args[1] = -1;
	if (opcode < 64 && URING_ON_FD >> opcode & 1 && !(BPF_CORE_READ(req, flags) & URING_FIXED_FILE)) {
		int fd = BPF_CORE_READ(req, cqe.fd);

		header->args[1] = (__s64)fd;
		put_fd(fd, SECTION_FILE);
	}
	if ((opcode == URING_OPENAT || opcode == URING_OPENAT2) && bpf_core_field_exists(struct io_open, filename)) {
		struct io_open *open = (void *)req + bpf_core_field_offset(struct io_kiocb, file);
		int dir = BPF_CORE_READ(open, dfd);

		put_path((__u64)BPF_CORE_READ(open, filename, name), dir, LOOKUP_FOLLOW | PATH_KERNEL);
	}
	end(buffer, false);
	return 0;
}

SEC("raw_tracepoint/sched_process_fork")
int process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	__u64 id = bpf_get_current_pid_tgid(), sessions;
	__u32 pid = id >> 32, tid = id, child_pid;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);
	struct event_header *header;
	struct buffer *buffer;
	struct note *note;
	struct proc made = {};

	sessions = sessions_of(proc);
	if (!proc && !sessions)
		return 0;
	if (BPF_CORE_READ(child, flags) & PF_KTHREAD)
		return 0;
	child_pid = BPF_CORE_READ(child, tgid);
	if (child_pid != pid) {
		if (proc) {
			made.sessions = proc->sessions;
			made.on_exec = proc->on_exec;
			made.hidden = proc->hidden;
			made.flags = proc->flags & PROC_EXCLUDED;
		}
		know(&made, child);
		if (bpf_map_update_elem(&procs, &child_pid, &made, BPF_ANY))
			lose(sessions | made.on_exec); /* it will not be watched */
	}
	if (!sessions)
		return 0;
	buffer = begin(proc, sessions, EVENT_FORK);
	if (!buffer)
		return 0;
	header = (struct event_header *)buffer->data;
	header->args[0] = child_pid;
	header->args[1] = BPF_CORE_READ(child, pid);
	header->args[2] = BPF_CORE_READ(child, start_boottime);
	header->args[3] = 0;
	note = bpf_map_lookup_elem(&notes, &tid);
	if (note) {
		header->op = note->op;
		header->args[3] = note->flags;
	}
	end(buffer, false);
	return 0;
}

/*
 * Returns the sessions from which a process stays hidden when it executes an image: those
 * from which its parent is hidden too, and only if both run the same image. So a browser's
 * processes stay hidden, and programs that it starts do not.
 */
static __always_inline __u64 still_hidden(struct proc *proc, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct inode *image = BPF_CORE_READ(task, mm, exe_file, f_inode);
	__u32 pid = BPF_CORE_READ(parent, tgid);
	struct proc *above = bpf_map_lookup_elem(&procs, &pid);

	if (!above || !image || image != BPF_CORE_READ(parent, mm, exe_file, f_inode))
		return 0;
	return proc->hidden & above->hidden;
}

/* Writes a section of two numbers. */
__noinline int put_numbers(__u32 type, __u32 first, __u32 second)
{
	struct buffer *buffer = buffer_of_cpu();
	struct section *section;
	__u32 off;

	if (!buffer)
		return 0;
	off = buffer->off;
	ROOM(buffer, off, 2 * sizeof(__u32));
	section = section_at(buffer, off, type);
	section->len = 2 * sizeof(__u32);
	off += sizeof(*section);
	*(__u32 *)&buffer->data[off] = first;
	*(__u32 *)&buffer->data[off + sizeof(__u32)] = second;
	buffer->off = off + 2 * sizeof(__u32);
	return 0;
}

SEC("raw_tracepoint/sched_process_exec")
int process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	__u32 old_tid = ctx->args[1];
	struct linux_binprm *bprm = (struct linux_binprm *)ctx->args[2];
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);
	struct event_header *header;
	struct buffer *buffer;
	struct section *section;
	struct mm_struct *mm;
	struct note *note;
	__u64 sessions, argv, env;
	__u32 off, parts;

	if (proc && proc->on_exec) {
		proc->sessions |= proc->on_exec;
		proc->on_exec = 0;
	}
	if (proc && proc->hidden)
		proc->hidden = still_hidden(proc, task);
	sessions = sessions_of(proc);
	if (!sessions)
		return 0;
	buffer = begin(proc, sessions, EVENT_EXEC);
	if (!buffer)
		return 0;
	header = (struct event_header *)buffer->data;
	mm = BPF_CORE_READ(task, mm);
	argv = BPF_CORE_READ(mm, arg_start);
	env = BPF_CORE_READ(mm, env_start);
	buffer->parts = 0;
	argv += send_parts(argv, BPF_CORE_READ(mm, arg_end), SECTION_ARGV, MAX_PARTS);
	parts = buffer->parts;
	if (environment)
		env += send_parts(env, BPF_CORE_READ(mm, env_end), SECTION_ENV, MAX_ENV_PARTS);
	if (buffer->parts) { /* they have taken the place of what begin wrote */
		buffer->off = sizeof(*header);
		put_root();
		put_numbers(SECTION_PARTS, parts, buffer->parts - parts);
	}
	header->type = EVENT_EXEC;
	header->args[0] = old_tid;
	header->args[1] = BPF_CORE_READ(task, cred, euid.val);
	note = bpf_map_lookup_elem(&notes, &old_tid);
	if (note) {
		header->op = note->op;
		bpf_map_delete_elem(&notes, &old_tid);
	}
	put_image();
	put_path((__u64)BPF_CORE_READ(bprm, filename), AT_FDCWD, LOOKUP_FOLLOW | PATH_KERNEL);
	put_string((__u64)BPF_CORE_READ(bprm, interp), 1, SECTION_PATH);
	put_cwd(SECTION_CWD);
	put_argv(argv, BPF_CORE_READ(mm, arg_end), SECTION_ARGV);
	if (environment)
		put_argv(env, BPF_CORE_READ(mm, env_end), SECTION_ENV);
	off = buffer->off;
	if (off <= BUFFER - 64) {
		section = section_at(buffer, off, SECTION_COMM);
		section->len = 16;
		BPF_CORE_READ_INTO((char(*)[16]) & buffer->data[off + sizeof(*section)], task, group_leader, real_parent, comm);
		buffer->off = off + sizeof(*section) + 16;
	}
	end(buffer, true);
	return 0;
}

SEC("raw_tracepoint/sched_process_exit")
int process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	__u64 id = bpf_get_current_pid_tgid(), sessions;
	__u32 pid = id >> 32;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);
	struct signal_struct *signal;
	struct event_header *header;
	struct buffer *buffer;

	if (!proc && !all_sessions)
		return 0;
	signal = BPF_CORE_READ(task, signal);
	if (BPF_CORE_READ(signal, live.counter) > 0 || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	sessions = sessions_of(proc);
	if (sessions) {
		buffer = begin(proc, sessions, EVENT_EXIT);
		if (buffer) {
			header = (struct event_header *)buffer->data;
			if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
				header->ret = BPF_CORE_READ(signal, group_exit_code);
			else
				header->ret = BPF_CORE_READ(task, group_leader, exit_code);
			end(buffer, true);
		}
	}
	bpf_map_delete_elem(&procs, &pid);
	return 0;
}

/*
 * OpenSSL and GnuTLS: the plaintext of SSL_read, SSL_write and their like. These programs can be preempted, so they
 * write into the ring directly, not into the CPU's buffer.
 */
#if defined(__TARGET_ARCH_x86)
#define PARM1(context) ((context)->di)
#define PARM2(context) ((context)->si)
#define PARM4(context) ((context)->cx)
#define RESULT(context) ((context)->ax)
#else
#define PARM1(context) ((context)->regs[0])
#define PARM2(context) ((context)->regs[1])
#define PARM4(context) ((context)->regs[3])
#define RESULT(context) ((context)->regs[0])
#endif

#define TLS_SMALL 1024

struct tls_small {
	struct event_header header;
	struct section section;
	__u8 data[TLS_SMALL];
};

struct tls_large {
	struct event_header header;
	struct section section;
	__u8 data[MAX_DATA];
};

static __always_inline int tls_begin(__u64 ssl, __u64 data, __u64 done)
{
	struct tls_call call = {.ssl = ssl, .data = data, .done = done};
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;

	if (sessions_of(bpf_map_lookup_elem(&procs, &pid)))
		bpf_map_update_elem(&tls_calls, &id, &call, BPF_ANY);
	return 0;
}

static __always_inline void tls_header(struct event_header *header, struct proc *proc, __u64 sessions, __u16 op)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct proc made = {};

	if (!proc || !(proc->flags & PROC_KNOWN)) {
		know(&made, current_task());
		proc = &made;
	}
	__builtin_memset(header, 0, sizeof(*header));
	header->time = bpf_ktime_get_boot_ns();
	header->sessions = sessions;
	header->pid = id >> 32;
	header->tid = id;
	header->uid = bpf_get_current_uid_gid();
	header->cgroup = bpf_get_current_cgroup_id();
	header->type = EVENT_TLS;
	header->op = op;
	header->start = proc->start;
	header->parent_pid = proc->parent_pid;
	header->parent_start = proc->parent_start;
	bpf_get_current_comm(header->comm, sizeof(header->comm));
}

#define TLS_EVENT(kind, size)                                                               \
	do {                                                                                \
		struct kind *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);       \
		__u64 n = rest;                                                             \
                                                                                            \
		if (!event) {                                                               \
			lose(sessions);                                                     \
			return;                                                             \
		}                                                                           \
		tls_header(&event->header, proc, sessions, op);                             \
		event->header.ret = len;                                                    \
		event->header.flags = flags;                                                \
		event->header.args[0] = ssl;                                                \
		event->header.args[1] = offset;                                             \
		event->header.args[2] = sock;                                               \
		event->section.type = SECTION_DATA;                                         \
		event->section.flags = 0;                                                   \
		BOUND(n, size);                                                             \
		if (bpf_probe_read_user(event->data, n, (void *)(data + offset))) {         \
			event->section.flags = SECTION_FAULT;                               \
			n = 0;                                                              \
		}                                                                           \
		event->section.len = n;                                                     \
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);                                \
	} while (0)

/* Writes events of the len bytes at data that a connection moved. */
static __always_inline void tls_send(struct proc *proc, __u64 sessions, __u16 op, __u64 ssl, __u64 data, __u64 len, __u64 sock, __u32 flags)
{
	for (__u32 i = 0; i < MAX_CHUNKS; i++) {
		__u64 offset = i * MAX_DATA, rest = len - offset;

		if (offset >= len)
			break;
		if (rest <= TLS_SMALL)
			TLS_EVENT(tls_small, TLS_SMALL);
		else
			TLS_EVENT(tls_large, MAX_DATA);
	}
}

static __always_inline int tls_end(__s64 result, __u16 op)
{
	__u64 id = bpf_get_current_pid_tgid(), sessions, len = result;
	__u32 pid = id >> 32;
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, &id);
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);

	if (!call)
		return 0;
	sessions = sessions_of(proc);
	if (result > 0 && sessions && !(call->done && bpf_probe_read_user(&len, sizeof(len), (void *)call->done)))
		tls_send(proc, sessions, op, call->ssl, call->data, len, 0, 0);
	bpf_map_delete_elem(&tls_calls, &id);
	return 0;
}

/* Writes the event of the end of a connection. */
static __always_inline int tls_freed(__u64 ssl)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);
	__u64 sessions = sessions_of(proc);
	struct event_header *header;

	if (!sessions)
		return 0;
	header = bpf_ringbuf_reserve(&events, sizeof(*header), 0);
	if (!header) {
		lose(sessions);
		return 0;
	}
	tls_header(header, proc, sessions, TLS_FREED);
	header->args[0] = ssl;
	bpf_ringbuf_submit(header, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("uprobe/SSL_read")
int tls_enter(struct pt_regs *ctx)
{
	return tls_begin(PARM1(ctx), PARM2(ctx), 0);
}

SEC("uprobe/SSL_read_ex")
int tls_enter_ex(struct pt_regs *ctx)
{
	return tls_begin(PARM1(ctx), PARM2(ctx), PARM4(ctx));
}

SEC("uretprobe/SSL_read")
int tls_read(struct pt_regs *ctx)
{
	return tls_end((__s32)RESULT(ctx), TLS_READ);
}

SEC("uretprobe/SSL_write")
int tls_write(struct pt_regs *ctx)
{
	return tls_end((__s32)RESULT(ctx), TLS_WRITTEN);
}

SEC("uprobe/SSL_free")
int tls_free(struct pt_regs *ctx)
{
	return tls_freed(PARM1(ctx));
}

#include "tls.h"
