/*
 * A sample for the sensors' tests. It names files by the links of /proc, in a chroot and in a
 * mount namespace of its own. All that it names is below its working directory, or /bin/true.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char *text(const char *format, int number)
{
	static char texts[4][256];
	static int next;
	char *made = texts[next++ % 4];
	snprintf(made, sizeof texts[0], format, number);
	return made;
}

static void run(const char *program, int flags)
{
	if (fork() == 0) {
		int fd = open(program, O_RDONLY | flags);
		execl(text("/proc/self/fd/%d", fd), "run", NULL);
		_exit(1);
	}
	wait(NULL);
}

int main(void)
{
	char top[4096], path[8192];
	getcwd(top, sizeof top);
	mkdir("real", 0755);
	int file = open("real/file", O_CREAT | O_RDWR, 0644), folder = open("real", O_RDONLY);

	/* the links of /proc at the end, and on the way */
	chmod(text("/proc/self/fd/%d", file), 0600);
	truncate(text("/proc/thread-self/fd/%d", file), 10);
	chown(text("/dev/fd/%d", file), 0, 0);
	utimensat(AT_FDCWD, text("//proc/./self/fd/%d", file), NULL, 0);
	setxattr(text("/proc/self/fd/%d", file), "user.a", "1", 1, 0);
	linkat(AT_FDCWD, text("/proc/self/fd/%d", file), AT_FDCWD, "/proc/self/cwd/real/hard", AT_SYMLINK_FOLLOW);
	rename("/proc/self/cwd/real/hard", "/proc/thread-self/cwd/real/moved");
	snprintf(path, sizeof path, "/proc/self/root%s/real/moved", top);
	unlink(path);
	mkdir(text("/dev/fd/%d/made", folder), 0700);
	rmdir(text("/proc/self/fd/%d/../real/made", folder));
	symlink(text("/proc/self/fd/%d", file), "way");
	chmod("way", 0640);
	lchown(text("/proc/self/fd/%d", file), 0, 0);
	int changed[2];
	char byte;
	pipe(changed);
	pid_t child = fork();
	if (child == 0) {
		chdir("real");
		chmod(text("/proc/%d/cwd/way", getppid()), 0600);
		write(changed[1], "", 1); /* a call is reported when it returns */
		pause();
	}
	read(changed[0], &byte, 1);
	chmod(text("/proc/%d/cwd/file", child), 0400);
	kill(child, 9);
	wait(NULL);
	int pipes[2];
	pipe(pipes);
	chmod(text("/proc/self/fd/%d", pipes[0]), 0600);
	run("/bin/true", 0);
	run("/bin/true", O_CLOEXEC);

	/* a file without a name */
	int gone = open("gone", O_CREAT | O_RDWR, 0600);
	unlink("gone");
	chmod(text("/proc/self/fd/%d", gone), 0640);

	/* a jail, with a way out */
	mkdir("jail", 0755);
	mkdir("jail/etc", 0755);
	if (fork() == 0) {
		chroot("jail");
		chmod("real/file", 0600); /* the working directory is still outside */
		chdir("/");
		close(open("/etc/shadow", O_CREAT | O_WRONLY, 0600));
		chmod("/../etc/shadow", 0400);
		fchmodat(folder, "file", 0600, 0);
		fchmod(file, 0644);
		_exit(0);
	}
	wait(NULL);

	/* a mount that only this process sees */
	if (fork() == 0) {
		unshare(CLONE_NEWNS);
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
		mkdir("bound", 0755);
		mount("real", "bound", NULL, MS_BIND, NULL);
		chmod("bound/file", 0600);
		chroot("bound");
		chdir("/");
		chmod("/file", 0644);
		_exit(0);
	}
	wait(NULL);
	return 0;
}
