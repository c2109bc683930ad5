//go:build linux && (amd64 || arm64)

// Package ptrace watches one held program and its descendants without privileges, by
// stopping them at each system call. It is the fallback on machines where the eBPF sensor
// does not work, and many times slower. It needs Linux 5.3.
package ptrace

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/procfs"
	"ospulse/agent/internal/syscalls"
)

const (
	getSyscallInfo = 0x420e // PTRACE_GET_SYSCALL_INFO
	eventStop      = 128    // PTRACE_EVENT_STOP
	options        = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	maxPath        = 4096
	maxArguments   = 1 << 20
	maxEnvironment = 128 << 10
)

// syscallInfo is struct ptrace_syscall_info. At entry, Values holds the call's number and
// arguments; at exit, its result and whether that is an error.
type syscallInfo struct {
	Op     uint8 // 1 entry, 2 exit
	_      [3]uint8
	Arch   uint32
	_      [2]uint64 // instruction and stack pointer
	Values [8]uint64
}

// thread is one traced thread. The fields after process describe the call that it is in.
type thread struct {
	process *process
	call    *syscalls.Call // nil: it is not reported
	compat  bool           // a 32-bit call
	args    [6]uint64
	paths   [2]place // resolved at entry: the call may change where they lead
	closes  opened   // what a call closes
}

// place is a path argument: full is resolved, given is the program's text if that differs.
type place struct {
	full, given string
}

// opened is what a descriptor refers to.
type opened struct {
	path    string // "" if it cannot be read
	deleted bool   // the file has no name any more
	inode   uint64 // 0: not known
	device  uint32 // of the file system, as the kernel encodes it
	mode    uint32
}

// process is the state that the threads of a process share.
type process struct {
	event.Process
	quiet bool // nothing is reported until the process has executed the program
}

// Watch is a running watch of a process tree.
type Watch struct {
	sink         func(*event.Event)
	contentBytes int
	environment  string
	threads      map[int]*thread // used by the tracing goroutine only
	early        []int           // stopped threads whose creation is not reported yet

	mu   sync.Mutex
	pids map[int]bool // running processes, for Close
	done chan struct{}
}

// Start watches a held process, all of its threads and all of its descendants. It
// reports nothing of the process until any of its threads executes another program.
// sink is called from one goroutine. environment is a setting of event.KeepVariables. The kernel
// kills the whole tree when the watch ends.
func Start(pid, contentBytes int, environment string, sink func(*event.Event)) (*Watch, error) {
	w := &Watch{sink: sink, contentBytes: contentBytes, environment: environment, threads: map[int]*thread{}, pids: map[int]bool{}, done: make(chan struct{})}
	started := make(chan error)
	go w.run(pid, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return w, nil
}

// Close kills the remaining processes of the tree and waits until they have ended.
func (w *Watch) Close() error {
	for {
		w.mu.Lock()
		for pid := range w.pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		w.mu.Unlock()
		select {
		case <-w.done:
			return nil
		case <-time.After(20 * time.Millisecond): // a new process may have been created meanwhile
		}
	}
}

// IsOver reports whether nothing of the tree is left.
func (w *Watch) IsOver() (bool, error) {
	select {
	case <-w.done:
		return true, nil
	default:
		return false, nil
	}
}

// Has reports whether a running process belongs to the tree.
func (w *Watch) Has(pid int) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pids[pid], nil
}

// Hidden returns no process: a spawned tree is reported completely.
func (w *Watch) Hidden() ([]int, error) { return nil, nil }

// Done returns a channel that is closed when all processes of the tree have ended.
func (w *Watch) Done() <-chan struct{} { return w.done }

func ptrace(request, tid int, address, data uintptr) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), address, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// run locks a thread without children and traces on it. wait4 with __WNOTHREAD also returns
// children of the calling thread, so it would take their exit status from the code that
// started them. The thread is locked, so it gets no children later.
func (w *Watch) run(pid int, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid())); err == nil && len(children) > 0 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.run(pid, started)
		}()
		<-ended // this thread stays locked meanwhile, so the other goroutine runs elsewhere
		return
	}
	w.trace(pid, started)
}

// trace seizes the process and handles its stops until the tree has ended. It stays on one
// thread: the kernel accepts ptrace requests from the tracing thread only.
func (w *Watch) trace(pid int, started chan<- error) {
	defer close(w.done)
	if err := w.seizeAll(pid); err != nil {
		started <- fmt.Errorf("ptrace: %w", err)
		return
	}
	started <- nil
	for {
		var status unix.WaitStatus
		// WNOTHREAD: only threads that this thread traces. Other code waits for other children.
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // ECHILD: no thread is left
			return
		}
		if w.stopped(tid, status); len(w.threads) == 0 {
			return
		}
	}
}

