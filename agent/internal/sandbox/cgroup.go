//go:build linux

package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroup limits and accounts for the processes of a sandbox. It is one folder of version 2,
// or one folder in each hierarchy of version 1; see cgroups(7). The methods of a nil cgroup
// do nothing.
type cgroup struct {
	dirs    map[string]string // by controller; "" is the one of version 2
	unified bool
}

// newCgroup creates a cgroup with the given name below root, where the file system is
// mounted. lacks says what the cgroup does not limit and why; it is "" if nothing is missing.
func newCgroup(root, name string, l limits) (c *cgroup, lacks string) {
	c = &cgroup{dirs: map[string]string{}}
	var err error
	if _, statErr := os.Stat(filepath.Join(root, "cgroup.controllers")); statErr == nil {
		c.unified = true
		err = c.makeUnified(root, name, l)
	} else {
		err = c.makeLegacy(root, name, l)
	}
	var less []string
	if !c.controls("memory") {
		less = append(less, "memory is limited for each process, and looked at for all together every 100 ms")
	}
	if !c.controls("pids") {
		less = append(less, "processes are limited by user")
	}
	if !c.controls("cpu") {
		less = append(less, "processors are not limited, only the time of each process")
	}
	if len(less) == 0 {
		return c, ""
	}
	why := "the cgroup has no controller for it"
	if err != nil {
		why, _, _ = strings.Cut(err.Error(), "\n")
	}
	return c, strings.Join(less, ", ") + ": " + why
}

// own returns the path of this program's cgroup of version 2.
func own() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Clean("/" + path)
		}
	}
	return "/"
}

func (c *cgroup) makeUnified(root, name string, l limits) error {
	var faults []error
	// A cgroup that has processes cannot pass controllers to its children, except the
	// root. Therefore try this program's own cgroup, then its parent, then the root.
	self := filepath.Join(root, own())
	for _, parent := range slices.Compact([]string{self, filepath.Dir(self), root}) {
		if len(parent) < len(root) {
			continue
		}
		for _, controller := range []string{"+memory", "+pids", "+cpu"} {
			_ = write(filepath.Join(parent, "cgroup.subtree_control"), controller) // set finds missing controllers
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			faults = append(faults, err)
			continue
		}
		err := c.set(dir, l)
		if err == nil {
			c.dirs[""] = dir
			return nil
		}
		faults = append(faults, err, os.Remove(dir))
		c.dirs = map[string]string{}
	}
	return errors.Join(faults...)
}

// set writes the limits of version 2. It returns an error if it cannot limit memory.
func (c *cgroup) set(dir string, l limits) error {
	if err := write(filepath.Join(dir, "memory.max"), strconv.FormatInt(l.memoryBytes()+l.diskBytes(), 10)); err != nil {
		return err
	}
	c.dirs["memory"] = dir
	_ = write(filepath.Join(dir, "memory.swap.max"), "0") // the file exists only with swap
	if write(filepath.Join(dir, "pids.max"), strconv.Itoa(l.Processes)) == nil {
		c.dirs["pids"] = dir
	}
	if write(filepath.Join(dir, "cpu.max"), fmt.Sprintf("%d %d", l.cpuQuota(), cpuPeriod)) == nil {
		c.dirs["cpu"] = dir
	}
	return nil
}

const cpuPeriod = 100_000 // microseconds

