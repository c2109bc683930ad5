/*
 * It removes one of two files, 300 times, while another thread changes the name in memory
 * from one to the other. It prints the name of the file that is gone, a line each time.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static char name[] = "a";

static void *change(void *unused)
{
	for (;;) {
		*(volatile char *)name = 'a';
		*(volatile char *)name = 'b';
	}
	return NULL;
}

int main(void)
{
	pthread_t thread;

	getchar();
	pthread_create(&thread, NULL, change, NULL);
	for (int i = 0; i < 300; i++) {
		close(open("a", O_CREAT | O_WRONLY, 0644));
		close(open("b", O_CREAT | O_WRONLY, 0644));
		if (unlink(name))
			return 1;
		puts(access("a", F_OK) ? "a" : "b");
	}
	fflush(stdout);
	_exit(0);
}
