//go:build linux

// Package procfs reads processes from /proc: which processes there are, their properties,
// and the owners of sockets. Its Sensor reports processes that begin and end where
// nothing better works. It must not know sessions or how events travel.
package procfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ospulse/agent/internal/clock"
)

// ErrGone is the cause of an error about a process that has ended or never existed.
var ErrGone = errors.New("there is no such process")

// ticksPerSecond is USER_HZ, the unit of times in /proc: 100 on every architecture that Go
// supports.
const ticksPerSecond = 100

// Process is a process as the kernel describes it.
type Process struct {
	PID       int
	Name      string // of its image: the full name if /proc has it, otherwise the first 15 bytes
	ParentPID int
	Session   int       // session id (setsid)
	Start     time.Time // PID and Start identify a process, also when its pid is used again; exact to 10 ms
	Ticks     int64     // Start as the kernel reports it: hundredths of a second since the boot
	Zombie    bool      // it has ended, and its parent has not waited for it
	Stopped   bool      // by a signal such as SIGSTOP
	kernel    bool      // a thread of the kernel
}

// Read reads one process. The error is ErrGone if there is none.
func Read(pid int) (Process, error) {
	text, err := os.ReadFile(path(pid, "stat"))
	if err != nil {
		return Process{}, gone(pid, err)
	}
	p, err := parseStat(text)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if exe, _ := Exe(pid); p.IsCut() && strings.HasPrefix(base(exe), p.Name) {
		p.Name = base(exe)
	}
	return p, nil
}

// ProcessOf returns the process that a thread belongs to. For a process it returns the
// process itself. The error is ErrGone if there is no such thread.
func ProcessOf(thread int) (pid int, err error) {
	text, err := os.ReadFile(path(thread, "status"))
	if err != nil {
		return 0, gone(thread, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Tgid:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("process %d: its status has no Tgid", thread)
}

// HasEnded reports whether a process has ended: it is gone, or all its threads are
// zombies. The first thread can be a zombie while others run.
func HasEnded(pid int) bool {
	threads, err := os.ReadDir(path(pid, "task"))
	if err != nil {
		return true
	}
	for _, thread := range threads {
		text, err := os.ReadFile(path(pid, "task/"+thread.Name()+"/stat"))
		if err != nil {
			continue
		}
		if t, err := parseStat(text); err == nil && !t.Zombie {
			return false
		}
	}
	return true
}

// IsCut reports whether the kernel may have cut the name.
func (p Process) IsCut() bool { return len(p.Name) == 15 }

// parseStat parses /proc/PID/stat: pid (name) state parent … The name may contain any byte,
// so it ends at the last parenthesis.
func parseStat(text []byte) (Process, error) {
	opening, closing := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if opening < 0 || closing < opening {
		return Process{}, errors.New("its stat has no name")
	}
	fields := strings.Fields(string(text[closing+1:]))
	if len(fields) < 20 {
		return Process{}, errors.New("its stat is too short")
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(string(text[:opening])))
	parent, err2 := strconv.Atoi(fields[1])
	session, err3 := strconv.Atoi(fields[3])
	flags, err4 := strconv.ParseUint(fields[6], 10, 64)
	ticks, err5 := strconv.ParseInt(fields[19], 10, 64)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return Process{}, fmt.Errorf("read its stat: %w", err)
	}
	const kernelThread = 0x00200000 // PF_KTHREAD
	return Process{
		PID: pid, Name: string(text[opening+1 : closing]), ParentPID: parent, Session: session,
		Ticks:   ticks,
		Start:   clock.System().Wall(uint64(ticks) * uint64(time.Second/ticksPerSecond)),
		kernel:  flags&kernelThread != 0,
		Zombie:  fields[0] == "Z" || fields[0] == "X",
		Stopped: fields[0] == "T",
	}, nil
}

// Identity identifies a process that runs a program. A later process with the same pid has
// another identity, and so has the process itself once it runs another program.
type Identity struct {
	PID        int
	Ticks      int64  // start, as in Process
	Executable string // path of the image, as Exe returns it
}

// Runs reports whether the process still runs that program.
func (i Identity) Runs() bool {
	p, err := Read(i.PID)
	return err == nil && !p.Zombie && i.Is(&p)
}

// Is reports whether p is the process, and still runs that program.
func (i Identity) Is(p *Process) bool {
	if p.PID != i.PID || p.Ticks != i.Ticks {
		return false
	}
	executable, _ := Exe(i.PID)
	return executable == i.Executable
}

// SharesMounts reports whether a process is in the caller's mount namespace, so that its
// paths mean the same.
func SharesMounts(pid int) bool {
	own, err1 := os.Readlink("/proc/self/ns/mnt")
	its, err2 := os.Readlink(path(pid, "ns/mnt"))
	return err1 == nil && err2 == nil && own == its
}

// Root returns the root directory of a process and the number of its mount namespace; zero values
// if both are the caller's, or if they may not be read.
func Root(pid int) (directory string, mountNamespace uint32) {
	root, err1 := os.Readlink(path(pid, "root"))
	namespace, err2 := os.Readlink(path(pid, "ns/mnt"))
	if err1 != nil || err2 != nil || root == "/" && SharesMounts(pid) {
		return "", 0
	}
	number, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(namespace, "mnt:["), "]"), 10, 32)
	if err != nil {
		return "", 0
	}
	return root, uint32(number)
}