// seizeAll begins to trace all threads of the process. Any of them may execute the
// program: Go runs a goroutine on whichever thread is free. If that thread were not
// traced, the program would not be either.
func (w *Watch) seizeAll(pid int) error {
	if err := w.seize(pid); err != nil {
		return err
	}
	w.threads[pid].process.quiet = true
	for {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		found := false
		for _, entry := range entries {
			tid, err := strconv.Atoi(entry.Name())
			if err != nil || w.threads[tid] != nil {
				continue
			}
			found = true
			switch err := w.seize(tid); {
			case errors.Is(err, unix.ESRCH): // the thread has ended
			case err != nil:
				return err
			}
		}
		// A thread that was not traced yet may have created another one meanwhile. Threads
		// that traced threads create are traced from their start.
		if !found {
			return nil
		}
	}
}

// seize begins to trace a thread. From now on the thread stops at each system call, and at
// the end of the call that it is in.
func (w *Watch) seize(tid int) error {
	err := ptrace(unix.PTRACE_SEIZE, tid, 0, options)
	if errors.Is(err, unix.EPERM) {
		stat, gone := procfs.Read(tid)
		switch {
		case tracer(tid) == unix.Gettid(): // a traced thread created it
			err = nil
		case gone != nil || stat.Zombie:
			err = unix.ESRCH
		}
	}
	if err == nil {
		err = ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
	}
	if err == nil {
		w.thread(tid)
	}
	return err
}

// stopped handles a status that wait4 returned for a thread, and lets the thread continue.
func (w *Watch) stopped(tid int, status unix.WaitStatus) {
	if status.Exited() || status.Signaled() {
		w.ended(tid, status)
		return
	}
	t := w.threads[tid]
	if t == nil { // the report of its creation must come before any other report of it
		w.early = append(w.early, tid)
		return
	}
	signal := status.StopSignal()
	resume, with := unix.PTRACE_SYSCALL, 0
	switch trap := int(status) >> 16; {
	case signal == unix.SIGTRAP|0x80:
		w.syscall(tid, t)
	case trap == eventStop:
		if signal == unix.SIGSTOP || signal == unix.SIGTSTP || signal == unix.SIGTTIN || signal == unix.SIGTTOU {
			resume = unix.PTRACE_LISTEN // the thread stays stopped until SIGCONT
		}
	case trap == unix.PTRACE_EVENT_FORK || trap == unix.PTRACE_EVENT_VFORK || trap == unix.PTRACE_EVENT_CLONE:
		w.forked(tid, t, trap == unix.PTRACE_EVENT_CLONE)
	case trap == unix.PTRACE_EVENT_EXEC:
		w.executed(tid)
	case trap == 0:
		with = int(signal) // a signal to the program: passed on
	}
	_ = ptrace(resume, tid, 0, uintptr(with)) // ESRCH: the thread was killed; wait4 reports that
}

// admit starts the given threads, if they are early: their creation is reported now, or
// never will be.
func (w *Watch) admit(tids ...int) {
	for _, tid := range tids {
		i := slices.Index(w.early, tid)
		if i < 0 {
			continue
		}
		w.early = slices.Delete(w.early, i, i+1)
		w.thread(tid)
		_ = ptrace(unix.PTRACE_SYSCALL, tid, 0, 0) // ESRCH: the thread was killed; wait4 reports that
	}
}

// thread returns the record of a thread. It creates the record if there is none.
func (w *Watch) thread(tid int) *thread {
	if t := w.threads[tid]; t != nil {
		return t
	}
	tgid := threadGroup(tid)
	t := &thread{}
	switch leader := w.threads[tgid]; {
	case leader != nil:
		t.process = leader.process
	case tgid == 0: // the thread has ended already
		t.process = &process{quiet: true}
	default:
		t.process = &process{Process: describe(tgid)}
		w.mu.Lock()
		w.pids[tgid] = true
		w.mu.Unlock()
	}
	w.threads[tid] = t
	return t
}

// threadGroup returns the process of a thread; 0 if the thread has ended.
func threadGroup(tid int) int { return status(tid, "Tgid:") }

// tracer returns the thread that traces tid; 0 if none does.
func tracer(tid int) int { return status(tid, "TracerPid:") }

// status returns a number from /proc/TID/status; 0 if it cannot be read.
func status(tid int, field string) int {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			return n
		}
	}
	return 0
}

func describe(pid int) event.Process {
	p := event.Process{PID: pid}
	if stat, err := procfs.Read(pid); err == nil {
		p.Name, p.StartTime, p.ParentPID = stat.Name, stat.Start, stat.ParentPID
	}
	p.UserID = max(procfs.UserID(pid), 0)
	p.RootPath, p.MountNamespace = procfs.Root(pid)
	return p
}

func (w *Watch) send(kind string, at time.Time, data event.Data) {
	w.sink(&event.Event{Type: kind, Time: at, Data: data})
}

