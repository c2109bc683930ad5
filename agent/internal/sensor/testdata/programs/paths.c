/*
 * A sample for the sensor's tests. It names the files of one tree in many ways, and removes
 * all that it makes, so that nothing is left to look up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char top[4096];

static char *in(const char *name)
{
	static char paths[4][4200];
	static int next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof paths[0], "%s/%s", top, name);
	return path;
}

static void make(const char *name) { close(open(name, O_CREAT | O_WRONLY, 0644)); }

int main(void)
{
	getcwd(top, sizeof top);
	mkdir("real", 0755);
	mkdir("real/sub", 0755);
	symlink("real", "link");
	symlink(in("real/sub"), "absolute");
	symlink("link/sub/../sub", "through");
	symlink("loop", "loop");
	make("link/file");

	/* links within the path, under both names */
	chmod("link/file", 0600);
	rename("link/file", "through/moved");
	link("absolute/moved", "link/hard");
	truncate("through/../hard", 3);
	chown(in("link//.//hard"), 0, 0);
	unlink("through/../../link/hard");

	/* a link at the end */
	symlink("sub/moved", "real/last");
	chmod("link/last", 0644);
	lchown("link/last", 0, 0);
	linkat(AT_FDCWD, "link/last", AT_FDCWD, "link/of the link", 0);
	linkat(AT_FDCWD, "link/last", AT_FDCWD, "link/of the file", AT_SYMLINK_FOLLOW);
	unlink("link/of the link");
	unlink("link/of the file");
	rename("link/last", "link/renamed");
	unlink("link/renamed");

	/* descriptors of folders, slashes at the end */
	int dir = open("absolute", O_RDONLY | O_DIRECTORY);
	mkdirat(dir, "../made/", 0700);
	renameat(dir, "moved", dir, "..//here");
	mknodat(dir, "../pipe", S_IFIFO | 0600, 0);
	unlinkat(dir, "../pipe", 0);
	unlinkat(AT_FDCWD, "link/made///", AT_REMOVEDIR);
	mkdirat(999, "nowhere", 0700);

	/* by a descriptor, by an empty path */
	int fd = open("link/here", O_RDWR);
	fchmod(fd, 0640);
	ftruncate(fd, 1);
	fchownat(fd, "", 0, 0, AT_EMPTY_PATH);
	futimens(fd, NULL);
	fsetxattr(fd, "user.a", "1", 1, 0);
	setxattr("link/here", "user.b", "1", 1, 0);
	removexattr("link/here", "user.b");
	utimes("link/here", NULL);
	utimensat(dir, "../here", NULL, AT_SYMLINK_NOFOLLOW);
	open("", O_RDONLY);

	/* a file that is opened before it has a name */
	int unnamed = open("link", O_TMPFILE | O_RDWR, 0600);
	char self[64];
	snprintf(self, sizeof self, "/proc/self/fd/%d", unnamed);
	linkat(AT_FDCWD, self, AT_FDCWD, "link/named", AT_SYMLINK_FOLLOW);
	unlink("link/named");
	snprintf(self, sizeof self, "/proc/self/fd/%d/../here", dir);
	chmod(self, 0600);

	/* calls that fail */
	rmdir("link/none/deeper");
	open("link/none", O_RDONLY);
	chmod("loop/x", 0600);
	open("loop", O_RDONLY);
	mkdir("through", 0700);
	struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT};
	syscall(SYS_openat2, dir, "/../../none", &how, sizeof how);

	/* folders that are left, moved, removed */
	chdir("link");
	chdir("sub");
	chdir("..");
	chdir("none");
	fchdir(dir);
	rename(in("link/sub"), in("link/elsewhere"));
	make("inside");
	unlink("inside");
	rmdir(in("link/elsewhere"));
	mkdir("too late", 0700);
	chdir(top);

	/* another root, another mount namespace; paths are relative to them */
	if (fork() == 0) {
		chroot("link");
		mkdir("/jail", 0700);
		chdir("/");
		symlink("/jail", "way");
		mkdir("way/cell", 0700);
		rmdir("/way/cell");
		unlink("way");
		rmdir("/../jail");
		_exit(0);
	}
	wait(NULL);
	if (fork() == 0) {
		unshare(CLONE_NEWNS);
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
		mkdir("mounted", 0700);
		mount("none", "mounted", "tmpfs", 0, NULL);
		symlink(in("mounted"), "entrance");
		mkdir("entrance/room", 0700);
		chmod("entrance/..", 0755);
		rmdir("entrance/room");
		unlink("entrance");
		umount2("mounted", 0);
		rmdir("mounted");
		_exit(0);
	}
	wait(NULL);

	/* a script, under another name of its folder */
	fd = open("real/script", O_CREAT | O_WRONLY, 0755);
	write(fd, "#!/bin/true\n", 12);
	close(fd);
	if (fork() == 0) {
		execl("link/script", "script", NULL);
		_exit(1);
	}
	wait(NULL);
	execl("link/none", "none", NULL);
	unlink("link/script");
	unlink("link/here");
	unlink("through");
	unlink("absolute");
	unlink("loop");
	unlink("link");
	rmdir("real");
	return 0;
}
