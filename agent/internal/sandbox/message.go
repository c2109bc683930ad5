//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/confined"
)

// The messages between the agent and the launchers in the sandbox.
const (
	opHere    = "here"    // from both launchers: it runs
	opPrepare = "prepare" // from the agent: limits are set, unpack the file
	opReady   = "ready"   // from the held program: it waits for opGo
	opGo      = "go"      // from the agent: become the program
	opFault   = "fault"   // from the held program: it failed
	opExited  = "exited"  // from process 1: the program has ended
)

const maxMessageBytes = 160 << 10 // every socket accepts a message of this size

type message struct {
	Op      string   `json:"op"`
	Order   *order   `json:"order,omitempty"`
	Run     *Run     `json:"run,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Fault   string   `json:"fault,omitempty"`
	Program bool     `json:"program,omitempty"` // the file is at fault
	Errno   int      `json:"errno,omitempty"`   // of execve
	Status  uint32   `json:"status,omitempty"`
}

// failure returns the error that a message reports, or nil.
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

// programError is an ErrProgram that a launcher reported.
type programError string

func (e programError) Error() string { return string(e) }
func (programError) Unwrap() error   { return ErrProgram }

// order says what to run, and how.
type order struct {
	Name   string // of the uploaded file
	Entry  string
	Args   []string
	Limits limits
	// Program is what to execute instead of the file; nil: the file.
	Program      []string
	ProgramFiles int // how many files Program inherits
}

// limits are the limits of Options, with defaults applied.
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

// errClosed means that the other end of a socket is closed.
var errClosed = errors.New("it has ended")

func send(c *net.UnixConn, m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = c.Write(text)
	return err
}

// receive returns the next message and the pid of its sender, as the kernel reports it.
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

// socketPair returns two connected sockets. Ours says which process has sent each message.
func socketPair() (*net.UnixConn, *os.File, error) {
	ours, theirs, err := confined.SocketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	raw, err := ours.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, controlErr)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("create a pair of sockets: %w", err), ours.Close(), theirs.Close())
	}
	return ours, theirs, nil
}

// receiveOp returns the agent's next message. It returns an error if its Op is not op.
func receiveOp(c *net.UnixConn, op string) (m message, err error) {
	text := make([]byte, maxMessageBytes)
	n, err := c.Read(text)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text[:n], &m); err != nil {
		return m, fmt.Errorf("receive a message of the agent: %w", err)
	}
	if m.Op != op {
		return m, fmt.Errorf("the message is %q, want %q", m.Op, op)
	}
	return m, nil
}

// reportFault reports a failure to the agent and returns the same error.
func reportFault(c *net.UnixConn, fault error) error {
	m := message{Op: opFault, Fault: strings.ToValidUTF8(fault.Error(), "?"), Program: errors.Is(fault, ErrProgram)}
	if len(m.Fault) > 4000 {
		m.Fault = strings.ToValidUTF8(m.Fault[:4000], "") + " …"
	}
	return errors.Join(fault, send(c, m))
}
