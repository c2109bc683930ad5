/*
 * A sample for the sensors' tests: calls that are rare in honest programs. All are harmless:
 * they fail, or change only this process and what it removes itself.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 4194304 /* no process has this number */

int main(void)
{
	struct sock_filter all[] = {{BPF_RET | BPF_K, 0, 0, 0xffff}};
	struct sock_fprog filter = {1, all};
	struct { long type; char text[4]; } message = {1, "hi"};
	struct rlimit limit = {0, 0};
	struct timespec time = {1, 0};
	int on = 1, udp = socket(AF_INET, SOCK_DGRAM, 0), id, watch = inotify_init();
	char buffer[8192], *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mqd_t queue;

	mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	mprotect(page, 4096, PROT_READ); /* not reported */
	prctl(PR_SET_NAME, "a long name for a process");
	prctl(PR_GET_NAME, buffer); /* not reported */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0); /* not reported */
	syscall(SYS_tgkill, NOBODY, NOBODY, SIGUSR1);
	kill(NOBODY, SIGTERM);
	kill(NOBODY, 0);
	syscall(SYS_seccomp, 99, 0, NULL);
	personality(0xffffffff);
	getrlimit(RLIMIT_CORE, &limit); /* not reported */
	setrlimit(RLIMIT_CORE, &limit);
	sethostname("not changed", 1 << 20);
	syscall(SYS_clock_settime, CLOCK_MONOTONIC, &time);
	syscall(SYS_reboot, 1, 2, 3, NULL);
	syscall(SYS_kexec_load, 0, 0, NULL, 0xdead);
	syscall(SYS_swapon, "/nowhere/swap", 0);
	syscall(SYS_swapoff, "/nowhere/swap");
	acct("/nowhere/log");
	syscall(SYS_quotactl, 0x800001 << 8, "/nowhere/disk", 0, NULL);
	syscall(SYS_syslog, 99, NULL, 0);
	syscall(SYS_request_key, "user", "none", NULL, 0);
	syscall(SYS_keyctl, 0xffff, 0, 0, 0, 0);
	syscall(446 /* landlock_restrict_self */, -1, 0);
	syscall(440 /* process_madvise */, -1, NULL, 0, 0, 0);
	id = shmget(IPC_PRIVATE, 4096, 0600);
	shmdt(shmat(id, NULL, 0));
	shmctl(id, IPC_RMID, NULL);
	id = msgget(IPC_PRIVATE, 0600);
	msgsnd(id, &message, sizeof message.text, 0);
	msgrcv(id, &message, sizeof message.text, 0, 0);
	msgctl(id, IPC_RMID, NULL);
	queue = mq_open("/ospulse-calls", O_CREAT | O_RDWR, 0600, NULL);
	mq_send(queue, "hi", 2, 0);
	mq_receive(queue, buffer, sizeof buffer, NULL);
	mq_unlink("/ospulse-calls");
	inotify_add_watch(watch, "/nowhere", IN_CREATE);
	syscall(SYS_fanotify_mark, -1, 1, 1ULL, AT_FDCWD, "/nowhere/marked");
	syscall(431 /* fsconfig */, -1, 1, "source", "none", 0);
	syscall(431 /* fsconfig */, -1, 3, "upper", "/nowhere", AT_FDCWD);
	syscall(431 /* fsconfig */, -1, 0, "ro", NULL, 0);
	setsockopt(udp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* not reported */
	setsockopt(udp, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
	setsid();
	return 0;
}