func (c *cgroup) makeLegacy(root, name string, l limits) error {
	memory := strconv.FormatInt(l.memoryBytes()+l.diskBytes(), 10)
	var faults []error
	for _, want := range []struct {
		controller string
		files      [][2]string
	}{
		{"memory", [][2]string{{"memory.limit_in_bytes", memory}}},
		{"pids", [][2]string{{"pids.max", strconv.Itoa(l.Processes)}}},
		{"cpu", [][2]string{{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod)}, {"cpu.cfs_quota_us", strconv.Itoa(l.cpuQuota())}}},
	} {
		dir := filepath.Join(root, want.controller, name)
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			for _, file := range want.files {
				err = errors.Join(err, write(filepath.Join(dir, file[0]), file[1]))
			}
			if err != nil {
				err = errors.Join(err, os.Remove(dir))
			}
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		c.dirs[want.controller] = dir
	}
	if dir := c.dirs["memory"]; dir != "" {
		_ = write(filepath.Join(dir, "memory.memsw.limit_in_bytes"), memory) // the file exists only with swap accounting
	}
	// A version 2 hierarchy without controllers can still kill.
	dir := filepath.Join(root, "unified", name)
	if err := os.Mkdir(dir, 0o755); err == nil {
		c.dirs[""] = dir
	}
	return errors.Join(faults...)
}

func write(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

func (c *cgroup) controls(controller string) bool { return c != nil && c.dirs[controller] != "" }

// each calls do once for each folder.
func (c *cgroup) each(do func(dir string) error) error {
	if c == nil {
		return nil
	}
	done := map[string]bool{}
	var faults []error
	for _, dir := range c.dirs {
		if !done[dir] {
			done[dir] = true
			faults = append(faults, do(dir))
		}
	}
	return errors.Join(faults...)
}

// add moves a process into the cgroup. Its later descendants belong to the cgroup too.
func (c *cgroup) add(pid int) error {
	return c.each(func(dir string) error { return write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)) })
}

// kill kills all processes in the cgroup at once, on Linux 5.14 or newer.
func (c *cgroup) kill() {
	if c != nil && c.dirs[""] != "" {
		_ = write(filepath.Join(c.dirs[""], "cgroup.kill"), "1") // if it fails, the end of the pid namespace kills them
	}
}

// hit returns the names of the limits that the processes reached.
func (c *cgroup) hit() []string {
	if c == nil {
		return nil
	}
	var names []string
	for _, look := range []struct{ limit, controller, file, key string }{
		{"memory", "memory", "memory.events", "oom_kill"}, // version 2
		{"memory", "memory", "memory.oom_control", "oom_kill"},
		{"processes", "pids", "pids.events", "max"},
	} {
		dir := c.dirs[look.controller]
		if dir == "" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, look.file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == look.key && f[1] != "0" {
				names = append(names, look.limit)
			}
		}
	}
	return names
}

// remove deletes the cgroup after its last process has ended.
func (c *cgroup) remove() error {
	return c.each(func(dir string) error {
		var err error
		for range 100 {
			if err = os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			time.Sleep(10 * time.Millisecond) // the kernel removes dead processes with a delay
		}
		return err
	})
}

// cgroupName returns a new name that contains the agent's pid. A sample sees the name, which
// looks like that of a login.
func cgroupName() string {
	return fmt.Sprintf("%s%d-%s.scope", cgroupPrefix, os.Getpid(), strings.ToLower(rand.Text()[:12]))
}

const cgroupPrefix = "session-"

// cgroups returns the cgroup folders of the sandboxes of all agents, by the agent's pid.
func cgroups() map[int][]string {
	self := filepath.Join(cgroupRoot, own())
	parents := []string{self, filepath.Dir(self), cgroupRoot}
	for _, controller := range []string{"memory", "pids", "cpu", "unified"} {
		parents = append(parents, filepath.Join(cgroupRoot, controller))
	}
	found := map[int][]string{}
	for _, parent := range parents {
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue
		}
		for _, e := range entries {
			var pid int
			if n, err := fmt.Sscanf(e.Name(), cgroupPrefix+"%d-", &pid); err == nil && n == 1 {
				found[pid] = append(found[pid], filepath.Join(parent, e.Name()))
			}
		}
	}
	return found
}

// RemoveStale removes the cgroups of agents that were killed.
func RemoveStale() {
	for pid, dirs := range cgroups() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			continue
		}
		for _, dir := range dirs {
			_ = os.Remove(dir) // fails if the cgroup is in use
		}
	}
}
