//go:build linux

package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// startTime is how long the helper may take to start, fileTime and argumentTime
	// how long for one answer: longer than any good file takes on a busy machine.
	startTime    = 30 * time.Second
	fileTime     = 5 * time.Second
	argumentTime = 2 * time.Second
	// maxStuck is how many helpers may be stuck in the kernel, killed and not yet
	// ended.
	maxStuck = 8

	// Each user has an account of processor time. An inspection is charged what it
	// used, and one that did not end stallCharge. A user who has overdrawn waits
	// until share of the time that passes has paid for it.
	account     = 20 * time.Second
	stallCharge = 10 * time.Second
	share       = 10 // a tenth
	maxAccounts = 1 << 12
)

// Errors of a Helper.
var (
	// ErrTime is the cause when a file or a process did not answer in time.
	ErrTime = errors.New("it does not answer")
	// ErrBusy is the cause when the processes of a user have cost too much.
	ErrBusy = errors.New("its user's files have taken too much time")
	// ErrGone is the cause when there is no such file or process.
	ErrGone = errors.New("it is gone")
	// ErrClosed is the cause after Close.
	ErrClosed = errors.New("the helper is closed")
)

// Helper asks a process of its own, which it starts when it is asked for something
// and ends when it does not answer in time. Its methods may be called at any time;
// questions take turns.
type Helper struct {
	log          *slog.Logger
	now          func() time.Time
	fileTime     time.Duration
	argumentTime time.Duration

	turn     chan struct{} // semaphore of size 1; the two fields below are owned by the holder
	accounts map[int]debt
	buffer   []byte

	running atomic.Int32 // helper processes
	mu      sync.Mutex
	closed  bool
	current *child // nil while there is none
}

// debt is what a user's inspections have cost, as of a time.
type debt struct {
	used time.Duration
	at   time.Time
}

// child is one helper process.
type child struct {
	cmd  *exec.Cmd
	conn *net.UnixConn
}

// New makes a Helper. It starts nothing yet.
func New(log *slog.Logger) *Helper {
	return &Helper{
		log: log, now: time.Now, fileTime: fileTime, argumentTime: argumentTime,
		turn: make(chan struct{}, 1), accounts: map[int]debt{}, buffer: make([]byte, maxMessageBytes),
	}
}

// OpenSSL looks at the first of the paths that can be opened, on behalf of a
// process (0: the agent). handle is the open file if it has functions of OpenSSL,
// else nil; the caller closes it. The file is local and regular then.
func (h *Helper) OpenSSL(ctx context.Context, pid int, paths ...string) (file *File, handle *os.File, err error) {
	q := question{Ask: askOpenSSL, PID: pid}
	for _, path := range paths {
		q.Paths = append(q.Paths, []byte(path))
	}
	last, handle, err := h.ask(ctx, h.fileTime, q, nil)
	return last.File, handle, err
}

// Mapped gives for each file that a process has mapped to run the range of
// addresses, and the path that the process has it by.
func (h *Helper) Mapped(ctx context.Context, pid int, each func(addresses, path string)) error {
	_, _, err := h.ask(ctx, h.fileTime, question{Ask: askMapped, PID: pid}, func(paths [][]byte) {
		if len(paths) == 2 {
			each(string(paths[0]), string(paths[1]))
		}
	})
	return err
}

// Folder gives the regular files below the working directory of a process in a
// sandbox; none of a process that is in none.
func (h *Helper) Folder(ctx context.Context, pid int, each func(path string)) error {
	_, _, err := h.ask(ctx, h.fileTime, question{Ask: askFolder, PID: pid}, func(paths [][]byte) {
		if len(paths) == 1 {
			each(string(paths[0]))
		}
	})
	return err
}

// Arguments gives the arguments that lie in the first maxBytes, 64 KiB at most, of
// all that a process shows, and whether there are more.
func (h *Helper) Arguments(ctx context.Context, pid, maxBytes int) (args []string, isCut bool, err error) {
	maxBytes = min(maxBytes, maxArgumentBytes)
	last, _, err := h.ask(ctx, h.argumentTime, question{Ask: askArguments, PID: pid, Max: maxBytes + 1}, nil)
	if err != nil || len(last.Text) == 0 {
		return nil, false, err
	}
	if isCut = len(last.Text) > maxBytes; isCut {
		last.Text = last.Text[:maxBytes]
	}
	return strings.Split(strings.TrimSuffix(string(last.Text), "\x00"), "\x00"), isCut, nil
}

// Close ends the helper process. It waits for nothing that a stuck one waits for.
func (h *Helper) Close() {
	h.mu.Lock()
	h.closed = true
	c := h.current
	h.current = nil
	h.mu.Unlock()
	if c != nil {
		c.kill()
	}
}

