/* A sample for the sensor's tests. It connects sockets to itself. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void stream(int family)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	void *address = family == AF_INET ? (void *)&four : (void *)&six;
	socklen_t len = family == AF_INET ? sizeof four : sizeof six;
	char buffer[200];

	int server = socket(family, SOCK_STREAM, 0);
	bind(server, address, len);
	getsockname(server, address, &len);
	listen(server, 5);
	int client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	connect(client, address, len);
	int accepted = accept4(server, NULL, NULL, 0);
	send(client, "sent", 4, 0);
	recv(accepted, buffer, sizeof buffer, 0);
	write(accepted, "written", 7);
	read(client, buffer, sizeof buffer);
	struct iovec out[2] = {{"gath", 4}, {"ered", 4}};
	struct msghdr m = {.msg_iov = out, .msg_iovlen = 2};
	sendmsg(client, &m, 0);
	struct iovec in[2] = {{buffer, 3}, {buffer + 50, 100}};
	m.msg_iov = in;
	recvmsg(accepted, &m, 0);
	shutdown(client, SHUT_RDWR);
	read(accepted, buffer, sizeof buffer);
	close(accepted);
	close(client);
	close(server);
}

static void datagrams(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, from;
	socklen_t len = sizeof address;
	char buffer[100];

	int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
	bind(server, (void *)&address, len);
	getsockname(server, (void *)&address, &len);
	sendto(client, "datagram", 8, 0, (void *)&address, len);
	len = sizeof from;
	recvfrom(server, buffer, sizeof buffer, 0, (void *)&from, &len);
	struct iovec one = {"first", 5}, two = {"second one", 10};
	struct mmsghdr many[2] = {
		{.msg_hdr = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &one, .msg_iovlen = 1}},
		{.msg_hdr = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &two, .msg_iovlen = 1}},
	};
	sendmmsg(client, many, 2, 0);
	struct iovec in[2] = {{buffer, 50}, {buffer + 50, 50}};
	struct mmsghdr got[2] = {
		{.msg_hdr = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &in[0], .msg_iovlen = 1}},
		{.msg_hdr = {.msg_iov = &in[1], .msg_iovlen = 1}},
	};
	recvmmsg(server, got, 2, 0, NULL);
	recv(server, buffer, sizeof buffer, MSG_DONTWAIT); /* no data */
}

static void unix_sockets(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	char buffer[10];
	int ends[2];

	int server = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(server, (void *)&address, sizeof address);
	listen(server, 1);
	int client = socket(AF_UNIX, SOCK_STREAM, 0);
	connect(client, (void *)&address, sizeof address);
	int accepted = accept(server, NULL, NULL);
	write(client, "unix", 4);
	read(accepted, buffer, sizeof buffer);
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	write(ends[0], "pair", 4);
	read(ends[1], buffer, sizeof buffer);
	struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0abstract"};
	int other = socket(AF_UNIX, SOCK_DGRAM, 0);
	bind(other, (void *)&abstract, offsetof(struct sockaddr_un, sun_path) + 9);
	sendto(other, "to itself", 9, 0, (void *)&abstract, offsetof(struct sockaddr_un, sun_path) + 9);
	read(other, buffer, sizeof buffer);
}

int main(void)
{
	struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(INADDR_LOOPBACK)}};

	stream(AF_INET);
	stream(AF_INET6);
	datagrams();
	unix_sockets();
	connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&nobody, sizeof nobody); /* refused */
	connect(0, (void *)&nobody, sizeof nobody);                               /* not a socket */
	connect(999, (void *)&nobody, sizeof nobody);
	return 0;
}
