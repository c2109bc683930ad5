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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/confined"
)

const (
	// startTime is how long the helper may take to start. fileTime and argumentTime
	// are how long it may take to answer: no harmless file takes that long, even on a
	// busy machine.
	startTime    = 30 * time.Second
	fileTime     = 5 * time.Second
	argumentTime = 2 * time.Second
	// maxStuck is how many killed helpers may hang in the kernel at the same time.
	maxStuck = 8

	// Each user has a budget of CPU time. An inspection costs the CPU time that it
	// used, or stallCharge if it timed out. The debt shrinks by one share-th of the
	// elapsed time. While it exceeds account, the agent does not inspect the user's
	// processes.
	account     = 20 * time.Second
	stallCharge = 10 * time.Second
	share       = 10
	maxAccounts = 1 << 12
)

// Errors of a Helper.
var (
	// ErrTime means that a file or a process did not answer in time.
	ErrTime = errors.New("it does not answer")
	// ErrBusy means that the inspections of a user have taken too much time.
	ErrBusy = errors.New("the inspections of its user have taken too much time")
	// ErrGone means that there is no such process.
	ErrGone = errors.New("it is gone")
	// ErrClosed means that the Helper is closed.
	ErrClosed = errors.New("the helper is closed")
)

// Helper runs the helper process and asks it. It starts the process with the first
// question and kills it when it does not answer in time. All methods may be called
// concurrently. The Helper asks one question at a time.
//
// A method that asks returns ErrTime, ErrBusy, ErrGone or ErrClosed, the cause of the end
// of ctx, or an error that the helper process reported.
type Helper struct {
	log          *slog.Logger
	now          func() time.Time
	fileTime     time.Duration
	argumentTime time.Duration

	turn     chan struct{} // semaphore of size 1; its holder owns accounts and buffer
	accounts map[int]debt
	buffer   []byte

	running atomic.Int32 // helper processes that have not ended
	mu      sync.Mutex
	closed  bool
	current *child // nil while there is none
}

// debt is the CPU time that a user owes at a point in time.
type debt struct {
	used time.Duration
	at   time.Time
}

// child is one helper process.
type child struct{ *confined.Process }

// New creates a Helper. It starts no process.
func New(log *slog.Logger) *Helper {
	return &Helper{
		log: log, now: time.Now, fileTime: fileTime, argumentTime: argumentTime,
		turn: make(chan struct{}, 1), accounts: map[int]debt{}, buffer: make([]byte, maxMessageBytes),
	}
}

// TLS inspects the first of the paths that the helper can open, on behalf of
// process pid (0: the agent). If the file defines functions for TLS, handle is the open
// file, which the caller closes; it is then a regular file on a local file system. Else
// handle is nil.
func (h *Helper) TLS(ctx context.Context, pid int, paths ...string) (file *File, handle *os.File, err error) {
	q := question{Ask: askTLS, PID: pid}
	for _, path := range paths {
		q.Paths = append(q.Paths, []byte(path))
	}
	last, handle, err := h.ask(ctx, h.fileTime, q, nil)
	return last.File, handle, err
}

// Mapped calls each for every file that a process has mapped as executable, with the
// range of addresses and the path in the process's own view.
func (h *Helper) Mapped(ctx context.Context, pid int, each func(addresses, path string)) error {
	_, _, err := h.ask(ctx, h.fileTime, question{Ask: askMapped, PID: pid}, func(paths [][]byte) {
		if len(paths) == 2 {
			each(string(paths[0]), string(paths[1]))
		}
	})
	return err
}

// Folder calls each for every regular file below the working directory of a process in
// a sandbox. It calls nothing for a process outside of a sandbox.
func (h *Helper) Folder(ctx context.Context, pid int, each func(path string)) error {
	_, _, err := h.ask(ctx, h.fileTime, question{Ask: askFolder, PID: pid}, func(paths [][]byte) {
		if len(paths) == 1 {
			each(string(paths[0]))
		}
	})
	return err
}

// Arguments returns the first maxBytes of the arguments of a process, at most 64 KiB,
// split into arguments. isCut reports whether there are more.
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

// Close kills the helper process and does not wait for its end.
func (h *Helper) Close() {
	h.mu.Lock()
	h.closed = true
	c := h.current
	h.current = nil
	h.mu.Unlock()
	if c != nil {
		c.Kill()
	}
}

// ask sends a question to the helper process. It calls each for every list of paths and
// returns the last answer.
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
	// Try a second process: the first may just have ended because it was idle.
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

// userOf returns the user of a process, who pays for the inspection.
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

// owes returns the current debt of a user.
func (h *Helper) owes(user int) time.Duration {
	d := h.accounts[user]
	return max(0, d.used-h.now().Sub(d.at)/share)
}

// charge adds to the debt of a user.
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
		h.log.Warn("inspecting the processes of a user takes too much time; the agent pauses it and may miss TLS content",
			"user", user, "used", before+used)
	}
}

// child returns the helper process. It starts one if there is none.
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

// start starts a helper process and makes it the current one. The caller holds mu.
func (h *Helper) start() (*child, error) {
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.running.Load() >= maxStuck:
		return nil, fmt.Errorf("%d helpers are stuck in the kernel: %w", maxStuck, ErrTime)
	}
	h.running.Add(1)
	started, err := confined.Start(Command, unix.SOCK_SEQPACKET, []string{"GOMEMLIMIT=48MiB", "GOMAXPROCS=2"}, os.Stderr, func() { h.running.Add(-1) })
	if err != nil {
		h.running.Add(-1)
		return nil, err
	}
	c := &child{started}
	h.current = c
	return c, nil
}

// ready waits until the helper process reports that it is ready.
func (c *child) ready(buffer []byte) error {
	if err := c.Conn.SetDeadline(time.Now().Add(startTime)); err != nil {
		return fmt.Errorf("start the helper: %w", err)
	}
	if n, err := c.Conn.Read(buffer); err != nil || n == 0 {
		return fmt.Errorf("start the helper: %w", errors.Join(errors.New("it ended"), err))
	}
	return nil
}

// drop kills a helper process that failed, so that the next question starts another.
func (h *Helper) drop(c *child) {
	h.mu.Lock()
	if h.current == c {
		h.current = nil
	}
	h.mu.Unlock()
	c.Kill()
}

// ask sends a question to this helper process and reads its answers.
func (c *child) ask(ctx context.Context, limit time.Duration, q question, buffer []byte, each func(paths [][]byte)) (last answer, handle *os.File, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return last, nil, fmt.Errorf("ask the helper: %w", err)
	}
	if err := c.Conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return last, nil, fmt.Errorf("ask the helper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Conn.Write(text); err != nil {
		return last, nil, fault(err)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		n, rn, _, _, err := c.Conn.ReadMsgUnix(buffer, rights)
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

// fault turns the error of a socket into ErrTime if the time was up.
func fault(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTime
	}
	return fmt.Errorf("ask the helper: %w", err)
}

// handleOf returns the open file that came with a message, or nil.
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
