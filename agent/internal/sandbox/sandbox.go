//go:build linux

// Package sandbox runs an untrusted program so that the agent can watch it and it can do
// no harm: in separate namespaces, as a user that owns nothing, with a read-only root, a
// filter of system calls, limits, and a timeout. bubblewrap creates the namespaces.
//
// Two launchers, which are the agent's own program under LaunchCommand, enter the sandbox
// first. One is process 1: it reaps orphans and reports how the program ended. When it
// ends, the kernel kills all other processes. The other is the held program, which the
// agent watches: it unpacks the uploaded file (the agent reads archives only inside the
// sandbox), waits for the release, and then becomes the program.
//
// The package must not know events.
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

// Network says what a program can reach.
type Network string

// The networks.
const (
	NetworkNone Network = "none" // a separate loopback
	NetworkHost Network = "host" // everything that this machine can reach, and its own services
	NetworkNAT  Network = "nat"  // what this machine can reach, except its loopback, through slirp4netns
)

// Options say how to run a file. A zero field has a default.
type Options struct {
	Network Network       // NetworkNone
	Timeout time.Duration // from Release on (default 10 minutes)

	// MemoryMB is the memory of all processes (default 1024). DiskMB is how much the
	// program may write, to all folders together (default 512).
	MemoryMB, DiskMB int
	Processes        int     // with threads (default 256)
	CPUs             float64 // default 1

	ShowLocal bool // the program sees this machine's /usr/local

	// Program runs in the sandbox instead of an uploaded file; nil: the file.
	Program *Program
	// User makes Start run the file as this user of this machine, without a sandbox and without
	// cgroup. The machine itself is the sandbox, such as a virtual machine for one file.
	User *syscall.Credential

	Entry   string       // the path of the file to run in an archive; "": the only one that can be run
	Args    []string     // arguments, without the program's name
	DataDir string       // the agent's data folder, which the sandbox hides; "": none
	Log     *slog.Logger // slog.Default
}

// Program is a program of this machine, such as one that runs a virtual machine.
type Program struct {
	Argv  []string
	Stdin *os.File
	// Files are what the program inherits as the descriptors from FirstFile on.
	Files []*os.File
	// Devices are devices of this machine that the sandbox shows, if they exist.
	Devices []string
}

// FirstFile is the first descriptor of Program.Files in the program.
const FirstFile = fdProgram + 1

// ErrProgram means that the program cannot be run and that the file, Entry or Args is at
// fault, not this machine.
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

// Reason says why a program ended.
type Reason string

// The reasons.
const (
	ReasonExited  Reason = "exited"  // by itself
	ReasonKilled  Reason = "killed"  // by a signal that did not come from the sandbox
	ReasonStopped Reason = "stopped" // by Stop
	ReasonTimeout Reason = "timeout" // the Timeout elapsed
	ReasonMemory  Reason = "memory"  // it exceeded the memory limit
	ReasonCPU     Reason = "cpu"     // one process exceeded the limit of CPU time
	ReasonDisk    Reason = "disk"    // it exceeded the size limit of a file
)

// Result says how a program ended.
type Result struct {
	Reason   Reason
	ExitCode int            // -1 if a signal ended it, or if it ended with its sandbox
	Signal   syscall.Signal // 0 if no signal ended it
	Limits   []string       // the limits that it reached, even if it survived: memory, processes, cpu, disk
	Duration time.Duration  // from Release to the end of the tree

	Output      []byte // the end of its output, 64 KiB at most
	OutputBytes int64  // the size of the whole output
	Left        []int  // processes that could not be killed because they hang in the kernel
}

// Run is the decision how to run a file.
type Run struct {
	Path        string `json:"path"`                  // of the file, in the sandbox
	What        string `json:"what"`                  // the kind of file: "a Python script"
	Interpreter string `json:"interpreter,omitempty"` // the path of its interpreter; "" for a native program
	Why         string `json:"why"`                   // the reason for the decision
}

// Process is a program in a sandbox. All methods may be called concurrently.
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

	letting     sync.Mutex // held during a release
	releaseOnce sync.Once
	releaseErr  error
	stopOnce    sync.Once
	stop        chan struct{} // closed by Stop
	done        chan struct{}
}

// Start creates a sandbox, puts the file into it, and holds the program before its first
// instruction. The caller can then watch PID, and must call Release to run the program or
// Stop to end it. The error wraps ErrProgram if the file is at fault. ctx bounds the start
// only.
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
	} else if o.Program == nil && !info.Mode().IsRegular() {
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

// PID returns the pid of the held program in the agent's pid namespace. The program keeps
// it.
func (p *Process) PID() int { return p.pid }

// Entry returns the path of the program in the sandbox.
func (p *Process) Entry() string { return p.run.Path }

// Run returns what runs, and how.
func (p *Process) Run() Run { return p.run }

// Notes returns the limits that this machine cannot set as requested, and what was left
// out of an archive.
func (p *Process) Notes() []string { return p.notes }

// Done returns a channel that is closed when all processes in the sandbox have ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Result returns how the program ended. It is valid after Done is closed.
func (p *Process) Result() Result {
	select {
	case <-p.done:
	default:
		return Result{ExitCode: -1}
	}
	return p.result
}

// Release lets the program run and returns when the kernel has executed it. If that fails,
// Release returns the reason and the sandbox ends.
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
	// The socket closes on exec.
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

// Stop kills all processes in the sandbox and returns when they have ended. It returns an
// error if a process is left because it hangs in the kernel. A second Stop checks again.
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
