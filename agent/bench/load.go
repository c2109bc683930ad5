//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load is a program that is measured.
type load struct {
	dir     string
	env     []string
	command []string
}

// held is a started load that waits for a line on its input.
type held struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr strings.Builder
}

// hold starts a shell, under the wrapper if there is one, that reads a line and then
// executes the load.
func hold(ctx context.Context, wrapper []string, l load) (*held, error) {
	l.command = slices.Concat(wrapper, []string{"sh", "-c", `read -r go && exec "$@"`, "sh"}, l.command)
	return start(ctx, l)
}

// start starts a load that itself waits for a line.
func start(ctx context.Context, l load) (*held, error) {
	h := &held{cmd: exec.CommandContext(ctx, l.command[0], l.command[1:]...)}
	h.cmd.Dir, h.cmd.Env, h.cmd.Stderr = l.dir, l.env, &h.stderr
	var err error
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.stdout = bufio.NewReader(out)
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a load: %w", err)
	}
	return h, nil
}

func (h *held) pid() int { return h.cmd.Process.Pid }

// release sends the line.
func (h *held) release() error {
	if _, err := io.WriteString(h.stdin, "go\n"); err != nil {
		return fmt.Errorf("release a load: %w", err)
	}
	return nil
}

// seconds reads the line in which the load reports its duration.
func (h *held) seconds() (float64, error) {
	text, err := h.stdout.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("read the duration of a load: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(text), 64)
}

// finish closes the input and waits until the load ends.
func (h *held) finish() error {
	_ = h.stdin.Close() // it may have ended
	_, err := io.Copy(io.Discard, h.stdout)
	if waited := h.cmd.Wait(); waited != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(h.cmd.Args, " "), waited, &h.stderr)
	}
	return err
}

// cpu returns the processor time in seconds of an ended load and of the children that it
// waited for.
func (h *held) cpu() float64 {
	return (h.cmd.ProcessState.UserTime() + h.cmd.ProcessState.SystemTime()).Seconds()
}

// end kills a load that has not finished.
func (h *held) end() {
	if h.cmd.ProcessState == nil {
		_ = h.cmd.Process.Kill() // it may have ended
		_ = h.cmd.Wait()         // the kill is its error
	}
}

// run releases the load, waits for its end and returns the seconds in between.
func (h *held) run() (float64, error) {
	began := time.Now()
	err := errors.Join(h.release(), h.finish())
	return time.Since(began).Seconds(), err
}

// filesCommand makes this program a load of file operations: FILE ROUNDS RATE. Each
// round opens the file, writes, reads and closes it: four events. RATE is in events a
// second, 0 for as fast as possible. The load writes "ready", waits for a line, does its
// rounds and writes their duration in seconds. Before that write it waits until the agent
// has emptied its buffer: otherwise the event of the write could be lost and counted,
// although it is not one of the rounds'. The load ends when its input closes.
const filesCommand = "be-files"

const (
	eventsPerRound = 4
	// pace is the interval in which a load with a rate catches up.
	pace = time.Millisecond
	// readTime is long enough for the agent to empty its buffer.
	readTime = 2 * time.Second
)

func doFiles(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 3 {
		return errors.New("usage: " + filesCommand + " FILE ROUNDS RATE")
	}
	rounds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	rate, err := strconv.ParseFloat(args[2], 64)
	if err != nil {
		return err
	}
	file, err := newRawFile(args[0])
	if err != nil {
		return err
	}
	// New threads of the Go runtime would be events as well.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	if _, err := fmt.Fprintln(stdout, "ready"); err != nil {
		return err
	}
	input := bufio.NewReader(stdin)
	if _, err := input.ReadString('\n'); err != nil {
		return err
	}
	began := time.Now()
	for done := 0; done < rounds; {
		due := rounds
		if rate > 0 {
			due = min(rounds, int(time.Since(began).Seconds()*rate/eventsPerRound))
		}
		for ; done < due; done++ {
			if fault := file.round(); fault != 0 {
				return fmt.Errorf("work with %s: %w", args[0], fault)
			}
		}
		if done < rounds {
			nap(pace)
		}
	}
	took := time.Since(began).Seconds()
	nap(readTime)
	if _, err := fmt.Fprintln(stdout, took); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, input)
	return err
}

// rawFile makes raw system calls. os.File would make additional ones, and Go may start a
// thread while a call blocks.
type rawFile struct {
	path    *byte
	content [64]byte
}

func newRawFile(path string) (*rawFile, error) {
	name, err := syscall.BytePtrFromString(path)
	return &rawFile{path: name}, err
}

// round makes the four calls of a round; 0 is success.
func (f *rawFile) round() syscall.Errno {
	const size = uintptr(len(f.content))
	at := unix.AT_FDCWD
	content := uintptr(unsafe.Pointer(&f.content))
	fd, _, fault := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(f.path)), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600, 0, 0)
	if fault != 0 {
		return fault
	}
	for _, call := range [...]uintptr{syscall.SYS_PWRITE64, syscall.SYS_PREAD64} {
		n, _, fault := syscall.RawSyscall6(call, fd, content, size, 0, 0, 0)
		switch {
		case fault != 0:
			return fault
		case n != size:
			return syscall.EIO
		}
	}
	_, _, fault = syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	return fault
}

// nap blocks the current thread.
func nap(d time.Duration) {
	for until := time.Now().Add(d); d > 0; d = time.Until(until) {
		left := syscall.NsecToTimespec(int64(d))
		_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&left)), 0, 0) // the loop repeats an interrupted call
	}
}

// callsCommand makes this program a load of system calls: KIND FILE N. copy reads and
// writes 64 KiB, read reads 4 KiB, getpid transfers nothing.
const callsCommand = "be-calls"

func doCalls(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 3 {
		return errors.New("usage: " + callsCommand + " copy|read|getpid FILE N")
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	fd, err := syscall.Open(args[1], syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = syscall.Close(fd) }()
	block := make([]byte, 64<<10)
	if _, err := syscall.Pwrite(fd, block, 0); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	call, ok := map[string]func() error{
		"copy": func() error {
			_, err := syscall.Pread(fd, block, 0)
			if err == nil {
				_, err = syscall.Pwrite(fd, block, 0)
			}
			return err
		},
		"read": func() error {
			_, err := syscall.Pread(fd, block[:4096], 0)
			return err
		},
		"getpid": func() error {
			_, _, _ = syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
			return nil
		},
	}[args[0]]
	if !ok {
		return fmt.Errorf("no calls are named %q", args[0])
	}
	if _, err := bufio.NewReader(stdin).ReadString('\n'); err != nil {
		return err
	}
	began := time.Now()
	for range n {
		if err := call(); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
	}
	_, err = fmt.Fprintln(stdout, time.Since(began).Seconds())
	return err
}
