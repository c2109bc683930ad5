//go:build linux

// Package sandbox runs a program that nobody trusts, so that it can be watched and
// can do no harm: in namespaces of its own, as a user that owns nothing, with a
// read-only root, a filter of system calls, limits, and an end. bubblewrap makes the
// namespaces.
//
// Two processes of the agent's own program go into the sandbox first. One is its
// process 1: it reaps what is orphaned, tells how the program ended, and with it all
// the rest ends. The other is the one that is watched: it takes the uploaded file
// apart (no archive is ever read outside of the sandbox), waits until it is released
// and then becomes the program. Both are LaunchCommand.
//
// The package knows nothing of events.
package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Network is what a program can reach.
type Network string

// The networks.
const (
	NetworkNone Network = "none" // a loopback of its own
	NetworkHost Network = "host" // all that this machine can, its own services too
	NetworkNAT  Network = "nat"  // what this machine can but not its loopback, by slirp4netns
)

// Options say how a file is run. What is zero has a default.
type Options struct {
	Network Network       // NetworkNone
	Timeout time.Duration // from Release on, 10 minutes

	// MemoryMB is what its processes may use, DiskMB what it may write, to folders
	// that lie in memory too. 1024 and 512.
	MemoryMB, DiskMB int
	Processes        int     // and threads, 256
	CPUs             float64 // 1

	Entry string   // of an archive: the path inside that is run; "" is the only one that can be
	Args  []string // without the program's name

	// Unconfined runs it without bubblewrap, on machines that have none: with a user
	// of its own if the agent is root, but in this machine's root and network.
	Unconfined bool
	Log        *slog.Logger // slog.Default
}

// ErrProgram is for a file that cannot be run because of what it is: the fault is
// in the file or in Entry, not in this machine.
var ErrProgram = errors.New("cannot be run")

const (
	setupTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
	pollInterval = 100 * time.Millisecond

	// maxArgsBytes is what goes into one message, with room for the rest.
	maxArgsBytes = 64 << 10
)

