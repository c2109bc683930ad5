//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/procfs"
)

// start creates the sandbox and holds the program in it.
func (p *Process) start(ctx context.Context, upload *os.File, name string) error {
	if err := p.launch(upload); err != nil {
		return err
	}
	o := order{Name: name, Entry: p.options.Entry, Args: p.options.Args, Limits: limitsOf(p.options)}
	if p.options.Program != nil {
		o.Program, o.ProgramFiles = p.options.Program.Argv, len(p.options.Program.Files)
	}
	err := p.prepare(ctx, o)
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) { // the error is that of a socket
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if said := p.abandon(); said != "" && !errors.Is(err, ErrProgram) {
		err = fmt.Errorf("%w (%s)", err, said)
	}
	return err
}

// launch starts bubblewrap with the files that the launchers inherit.
func (p *Process) launch(upload *os.File) (err error) {
	var theirs []*os.File
	defer func() {
		for _, f := range theirs { // else the agent would not see that the other end closes
			_ = f.Close()
		}
	}()
	var reports, control *os.File
	if p.reports, reports, err = socketPair(); err != nil {
		return err
	}
	theirs = append(theirs, reports)
	defer func() {
		if err != nil {
			_ = p.reports.Close()
		}
	}()
	if p.control, control, err = socketPair(); err != nil {
		return err
	}
	theirs = append(theirs, control)
	defer func() {
		if err != nil {
			_ = p.control.Close()
		}
	}()
	self, err := ownProgram()
	if err != nil {
		return err
	}
	theirs = append(theirs, self)
	inherits := []*os.File{fdReports - 3: reports, fdControl - 3: control, fdUpload - 3: upload, fdProgram - 3: self}
	if p.options.Program != nil {
		inherits = append(inherits, p.options.Program.Files...)
	}
	extra, err := p.command(inherits)
	theirs = append(theirs, extra...)
	if err != nil {
		return err
	}
	credential, note := p.options.User, ""
	if credential == nil {
		credential, note = newCredential()
	}
	if note != "" {
		p.notes = append(p.notes, note)
	}
	if p.output, err = newTail(); err != nil {
		return err
	}
	p.cmd.Stdout, p.cmd.Stderr = p.output.w, p.output.w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if err = run(p.cmd, p.ended); err != nil {
		p.output.close()
		return fmt.Errorf("start the sandbox: %w", err)
	}
	p.output.started()
	return nil
}

// prepare sets the limits and waits until the held program is ready.
func (p *Process) prepare(ctx context.Context, o order) error {
	deadline := time.Now().Add(setupTimeout)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	for _, c := range []*net.UnixConn{p.reports, p.control} {
		if err := c.SetDeadline(deadline); err != nil {
			return fmt.Errorf("create the sandbox: %w", err)
		}
	}
	stopWatching := context.AfterFunc(ctx, func() {
		_ = p.reports.SetDeadline(time.Unix(1, 0))
		_ = p.control.SetDeadline(time.Unix(1, 0))
	})
	defer stopWatching()
	if _, pid, err := receive(p.reports); err != nil {
		return fmt.Errorf("create the sandbox: %w", err)
	} else if p.init, err = os.FindProcess(pid); err != nil {
		return fmt.Errorf("create the sandbox: find its process 1: %w", err)
	}
	_, pid, err := receive(p.control)
	if err != nil {
		return fmt.Errorf("create the sandbox: %w", err)
	}
	p.pid = pid
	if p.options.User == nil {
		if err := p.confine(deadline); err != nil {
			return err
		}
	}
	if err := send(p.control, message{Op: opPrepare, Order: &o}); err != nil {
		return fmt.Errorf("prepare the file: %w", err)
	}
	m, _, err := receive(p.control)
	if errors.Is(err, errClosed) && ctx.Err() == nil {
		return fmt.Errorf("%w: unpacking it exceeded the limits of the sandbox (%d MB of memory)", ErrProgram, p.options.MemoryMB)
	} else if err != nil {
		return fmt.Errorf("prepare the file: %w", err)
	}
	if err := m.failure(); err != nil {
		return err
	}
	if m.Run == nil {
		return errors.New("prepare the file: the sandbox does not report what it runs")
	}
	p.run = *m.Run
	p.notes = append(p.notes, m.Notes...)
	for _, c := range []*net.UnixConn{p.reports, p.control} {
		if err := c.SetDeadline(time.Time{}); err != nil {
			return fmt.Errorf("create the sandbox: %w", err)
		}
	}
	if !stopWatching() {
		return fmt.Errorf("create the sandbox: %w", ctx.Err())
	}
	return nil
}

