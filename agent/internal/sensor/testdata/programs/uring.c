/*
 * A sample for the sensor's tests. It makes, writes and reads a file, and connects a socket,
 * all through an io_uring.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ring;
static char *queue, *results;
static struct io_uring_params params;
static struct io_uring_sqe *entries;

static int submit(struct io_uring_sqe entry)
{
	unsigned *tail = (unsigned *)(queue + params.sq_off.tail), *head = (unsigned *)(results + params.cq_off.head);
	unsigned at = *tail & *(unsigned *)(queue + params.sq_off.ring_mask);

	entries[at] = entry;
	((unsigned *)(queue + params.sq_off.array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -1;
	at = *head & *(unsigned *)(results + params.cq_off.ring_mask);
	int result = ((struct io_uring_cqe *)(results + params.cq_off.cqes))[at].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

int main(void)
{
	struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	char buffer[16];

	ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0)
		return 1;
	queue = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	results = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	int fd = submit((struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)"by ring",
					      .open_flags = O_CREAT | O_RDWR, .len = 0600});
	if (fd < 0)
		return 2;
	if (submit((struct io_uring_sqe){.opcode = IORING_OP_WRITE, .fd = fd, .addr = (unsigned long)"hidden", .len = 6}) != 6)
		return 3;
	if (submit((struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fd, .addr = (unsigned long)buffer, .len = 16}) != 6)
		return 4;
	int s = socket(AF_INET, SOCK_STREAM, 0);
	submit((struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = s, .addr = (unsigned long)&nobody, .off = sizeof nobody}); /* refused */
	return submit((struct io_uring_sqe){.opcode = IORING_OP_NOP});
}
