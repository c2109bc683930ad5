/*
 * A sample for the sensor's tests. It names a file in a folder that is as deep as a path can be,
 * and removes all that it makes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int depth = atoi(argv[1]);
	char path[4096] = "", other[4096];
	for (int i = 0; i < depth; i++) {
		mkdir("d", 0700);
		chdir("d");
		strcat(path, "d/");
	}
	for (int i = 0; i < depth; i++)
		chdir("..");
	strcpy(other, path);
	strcat(path, "file");
	strcat(other, "moved");
	close(open(path, O_CREAT | O_WRONLY, 0700));
	chmod(path, 0755);
	truncate(path, 1);
	if (fork() == 0) {
		execl(path, "file", NULL); /* it is not a program */
		_exit(1);
	}
	wait(NULL);
	rename(path, other);
	unlink(other);
	for (int i = 0; i < depth; i++)
		chdir("d");
	for (int i = 0; i < depth; i++) {
		chdir("..");
		rmdir("d");
	}
	return 0;
}
