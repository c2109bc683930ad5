/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The plaintext of TLS of Go and of NSS. ospulse.bpf.c includes this file.
 */

/*
 * Go. Its functions take arguments in other registers than those of C. A return address on a
 * goroutine's stack must stay as it is, so that uretprobes are not possible: the agent puts
 * tls_go_read at each return of Read. The goroutine's stack may move during a call. Places in
 * it keep their distance from its end.
 */
#if defined(__TARGET_ARCH_x86)
#define GO_PARM1(context) ((context)->ax)
#define GO_PARM2(context) ((context)->bx)
#define GO_PARM3(context) ((context)->cx)
#define GO_RESULT(context) ((context)->ax)
#define GO_GOROUTINE(context) ((context)->r14)
#else
#define GO_PARM1(context) ((context)->regs[0])
#define GO_PARM2(context) ((context)->regs[1])
#define GO_PARM3(context) ((context)->regs[2])
#define GO_RESULT(context) ((context)->regs[0])
#define GO_GOROUTINE(context) ((context)->regs[28])
#endif

/* A call of Read. A goroutine may read a connection through another. */
struct go_frame {
	__u64 goroutine;
	__u64 depth; /* of the stack */
	__u32 pid, pad;
};

struct go_call {
	__u64 connection;
	__u64 data; /* if is_on_stack, the distance from the end of the stack */
	__u64 is_on_stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768); /* a server waits in a Read for each idle connection */
	__type(key, struct go_frame);
	__type(value, struct go_call);
} go_calls SEC(".maps");

/* Returns the end of a goroutine's stack: runtime.g begins with stack.lo and stack.hi. */
static __always_inline __u64 go_stack_end(__u64 goroutine)
{
	__u64 end = 0;

	bpf_probe_read_user(&end, sizeof(end), (void *)(goroutine + 8));
	return end;
}

/*
 * Returns the socket of a *tls.Conn; 0 if it is unknown. tls.Conn begins with a net.Conn, which
 * usually points to a net.TCPConn. That begins with a pointer to its net.netFD, which has the
 * descriptor after a mutex of 16 bytes.
 */
static __always_inline __u64 go_socket(__u64 connection)
{
	__u64 at = 0, fd = 0;
	struct file *file;
	struct sock *sock;
	__u16 family;

	if (bpf_probe_read_user(&at, sizeof(at), (void *)(connection + 8)) || bpf_probe_read_user(&at, sizeof(at), (void *)at) ||
	    bpf_probe_read_user(&fd, sizeof(fd), (void *)(at + 16)) || fd > 0x7fffffff)
		return 0;
	file = file_of(fd);
	sock = file ? sock_of(file) : NULL;
	family = sock ? BPF_CORE_READ(sock, __sk_common.skc_family) : 0;
	return family == AF_INET || family == AF_INET6 ? (__u64)sock : 0;
}

/* At Write. Another goroutine may have read the answer before Write returns. */
SEC("uprobe/go_write")
int tls_go_write(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc *proc = bpf_map_lookup_elem(&procs, &pid);
	__u64 sessions = sessions_of(proc), connection = GO_PARM1(ctx);

	if (sessions)
		tls_send(proc, sessions, TLS_WRITTEN, connection, GO_PARM2(ctx), GO_PARM3(ctx), go_socket(connection), HEADER_SOCKET);
	return 0;
}

/* At Read. */
SEC("uprobe/go_enter")
int tls_go_enter(struct pt_regs *ctx)
{
	struct go_frame frame = {.goroutine = GO_GOROUTINE(ctx), .pid = bpf_get_current_pid_tgid() >> 32};
	struct go_call call = {.connection = GO_PARM1(ctx), .data = GO_PARM2(ctx)};
	__u64 end = go_stack_end(frame.goroutine), stack = ctx->sp;

	if (!sessions_of(bpf_map_lookup_elem(&procs, &frame.pid)))
		return 0;
	frame.depth = end - stack;
	if (call.data >= stack && call.data < end) {
		call.data = end - call.data;
		call.is_on_stack = 1;
	}
	bpf_map_update_elem(&go_calls, &frame, &call, BPF_ANY);
	return 0;
}

/* At each return of Read. */
SEC("uprobe/go_read")
int tls_go_read(struct pt_regs *ctx)
{
	struct go_frame frame = {.goroutine = GO_GOROUTINE(ctx), .pid = bpf_get_current_pid_tgid() >> 32};
	__u64 end = go_stack_end(frame.goroutine), connection, data, sessions;
	__s64 result = GO_RESULT(ctx);
	struct go_call *call;
	struct proc *proc;

	frame.depth = end - ctx->sp;
	call = bpf_map_lookup_elem(&go_calls, &frame);
	if (!call)
		return 0;
	connection = call->connection;
	data = call->is_on_stack ? end - call->data : call->data;
	bpf_map_delete_elem(&go_calls, &frame);
	proc = bpf_map_lookup_elem(&procs, &frame.pid);
	sessions = sessions_of(proc);
	if (sessions && result > 0)
		tls_send(proc, sessions, TLS_READ, connection, data, result, go_socket(connection), HEADER_SOCKET);
	return 0;
}

/* At Close. */
SEC("uprobe/go_close")
int tls_go_close(struct pt_regs *ctx)
{
	return tls_freed(GO_PARM1(ctx));
}

/*
 * NSS: programs read and write with the functions of NSPR, which also handle files and plain
 * sockets. SSL_ImportFD makes a socket one of TLS.
 */
struct nss_socket {
	__u64 socket; /* a PRFileDesc */
	__u32 pid, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct nss_socket);
	__type(value, __u32);
} nss_sockets SEC(".maps");

#define PR_MSG_PEEK 2

static __always_inline bool is_nss(__u64 socket)
{
	struct nss_socket key = {.socket = socket, .pid = bpf_get_current_pid_tgid() >> 32};

	return bpf_map_lookup_elem(&nss_sockets, &key);
}

/* Notes sockets of all processes: one may be watched later. */
SEC("uretprobe/SSL_ImportFD")
int tls_nss_import(struct pt_regs *ctx)
{
	struct nss_socket key = {.socket = RESULT(ctx), .pid = bpf_get_current_pid_tgid() >> 32};
	__u32 is_tls = 1;

	if (key.socket)
		bpf_map_update_elem(&nss_sockets, &key, &is_tls, BPF_ANY);
	return 0;
}

SEC("uprobe/PR_Read")
int tls_nss_enter(struct pt_regs *ctx)
{
	return is_nss(PARM1(ctx)) ? tls_begin(PARM1(ctx), PARM2(ctx), 0) : 0;
}

SEC("uprobe/PR_Recv")
int tls_nss_enter_flags(struct pt_regs *ctx)
{
	return is_nss(PARM1(ctx)) && !(PARM4(ctx) & PR_MSG_PEEK) ? tls_begin(PARM1(ctx), PARM2(ctx), 0) : 0;
}

SEC("uprobe/PR_Close")
int tls_nss_close(struct pt_regs *ctx)
{
	struct nss_socket key = {.socket = PARM1(ctx), .pid = bpf_get_current_pid_tgid() >> 32};

	if (!bpf_map_lookup_elem(&nss_sockets, &key))
		return 0;
	bpf_map_delete_elem(&nss_sockets, &key);
	return tls_freed(key.socket);
}