// List returns all processes except the kernel's threads, by name without regard to case,
// then by pid. It leaves out processes that end meanwhile.
func List() ([]Process, error) {
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	processes := make([]Process, 0, len(pids))
	for _, pid := range pids {
		if p, err := Read(pid); err == nil && !p.kernel && !p.Zombie {
			processes = append(processes, p)
		}
	}
	slices.SortFunc(processes, func(a, b Process) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.PID, b.PID))
	})
	return processes, nil
}

// PIDs returns the pids of all processes in ascending order.
func PIDs() ([]int, error) {
	folder, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// PIDNamespace returns the name of a process's pid namespace; "" if the process is gone
// or may not be read.
func PIDNamespace(pid int) string {
	target, err := os.Readlink(path(pid, "ns/pid"))
	if err != nil {
		return ""
	}
	return target
}

// InNamespace returns the process with a given pid in a namespace, as PIDNamespace names
// it, and a given start in ticks. It returns 0 if there is none.
func InNamespace(namespace string, pid int, ticks int64) int {
	pids, err := PIDs()
	if err != nil {
		return 0
	}
	for _, here := range pids {
		if PIDNamespace(here) != namespace {
			continue
		}
		if p, err := Read(here); err == nil && p.Ticks == ticks && InnermostPID(here) == pid {
			return here
		}
	}
	return 0
}

// InnermostPID returns the pid of a process in its own namespace; 0 if it is gone.
func InnermostPID(pid int) int {
	status, err := os.ReadFile(path(pid, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(numbers)
			inner, _ := strconv.Atoi(fields[max(0, len(fields)-1)])
			return inner
		}
	}
	return pid // the kernel has no pid namespaces
}

// BootID returns the id of this boot of the machine. It is the same in all containers.
func BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Exe returns the path of the image, "" if it may not be read. deleted says that the
// image no longer has that name in any file system.
func Exe(pid int) (name string, deleted bool) {
	target, err := os.Readlink(path(pid, "exe"))
	if err != nil {
		return "", false
	}
	return strings.CutSuffix(target, " (deleted)")
}

// Args returns the first maxBytes of the arguments that the process shows, and whether there
// are more; nil if it is gone. It blocks while the process's memory is locked: for a process that
// is not stopped, use package inspect.
func Args(pid, maxBytes int) (args []string, isCut bool) { return list(pid, "cmdline", maxBytes) }

// Environment returns the first maxBytes of the environment that a process has in its memory,
// and whether there is more; nil if it is gone. Like Args, it may block.
func Environment(pid, maxBytes int) (entries []string, isCut bool) {
	return list(pid, "environ", maxBytes)
}

// list reads a file of NUL-terminated texts.
func list(pid int, name string, maxBytes int) (texts []string, isCut bool) {
	file, err := os.Open(path(pid, name))
	if err != nil {
		return nil, false
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, int64(maxBytes)+1))
	if err != nil {
		return nil, false
	}
	if isCut = len(text) > maxBytes; isCut {
		text = text[:maxBytes]
	}
	if len(text) == 0 {
		return []string{}, isCut
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), isCut
}

// CurrentDirectory returns the working directory, "" if it may not be read.
func CurrentDirectory(pid int) string {
	target, err := os.Readlink(path(pid, "cwd"))
	if err != nil {
		return ""
	}
	return target
}

// UserID returns the effective user, -1 if the process is gone.
func UserID(pid int) int {
	info, err := os.Stat(path(pid, ""))
	if err != nil {
		return -1
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(stat.Uid)
}

func path(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }

func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// gone wraps err. The result is ErrGone if err says that the process does not exist.
func gone(pid int, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	return fmt.Errorf("read process %d: %w", pid, err)
}
