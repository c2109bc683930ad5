/*
 * A sample for the sensor's tests: a 64-bit program that makes 32-bit system calls. With an
 * argument it makes one harmless call, to find out whether the kernel supports them.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	return result;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return call(20, 0, 0, 0) != getpid();
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	strcpy(low, "compat file");
	strcpy(low + 100, "by int 80");
	long fd = call(5, (long)low, 0101, 0600);          /* open */
	call(4, fd, (long)low + 100, 9);                   /* write */
	unsigned *vector = (unsigned *)(low + 200);
	vector[0] = (unsigned)(long)low + 100, vector[1] = 2;
	vector[2] = (unsigned)(long)low + 103, vector[3] = 6;
	call(146, fd, (long)vector, 2);                    /* writev */
	unsigned *socket = (unsigned *)(low + 300);
	socket[0] = 2, socket[1] = 2, socket[2] = 0;
	call(102, 1, (long)socket, 0);                     /* socketcall: socket */
	call(6, fd, 0, 0);                                 /* close */
	return 0;
}