func (o Options) withDefaults() (Options, error) {
	if o.Network == "" {
		o.Network = NetworkNone
	}
	switch {
	case o.Network != NetworkNone && o.Network != NetworkHost && o.Network != NetworkNAT:
		return o, fmt.Errorf("network %q: none, host or nat", o.Network)
	case o.Unconfined && o.Network == NetworkNAT:
		return o, errors.New("network nat: there is none without a sandbox")
	case o.Timeout < 0 || o.MemoryMB < 0 || o.DiskMB < 0 || o.Processes < 0 || o.CPUs < 0:
		return o, errors.New("a limit of the sandbox is negative")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = 1024
	}
	if o.DiskMB == 0 {
		o.DiskMB = 512
	}
	if o.Processes == 0 {
		o.Processes = 256
	}
	if o.CPUs == 0 {
		o.CPUs = 1
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	size := 0
	for _, arg := range o.Args {
		if strings.ContainsRune(arg, 0) {
			return o, errors.New("an argument has a zero byte in it")
		}
		size += len(arg) + 1
	}
	if size > maxArgsBytes {
		return o, fmt.Errorf("arguments of %d bytes: %d are passed on", size, maxArgsBytes)
	}
	return o, nil
}

// Reason is why a program ended.
type Reason string

// The reasons.
const (
	ReasonExited  Reason = "exited"  // by itself, or by a signal that was not the sandbox's
	ReasonStopped Reason = "stopped" // by Stop
	ReasonTimeout Reason = "timeout" // its time was up
	ReasonLimit   Reason = "limit"   // it used more than it may: see Limits
)

// Result is how a program ended.
type Result struct {
	Reason   Reason
	ExitCode int            // -1 if a signal ended it, or if it ended with its sandbox
	Signal   syscall.Signal // 0 if none did
	Limits   []string       // those it ran into, survived or not: memory, processes, cpu, disk
	Duration time.Duration  // from Release to the end of the tree

	Output      []byte // the end of what it printed, 64 KiB at most
	OutputBytes int64  // of all that it printed
	Left        []int  // processes that could not be ended: only those stuck in the kernel
}

// Process is a program that was started. Its methods may be called at any time.
type Process struct {
	options Options
	notes   []string
	entry   string

	cmd       *exec.Cmd // bubblewrap, or process 1 itself
	ended     chan struct{}
	init      *os.Process // of the namespace; by pidfd
	initPID   int
	pid       int
	namespace string // of pids; "" if it has none of its own
	user      int    // that nothing else runs as; 0 if there is none
	cgroup    *cgroup
	nat       *exec.Cmd
	natEnded  chan struct{}
	natSaid   *tail
	folder    string // to remove
	output    *tail
	control   *net.UnixConn // to the held program
	reports   *net.UnixConn // from process 1

	mu       sync.Mutex
	released time.Time
	reason   Reason
	limits   map[string]bool
	status   *syscall.WaitStatus
	result   Result

	letting     sync.Mutex // held while it is released
	releaseOnce sync.Once
	releaseErr  error
	stopOnce    sync.Once
	stop        chan struct{} // asks for the end
	done        chan struct{}
}

// Start makes a sandbox, puts the file into it, and starts it up to where its first
// instruction would be: then PID can be watched, and Release lets it run. An error
// that is the file's wraps ErrProgram. ctx is for the start only.
func Start(ctx context.Context, file string, o Options) (*Process, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	upload, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open the file: %w", err)
	}
	defer upload.Close()
	if info, err := upload.Stat(); err != nil {
		return nil, fmt.Errorf("open the file: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is not a regular file", filepath.Base(file), ErrProgram)
	}
	p := &Process{
		options: o, ended: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
		limits: map[string]bool{},
	}
	if err := p.start(ctx, upload, filepath.Base(file)); err != nil {
		return nil, err
	}
	go p.supervise()
	return p, nil
}

// PID is the held program's, in the agent's pid namespace; it stays that of the
// program.
func (p *Process) PID() int { return p.pid }

// Entry is the path of what is run, as the program sees it.
func (p *Process) Entry() string { return p.entry }

// Notes tells which limits this machine cannot set as they were asked for, and what
// of an archive was left out.
func (p *Process) Notes() []string { return p.notes }

// Done is closed when all of the tree has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Result is what there is to say once Done is closed.
func (p *Process) Result() Result {
	select {
	case <-p.done:
	default:
		return Result{ExitCode: -1}
	}
	return p.result
}

// Release lets the program run, and returns when it has been executed. The error
// says why it could not be, if so; the tree has then ended or is about to.
func (p *Process) Release() error {
	p.releaseOnce.Do(func() { p.releaseErr = p.letGo() })
	return p.releaseErr
}

func (p *Process) letGo() error {
	p.letting.Lock()
	defer p.letting.Unlock()
	p.mu.Lock()
	p.released = time.Now()
	p.mu.Unlock()
	if err := send(p.control, message{Op: opGo}); err != nil {
		return fmt.Errorf("release the program: %w", err)
	}
	if err := p.control.SetReadDeadline(time.Now().Add(setupTimeout)); err != nil {
		return fmt.Errorf("release the program: %w", err)
	}
	// The socket closes when it executes the program.
	m, _, err := receive(p.control)
	switch {
	case errors.Is(err, errClosed), errors.Is(err, net.ErrClosed): // or it was stopped
		return nil
	case err != nil:
		return fmt.Errorf("release the program: %w", err)
	}
	if err := m.failure(); err != nil {
		return fmt.Errorf("%s: %w", p.entry, err)
	}
	return nil
}

// Stop ends the whole tree, and returns when it has ended.
func (p *Process) Stop() {
	p.end(ReasonStopped)
	<-p.done
}

