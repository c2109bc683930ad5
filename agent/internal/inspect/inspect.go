//go:build linux

// Package inspect reads what a watched program controls: its files, its memory map and
// its arguments. Such a read can block forever (a FUSE server that does not answer, a
// lock that the program holds) or use much CPU time (a crafted file), and the kernel may
// be unable to kill the reading thread. Therefore a helper process reads. The helper is
// the agent's own program with another command. The agent waits a bounded time for an
// answer and then kills the helper.
//
// The package must not know which programs are watched, nor how callers use the results.
package inspect

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/confined"
)

// Command is the agent's hidden command that runs the helper.
const Command = "inspect"

const (
	// idleTime is how long the helper waits for the next question before it exits.
	idleTime = time.Minute
	// maxMessageBytes bounds one message in either direction.
	maxMessageBytes = 128 << 10
	// maxListed bounds the files of one process or folder. maxMapsBytes bounds how
	// much of /proc/PID/maps the helper reads.
	maxListed    = 4096
	maxMapsBytes = 16 << 20
	// maxArgumentBytes bounds the arguments of one process. They must fit into one
	// message.
	maxArgumentBytes = 64 << 10
	// maxKept bounds for how many files the helper keeps the result.
	maxKept = 1 << 14
)

// The questions. Each needs a PID.
const (
	askTLS       = "tls"       // the functions for TLS in the first path that can be opened
	askMapped    = "mapped"    // the files that a process has mapped as executable
	askFolder    = "folder"    // the regular files below a process's working directory
	askArguments = "arguments" // the arguments of a process
)

// question is one message to the helper. Paths are bytes because JSON strings cannot
// hold invalid UTF-8.
type question struct {
	Ask   string   `json:"ask"`
	PID   int      `json:"pid,omitempty"`
	Paths [][]byte `json:"paths,omitempty"`
	Max   int      `json:"max,omitempty"`
}

// answer is one message from the helper. The helper answers a question with any number
// of messages with Paths, and one message with Last.
type answer struct {
	Paths [][]byte      `json:"paths,omitempty"`
	File  *File         `json:"file,omitempty"` // comes with an open descriptor if it has Functions
	Text  []byte        `json:"text,omitempty"`
	Fault string        `json:"fault,omitempty"`
	Used  time.Duration `json:"used,omitempty"` // CPU time
	Last  bool          `json:"last,omitempty"`
}

// File is a file that was inspected.
type File struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Found
}

// fileKey identifies the content of a file: it differs after the file has changed.
type fileKey struct {
	device, inode uint64
	size, changed int64 // changed: ctime in nanoseconds
}

// errRefused means that the helper does not read a file, because that could block.
var errRefused = errors.New("the agent does not read it")

// helper is the state of the helper process.
type helper struct {
	conn *net.UnixConn
	kept map[fileKey]Found
}

// Serve runs Command. It answers questions until the agent closes the socket or asks
// nothing for idleTime. It returns the exit code.
func Serve(stderr io.Writer) int {
	// dropPrivileges changes one thread only: all reads must come from it.
	runtime.LockOSThread()
	_ = os.WriteFile("/proc/self/comm", []byte("inspect"), 0) // cosmetic
	if err := dropPrivileges(); err != nil {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent: inspect:", err)
		return 1
	}
	file := os.NewFile(confined.Socket, "socket")
	c, err := net.FileConn(file)
	_ = file.Close()
	conn, ok := c.(*net.UnixConn)
	if err != nil || !ok {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent: inspect: only the agent can start this command")
		return 1
	}
	h := &helper{conn: conn, kept: map[fileKey]Found{}}
	if err := h.send(answer{Last: true}, nil); err != nil { // tells the agent that the helper is ready
		return 1
	}
	text := make([]byte, maxMessageBytes)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idleTime)) // sockets support deadlines
		n, err := conn.Read(text)
		if err != nil || n == 0 {
			return 0
		}
		var q question
		if err := json.Unmarshal(text[:n], &q); err != nil {
			return 1
		}
		if err := h.answer(q); err != nil {
			return 1
		}
	}
}

// dropPrivileges keeps only the capabilities that reading other users' processes and
// files requires.
func dropPrivileges() error {
	wanted := []uint{unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_PTRACE, unix.CAP_CHECKPOINT_RESTORE}
	if unix.Prctl(unix.PR_CAPBSET_READ, unix.CAP_CHECKPOINT_RESTORE, 0, 0, 0) != nil { // before Linux 5.9
		wanted = append(wanted, unix.CAP_SYS_ADMIN)
	}
	return confined.KeepCapabilities(wanted...)
}

