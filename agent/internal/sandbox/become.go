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

// become sets the limits of the process and executes the program. With these limits,
// allocating memory may fail: become allocates before, and then makes only raw system
// calls. It returns only if it cannot set the limits.
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

// stopIgnoring restores the default action of ignored signals. Otherwise the program would
// inherit what the agent ignores, for example after nohup.
func stopIgnoring() {
	for s := uintptr(1); s <= 64; s++ {
		var action [4]uintptr // the kernel's struct sigaction; the handler is its first field
		_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
		if errno != 0 || action[0] != sigIgnore {
			continue
		}
		action = [4]uintptr{}
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}

const sigIgnore = 1 // SIG_IGN

// resourceLimit is an argument of prlimit(2).
type resourceLimit struct {
	resource uintptr
	limit    syscall.Rlimit
}

// becomeBare executes the program, or ends the process if that fails. The Go runtime must
// not run in between.
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
	for tries := 0; errno == 0 || errno == syscall.EAGAIN && tries < 100; tries++ { // the runtime is creating a thread
		_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	}
	for i, n := len(fault)-2, errno; n > 0; i, n = i-1, n/10 {
		fault[i] = byte('0' + n%10)
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&fault[0])), uintptr(len(fault)))
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
}

// processLimits returns the limits of each process. A lower limit that is already set stays.
func processLimits(l limits) ([]resourceLimit, error) {
	var all []resourceLimit
	for _, set := range []struct {
		resource int
		value    uint64
	}{
		// A core limit of 1 is stricter than 0: the kernel does not pipe the core to a
		// program of this machine either; see fs/coredump.c.
		{unix.RLIMIT_CORE, 1},
		{unix.RLIMIT_FSIZE, uint64(l.diskBytes())},
		{unix.RLIMIT_NOFILE, 1024},
		{unix.RLIMIT_MEMLOCK, 64 << 10},
		{unix.RLIMIT_MSGQUEUE, 800 << 10},
		{unix.RLIMIT_SIGPENDING, 1024},
		{unix.RLIMIT_RTPRIO, 0},
		{unix.RLIMIT_NICE, 0},
		{unix.RLIMIT_CPU, uint64(l.Timeout/time.Second) + 1},
		// RLIMIT_DATA counts private writable mappings. RLIMIT_AS would also count reserved
		// address space, of which Go, Java and sanitizers use plenty.
		{unix.RLIMIT_DATA, uint64(l.memoryBytes())},
		// Counts in this user namespace, with the threads of process 1. A cgroup is
		// stricter.
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
