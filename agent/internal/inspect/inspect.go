//go:build linux

// Package inspect reads what a watched program controls: its files, its memory
// map, its arguments. Such a read can take for ever (a FUSE server that does not
// answer, a lock that the program holds) or cost a processor (a file that is made
// for it), and the kernel may not even let the reading thread be killed. So a
// helper process reads, which is the agent's own program under another command;
// the agent waits for it for a bounded time and then ends it. The package must not
// know who is watched, nor what becomes of what was read.
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
)

// Command is the agent's hidden command that runs the helper.
const Command = "inspect"

const (
	fdSocket = 3

	// idleTime is how long a helper waits for the next question before it ends.
	idleTime = time.Minute
	// maxMessageBytes bounds one message in either direction.
	maxMessageBytes = 128 << 10
	// maxListed bounds the files of one process or folder, maxMapsBytes the text
	// that lists a process's.
	maxListed    = 4096
	maxMapsBytes = 16 << 20
	// maxArgumentBytes bounds the arguments of one process: they go into one message.
	maxArgumentBytes = 64 << 10
	// maxKept bounds how many files the helper remembers.
	maxKept = 1 << 14
)

// What the helper is asked for.
const (
	askOpenSSL   = "openssl"   // of the first path that can be opened
	askMapped    = "mapped"    // the files that a process has mapped to run
	askFolder    = "folder"    // the regular files below a process's working directory
	askArguments = "arguments" // of a process
)

// question is one message to the helper. Paths are bytes: JSON would replace what
// is no UTF-8.
type question struct {
	Ask   string   `json:"ask"`
	PID   int      `json:"pid,omitempty"`
	Paths [][]byte `json:"paths,omitempty"`
	Max   int      `json:"max,omitempty"`
}

// answer is one message of the helper. A question has any number of answers with
// Paths, then one that is the last.
type answer struct {
	Paths [][]byte      `json:"paths,omitempty"`
	File  *File         `json:"file,omitempty"` // comes with an open descriptor if it has OpenSSL
	Text  []byte        `json:"text,omitempty"`
	Fault string        `json:"fault,omitempty"`
	Used  time.Duration `json:"used,omitempty"` // time of a processor
	Last  bool          `json:"last,omitempty"`
}

// File is a file that was inspected.
type File struct {
	Device  uint64            `json:"device"`
	Inode   uint64            `json:"inode"`
	Size    int64             `json:"size"`
	Changed int64             `json:"changed"` // its ctime, in nanoseconds
	OpenSSL map[string]uint64 `json:"openssl,omitempty"`
}

// fileKey tells whether a file is the same still.
type fileKey struct {
	device, inode uint64
	size, changed int64
}

// errRefused is for files that are not read at all.
var errRefused = errors.New("it is not read")

// helper is the process that reads.
type helper struct {
	conn *net.UnixConn
	kept map[fileKey]map[string]uint64
}

// Serve is Command: it answers questions until the agent closes the socket, or
// asks nothing for a while. It gives the exit code.
func Serve(stderr io.Writer) int {
	// Privileges belong to a thread: all reads come from this one.
	runtime.LockOSThread()
	_ = os.WriteFile("/proc/self/comm", []byte("inspect"), 0) // a name only
	if err := dropPrivileges(); err != nil {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent: inspect:", err)
		return 1
	}
	file := os.NewFile(fdSocket, "socket")
	c, err := net.FileConn(file)
	_ = file.Close()
	conn, ok := c.(*net.UnixConn)
	if err != nil || !ok {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent: inspect: this command is the agent's own")
		return 1
	}
	h := &helper{conn: conn, kept: map[fileKey]map[string]uint64{}}
	if err := h.send(answer{Last: true}, nil); err != nil { // it is ready
		return 1
	}
	text := make([]byte, maxMessageBytes)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idleTime)) // sockets can do that
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

// dropPrivileges keeps what it takes to look at other users' processes and files.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	wanted := []uint{unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_PTRACE, unix.CAP_CHECKPOINT_RESTORE}
	if unix.Prctl(unix.PR_CAPBSET_READ, unix.CAP_CHECKPOINT_RESTORE, 0, 0, 0) != nil { // before Linux 5.9
		wanted = append(wanted, unix.CAP_SYS_ADMIN)
	}
	var keep [2]uint32
	for _, c := range wanted {
		keep[c/32] |= 1 << (c % 32)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	for i := range data {
		data[i].Permitted &= keep[i]
		data[i].Effective = data[i].Permitted
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&head, &data[0]); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return nil
}

// answer answers a question; an error means that the agent is gone.
func (h *helper) answer(q question) error {
	began := processorTime()
	var (
		last   answer
		handle *os.File
		err    error
	)
	switch q.Ask {
	case askOpenSSL:
		last.File, handle, err = h.openSSL(q.PID, q.Paths)
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

// processorTime gives what this process has used of processors.
func processorTime() time.Duration {
	var used unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used) // every kernel has this clock
	return time.Duration(used.Nano())
}

// openSSL looks at the first of the paths that can be opened, as the process pid
// has it mounted (0: as the agent has). The file is open if it has OpenSSL.
func (h *helper) openSSL(pid int, paths [][]byte) (*File, *os.File, error) {
	for _, path := range paths {
		// O_PATH: to open a device or a pipe would do something to it.
		handle, err := unix.Open(string(path), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		file, opened, err := h.openSSLOf(pid, handle)
		_ = unix.Close(handle) // nothing was written
		return file, opened, err
	}
	return nil, nil, fs.ErrNotExist
}

func (h *helper) openSSLOf(pid, handle int) (*File, *os.File, error) {
	// The attributes that the kernel has: to ask the file system could block.
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
	file := &File{
		Device: unix.Mkdev(stat.Dev_major, stat.Dev_minor), Inode: stat.Ino,
		Size: int64(stat.Size), Changed: stat.Ctime.Sec*1e9 + int64(stat.Ctime.Nsec),
	}
	key := fileKey{file.Device, file.Inode, file.Size, file.Changed}
	found, known := h.kept[key]
	if known && len(found) == 0 {
		return file, nil, nil
	}
	// O_NONBLOCK: whoever has a lease on the file could hold this up otherwise.
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(handle), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	opened := os.NewFile(uintptr(fd), "inspected")
	if !known {
		found, err = OpenSSL(opened)
		if len(h.kept) >= maxKept {
			clear(h.kept)
		}
		h.kept[key] = found // also of one that cannot be read: it stays so
	}
	if err != nil || len(found) == 0 {
		_ = opened.Close()
		return file, nil, err
	}
	file.OpenSSL = found
	return file, opened, nil
}

// mapped lists the files that a process has mapped to run: for each the range of
// addresses and the path that the process has it by.
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
		// Addresses, rights, offset, device, inode; what comes then is the path.
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

// folder lists the regular files below the working directory of a process that is
// in another mount namespace: a sandbox's has what came with the program. Outside
// of one the folder is any of this machine's, and says nothing.
func (h *helper) folder(pid int) error {
	own, err1 := os.Readlink("/proc/self/ns/mnt")
	its, err2 := os.Readlink(procPath(pid, "ns/mnt"))
	if err := errors.Join(err1, err2); err != nil || own == its {
		return err
	}
	seen, began := 0, processorTime()
	// A folder that cannot be read hides its files from the program too.
	return filepath.WalkDir(procPath(pid, "cwd/"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // the other files count
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

// arguments gives the first bytes of a process's arguments, as it shows them.
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
