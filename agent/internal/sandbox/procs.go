//go:build linux

package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// pidNamespace names the one of a process.
func pidNamespace(pid int) (string, error) {
	return os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
}

// processes lists those that keep, without the dead that nobody has asked about.
func processes(keep func(pid int) bool) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || !keep(pid) {
			continue
		}
		if state, _ := stat(pid); state != 'Z' && state != 'X' && state != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat gives the state of a process, and its parent; 0 if there is none.
func stat(pid int) (state byte, parent int) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0
	}
	// The name in parentheses may hold some itself.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, 0
	}
	parent, err = strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, 0
	}
	return fields[0][0], parent
}

// descendants are those that a process has now.
func descendants(pid int) map[int]bool {
	children := map[int][]int{}
	processes(func(pid int) bool {
		_, parent := stat(pid)
		children[parent] = append(children[parent], pid)
		return false
	})
	found := map[int]bool{}
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		if !found[queue[0]] {
			found[queue[0]] = true
			queue = append(queue, children[queue[0]]...)
		}
	}
	return found
}

// userOf gives the user that a process belongs to, -1 if there is none.
func userOf(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				if user, err := strconv.Atoi(f[0]); err == nil {
					return user
				}
			}
		}
	}
	return -1
}

// memoryOf adds up what processes use: what several share counts in parts.
func memoryOf(pids []int) int64 {
	var total int64
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
				if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					total += kb << 10
				}
			}
		}
	}
	return total
}

// inodes is how many files there may be in each folder that can be written.
func inodes(diskMB int) int { return max(4096, 64*diskMB) }

// limitInodes limits the number of files of a tmpfs in a sandbox: bubblewrap limits
// their size only, and each takes some kilobyte of the kernel's memory.
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

// gone reports whether there is no such process.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