// ended handles the end of a thread. It reports the end of a process when its first thread
// has ended.
func (w *Watch) ended(tid int, status unix.WaitStatus) {
	t := w.threads[tid]
	delete(w.threads, tid)
	w.early = slices.DeleteFunc(w.early, func(early int) bool { return early == tid })
	w.admit(slices.Clone(w.early)...)
	if t == nil || t.process.PID != tid {
		return
	}
	w.mu.Lock()
	delete(w.pids, tid)
	w.mu.Unlock()
	if t.process.quiet {
		return
	}
	now := time.Now()
	exit := &event.Exit{Actor: t.process.Process, Time: now}
	if status.Signaled() {
		exit.Signal, exit.Core = int(status.Signal()), status.CoreDump()
	} else {
		exit.Code = status.ExitStatus()
	}
	w.send(event.TypeProcessExit, now, exit)
}

func (w *Watch) forked(tid int, t *thread, isClone bool) {
	var message uintptr
	if ptrace(unix.PTRACE_GETEVENTMSG, tid, 0, uintptr(unsafe.Pointer(&message))) != nil {
		return // the thread was killed meanwhile
	}
	child := w.thread(int(message))
	switch {
	case child.process.PID != 0:
	case isClone: // it has ended already, and was a thread, as nearly all clones are
		child.process = t.process
	default:
		child.process.PID = int(message)
	}
	defer w.admit(int(message))
	if t.process.quiet {
		return
	}
	now := time.Now()
	fork := &event.Fork{Actor: w.actor(tid, t), Time: now, New: child.process.Process, IsThread: child.process == t.process,
		Result: event.Result{Syscall: "clone", Args: t.args, Return: int64(message)}}
	if fork.IsThread {
		fork.New.ThreadID = int(message)
		w.send(event.TypeThreadCreation, now, fork)
		return
	}
	w.send(event.TypeProcessFork, now, fork)
}

// executed reports the exec of a process. The kernel has ended all its other threads and
// given the thread that called exec the id of the process.
func (w *Watch) executed(tid int) {
	var former uintptr
	if ptrace(unix.PTRACE_GETEVENTMSG, tid, 0, uintptr(unsafe.Pointer(&former))) != nil {
		return
	}
	w.admit(slices.Clone(w.early)...)
	t := w.threads[tid]
	if by := w.threads[int(former)]; by != nil {
		by.process = t.process
		t = by
	}
	for other, known := range w.threads {
		if known.process == t.process {
			delete(w.threads, other)
		}
	}
	w.threads[tid] = t
	p := t.process
	p.quiet = false
	start, parent := p.StartTime, p.ParentPID
	p.Process = describe(tid)
	if !start.IsZero() {
		p.StartTime, p.ParentPID = start, parent
	}
	now := time.Now()
	image, _ := procfs.Exe(tid)
	c := &event.Creation{
		Actor: w.parent(p), Time: now, New: p.Process, ImagePath: image,
		CurrentDirectory: procfs.Below(tid, procfs.CurrentDirectory(tid)), Result: event.Result{Syscall: "execve", Args: t.args},
	}
	if c.Given = t.paths[0].given; t.paths[0].full != c.ImagePath {
		c.FilePath = t.paths[0].full
	}
	c.Args, c.ArgsCut = procfs.Args(tid, maxArguments)
	if w.environment != event.NoVariables { // the program has not run an instruction, so this is what exec passed
		entries, isCut := procfs.Environment(tid, maxEnvironment)
		if entries != nil {
			c.Environment, c.EnvironmentCut = event.KeepVariables(w.environment, entries), isCut
		}
	}
	c.Actor.RootPath, c.Actor.MountNamespace = p.RootPath, p.MountNamespace
	c.Memory = strings.HasPrefix(c.ImagePath, "/memfd:") || strings.HasSuffix(c.ImagePath, " (deleted)")
	w.send(event.TypeProcessCreation, now, c)
}

// parent returns the parent of a process.
func (w *Watch) parent(p *process) event.Process {
	if t := w.threads[p.ParentPID]; t != nil {
		return t.process.Process
	}
	return describe(p.ParentPID)
}

func (w *Watch) actor(tid int, t *thread) event.Process {
	p := t.process.Process
	p.ThreadID = tid
	return p
}