// ask asks the helper, and gives each list of paths and then the last answer.
func (h *Helper) ask(ctx context.Context, limit time.Duration, q question, each func(paths [][]byte)) (last answer, handle *os.File, err error) {
	user, err := userOf(q.PID)
	if err != nil {
		return last, nil, err
	}
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return last, nil, context.Cause(ctx)
	}
	defer func() { <-h.turn }()
	if h.owes(user) > account {
		return last, nil, ErrBusy
	}
	// One that has idled for long may just have ended: the next one answers.
	for range 2 {
		var c *child
		if c, err = h.child(); err != nil {
			return last, nil, err
		}
		last, handle, err = c.ask(ctx, limit, q, h.buffer, each)
		if err == nil {
			break
		}
		h.drop(c)
		if ctx.Err() != nil {
			return last, nil, context.Cause(ctx)
		}
		if errors.Is(err, ErrTime) {
			h.charge(user, stallCharge)
			return last, nil, err
		}
	}
	if err != nil {
		return last, nil, err
	}
	h.charge(user, last.Used)
	if last.Fault != "" && handle == nil {
		return last, nil, fmt.Errorf("inspect: %s", last.Fault)
	}
	return last, handle, nil
}

// userOf gives the user of a process: whose account is charged.
func userOf(pid int) (int, error) {
	if pid == 0 {
		return -1, nil
	}
	var stat unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(pid), &stat); err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	return int(stat.Uid), nil
}

// owes gives what a user owes by now.
func (h *Helper) owes(user int) time.Duration {
	d := h.accounts[user]
	return max(0, d.used-h.now().Sub(d.at)/share)
}

func (h *Helper) charge(user int, used time.Duration) {
	if len(h.accounts) >= maxAccounts {
		for other := range h.accounts {
			if h.owes(other) == 0 {
				delete(h.accounts, other)
			}
		}
	}
	before := h.owes(user)
	h.accounts[user] = debt{before + used, h.now()}
	if before <= account && before+used > account {
		h.log.Warn("the files of a user's processes take too much time and are not inspected for a while: TLS in them may not be read",
			"user", user, "used", before+used)
	}
}

// child gives the helper process, started if there is none.
func (h *Helper) child() (*child, error) {
	h.mu.Lock()
	if c := h.current; c != nil {
		h.mu.Unlock()
		return c, nil
	}
	c, err := h.start()
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := c.ready(h.buffer); err != nil {
		h.drop(c)
		return nil, err
	}
	return c, nil
}

// start starts a helper process, as the current one. The caller holds mu.
func (h *Helper) start() (*child, error) {
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.running.Load() >= maxStuck:
		return nil, fmt.Errorf("%d helpers are stuck in the kernel: %w", maxStuck, ErrTime)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start the helper: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("start the helper: %w", err)
	}
	c := &child{cmd: exec.Command("/proc/self/exe", Command), conn: conn.(*net.UnixConn)} //nolint:noctx,forcetypeassert // kill ends it; the socket is a Unix socket
	c.cmd.Dir, c.cmd.Env, c.cmd.ExtraFiles = "/", []string{"GOMEMLIMIT=48MiB", "GOMAXPROCS=2"}, []*os.File{theirs}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the agent
	if err := c.cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start the helper: %w", err)
	}
	h.running.Add(1)
	go func() {
		_ = c.cmd.Wait() // how it ended does not matter
		h.running.Add(-1)
	}()
	h.current = c
	return c, nil
}

// ready waits until the helper process says that it reads.
func (c *child) ready(buffer []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(startTime)); err != nil {
		return fmt.Errorf("start the helper: %w", err)
	}
	if n, err := c.conn.Read(buffer); err != nil || n == 0 {
		return fmt.Errorf("start the helper: %w", errors.Join(errors.New("it ended"), err))
	}
	return nil
}

// drop ends a helper process, unless Close did.
func (h *Helper) drop(c *child) {
	h.mu.Lock()
	if h.current == c {
		h.current = nil
	}
	h.mu.Unlock()
	c.kill()
}

// kill ends a helper process, and does not wait: one that is stuck in the kernel
// ends when it can.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.conn.Close()
}

// ask asks one helper process.
func (c *child) ask(ctx context.Context, limit time.Duration, q question, buffer []byte, each func(paths [][]byte)) (last answer, handle *os.File, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return last, nil, fmt.Errorf("ask the helper: %w", err)
	}
	if err := c.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return last, nil, fmt.Errorf("ask the helper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.conn.Write(text); err != nil {
		return last, nil, fault(err)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		n, rn, _, _, err := c.conn.ReadMsgUnix(buffer, rights)
		if err == nil && n == 0 {
			err = net.ErrClosed
		}
		if err != nil {
			return last, nil, fault(err)
		}
		handle = handleOf(rights[:rn])
		last = answer{}
		if err := json.Unmarshal(buffer[:n], &last); err != nil {
			return last, nil, fmt.Errorf("the helper's answer: %w", err)
		}
		if last.Last {
			return last, handle, nil
		}
		if each != nil {
			each(last.Paths)
		}
	}
}

func fault(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTime
	}
	return fmt.Errorf("ask the helper: %w", err)
}

// handleOf gives the open file that came with a message; nil if none did.
func handleOf(rights []byte) *os.File {
	controls, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(controls) == 0 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&controls[0])
	if err != nil || len(fds) == 0 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "inspected")
}
