/* A sample for the sensor's tests: processes and threads. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *thread(void *arg)
{
	int fd = open("/dev/null", O_WRONLY);
	for (int i = 0; i < 50; i++)
		write(fd, arg, 1 + i % 4);
	close(fd);
	return NULL;
}

static int cloned(void *arg)
{
	write(1, arg, 6);
	return 9;
}

static void *become(void *arg)
{
	(void)arg;
	execl("/proc/self/exe", "processes", "from a thread", NULL);
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc > 1) { /* executed as the other image */
		write(1, argv[1], strlen(argv[1]));
		return 4;
	}
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, thread, "abcd");
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);

	if (fork() == 0) {
		char *args[] = {"true", "with space", "", "quo'te", NULL};
		execv("/nowhere/true", args);
		execv("/bin/true", args);
	}
	wait(NULL);
	if (vfork() == 0)
		_exit(2);
	wait(NULL);

	static char stack[65536];
	clone(cloned, stack + sizeof stack, SIGCHLD | CLONE_FS, "cloned");
	wait(NULL);

	pid_t killed = fork();
	if (killed == 0) {
		int ends[2];
		pipe(ends);
		read(ends[0], stack, 1); /* forever */
		_exit(0);
	}
	usleep(100000);
	kill(killed, SIGKILL);
	wait(NULL);
	if (fork() == 0)
		abort();
	wait(NULL);

	if (fork() == 0) { /* an image that is only in memory */
		int image = syscall(SYS_memfd_create, "hidden", 1);
		int self = open("/proc/self/exe", O_RDONLY);
		ssize_t n;
		while ((n = read(self, stack, sizeof stack)) > 0)
			write(image, stack, n);
		char *args[] = {"from memory", "hi", NULL};
		fexecve(image, args, environ);
	}
	wait(NULL);

	if (fork() == 0) {
		setgid(12345);
		setresuid(-1, 12345, -1);
		setuid(12345);
		setuid(0);
		_exit(0);
	}
	wait(NULL);
	ptrace(PTRACE_ATTACH, 1 << 22, 0, 0);
	syscall(SYS_finit_module, 0, "", 0);
	syscall(SYS_init_module, stack, 16, "");
	syscall(SYS_delete_module, "no such module", 0);
	unshare(CLONE_NEWUTS);
	setns(0, 0);
	syscall(SYS_execveat, AT_FDCWD, "/nowhere", NULL, NULL, 0);

	/* A thread that is not the first executes another image. */
	if (fork() == 0) {
		pthread_create(&threads[0], NULL, become, NULL);
		pause();
	}
	wait(NULL);
	return 0;
}