// syscall handles a stop before or after a system call.
func (w *Watch) syscall(tid int, t *thread) {
	var info syscallInfo
	if ptrace(getSyscallInfo, tid, unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info))) != nil {
		return
	}
	switch info.Op {
	case 1:
		number := info.Values[0] &^ syscalls.X32Bit
		*t = thread{process: t.process, call: native[number], args: [6]uint64(info.Values[1:7]), compat: number >= syscalls.FirstX32}
		if info.Arch != nativeArch {
			if t.call, t.compat = compat[info.Values[0]], true; info.Values[0] == socketcall {
				t.unpack(tid)
			}
		}
		if c := t.call; c != nil && (!t.process.quiet || c.Kind == syscalls.Exec) {
			t.paths = [2]place{
				t.place(tid, c, syscalls.ArgDir1, syscalls.ArgPath1),
				t.place(tid, c, syscalls.ArgDir2, syscalls.ArgPath2),
			}
			if c.Flags&syscalls.AtEnter != 0 { // the descriptor is gone afterwards
				t.closes = behind(tid, int32(t.arg(syscalls.ArgFd)))
			}
		}
	case 2:
		if t.call != nil && !t.process.quiet {
			w.report(tid, t, t.call, int64(info.Values[0]))
		}
		t.call = nil
	}
}

// unpack replaces socketcall by the call that it makes, whose arguments are in memory.
func (t *thread) unpack(tid int) {
	t.call = bySocketcall[t.args[0]]
	packed := read(tid, t.args[1], 4*len(t.args))
	t.args = [6]uint64{}
	for i := range len(packed) / 4 {
		t.args[i] = uint64(binary.NativeEndian.Uint32(packed[4*i:]))
	}
}

// native and compat are the reported calls by number, the latter those of 32-bit programs. Of
// these, socketcall is a number that stands for the calls in bySocketcall. ptrace has events of
// its own for forks.
var native, compat, bySocketcall, socketcall = func() (native, compat, bySocketcall map[uint64]*syscalls.Call, socketcall uint64) { //nolint:gochecknoglobals // constants
	native, compat, bySocketcall = map[uint64]*syscalls.Call{}, map[uint64]*syscalls.Call{}, map[uint64]*syscalls.Call{}
	for i := range syscalls.Calls {
		c := &syscalls.Calls[i]
		if c.Kind == syscalls.Fork {
			continue
		}
		if c.Flags&syscalls.Socketcall != 0 {
			socketcall = uint64(c.I386)
			continue
		}
		if c.Socketcall > 0 {
			bySocketcall[uint64(c.Socketcall)] = c
		}
		if c.Native >= 0 {
			native[uint64(c.Native)] = c
		}
		if c.X32 >= 0 {
			native[uint64(c.X32)] = c
		}
		if c.I386 >= 0 {
			compat[uint64(c.I386)] = c
		}
	}
	return native, compat, bySocketcall, socketcall
}()

// nativeArch is the arch that PTRACE_GET_SYSCALL_INFO reports for calls with native numbers.
var nativeArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH] //nolint:gochecknoglobals // a constant

// arg returns an argument of the call; 0 if it has none of the kind.
func (t *thread) arg(which syscalls.Argument) uint64 {
	i := t.call.Args[which]
	if i < 0 {
		return 0
	}
	return t.args[i]
}

// has reports whether the call has an argument of the kind.
func (t *thread) has(which syscalls.Argument) bool { return t.call.Args[which] >= 0 }

// isWanted reports whether a call is reported with its arguments.
func (t *thread) isWanted(tid int) bool {
	switch t.call.When {
	case syscalls.WhenMap:
		return isReportedMap(tid, &t.args)
	case syscalls.WhenDuplicate:
		return t.args[1] == unix.F_DUPFD || t.args[1] == unix.F_DUPFD_CLOEXEC
	case syscalls.WhenIoctl:
		return isReportedIoctl(tid, &t.args)
	case syscalls.WhenProtect:
		return t.args[2]&unix.PROT_EXEC != 0
	case syscalls.WhenPrctl:
		return event.TellsControl(t.args[0])
	case syscalls.WhenSocketOption:
		return event.TellsOption(t.args[1], t.args[2])
	case syscalls.WhenOther:
		return int32(t.args[0]) != int32(procfs.InnermostPID(t.process.PID))
	case syscalls.WhenLimit:
		return t.args[2] != 0
	default:
		return true
	}
}

