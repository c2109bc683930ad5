/*
 * A sample for the sensors' tests: changes of files, each with another value. Several fail
 * without privileges, or in some file systems: what was asked for is reported all the same.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

int main(void)
{
	char many[300] = "many";
	struct {
		unsigned long long value;
		unsigned size, flags;
	} value = {(unsigned long)"at", 2};
	struct timespec exact[2] = {{978307200, 123456789}, {978307200, 0}}, part[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}}, far[2] = {{1LL << 60, 0}, {-1, 0}};
	struct timeval micro[2] = {{978307200, 123456}, {978307201, 0}};
	struct utimbuf second = {978307200, 978307201};
	struct open_how how = {.flags = O_RDWR | O_CREAT, .mode = 0604, .resolve = RESOLVE_BENEATH};
	struct iovec one = {"z", 1};
	int fd = open("a", O_CREAT | O_RDWR, 0640), only = open("a", O_RDONLY), attributes = FS_NODUMP_FL;

	pwrite(fd, "xy", 2, 5);
	pwritev(fd, &one, 1, 3);
	pwritev2(fd, &one, 1, -1, 0);
	chmod("a", 04755);
	chmod("a", 0600);
	fchmod(fd, 0644);
	fchmodat(AT_FDCWD, "a", 0711, 0);
	chown("a", 1, 2);
	chown("a", -1, 5);
	lchown("a", 7, -1);
	fchown(fd, 4000000000u, 9);
	fchownat(AT_FDCWD, "a", getuid(), 10, 0);
	mkdir("d", 0700);
	mkdirat(AT_FDCWD, "e", 02755);
	mknod("p", S_IFIFO | 0600, 0);
	mknod("n", S_IFCHR | 0666, makedev(1, 3));
	mknodat(AT_FDCWD, "o", S_IFBLK | 0600, makedev(259, 70000));
	truncate("a", 12345678901);
	ftruncate(fd, 7);
	fallocate(fd, 0, 0, 8192);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);
	utimensat(AT_FDCWD, "a", exact, 0);
	utimensat(AT_FDCWD, "a", part, 0);
	utimensat(AT_FDCWD, "a", far, 0);
	utimensat(AT_FDCWD, "a", NULL, 0);
	syscall(SYS_utimensat, fd, NULL, exact, 0); /* as touch and cp -p do */
#ifdef SYS_utime
	syscall(SYS_utimes, "a", micro);
	syscall(SYS_futimesat, AT_FDCWD, "a", micro);
	syscall(SYS_utime, "a", &second);
#else
	utimes("a", micro);
	utimes("a", micro);
	utime("a", &second);
#endif
	syscall(SYS_openat2, AT_FDCWD, "b", &how, sizeof(how));
	syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE);
	syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE);
	linkat(AT_FDCWD, "b", AT_FDCWD, "l", AT_SYMLINK_FOLLOW);
	mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
	mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0); /* mprotect could make it writable */
	mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	mmap(NULL, 4096, PROT_READ, MAP_SHARED, only, 0);
	setxattr("b", "user.x", "value", 5, 0);
	lsetxattr("b", "user.none", NULL, 0, 0);
	fsetxattr(fd, "no.such", many, sizeof many, 0); /* fails */
	syscall(463 /* setxattrat */, AT_FDCWD, "b", 0, "user.y", &value, sizeof value);
	mount("a", "b", "no such type", MS_RDONLY | MS_NOSUID, "mode=0700,size=1");
	mount("a", "none", NULL, MS_BIND, NULL);
	ioctl(fd, FS_IOC_SETFLAGS, &attributes);
	return 0;
}
