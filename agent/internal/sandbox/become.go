//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errnoBlank is where become writes the number of an error.
const errnoBlank = "    0"

// become executes the program, with the limits of processes set just before. From
// then on there may be no memory to be had: what is needed is there already, and the
// calls are bare. It returns only if the limits cannot be set.
func become(control *net.UnixConn, c *loaded, o order) error {
	if err := write("/proc/self/oom_score_adj", "1000"); err != nil {
		return fmt.Errorf("limit the program: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("limit the program: %w", err)
	}
	limits, err := processLimits(o.Limits)
	if err != nil {
		return fmt.Errorf("limit the program: %w", err)
	}
	stopIgnoring()
	file, err := control.File()
	if err != nil {
		return err
	}
	defer file.Close()
	path, err1 := syscall.BytePtrFromString(c.argv[0])
	argv, err2 := syscall.SlicePtrFromStrings(c.argv)
	env, err3 := syscall.SlicePtrFromStrings(append(environment(), c.env...))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	becomeBare(path, argv, env, limits, []byte(`{"op":"fault","errno":`+errnoBlank+`}`), file.Fd())
	return nil
}

// stopIgnoring has signals that are ignored do what they do by default: what an agent
// that was started by nohup ignores, the program would too.
func stopIgnoring() {
	for s := uintptr(1); s <= 64; s++ {
		var action [4]uintptr // a struct sigaction of the kernel, of which the handler is first
		_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
		if errno != 0 || action[0] != sigIgnore {
			continue
		}
		action = [4]uintptr{}
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}

const sigIgnore = 1 // SIG_IGN

// resourceLimit is one for prlimit(2).
type resourceLimit struct {
	resource uintptr
	limit    syscall.Rlimit
}

// becomeBare ends the process if it cannot become the program. It is the end of the
// runtime's, which must not get in between.
//
//go:norace
func becomeBare(path *byte, argv, env []*byte, limits []resourceLimit, fault []byte, fd uintptr) {
	var errno syscall.Errno
	for i := range limits {
		_, _, errno = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, limits[i].resource, uintptr(unsafe.Pointer(&limits[i].limit)), 0, 0, 0)
		if errno != 0 {
			break
		}
	}
	for tries := 0; errno == 0 || errno == syscall.EAGAIN && tries < 100; tries++ { // a thread is just being made
		_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	}
	for i, n := len(fault)-2, errno; n > 0; i, n = i-1, n/10 {
		fault[i] = byte('0' + n%10)
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&fault[0])), uintptr(len(fault)))
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
}

// processLimits are those of each process. A limit that is lower already stays.
func processLimits(l limits) ([]resourceLimit, error) {
	var all []resourceLimit
	for _, set := range []struct {
		resource int
		value    uint64
	}{
		// Of a core file, 1 is less than 0: no program of this machine's is run on it
		// either; see fs/coredump.c of the kernel.
		{unix.RLIMIT_CORE, 1},
		{unix.RLIMIT_FSIZE, uint64(l.diskBytes())},
		{unix.RLIMIT_NOFILE, 1024},
		{unix.RLIMIT_MEMLOCK, 64 << 10},
		{unix.RLIMIT_MSGQUEUE, 800 << 10},
		{unix.RLIMIT_SIGPENDING, 1024},
		{unix.RLIMIT_RTPRIO, 0},
		{unix.RLIMIT_NICE, 0},
		{unix.RLIMIT_CPU, uint64(l.Timeout/time.Second) + 1},
		// What is mapped privately to be written, but not what is only reserved, as Go,
		// Java and sanitizers do in plenty: that is what RLIMIT_AS would count.
		{unix.RLIMIT_DATA, uint64(l.memoryBytes())},
		// In this user namespace; the threads of process 1 count too. A cgroup is stricter.
		{unix.RLIMIT_NPROC, uint64(l.Processes) + 16},
	} {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(set.resource, &now); err != nil {
			return nil, err
		}
		limit := min(set.value, now.Max)
		all = append(all, resourceLimit{uintptr(set.resource), syscall.Rlimit{Cur: limit, Max: limit}})
	}
	return all, nil
}
