package testbed

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time in /proc. It is the same on all machines that Go
// supports, see USER_HZ in time(7).
const tick = 10 * time.Millisecond

// stat is the part of /proc/<pid>/stat that is needed, see proc_pid_stat(5).
type stat struct {
	pid, parent int
	name        string
	own         time.Duration // processor time, user and system
	ended       time.Duration // processor time of its children that have ended
}

func readStat(path string) (stat, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return stat{}, false
	}
	// 12 (name with spaces) S 1 … 14th: utime stime cutime cstime
	head, rest, found := strings.Cut(string(text), " (")
	end := strings.LastIndexByte(rest, ')')
	if !found || end < 0 {
		return stat{}, false
	}
	s := stat{name: rest[:end]}
	fields := strings.Fields(rest[end+1:])
	if len(fields) < 15 {
		return stat{}, false
	}
	number := func(text string) int {
		n, _ := strconv.Atoi(text) // the kernel wrote it
		return n
	}
	s.pid, s.parent = number(head), number(fields[1])
	s.own = tick * time.Duration(number(fields[11])+number(fields[12]))
	s.ended = tick * time.Duration(number(fields[13])+number(fields[14]))
	return s, true
}

// CPU returns the processor time of a process.
func CPU(pid int) time.Duration {
	s, _ := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return s.own
}

// ThreadCPU returns the processor time of the threads that a process has now, to the
// nanosecond. CPU has a hundredth of a second, and counts threads that have ended too.
func ThreadCPU(pid int) (total time.Duration) {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is correct
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has just ended
		}
		running, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(running, 10, 64) // the kernel wrote it
		total += time.Duration(n)
	}
	return total
}

// PostgresCPU returns the processor time of the PostgreSQL server that this
// program started: its first process is a child of this one.
func PostgresCPU() time.Duration {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	children := map[int][]stat{}
	for _, path := range paths {
		if s, ok := readStat(path); ok {
			children[s.parent] = append(children[s.parent], s)
		}
	}
	var sum func(stat) time.Duration
	sum = func(s stat) time.Duration {
		total := s.own + s.ended
		for _, child := range children[s.pid] {
			total += sum(child)
		}
		return total
	}
	var total time.Duration
	for _, child := range children[os.Getpid()] {
		if child.name == "postgres" {
			total += sum(child)
		}
	}
	return total
}

// PeakBytes returns the most memory that a process had since ResetPeak.
func PeakBytes(pid int) int64 { return statusBytes(pid, "VmHWM:") }

// ResidentBytes returns the memory that a process has.
func ResidentBytes(pid int) int64 { return statusBytes(pid, "VmRSS:") }

// ResetPeak resets the peak of a process to its current memory, see proc_pid_clear_refs(5).
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func statusBytes(pid int, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == name {
			kilobytes, _ := strconv.ParseInt(string(fields[1]), 10, 64) // the kernel wrote it
			return kilobytes << 10
		}
	}
	return 0
}