func (p *Process) end(why Reason) {
	p.stopOnce.Do(func() {
		p.mu.Lock()
		p.reason = why
		p.mu.Unlock()
		close(p.stop)
	})
}

func (p *Process) start(ctx context.Context, upload *os.File, name string) (err error) {
	var closers []*os.File
	defer func() {
		for _, f := range closers {
			_ = f.Close()
		}
	}()
	pair := func() (*net.UnixConn, *os.File, error) {
		ours, theirs, err := socketPair()
		closers = append(closers, theirs)
		return ours, theirs, err
	}
	reports, reportsFD, err := pair()
	if err != nil {
		return err
	}
	p.reports = reports
	control, controlFD, err := pair()
	if err != nil {
		_ = reports.Close()
		return err
	}
	p.control = control
	self, err := program()
	if err != nil {
		p.closeSockets()
		return err
	}
	closers = append(closers, self)
	p.output, err = newTail()
	if err != nil {
		p.closeSockets()
		return err
	}
	files := []*os.File{fdReports - 3: reportsFD, fdControl - 3: controlFD, fdUpload - 3: upload, fdProgram - 3: self}
	credential, note := newCredential()
	if note != "" {
		p.notes = append(p.notes, note)
	}
	if credential != nil && credential.Uid != nobody { // which others run as
		p.user = int(credential.Uid)
	}
	order := order{Name: name, Entry: p.options.Entry, Args: p.options.Args, Limits: limitsOf(p.options)}
	if p.options.Unconfined {
		err = p.command(files, credential, &order)
	} else {
		var extra []*os.File
		extra, err = p.bubblewrap(files)
		closers = append(closers, extra...)
		order.Dir, order.Env = homeDir, environment(homeDir)
	}
	if err != nil {
		p.closeSockets()
		p.output.close()
		return errors.Join(err, p.removeFolder())
	}
	p.cmd.Stdout, p.cmd.Stderr = p.output.w, p.output.w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setsid: p.options.Unconfined}
	err = run(p.cmd, p.ended)
	p.output.started()
	for _, f := range closers { // else their ends would not be seen
		_ = f.Close()
	}
	closers = nil
	if err != nil {
		p.closeSockets()
		p.output.close()
		return errors.Join(fmt.Errorf("start the sandbox: %w", err), p.removeFolder())
	}
	if err := p.prepare(ctx, order); err != nil {
		said := p.abandon()
		if said != "" && !errors.Is(err, ErrProgram) {
			err = fmt.Errorf("%w (%s)", err, said)
		}
		return err
	}
	return nil
}

// prepare brings the program to where it is held, with its limits set.
func (p *Process) prepare(ctx context.Context, o order) error {
	deadline := time.Now().Add(setupTimeout)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	for _, c := range []*net.UnixConn{p.reports, p.control} {
		if err := c.SetDeadline(deadline); err != nil {
			return fmt.Errorf("make the sandbox: %w", err)
		}
	}
	stopWatching := context.AfterFunc(ctx, func() {
		_ = p.reports.SetDeadline(time.Unix(1, 0))
		_ = p.control.SetDeadline(time.Unix(1, 0))
	})
	defer stopWatching()
	if _, pid, err := receive(p.reports); err != nil {
		return fmt.Errorf("make the sandbox: %w", errors.Join(ctx.Err(), err))
	} else if p.init, err = os.FindProcess(pid); err != nil {
		return fmt.Errorf("make the sandbox: find its process 1: %w", err)
	} else {
		p.initPID = pid
	}
	_, pid, err := receive(p.control)
	if err != nil {
		return fmt.Errorf("make the sandbox: %w", errors.Join(ctx.Err(), err))
	}
	p.pid = pid
	if !p.options.Unconfined {
		ours, err1 := pidNamespace(os.Getpid())
		theirs, err2 := pidNamespace(p.pid)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("make the sandbox: %w", err)
		}
		if ours == theirs {
			return errors.New("make the sandbox: it has no pid namespace of its own")
		}
		p.namespace = theirs
	}
	if err := p.limit(); err != nil {
		return err
	}
	if p.options.Network == NetworkNAT {
		if err := p.startNAT(deadline); err != nil {
			return err
		}
	}
	if err := send(p.control, message{Op: opPrepare, Order: &o}); err != nil {
		return fmt.Errorf("prepare the file: %w", err)
	}
	m, _, err := receive(p.control)
	if errors.Is(err, errClosed) && ctx.Err() == nil {
		return fmt.Errorf("%w: what takes it apart was ended by its limits (%d MB of memory)", ErrProgram, p.options.MemoryMB)
	} else if err != nil {
		return fmt.Errorf("prepare the file: %w", errors.Join(ctx.Err(), err))
	}
	if err := m.failure(); err != nil {
		return err
	}
	p.entry = m.Entry
	p.notes = append(p.notes, m.Notes...)
	for _, c := range []*net.UnixConn{p.reports, p.control} {
		if err := c.SetDeadline(time.Time{}); err != nil {
			return fmt.Errorf("make the sandbox: %w", err)
		}
	}
	if !stopWatching() {
		return fmt.Errorf("make the sandbox: %w", ctx.Err())
	}
	return nil
}