// confine identifies the processes of the sandbox, limits them, and connects their network.
func (p *Process) confine(deadline time.Time) error {
	p.namespace = procfs.PIDNamespace(p.pid)
	if p.namespace == "" || p.namespace == procfs.PIDNamespace(os.Getpid()) {
		return errors.New("create the sandbox: cannot distinguish its processes from others")
	}
	if err := p.limit(); err != nil {
		return err
	}
	if p.options.Network == NetworkNAT {
		if err := p.startNAT(deadline); err != nil {
			return err
		}
	}
	return nil
}

// limit sets the limits that the agent sets from outside the sandbox.
func (p *Process) limit() error {
	c, lacks := newCgroup(cgroupRoot, cgroupName(), limitsOf(p.options))
	p.cgroup = c
	if err := c.add(p.pid); err != nil {
		return fmt.Errorf("limit the sandbox: %w", err)
	}
	if lacks != "" {
		p.notes = append(p.notes, lacks)
	}
	p.limitFiles()
	return nil
}

// limitFiles limits the number of files in each writable folder.
func (p *Process) limitFiles() {
	for _, dir := range []string{homeDir, "/tmp", "/dev/shm"} {
		err := limitInodes(p.pid, dir, inodes(p.options.DiskMB))
		if err == nil {
			continue
		}
		p.options.Log.Debug("the number of files cannot be limited", "folder", dir, "error", err)
		if !p.cgroup.controls("memory") { // else they count as that
			p.notes = append(p.notes, "the number of empty files is not limited: that takes root, or a memory cgroup")
		}
		return
	}
}

// inodes returns the maximum number of files in each writable folder.
func inodes(diskMB int) int { return max(4096, 64*diskMB) }

// limitInodes limits the number of files on a tmpfs in a sandbox. bubblewrap limits only
// their size, and each file uses about a kilobyte of kernel memory.
func limitInodes(pid int, dir string, n int) error {
	fs, err := unix.Fspick(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid)+"/root"+dir, unix.FSPICK_CLOEXEC|unix.FSPICK_NO_AUTOMOUNT)
	if err != nil {
		return fmt.Errorf("fspick: %w", err)
	}
	defer unix.Close(fs) //nolint:errcheck // nothing was written
	if err := unix.FsconfigSetString(fs, "nr_inodes", strconv.Itoa(n)); err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	if err := unix.FsconfigReconfigure(fs); err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	return nil
}

// abandon ends a sandbox that failed to start, and returns what it printed as an error.
func (p *Process) abandon() string {
	p.killAll()
	<-p.ended
	p.cleanUp()
	return strings.TrimSpace(string(p.output.last(1000)))
}

// run starts a command in a process group of its own and closes ended when the command has
// ended. The kernel kills a process with a parent-death signal when the parent's *thread* ends.
// Therefore run keeps a thread for the command until then.
func run(cmd *exec.Cmd, ended chan struct{}) error {
	cmd.SysProcAttr.Setpgid = true
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			killRest(cmd.Process.Pid)
			_ = cmd.Wait() // the exit code is not that of the program
			close(ended)
		}
	}()
	return <-started
}

// killRest waits until a leader of a process group has ended, and kills the rest of the group.
// bubblewrap's child waits until bubblewrap has set its user. If bubblewrap is killed before that,
// the child would wait forever. The leader is not reaped yet, so no other group has its number.
func killRest(leader int) {
	for unix.Waitid(unix.P_PID, leader, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	_ = unix.Kill(-leader, unix.SIGKILL) // most often none is left
}
