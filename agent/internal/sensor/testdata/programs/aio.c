/*
 * A sample for the sensor's tests. It writes a file and sends an HTTP request through native
 * AIO, without calls that read or write, and uses other ways around such calls.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static aio_context_t context;

static long submit(int operation, int fd, void *buffer, long len)
{
	struct iocb block = {.aio_lio_opcode = operation, .aio_fildes = fd, .aio_buf = (unsigned long)buffer, .aio_nbytes = len};
	struct iocb *all[] = {&block};
	struct io_event event;

	if (syscall(SYS_io_submit, context, 1, all) != 1)
		return -1;
	syscall(SYS_io_getevents, context, 1, 1, &event, NULL);
	return event.res;
}

int main(void)
{
	char *request = "POST /sent HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: 6\r\n\r\nsecret", buffer[100];
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof address;
	struct iovec parts[2] = {{"in ", 3}, {"parts", 5}};

	if (syscall(SYS_io_setup, 8, &context) < 0)
		return 1;
	int fd = open("dropped", O_CREAT | O_RDWR | O_TRUNC, 0700);
	if (submit(IOCB_CMD_PWRITE, fd, "echo dropped", 12) != 12 || submit(IOCB_CMD_PWRITEV, fd, parts, 2) != 8)
		return 2;
	if (submit(IOCB_CMD_PREAD, fd, buffer, sizeof buffer) != 12)
		return 3;
	int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	bind(server, (void *)&address, sizeof address);
	getsockname(server, (void *)&address, &size);
	listen(server, 1);
	connect(client, (void *)&address, sizeof address);
	if (submit(IOCB_CMD_PWRITE, client, request, strlen(request)) != strlen(request))
		return 4;

	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4);
	int copy = open("copy", O_CREAT | O_RDWR, 0600), flags = 0x10;
	ioctl(copy, FICLONE, fd); /* this file system may not support it */
	ioctl(copy, FS_IOC_SETFLAGS, &flags);
	flags = 0;
	ioctl(copy, FS_IOC_SETFLAGS, &flags);
	int self = syscall(SYS_pidfd_open, getpid(), 0);
	syscall(SYS_pidfd_getfd, self, fd, 0);
	syscall(SYS_pidfd_send_signal, self, SIGCONT, NULL, 0);
	kill(getpid(), SIGCONT);
	return 0;
}