// limit sets the limits that are set from outside.
func (p *Process) limit() error {
	name := "ospulse-" + strings.ToLower(rand.Text()[:12])
	c, lacks := newCgroup(cgroupRoot, name, limitsOf(p.options))
	p.cgroup = c
	if err := c.add(p.pid); err != nil {
		return fmt.Errorf("limit the sandbox: %w", err)
	}
	if lacks != "" {
		p.notes = append(p.notes, lacks)
	}
	if p.namespace != "" {
		for _, dir := range []string{homeDir, "/tmp", "/dev/shm"} {
			if err := limitInodes(p.pid, dir, inodes(p.options.DiskMB)); err != nil {
				p.options.Log.Debug("the number of files cannot be limited", "folder", dir, "error", err)
				if c.controls("memory") {
					break // they are memory too
				}
				p.notes = append(p.notes, "the number of empty files is not limited: that takes root, or a memory cgroup")
				break
			}
		}
	}
	return nil
}

// abandon ends what did not get to its start, and gives what it complained of.
func (p *Process) abandon() string {
	p.killAll()
	<-p.ended
	p.cleanUp()
	return strings.TrimSpace(string(p.output.last(1000)))
}

// supervise is there from the start to the end.
func (p *Process) supervise() {
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		m, _, err := receive(p.reports)
		if err == nil && m.Op == opExited {
			p.mu.Lock()
			status := syscall.WaitStatus(m.Status)
			p.status = &status
			p.mu.Unlock()
		}
	}()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	running, stop := true, p.stop
	for running {
		select {
		case <-p.ended:
			p.letting.Lock() // Release hears why, if it was not executed
			running = false
			p.letting.Unlock()
		case <-stop:
			p.killAll()
			select {
			case <-p.ended:
			case <-time.After(stopTimeout): // it is stuck in the kernel
			}
			running = false
		case <-tick.C:
			p.check()
		}
	}
	left := p.killAll()
	_ = p.reports.SetReadDeadline(time.Now().Add(time.Second)) // it closed with process 1
	<-exited
	p.check()
	p.cleanUp()
	p.finish(left)
	close(p.done)
}

// check looks at the limits that are not the kernel's to keep.
func (p *Process) check() {
	p.mu.Lock()
	released := p.released
	p.mu.Unlock()
	for _, name := range p.cgroup.hit() {
		p.hit(name)
	}
	if !released.IsZero() && time.Since(released) > p.options.Timeout {
		p.end(ReasonTimeout)
	}
	if p.cgroup.controls("memory") && p.cgroup.controls("pids") {
		return
	}
	members := p.members()
	if len(members) >= p.options.Processes {
		p.hit("processes")
	}
	if p.cgroup.controls("memory") {
		return
	}
	if used := memoryOf(members); used > int64(p.options.MemoryMB+p.options.DiskMB)<<20 {
		p.hit("memory")
		p.end(ReasonLimit)
	}
}

func (p *Process) hit(limit string) {
	p.mu.Lock()
	p.limits[limit] = true
	p.mu.Unlock()
}

// members lists the tree's processes, zombies left out. Process 1 is one of them
// in a namespace.
func (p *Process) members() []int {
	switch {
	case p.namespace != "":
		return processes(func(pid int) bool {
			ns, err := pidNamespace(pid)
			return err == nil && ns == p.namespace
		})
	case p.user != 0:
		return processes(func(pid int) bool { return userOf(pid) == p.user })
	}
	first := p.initPID
	if first == 0 {
		first = p.cmd.Process.Pid
	}
	inside := descendants(first)
	inside[first] = true
	for _, pid := range p.cgroup.members() {
		inside[pid] = true
	}
	return processes(func(pid int) bool { return inside[pid] })
}

// killAll ends the tree, and returns what is left of it after stopTimeout.
func (p *Process) killAll() []int {
	_ = p.control.Close() // one that is held gives up
	deadline := time.Now().Add(stopTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		p.cgroup.kill()
		if p.init != nil && p.namespace != "" {
			_ = p.init.Kill() // all of the namespace ends with it
		}
		if p.namespace == "" && p.user != 0 {
			if err := killUser(p.user); err != nil {
				p.options.Log.Warn("the sample is killed process by process", "error", err)
			}
		}
		select {
		case <-p.ended:
		default:
			_ = p.cmd.Process.Kill()
		}
		left := p.members()
		if p.namespace == "" {
			// One that is stopped makes no more of itself while the others are killed.
			for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
				for _, pid := range left {
					_ = syscall.Kill(pid, signal)
				}
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(wait)
	}
}

func (p *Process) cleanUp() {
	p.endNAT()
	p.closeSockets()
	p.output.close()
	for _, name := range p.cgroup.hit() {
		p.hit(name)
	}
	if err := errors.Join(p.cgroup.remove(), p.removeFolder()); err != nil {
		p.options.Log.Warn("the sandbox left something behind", "error", err)
	}
	if p.init != nil {
		_ = p.init.Release() // it is gone
	}
}

func (p *Process) closeSockets() {
	_ = p.reports.Close()
	_ = p.control.Close()
}

func (p *Process) removeFolder() error {
	if p.folder == "" {
		return nil
	}
	return os.RemoveAll(p.folder)
}

func (p *Process) finish(left []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Result{Reason: p.reason, ExitCode: -1, Left: left}
	r.Output, r.OutputBytes = p.output.last(tailBytes), p.output.total()
	if !p.released.IsZero() {
		r.Duration = time.Since(p.released)
	}
	if s := p.status; s != nil && s.Signaled() {
		r.Signal = s.Signal()
		switch r.Signal {
		case syscall.SIGXCPU:
			p.limits["cpu"] = true
		case syscall.SIGXFSZ:
			p.limits["disk"] = true
		}
	} else if s != nil {
		r.ExitCode = s.ExitStatus()
	}
	for _, name := range []string{"memory", "processes", "cpu", "disk"} {
		if p.limits[name] {
			r.Limits = append(r.Limits, name)
		}
	}
	if r.Reason == "" {
		r.Reason = ReasonExited
		if p.limits["memory"] && r.Signal == syscall.SIGKILL || r.Signal == syscall.SIGXCPU || r.Signal == syscall.SIGXFSZ {
			r.Reason = ReasonLimit
		}
	}
	p.result = r
}

// The users that samples are run as by root; systemd's UIDS-GIDS.md has this range
// unused. Each sandbox has one of its own, so that none can touch another's.
const firstUser, users = 1_900_000_000, 1_000_000

// sampleFolder begins the names of the folders of samples that have no sandbox.
const sampleFolder = "ospulse-sample-"

// newCredential gives a user that owns nothing, if this program may change to one.
func newCredential() (*syscall.Credential, string) {
	if os.Geteuid() != 0 {
		return nil, ""
	}
	n, err := rand.Int(rand.Reader, big.NewInt(users))
	if err != nil {
		n = new(big.Int) // it does not fail
	}
	id := uint32(firstUser + n.Int64())
	if !mapped(id) {
		return &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}},
			"samples share the user nobody: this machine (a container) has no others"
	}
	return &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}, ""
}

const nobody = 65534

// mapped reports whether there is such a user in this user namespace.
func mapped(id uint32) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(f[0], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && uint64(id) >= first && uint64(id) < first+count {
			return true
		}
	}
	return false
}

// command makes the one of a program without a sandbox.
func (p *Process) command(files []*os.File, credential *syscall.Credential, o *order) error {
	dir, err := os.MkdirTemp("", sampleFolder)
	if err != nil {
		return fmt.Errorf("make a folder for the file: %w", err)
	}
	p.folder = dir
	if credential != nil {
		if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return fmt.Errorf("make a folder for the file: %w", err)
		}
	}
	o.Dir, o.Env, o.NoUserLimit = dir, environment(dir), credential == nil
	p.notes = append(p.notes, "there is no sandbox: the program sees this machine's files and network, and what it writes is limited by file only")
	p.cmd = exec.Command(programPath, LaunchCommand, roleInit) //nolint:noctx // killAll ends it
	p.cmd.Dir, p.cmd.Env, p.cmd.ExtraFiles = "/", []string{}, files
	return nil
}

// run starts a command, and closes ended when it has. The kernel ends what dies with
// its parent when the parent's *thread* ends: it has one of its own until then, that
// nothing else can end.
func run(cmd *exec.Cmd, ended chan struct{}) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is not how the program did
			close(ended)
		}
	}()
	return <-started
}

// killUser kills all processes of a user, at once: none can fork meanwhile.
func killUser(user int) error {
	self, err := program()
	if err != nil {
		return err
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", LaunchCommand, roleKill) //nolint:noctx // it does one thing and ends
	cmd.Env, cmd.ExtraFiles = []string{}, []*os.File{self}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user), Groups: []uint32{}}}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kill what user %d runs: %w", user, err)
	}
	return nil
}

func environment(home string) []string {
	return []string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "HOME=" + home, "PWD=" + home,
		"USER=user", "LOGNAME=user", "SHELL=/bin/sh", "LANG=C.UTF-8", "TMPDIR=/tmp",
	}
}

// errClosed is for a socket whose other end is gone.
var errClosed = errors.New("it has ended")

func send(c *net.UnixConn, m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = c.Write(text)
	return err
}

// receive gives the next message, and the pid of who sent it, which the kernel
// tells.
func receive(c *net.UnixConn) (m message, pid int, err error) {
	text, oob := make([]byte, maxMessageBytes), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, oobn, flags, _, err := c.ReadMsgUnix(text, oob)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || err == nil && n == 0:
		return m, 0, errClosed
	case err != nil:
		return m, 0, err
	case flags&unix.MSG_TRUNC != 0:
		return m, 0, errors.New("a message from the sandbox is too long")
	}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil && len(controls) != 1 {
		err = errors.New("a message from the sandbox has no sender")
	}
	if err != nil {
		return m, 0, err
	}
	sender, err := unix.ParseUnixCredentials(&controls[0])
	if err != nil {
		return m, 0, err
	}
	if err := json.Unmarshal(text[:n], &m); err != nil {
		return m, 0, fmt.Errorf("a message from the sandbox: %w", err)
	}
	return m, int(sender.Pid), nil
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer ours.Close()
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	c, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}
