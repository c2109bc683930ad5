/*
 * A sample for the sensors' tests. It passes descriptors to itself over a Unix socket, and uses
 * them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static char byte[1] = "x";
static struct iovec data = {byte, 1};

/* Makes a message with room for control messages, or with descriptors. */
static struct msghdr message(char *room, size_t size, const int *fds, int count)
{
	struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = size};
	memset(room, 0, size);
	if (count) {
		m.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *head = CMSG_FIRSTHDR(&m);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, count * sizeof(int));
	}
	return m;
}

int main(void)
{
	close_range(3, ~0U, 0); /* the test expects these numbers */
	int sockets[2], pipes[2], on = 1;
	char room[2][512];
	socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets);                        /* 3, 4 */
	pipe(pipes);                                                        /* 5, 6 */
	setsockopt(sockets[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);    /* another control message */
	int first = open("first", O_CREAT | O_RDWR, 0600);                  /* 7 */
	int second = open("second", O_CREAT | O_RDWR, 0600);                /* 8 */

	int three[] = {first, pipes[1], sockets[0]};
	struct msghdr m = message(room[0], sizeof room[0], three, 3);
	sendmsg(sockets[0], &m, 0);
	m = message(room[0], sizeof room[0], NULL, 0);
	recvmsg(sockets[1], &m, 0); /* 9, 10, 11 */
	write(9, "to first", 8);

	struct mmsghdr two[2];
	memset(two, 0, sizeof two);
	two[0].msg_hdr = message(room[0], sizeof room[0], &second, 1);
	two[1].msg_hdr = message(room[1], sizeof room[1], &first, 1);
	sendmmsg(sockets[0], two, 2, 0);
	two[0].msg_hdr = message(room[0], sizeof room[0], NULL, 0);
	two[1].msg_hdr = message(room[1], sizeof room[1], NULL, 0);
	recvmmsg(sockets[1], two, 2, 0, NULL); /* 12, 13 */
	write(12, "to second", 9);

	/* a message without descriptors; a call that fails */
	m = message(room[0], 0, NULL, 0);
	sendmsg(sockets[0], &m, 0);
	int none = 999;
	m = message(room[0], sizeof room[0], &none, 1);
	sendmsg(sockets[0], &m, 0);

	/* as many as a message may have */
	int many[253];
	for (int i = 0; i < 253; i++)
		many[i] = i % 2 ? first : sockets[0];
	char large[2048];
	m = message(large, sizeof large, many, 253);
	sendmsg(sockets[0], &m, 0);
	return 0;
}