// report reports a system call that has returned.
func (w *Watch) report(tid int, t *thread, c *syscalls.Call, result int64) {
	now := time.Now()
	switch c.Name {
	case "chroot", "pivot_root", "setns", "unshare":
		t.process.RootPath, t.process.MountNamespace = procfs.Root(tid)
	}
	actor := w.actor(tid, t)
	r := event.Result{Syscall: c.Name, Args: t.args, Return: result, Compat: t.compat}
	switch {
	case c.Name == "io_uring_setup":
		ring, _ := descriptor(tid, int32(result))
		w.send(event.TypeFile, now, &event.File{Actor: actor, Result: r, Time: now, Operation: c.Operation, Handle: int(max(result, -1)), NewHandle: -1, Path: ring})
		return
	case c.Name == "io_setup", c.Name == "io_submit":
		w.send(event.TypeFile, now, &event.File{Actor: actor, Result: r, Time: now, Operation: c.Operation, Handle: -1, NewHandle: -1})
		if c.Name == "io_submit" {
			w.aio(tid, t, result)
		}
		return
	case c.Kind == syscalls.Exec: // executed reports those that succeed
		if r.Failed() {
			args, isCut := argv(tid, t)
			w.send(event.TypeProcess, now, &event.FailedExec{Actor: actor, Time: now, Result: r, Path: t.paths[0].full, Given: t.paths[0].given, Args: args, ArgsCut: isCut})
		}
		return
	case !t.isWanted(tid):
		return
	case c.Kind == syscalls.Process, c.When == syscalls.WhenMap && syscalls.IsAnonymous(&t.args):
		w.send(event.TypeProcess, now, t.operation(tid, &event.Operation{Actor: actor, Time: now, Result: r, Name: c.Operation}))
		return
	}
	if c.When == syscalls.WhenAttribute { // the argument points to the address and the size of the value
		value := make([]byte, 16)
		copy(value, read(tid, t.args[4], len(value)))
		t.args[4], t.args[5] = binary.NativeEndian.Uint64(value), uint64(binary.NativeEndian.Uint32(value[8:]))
	}
	r.Args = t.args
	file, fd := opened{path: t.paths[0].full}, -1
	if t.has(syscalls.ArgFd) {
		fd = int(int32(t.arg(syscalls.ArgFd)))
		if file = t.closes; c.Flags&syscalls.AtEnter == 0 {
			file = behind(tid, int32(fd))
		}
	}
	var content event.Content
	isPlain := c.Flags&(syscalls.Iovec|syscalls.Msghdr|syscalls.Messages|syscalls.Struct) == 0
	size, isValue := result, c.Flags&syscalls.Value != 0
	if isValue {
		size = int64(min(t.arg(syscalls.ArgLen), 1<<32))
	}
	if t.has(syscalls.ArgData) && isPlain && w.contentBytes > 0 && (size > 0 || isValue) {
		content.Known = true
		content.Bytes = read(tid, t.arg(syscalls.ArgData), int(min(size, int64(w.contentBytes))))
		content.Cut = int64(len(content.Bytes)) < size
		content.Fault = len(content.Bytes) == 0 && size > 0
	}
	isNetwork := c.Kind == syscalls.Network || c.Kind == syscalls.NetTransfer
	if isNetwork || strings.HasPrefix(file.path, "socket:") && c.Operation != "DuplicateHandle" && c.Operation != "CopyFile" {
		w.send(event.TypeNetwork, now, t.network(tid, &event.Network{Actor: actor, Time: now, Result: r, Handle: fd, NewHandle: -1, Content: content}))
		return
	}
	f := &event.File{
		Actor: actor, Result: r, Time: now, Operation: c.Operation, Handle: fd, NewHandle: -1, Given: t.paths[0].given,
		NewPath: t.paths[1].full, NewGiven: t.paths[1].given, Transfer: c.Kind == syscalls.Transfer, Content: content,
	}
	setFile(f, file)
	if t.has(syscalls.ArgPath1) && c.Kind != syscalls.Attribute || c.Kind == syscalls.Attribute && !t.has(syscalls.ArgFd) {
		f.FromMemory = c.Flags&syscalls.ReturnsFD == 0 || result < 0
	}
	if c.Flags&syscalls.Struct != 0 {
		f.Struct = read(tid, t.arg(syscalls.ArgData), c.StructSize(t.compat))
	}
	switch c.Name {
	case "open", "openat":
		f.Flags = event.OpenFlags(t.args[c.Args[syscalls.ArgPath1]+1])
	case "creat":
		f.Flags = event.OpenFlags(unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC)
	}
	switch {
	case c.Flags&syscalls.ReturnsFD != 0 && result >= 0:
		f.Handle = int(result)
		given := cmp.Or(f.Given, f.Path)
		if setFile(f, behind(tid, int32(result))); f.Path != given {
			f.Given = given
		}
	case c.Operation == "DuplicateHandle":
		if result >= 0 {
			f.NewHandle = int(result)
		}
	case c.When == syscalls.WhenIoctl && setsFlags(&t.args):
		f.Operation, f.Handle = "SetFlags", int(int32(t.args[0]))
		setFile(f, behind(tid, int32(f.Handle)))
	case c.Operation == "CopyFile":
		f.NewHandle = int(int32(t.arg(syscalls.ArgFd2)))
		f.NewPath, _ = descriptor(tid, int32(f.NewHandle))
	case c.Kind == syscalls.Symlink:
		f.Target = text(tid, t.arg(syscalls.ArgPath2))
	case c.Kind == syscalls.Attribute && t.has(syscalls.ArgFd):
		f.Attribute = text(tid, t.arg(syscalls.ArgPath1))
	case c.Kind == syscalls.Attribute:
		f.Attribute = text(tid, t.arg(syscalls.ArgPath2))
	case c.Flags&syscalls.Mount != 0:
		f.FileSystemType, f.MountOptions = text(tid, t.args[2]), text(tid, t.args[4])
	case c.Name == "unlinkat" && t.args[2]&unix.AT_REMOVEDIR != 0:
		f.Operation = "DeleteDirectory"
	case c.Name == "close_range":
		f.Handle = int(int32(t.args[0]))
	}
	w.send(event.TypeFile, now, f)
}

