/* A sample for the sensor's tests. It writes argv[1] times. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = open("/dev/null", O_WRONLY);
	for (long i = argc > 1 ? atol(argv[1]) : 0; i > 0; i--)
		write(fd, "sixteen bytes...", 16);
	return 0;
}
