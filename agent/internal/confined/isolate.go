//go:build linux

package confined

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/seccomp"
)

// The users of isolated helpers. Nothing else runs as user; a container may lack it. The
// users of samples follow it.
const (
	user   = 1_899_999_999
	nobody = 65534
)

// Isolate leaves the calling process only its memory, at most moreBytes more than now, and
// the descriptors that it has open. It cannot open, start, signal or map anything else. If
// the process runs as root, it gets a user that owns nothing.
func Isolate(moreBytes uint64) error {
	var pages uint64 // of address space
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &pages)
	}
	if err != nil {
		return fmt.Errorf("read the size of the process: %w", err)
	}
	space := pages*uint64(os.Getpagesize()) + moreBytes
	for resource, limit := range map[int]uint64{unix.RLIMIT_AS: space, unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("set a limit: %w", err)
		}
	}
	if os.Geteuid() == 0 {
		if err := becomeUser(); err != nil {
			return err
		}
	}
	if err := KeepCapabilities(); err != nil {
		return err
	}
	return runtimeOnly().Install()
}

// becomeUser drops the groups and the user of root in all threads.
func becomeUser() error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop the groups: %w", err)
	}
	become := func(id int) error { return errors.Join(syscall.Setresgid(id, id, id), syscall.Setresuid(id, id, id)) }
	if err := become(user); err != nil {
		if err := become(nobody); err != nil {
			return fmt.Errorf("become another user: %w", err)
		}
	}
	return nil
}

// runtimeOnly is a filter that allows the calls that Go's runtime makes while the program
// only reads and writes descriptors and computes. Other calls fail as in a kernel without
// them: libc then uses clone instead of clone3, whose flags a filter cannot read.
func runtimeOnly() seccomp.Program {
	var p seccomp.Program
	p.Load(seccomp.Arch)
	p.Add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, seccomp.NativeArch)
	p.Answer(unix.SECCOMP_RET_KILL_PROCESS)
	p.Load(seccomp.Number)
	p.Each([]uint32{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
		unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MPROTECT, unix.SYS_MINCORE,
		unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_RESTART_SYSCALL,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
		unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETRANDOM,
		unix.SYS_EPOLL_PWAIT, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ,
	}, unix.SECCOMP_RET_ALLOW)
	denied := unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	var clone seccomp.Program
	clone.Add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 1, 0, unix.CLONE_THREAD)
	clone.Answer(denied)
	p.Call(unix.SYS_CLONE, seccomp.Arg0, clone)
	var signal seccomp.Program // Go's runtime interrupts its own threads
	signal.Add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, uint32(os.Getpid()))
	signal.Answer(denied)
	p.Call(unix.SYS_TGKILL, seccomp.Arg0, signal)
	p.Answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	return p
}