// answer answers a question. An error means that the agent is gone.
func (h *helper) answer(q question) error {
	began := processorTime()
	var (
		last   answer
		handle *os.File
		err    error
	)
	switch q.Ask {
	case askTLS:
		last.File, handle, err = h.tls(q.PID, q.Paths)
	case askMapped:
		err = h.mapped(q.PID)
	case askFolder:
		err = h.folder(q.PID)
	case askArguments:
		last.Text, err = arguments(q.PID, q.Max)
	default:
		err = fmt.Errorf("%w: %q is unknown", errRefused, q.Ask)
	}
	if handle != nil {
		defer handle.Close()
	}
	if err != nil {
		last.Fault = err.Error()
	}
	last.Last, last.Used = true, processorTime()-began
	return h.send(last, handle)
}

func (h *helper) send(a answer, handle *os.File) error {
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	var rights []byte
	if handle != nil {
		rights = unix.UnixRights(int(handle.Fd()))
	}
	if _, _, err := h.conn.WriteMsgUnix(text, rights, nil); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// processorTime returns the CPU time that this process has used.
func processorTime() time.Duration {
	var used unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used) // every kernel has this clock
	return time.Duration(used.Nano())
}

// tls inspects the first of the paths that it can open. pid is the process whose
// mountinfo lists the file system (0: the agent). The returned file is open if it defines
// functions for TLS, else nil.
func (h *helper) tls(pid int, paths [][]byte) (*File, *os.File, error) {
	for _, path := range paths {
		// O_PATH has no side effects on devices and pipes.
		handle, err := unix.Open(string(path), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		file, opened, err := h.tlsOf(pid, handle)
		_ = unix.Close(handle) // O_PATH: there is nothing to write
		return file, opened, err
	}
	return nil, nil, fs.ErrNotExist
}

func (h *helper) tlsOf(pid, handle int) (*File, *os.File, error) {
	// Use the attributes that the kernel has cached: asking the file system could block.
	var stat unix.Statx_t
	if err := unix.Statx(handle, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS, &stat); err != nil {
		return nil, nil, fmt.Errorf("stat: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, nil, fmt.Errorf("%w: it is not a regular file", errRefused)
	}
	if err := checkFileSystem(pid, handle); err != nil {
		return nil, nil, err
	}
	file := &File{Device: unix.Mkdev(stat.Dev_major, stat.Dev_minor), Inode: stat.Ino}
	key := fileKey{file.Device, file.Inode, int64(stat.Size), stat.Ctime.Sec*1e9 + int64(stat.Ctime.Nsec)}
	found, known := h.kept[key]
	if file.Found = found; known && len(found.Functions) == 0 {
		return file, nil, nil
	}
	// Without O_NONBLOCK, the holder of a lease on the file could delay the open.
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(handle), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	opened := os.NewFile(uintptr(fd), "inspected")
	if !known {
		found, err = TLS(opened)
		file.Found = found
		if len(h.kept) >= maxKept {
			clear(h.kept)
		}
		h.kept[key] = found // also after an error, which would occur again
	}
	if err != nil || len(found.Functions) == 0 {
		_ = opened.Close()
		return file, nil, err
	}
	return file, opened, nil
}

// mapped sends an answer for each file that a process has mapped as executable: the
// range of addresses, and the path in the process's own view.
func (h *helper) mapped(pid int) error {
	maps, err := os.Open(procPath(pid, "maps"))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer maps.Close()
	var last []byte
	listed := 0
	lines := bufio.NewScanner(io.LimitReader(maps, maxMapsBytes))
	for lines.Scan() && listed < maxListed {
		// A line has addresses, permissions, offset, device, inode and path.
		fields := bytes.Fields(lines.Bytes())
		at := bytes.IndexByte(lines.Bytes(), '/')
		if len(fields) < 6 || at < 0 || fields[5][0] != '/' || !bytes.Contains(fields[1], []byte("x")) {
			continue
		}
		path := lines.Bytes()[at:]
		if bytes.Equal(path, last) {
			continue
		}
		last = bytes.Clone(path)
		listed++
		if err := h.send(answer{Paths: [][]byte{fields[0], path}}, nil); err != nil {
			return err
		}
	}
	return lines.Err()
}

// folder sends an answer for each regular file below the working directory of a process,
// if the process is in another mount namespace. In a sandbox this folder has the files
// that came with the program. Outside of one, it may be any folder of this machine and
// says nothing about the program.
func (h *helper) folder(pid int) error {
	own, err1 := os.Readlink("/proc/self/ns/mnt")
	its, err2 := os.Readlink(procPath(pid, "ns/mnt"))
	if err := errors.Join(err1, err2); err != nil || own == its {
		return err
	}
	seen, began := 0, processorTime()
	// Skip folders that cannot be read.
	return filepath.WalkDir(procPath(pid, "cwd/"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // continue with the other files
		}
		if seen++; seen > maxListed || processorTime()-began > maxProcessorTime {
			return fs.SkipAll
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return h.send(answer{Paths: [][]byte{[]byte(path)}}, nil)
	})
}

// arguments returns the first maxBytes of /proc/PID/cmdline.
func arguments(pid, maxBytes int) ([]byte, error) {
	file, err := os.Open(procPath(pid, "cmdline"))
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, int64(min(maxBytes, maxArgumentBytes+1))))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return text, nil
}

func procPath(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }
