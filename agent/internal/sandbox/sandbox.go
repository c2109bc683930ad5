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
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
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

	Entry   string       // of an archive: the path inside that is run; "" is the only one that can be
	Args    []string     // without the program's name
	DataDir string       // the agent's own, which no sample sees; "" if there is none
	Log     *slog.Logger // slog.Default
}

// ErrProgram is for what cannot be run because of what it is: the fault is in the
// file, Entry or Args, not in this machine.
var ErrProgram = errors.New("cannot be run")

const (
	setupTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
	pollInterval = 100 * time.Millisecond

	// maxArgsBytes of JSON go into one message, with room for the rest.
	maxArgsBytes = 64 << 10
)

func (o Options) withDefaults() (Options, error) {
	if o.Network == "" {
		o.Network = NetworkNone
	}
	switch {
	case o.Network != NetworkNone && o.Network != NetworkHost && o.Network != NetworkNAT:
		return o, fmt.Errorf("network %q: none, host or nat", o.Network)
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
	return o, o.checkArgs()
}

func (o Options) checkArgs() error {
	for _, arg := range o.Args {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("it %w: an argument has a zero byte in it", ErrProgram)
		}
	}
	text, err := json.Marshal(append([]string{o.Entry}, o.Args...))
	if err != nil {
		return fmt.Errorf("the arguments: %w", err)
	}
	if len(text) > maxArgsBytes {
		return fmt.Errorf("it %w: its arguments have %d bytes, %d are passed on", ErrProgram, len(text), maxArgsBytes)
	}
	return nil
}

// Reason is why a program ended.
type Reason string

// The reasons.
const (
	ReasonExited  Reason = "exited"  // by itself
	ReasonKilled  Reason = "killed"  // by a signal that was not the sandbox's
	ReasonStopped Reason = "stopped" // by Stop
	ReasonTimeout Reason = "timeout" // its time was up
	ReasonMemory  Reason = "memory"  // it used more memory than it may
	ReasonCPU     Reason = "cpu"     // one process used more time of a processor
	ReasonDisk    Reason = "disk"    // it made a file larger
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

// Run is the decision on how a file is run.
type Run struct {
	Path        string `json:"path"`                  // of the file, as the program sees it
	What        string `json:"what"`                  // the file is, such as "a Python script"
	Interpreter string `json:"interpreter,omitempty"` // the path of what runs it; "" if it is native
	Why         string `json:"why"`                   // what the decision rests on
}

// Process is a program that was started. Its methods may be called at any time.
type Process struct {
	options Options
	notes   []string
	run     Run

	cmd       *exec.Cmd // bubblewrap
	ended     chan struct{}
	init      *os.Process // of the namespace; by pidfd
	pid       int
	namespace string // of pids
	cgroup    *cgroup
	nat       *exec.Cmd
	natEnded  chan struct{}
	natSaid   *tail
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
func (p *Process) Entry() string { return p.run.Path }

// Run says what is run, and how.
func (p *Process) Run() Run { return p.run }

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
		return fmt.Errorf("%s: %w", p.run.Path, err)
	}
	return nil
}

// Stop ends the whole tree, and returns when it has ended. It is an error if
// something is left, which only what is stuck in the kernel can be; a second Stop
// looks again.
func (p *Process) Stop() error {
	p.end(ReasonStopped)
	<-p.done
	if len(p.result.Left) == 0 {
		return nil
	}
	if left := p.members(); len(left) > 0 {
		return fmt.Errorf("%d processes of the sample are still there: %v", len(left), left)
	}
	return nil
}

func (p *Process) end(why Reason) {
	p.stopOnce.Do(func() {
		p.mu.Lock()
		p.reason = why
		p.mu.Unlock()
		close(p.stop)
	})
}
