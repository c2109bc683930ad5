//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LaunchCommand is the agent's hidden command that runs inside of sandboxes.
const LaunchCommand = "sandbox-launch"

const (
	roleInit = "init" // process 1
	roleHeld = "held" // what becomes the program
	roleKill = "kill" // ends all that its user runs
)

// The descriptors that come with it.
const (
	fdReports = 3 + iota // process 1's socket
	fdControl            // the held program's socket
	fdUpload             // the uploaded file
	fdProgram            // the agent's program
	fdFirstFree
)

// programPath is the agent's program where its folder is not to be seen.
const programPath = "/proc/self/fd/6"

// What is said between the agent and what is inside.
const (
	opHere    = "here"    // both: it runs
	opPrepare = "prepare" // agent: limits are set, take the file apart
	opReady   = "ready"   // held program: it only waits for opGo
	opGo      = "go"      // agent: become the program
	opFault   = "fault"   // held program: it cannot
	opExited  = "exited"  // process 1: the program has ended
)

const maxMessageBytes = 160 << 10 // what a socket takes at least

type message struct {
	Op      string   `json:"op"`
	Order   *order   `json:"order,omitempty"`
	Entry   string   `json:"entry,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Fault   string   `json:"fault,omitempty"`
	Program bool     `json:"program,omitempty"` // the fault is the file's
	Errno   int      `json:"errno,omitempty"`   // that executing it ended in
	Status  uint32   `json:"status,omitempty"`
}

// failure is what a message tells of one.
func (m message) failure() error {
	switch {
	case m.Op != opFault:
		return nil
	case m.Errno != 0:
		return fmt.Errorf("%w: to execute it: %w", ErrProgram, syscall.Errno(m.Errno))
	case m.Program:
		return programError(m.Fault)
	}
	return errors.New(m.Fault)
}

// programError is an ErrProgram that has crossed the sandbox's border.
type programError string

func (e programError) Error() string { return string(e) }
func (programError) Unwrap() error   { return ErrProgram }

// order says what is to be run, and how.
type order struct {
	Name        string // of the uploaded file
	Entry       string
	Args        []string
	Dir         string // that it lies in
	Env         []string
	Limits      limits
	NoUserLimit bool // of processes: the user has others
}

// limits are Options', with their defaults.
type limits struct {
	MemoryMB, DiskMB, Processes int
	CPUs                        float64
	Timeout                     time.Duration
}

func limitsOf(o Options) limits {
	return limits{MemoryMB: o.MemoryMB, DiskMB: o.DiskMB, Processes: o.Processes, CPUs: o.CPUs, Timeout: o.Timeout}
}

func (l limits) memoryBytes() int64 { return int64(l.MemoryMB) << 20 }
func (l limits) diskBytes() int64   { return int64(l.DiskMB) << 20 }
func (l limits) cpuQuota() int      { return max(1000, int(l.CPUs*cpuPeriod)) }

// Launch is LaunchCommand. It returns only when it fails, or as process 1.
func Launch(args []string, stderr io.Writer) int {
	var err error
	switch {
	case len(args) == 1 && args[0] == roleInit:
		err = runInit()
	case len(args) == 1 && args[0] == roleHeld:
		err = runHeld()
	case len(args) == 1 && args[0] == roleKill && os.Getuid() >= firstUser:
		if err = syscall.Kill(-1, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			err = nil // there was nothing
		}
	default:
		err = errors.New("this command is the agent's own")
	}
	switch {
	case errors.Is(err, io.EOF): // the agent has given up
		return 1
	case err != nil:
		fmt.Fprintln(stderr, "ospulse-agent: sandbox:", err)
		return 1
	}
	return 0
}

// inherited gives the sockets that came along, and sees to it that nothing goes on
// from here by accident.
func inherited(fd int) (*net.UnixConn, error) {
	for fd := 3; fd < 256; fd++ {
		unix.CloseOnExec(fd)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("it is not a socket of the agent's")
	}
	return unixConn, nil
}

// runInit is process 1 of the sandbox (or, without one, what orphans fall to).
func runInit() error {
	reports, err := inherited(fdReports)
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	control, upload, self := os.NewFile(fdControl, "control"), os.NewFile(fdUpload, "upload"), os.NewFile(fdProgram, "program")
	held, err := os.StartProcess(programPath, []string{"sandbox", LaunchCommand, roleHeld}, &os.ProcAttr{
		Env:   []string{},
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, nil, control, upload, self},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start the held program: %w", err)
	}
	program := held.Pid
	_ = control.Close()
	_ = upload.Close()
	_ = self.Close()
	// What is ignored would be inherited; and who ignores the end of children is not
	// told of it.
	for s := syscall.Signal(1); s <= 64; s++ {
		if s != syscall.SIGCHLD {
			signal.Ignore(s)
		}
	}
	// From here on the program's user cannot look into this process, nor trace it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := send(reports, message{Op: opHere}); err != nil {
		return err
	}
	go func() {
		// The agent's end closes with the agent.
		_, err := reports.Read(make([]byte, 1))
		if err != nil && os.Getpid() != 1 {
			killAround()
		}
		os.Exit(1)
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // there are no more
			return nil
		case pid == program:
			program = 0
			_ = send(reports, message{Op: opExited, Status: uint32(status)}) // else the agent is gone: see above
		}
	}
}

// killAround ends the tree where no namespace does.
func killAround() {
	for range 100 {
		mine := descendants(os.Getpid())
		if len(mine) == 0 {
			return
		}
		for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
			for pid := range mine {
				_ = syscall.Kill(pid, signal)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// runHeld takes the file apart, waits, and becomes the program.
func runHeld() error {
	runtime.LockOSThread()
	control, err := inherited(fdControl)
	if err != nil {
		return err
	}
	upload := os.NewFile(fdUpload, "upload")
	_ = unix.Close(fdProgram)
	if err := send(control, message{Op: opHere}); err != nil {
		return err
	}
	m, err := hear(control, opPrepare)
	if err != nil {
		return err
	}
	if m.Order == nil {
		return errors.New("there is no order")
	}
	o := *m.Order
	c, err := load(upload, o)
	_ = upload.Close()
	if err != nil {
		return tell(control, err)
	}
	if err := os.Chdir(o.Dir); err != nil {
		return tell(control, err)
	}
	if err := send(control, message{Op: opReady, Entry: c.path, Notes: c.notes}); err != nil {
		return err
	}
	if _, err := hear(control, opGo); err != nil {
		return err
	}
	return tell(control, become(control, c, o))
}

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
	limits, err := processLimits(o)
	if err != nil {
		return fmt.Errorf("limit the program: %w", err)
	}
	file, err := control.File()
	if err != nil {
		return err
	}
	defer file.Close()
	path, err1 := syscall.BytePtrFromString(c.argv[0])
	argv, err2 := syscall.SlicePtrFromStrings(c.argv)
	env, err3 := syscall.SlicePtrFromStrings(o.Env)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	becomeBare(path, argv, env, limits, []byte(`{"op":"fault","errno":`+errnoBlank+`}`), file.Fd())
	return nil
}

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
	for tries := 0; errno == 0 && tries < 100; tries++ {
		_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
		if errno == syscall.EAGAIN { // a thread is just being made
			errno = 0
		}
	}
	for i, n := len(fault)-2, errno; n > 0; i, n = i-1, n/10 {
		fault[i] = byte('0' + n%10)
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&fault[0])), uintptr(len(fault)))
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
}

func hear(c *net.UnixConn, op string) (message, error) {
	m, err := hearAny(c)
	if err == nil && m.Op != op {
		err = fmt.Errorf("%q was said, not %q", m.Op, op)
	}
	return m, err
}

// tell tells the agent of a failure, which is what it is.
func tell(c *net.UnixConn, fault error) error {
	m := message{Op: opFault, Fault: strings.ToValidUTF8(fault.Error(), "?"), Program: errors.Is(fault, ErrProgram)}
	if len(m.Fault) > 4000 {
		m.Fault = strings.ToValidUTF8(m.Fault[:4000], "") + " …"
	}
	return errors.Join(fault, send(c, m))
}

// processLimits are those of each process. A limit that is lower already stays.
func processLimits(o order) ([]resourceLimit, error) {
	l := o.Limits
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
		if set.resource == unix.RLIMIT_NPROC && o.NoUserLimit {
			continue
		}
		var now syscall.Rlimit
		if err := syscall.Getrlimit(set.resource, &now); err != nil {
			return nil, err
		}
		limit := min(set.value, now.Max)
		all = append(all, resourceLimit{uintptr(set.resource), syscall.Rlimit{Cur: limit, Max: limit}})
	}
	return all, nil
}

func hearAny(c *net.UnixConn) (m message, err error) {
	text := make([]byte, maxMessageBytes)
	n, err := c.Read(text)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text[:n], &m); err != nil {
		return m, fmt.Errorf("what the agent says: %w", err)
	}
	return m, nil
}