// network completes the event of a call on a socket, and returns it.
func (t *thread) network(tid int, n *event.Network) *event.Network {
	c, result := t.call, n.Result.Return
	n.Operation = c.Operation
	if name := map[string]string{"ReadFile": "Receive", "WriteFile": "Send", "CloseFile": "Close"}[c.Operation]; name != "" {
		n.Operation = name
	}
	if n.Transfer = c.Kind == syscalls.Transfer || c.Kind == syscalls.NetTransfer; n.Transfer {
		n.Bytes = max(result, 0)
	}
	if c.Flags&syscalls.ReturnsFD != 0 && result >= 0 {
		n.NewHandle = int(result)
	}
	if c.Name == "setsockopt" {
		n.Option = event.SocketOption(t.args[1], t.args[2])
	}
	n.Descriptors = t.descriptors(tid, result)
	if at := t.arg(syscalls.ArgAddr); at != 0 && c.Flags&syscalls.AddrPointer == 0 {
		a := address(read(tid, at, int(min(t.arg(syscalls.ArgAddrLen), 128))))
		n.FromMemory = !a.IsZero()
		if n.Remote = a; c.Name == "bind" {
			n.Local, n.Remote = a, event.Address{}
		}
	}
	n.FromMemory = n.FromMemory || len(n.Descriptors) > 0
	return n
}

// maxMessages is how many messages of sendmmsg and recvmmsg the sensor reads.
const maxMessages = 16

// descriptors returns the descriptors that a call passed in control messages. result is what the
// call returned.
func (t *thread) descriptors(tid int, result int64) (all []event.Descriptor) {
	word, count := 8, min(result, maxMessages)
	if t.compat {
		word = 4
	}
	switch {
	case t.call.Flags&(syscalls.Msghdr|syscalls.Messages) == 0 || result < 0:
		return nil
	case t.call.Flags&syscalls.Msghdr != 0:
		count = 1
	}
	number := func(from []byte) uint64 {
		if word == 4 {
			return uint64(binary.NativeEndian.Uint32(from))
		}
		return binary.NativeEndian.Uint64(from)
	}
	for i := range count {
		// A struct mmsghdr has 8 words, and begins with a struct msghdr: the control messages
		// are at the fifth word, their size at the sixth.
		header := read(tid, t.arg(syscalls.ArgData)+uint64(i)*8*uint64(word), 6*word)
		if len(header) < 6*word {
			return all
		}
		const most = 64 << 10
		control := read(tid, number(header[4*word:]), int(min(number(header[5*word:]), most)))
		for len(control) >= word+8 {
			size := number(control) // of this control message; its level and its type follow
			if size < uint64(word)+8 || size > uint64(len(control)) {
				break
			}
			level, kind := binary.NativeEndian.Uint32(control[word:]), binary.NativeEndian.Uint32(control[word+4:])
			if level == unix.SOL_SOCKET && kind == unix.SCM_RIGHTS {
				for fds := control[word+8 : size]; len(fds) >= 4; fds = fds[4:] {
					fd := int32(binary.NativeEndian.Uint32(fds))
					file := behind(tid, fd)
					all = append(all, event.Descriptor{FD: int(fd), Path: file.path, Inode: file.inode, Device: file.device})
				}
			}
			control = control[min(uint64(len(control)), (size+uint64(word)-1)&^(uint64(word)-1)):]
		}
	}
	return all
}

// isReportedMap reports whether a mapping is reported: memory that may be written and
// executed, a file that may be executed, and a file that the program may change through the
// memory, now or after mprotect.
func isReportedMap(tid int, args *[6]uint64) bool {
	fd := int32(args[4])
	if syscalls.IsAnonymous(args) {
		return args[2]&(unix.PROT_WRITE|unix.PROT_EXEC) == unix.PROT_WRITE|unix.PROT_EXEC
	}
	return args[2]&unix.PROT_EXEC != 0 || args[3]&unix.MAP_TYPE != unix.MAP_PRIVATE && isWritable(tid, fd)
}

// setFlagsCompat is FS_IOC_SETFLAGS in a 32-bit program.
const setFlagsCompat = 0x40046602

// setsFlags reports whether a request of ioctl sets the flags of a file.
func setsFlags(args *[6]uint64) bool {
	request := uint32(args[1])
	return request == unix.FS_IOC_SETFLAGS || request == setFlagsCompat
}

