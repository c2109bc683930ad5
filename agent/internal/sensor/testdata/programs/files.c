/* A sample for the sensor's tests. It makes one of each call on files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	char buffer[70000];
	memset(buffer, 'a', sizeof buffer);

	mkdir("dir", 0755);
	int dir = open("dir", O_RDONLY | O_DIRECTORY);
	int fd = openat(dir, "file \xe9", O_RDWR | O_CREAT | O_TRUNC, 0644); /* not UTF-8 */
	write(fd, "hello, world\n", 13);
	write(fd, buffer, sizeof buffer);
	pwrite(fd, "HE", 2, 0);
	struct iovec out[3] = {{"one", 3}, {"", 0}, {"two", 3}};
	writev(fd, out, 3);
	pwritev2(fd, out, 3, 5, 0);
	lseek(fd, 0, SEEK_SET);
	read(fd, buffer, 100);
	pread(fd, buffer, 100, 3);
	struct iovec in[2] = {{buffer, 7}, {buffer + 100, 400}};
	readv(fd, in, 2);
	preadv(fd, in, 2, 1);
	read(fd, buffer, sizeof buffer);
	read(fd, buffer, sizeof buffer); /* at the end of the file */

	int copy = dup(fd);
	write(copy, "dup", 3);
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	write(high, "high", 4);
	dup2(fd, 50);
	dup3(fd, 51, O_CLOEXEC);
	write(51, "dup3", 4);
	close(50);
	close(51);
	close(999);

	chdir("dir");
	rename("file \xe9", "renamed");
	write(fd, "after", 5); /* under its new name */
	renameat(AT_FDCWD, "renamed", dir, "../moved");
	syscall(SYS_renameat2, dir, "../moved", AT_FDCWD, "again", 1);
	link("again", "hard");
	linkat(dir, "hard", AT_FDCWD, "harder", 0);
	symlink("/nowhere/at all", "soft");
	symlinkat("other", dir, "softer");
	open("soft", O_RDONLY);
	open("missing/file", O_RDONLY);
	open("", O_RDONLY);
	open((char *)1, O_RDONLY); /* not mapped */
	creat("created", 0600);
	chmod("created", 0640);
	fchmod(fd, 0600);
	fchmodat(dir, "created", 0644, 0);
	chown("created", 0, 0);
	lchown("soft", 0, 0);
	fchown(fd, 0, 0);
	fchownat(dir, "created", 0, 0, 0);
	truncate("created", 10);
	ftruncate(fd, 5);
	utimensat(AT_FDCWD, "created", NULL, 0);
	mknod("fifo", S_IFIFO | 0600, 0);
	mkdirat(dir, "sub", 0700);
	unlinkat(dir, "sub", AT_REMOVEDIR);
	mkdir("sub2", 0700);
	rmdir("sub2");
	unlink("hard");
	unlinkat(dir, "harder", 0);
	unlink("again");
	write(fd, "no name", 7); /* the file is deleted */
	rmdir("/nowhere");

	int source = open("/proc/self/exe", O_RDONLY);
	int target = open("target", O_RDWR | O_CREAT, 0755);
	sendfile(target, source, NULL, 5000);
	copy_file_range(source, NULL, target, NULL, 3000, 0);
	int ends[2];
	pipe(ends);
	splice(source, NULL, ends[1], NULL, 1000, 0);
	read(ends[0], buffer, 1000);
	write(ends[1], "pipe", 4);
	read(ends[0], buffer, 10);

	void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, source, 0);
	munmap(code, 4096);
	mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	struct io_uring_params params = {0};
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring >= 0)
		syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0);

	if (fork() == 0) { /* descriptors and folder are inherited */
		write(target, "child", 5);
		int other = open("../dir/./child", O_CREAT | O_WRONLY, 0600);
		write(other, "x", 1);
		fchdir(open("/", O_RDONLY));
		open("etc/hostname", O_RDONLY);
		_exit(7);
	}
	wait(NULL);

	/* A folder so deep that its path does not fit into a call. */
	char deep[101];
	memset(deep, 'd', 100);
	deep[100] = 0;
	for (int i = 0; i < 20; i++) {
		mkdir(deep, 0700);
		if (chdir(deep))
			return 1;
	}
	close(open("bottom", O_CREAT | O_WRONLY, 0600));
	return 3;
}
