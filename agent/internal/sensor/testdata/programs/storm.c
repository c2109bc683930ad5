/*
 * A sample for the sensor's tests: very many processes that end at once. Each of two threads
 * makes argv[1] of them. Of ten, five only end; one forks before it ends; one forks, and its
 * child executes an image; one is made by vfork; two execute an image. The exit code of a
 * process is its number modulo 7, that of an image 7. The program ends after all of them,
 * including those whose parent did not wait.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char **arguments;

static void image(void)
{
	execl(arguments[0], arguments[0], NULL);
	_exit(99);
}

static void *many(void *arg)
{
	long count = atol(arguments[1]);

	for (long i = 0; i < count; i++) {
		pid_t pid = i % 10 == 7 ? vfork() : fork();

		if (pid == 0) {
			if (i % 10 == 7)
				_exit(i % 7);
			if ((i % 10 == 5 || i % 10 == 6) && fork() == 0) {
				if (i % 10 == 6)
					image();
				_exit(i % 7);
			}
			if (i % 10 >= 8)
				image();
			_exit(i % 7);
		}
		if (pid < 0)
			_exit(98);
		waitpid(pid, NULL, 0);
	}
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t other;

	arguments = argv;
	if (argc < 2)
		return 7; /* executed as an image */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pthread_create(&other, NULL, many, NULL);
	many(NULL);
	pthread_join(other, NULL);
	while (wait(NULL) > 0)
		;
	return 0;
}