// isReportedIoctl reports whether a request of ioctl copies a file or sets its flags. As the eBPF
// sensor does, it sets the third argument to the source descriptor of a copy, or to -1, and the
// fourth to the flags.
func isReportedIoctl(tid int, args *[6]uint64) bool {
	value := make([]byte, 8)
	switch request := uint32(args[1]); {
	case request == unix.FICLONERANGE: // the source is in memory
		copy(value, read(tid, args[2], len(value)))
		args[2] = binary.NativeEndian.Uint64(value)
	case setsFlags(args):
		copy(value, read(tid, args[2], 4))
		args[2], args[3] = math.MaxUint64, uint64(binary.NativeEndian.Uint32(value))
	case request != unix.FICLONE:
		return false
	}
	return true
}

// isWritable reports whether a descriptor was opened to write.
func isWritable(tid int, fd int32) bool {
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", tid, fd))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(info)) {
		if text, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, _ := strconv.ParseUint(strings.TrimSpace(text), 8, 64) // 0: it can only be read
			return flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}

// maxIocbs is how many operations of one io_submit are reported.
const maxIocbs = 64

// aio reports the first count operations that the program passed to io_submit.
func (w *Watch) aio(tid int, t *thread, count int64) {
	for i := range uint64(min(max(count, 0), maxIocbs)) {
		// struct iocb: the operation is at 16, the descriptor at 20, the buffer at 24, its size at 32.
		block := read(tid, pointer(tid, t, t.args[2], i), 40)
		if len(block) < 40 {
			return
		}
		n, fd := uint64(binary.NativeEndian.Uint16(block[16:])), int32(binary.NativeEndian.Uint32(block[20:]))
		f := &event.File{Actor: w.actor(tid, t), Time: time.Now(), Operation: "SubmitAio", Aio: event.AioOperation(n), Handle: int(fd), NewHandle: -1}
		setFile(f, behind(tid, fd))
		if f.Aio == "PWRITE" && w.contentBytes > 0 {
			size := binary.NativeEndian.Uint64(block[32:])
			f.Content.Known = true
			f.Content.Bytes = read(tid, binary.NativeEndian.Uint64(block[24:]), int(min(size, uint64(w.contentBytes))))
			f.Content.Cut = uint64(len(f.Content.Bytes)) < size
			f.Content.Fault = len(f.Content.Bytes) == 0
		}
		w.send(event.TypeFile, f.Time, f)
	}
}

// pointer reads an element of an array of pointers; 0 if it cannot be read.
func pointer(tid int, t *thread, array, i uint64) uint64 {
	size := uint64(8)
	if t.compat {
		size = 4
	}
	value := make([]byte, 8)
	if copy(value, read(tid, array+i*size, int(size))) < int(size) {
		return 0
	}
	return binary.NativeEndian.Uint64(value)
}

// operation adds the object of an operation: a process, a file or a name. It returns o.
func (t *thread) operation(tid int, o *event.Operation) *event.Operation {
	o.Target = syscalls.Target(t.call.Name, &t.args)
	switch {
	case t.call.When == syscalls.WhenMap:
		o.Name = "MapMemory"
	case t.call.Name == "pidfd_getfd":
		o.Path, _ = descriptor(tid, int32(o.Result.Return))
	case t.has(syscalls.ArgPath1):
		o.Path = syscalls.TextOf(t.call.Name, text(tid, t.arg(syscalls.ArgPath1)), &t.args)
		o.FromMemory = o.Path != ""
		if t.call.Flags&syscalls.Config != 0 {
			o.Value = t.config(tid)
		}
	case t.has(syscalls.ArgFd) && o.Name != "SendSignal":
		o.Path, _ = descriptor(tid, int32(t.arg(syscalls.ArgFd)))
	}
	return o
}

// config returns the value that fsconfig sets; "" if it is binary.
func (t *thread) config(tid int) string {
	switch uint32(t.args[1]) {
	case unix.FSCONFIG_SET_STRING, unix.FSCONFIG_SET_PATH, unix.FSCONFIG_SET_PATH_EMPTY:
		return text(tid, t.args[3])
	case unix.FSCONFIG_SET_FD:
		path, _ := descriptor(tid, int32(t.args[4]))
		return path
	default:
		return ""
	}
}

// isFollowed reports whether the call follows a link at the end of a path.
func (t *thread) isFollowed(path syscalls.Argument) bool {
	c := t.call
	if path == syscalls.ArgPath2 {
		return c.Lookup>>2&3 == syscalls.LookupFollow
	}
	at := uint64(0)
	if c.At >= 0 {
		at = t.args[c.At]
	}
	switch c.Lookup & 3 {
	case syscalls.LookupLink:
		return at&unix.AT_SYMLINK_FOLLOW != 0
	case syscalls.LookupFollow:
		if c.Name == "open" || c.Name == "openat" {
			flags := t.args[c.Args[syscalls.ArgPath1]+1]
			return flags&unix.O_NOFOLLOW == 0 && flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
		}
		return at&(unix.AT_SYMLINK_NOFOLLOW|unix.UMOUNT_NOFOLLOW) == 0
	default:
		return false
	}
}

