/*
 * A sample for the sensor's tests: it connects to one of two ports, its arguments, again and
 * again, while another thread changes the address in memory from one to the other. It prints
 * the port that the kernel connected to, a line each time.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in to = {.sin_family = AF_INET};
static unsigned short ports[2];

static void *change(void *unused)
{
	for (;;) {
		*(volatile unsigned short *)&to.sin_port = ports[0];
		*(volatile unsigned short *)&to.sin_port = ports[1];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	ports[0] = htons(atoi(argv[1]));
	ports[1] = htons(atoi(argv[2]));
	to.sin_port = ports[0];
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pthread_create(&thread, NULL, change, NULL);
	for (int i = 0; i < 300; i++) {
		struct sockaddr_in peer;
		socklen_t len = sizeof peer;
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(fd, (void *)&to, sizeof to) || getpeername(fd, (void *)&peer, &len))
			return 1;
		printf("%d\n", ntohs(peer.sin_port));
		close(fd);
	}
	fflush(stdout);
	_exit(0);
}