// place reads a path argument and resolves it. It is the zero value if the call has none.
func (t *thread) place(tid int, c *syscalls.Call, dir, path syscalls.Argument) place {
	lookup := c.Lookup & 3
	if path == syscalls.ArgPath2 {
		lookup = c.Lookup >> 2 & 3
	}
	if !t.has(path) || lookup == syscalls.LookupText {
		return place{}
	}
	given := text(tid, t.arg(path))
	base := procfs.Below(tid, strings.TrimSuffix(procfs.CurrentDirectory(tid), " (deleted)"))
	if t.has(dir) && int32(t.arg(dir)) != unix.AT_FDCWD && !strings.HasPrefix(given, "/") {
		switch base, _ = descriptor(tid, int32(t.arg(dir))); {
		case base == "":
			return place{full: given}
		case given == "":
			return place{full: base}
		}
	}
	isSource := path == syscalls.ArgPath2 && c.Lookup&syscalls.LookupMount != 0
	if given == "" || isSource && t.args[3]&(unix.MS_BIND|unix.MS_MOVE) == 0 {
		return place{full: given}
	}
	rest := given
	if lookup == syscalls.LookupName {
		rest = strings.TrimRight(given, "/")
	}
	full, _ := procfs.Follow(tid, t.process.PID, base, rest, t.isFollowed(path))
	if full == given {
		given = ""
	}
	return place{full: full, given: given}
}

// descriptor returns the name of the file or socket behind a descriptor, and whether the
// file was deleted. The name is "" if it cannot be read.
func descriptor(tid int, fd int32) (name string, deleted bool) {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, fd))
	if err != nil {
		return "", false
	}
	name, deleted = strings.CutSuffix(target, " (deleted)")
	return procfs.Below(tid, name), deleted
}

// behind returns the file or socket behind a descriptor.
func behind(tid int, fd int32) (o opened) {
	o.path, o.deleted = descriptor(tid, fd)
	var stat unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", tid, fd), &stat) == nil {
		o.inode, o.device, o.mode = stat.Ino, unix.Major(stat.Dev)<<20|unix.Minor(stat.Dev), stat.Mode
	}
	return o
}

// setFile sets what an event tells of an open file.
func setFile(f *event.File, o opened) {
	f.Path, f.Deleted, f.Inode, f.Device, f.Mode = o.path, o.deleted, o.inode, o.device, o.mode
}

// maxArgs is how many arguments of a failed exec are reported.
const maxArgs = 128

// argv returns the arguments of an exec, and whether there are more. The pointer to them
// follows the path among the arguments of the call.
func argv(tid int, t *thread) (args []string, isCut bool) {
	for len(args) < maxArgs {
		from := pointer(tid, t, t.args[t.call.Args[syscalls.ArgPath1]+1], uint64(len(args)))
		if from == 0 {
			return args, isCut
		}
		arg := text(tid, from)
		isCut = isCut || len(arg) == maxPath
		args = append(args, arg)
	}
	return args, true
}

// read returns memory of a thread; less than size if not all of it is readable.
func read(tid int, from uint64, size int) []byte {
	if size <= 0 {
		return nil
	}
	buffer := make([]byte, size)
	n, err := unix.ProcessVMReadv(tid, []unix.Iovec{{Base: &buffer[0], Len: uint64(size)}}, []unix.RemoteIovec{{Base: uintptr(from), Len: size}}, 0)
	if err != nil {
		return nil
	}
	return buffer[:n]
}

// text reads a string that ends with a zero byte, at most maxPath bytes. It reads page by
// page, because the page after the string may not be mapped.
func text(tid int, from uint64) string {
	var all []byte
	for len(all) < maxPath {
		at := from + uint64(len(all))
		part := read(tid, at, min(int(4096-at%4096), maxPath-len(all)))
		if len(part) == 0 {
			break
		}
		for i, c := range part {
			if c == 0 {
				return string(append(all, part[:i]...))
			}
		}
		all = append(all, part...)
	}
	return string(all)
}

// address decodes a struct sockaddr. It returns the zero address if it cannot.
func address(b []byte) event.Address {
	if len(b) < 2 {
		return event.Address{}
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		if len(b) >= 8 {
			return event.Address{Port: netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))}
		}
	case unix.AF_INET6:
		if len(b) >= 24 {
			return event.Address{Port: netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[2:]))}
		}
	case unix.AF_UNIX:
		name := b[2:]
		if len(name) > 0 && name[0] == 0 {
			return event.Address{Unix: "@" + string(name[1:])}
		}
		whole, _, _ := strings.Cut(string(name), "\x00")
		return event.Address{Unix: whole}
	}
	return event.Address{}
}
