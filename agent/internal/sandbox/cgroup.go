//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroup is the kernel's account of a sandbox: one folder in the unified hierarchy
// (version 2), or one in each of version 1's that there are. The files are the
// kernel's documented interface (cgroups(7)), a handful of writes.
type cgroup struct {
	dirs  []string
	kill  string // the file that kills all of it, "" with version 1
	lacks []string
}

const cgroupRoot = "/sys/fs/cgroup"

// newCgroup makes one for the limits. It fails when this user may not, or when
// neither memory nor processes would be limited.
func newCgroup(name string, l Limits) (*cgroup, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return newUnified(name, l)
	}
	return newLegacy(name, l)
}

// own gives the cgroup that this program is in, of a hierarchy of version 1, or of
// version 2 for "".
func own(controller string) string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && f[1] == controller {
			return f[2]
		}
	}
	return "/"
}

func newUnified(name string, l Limits) (*cgroup, error) {
	// A cgroup with processes in it passes no controllers on, so it goes beside
	// this program's own, or into the whole that systemd has delegated.
	var faults []error
	self := filepath.Join(cgroupRoot, own(""))
	for _, parent := range []string{self, filepath.Dir(self), cgroupRoot} {
		if !strings.HasPrefix(parent, cgroupRoot) {
			continue
		}
		for _, controller := range []string{"+memory", "+pids", "+cpu"} {
			_ = write(filepath.Join(parent, "cgroup.subtree_control"), controller) // what is not passed on shows below
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			faults = append(faults, err)
			continue
		}
		c := &cgroup{dirs: []string{dir}, kill: filepath.Join(dir, "cgroup.kill")}
		err := errors.Join(
			write(filepath.Join(dir, "memory.max"), strconv.FormatInt(l.MemoryBytes, 10)),
			write(filepath.Join(dir, "pids.max"), strconv.Itoa(l.Processes)))
		if err != nil {
			faults = append(faults, err)
			c.remove()
			continue
		}
		_ = write(filepath.Join(dir, "memory.swap.max"), "0") // where there is no swap, there is no such file
		_ = write(filepath.Join(dir, "memory.oom.group"), "0")
		if write(filepath.Join(dir, "cpu.max"), fmt.Sprintf("%d 100000", int64(l.CPUs*100000))) != nil {
			c.lacks = append(c.lacks, "cpu")
		}
		return c, nil
	}
	return nil, errors.Join(faults...)
}

func newLegacy(name string, l Limits) (*cgroup, error) {
	c := &cgroup{}
	limit := func(controller string, files ...string) error {
		dir := filepath.Join(cgroupRoot, controller, own(controller), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		c.dirs = append(c.dirs, dir)
		for i := 0; i < len(files); i += 2 {
			if err := write(filepath.Join(dir, files[i]), files[i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	err := errors.Join(
		limit("memory", "memory.limit_in_bytes", strconv.FormatInt(l.MemoryBytes, 10)),
		limit("pids", "pids.max", strconv.Itoa(l.Processes)))
	if err != nil {
		c.remove()
		return nil, err
	}
	if limit("cpu", "cpu.cfs_period_us", "100000", "cpu.cfs_quota_us", strconv.FormatInt(int64(l.CPUs*100000), 10)) != nil {
		c.lacks = append(c.lacks, "cpu")
	}
	return c, nil
}

func write(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// add puts processes into it.
func (c *cgroup) add(pids ...int) error {
	for _, dir := range c.dirs {
		for _, pid := range pids {
			if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// killAll kills what is in it, if the kernel can do that at once.
func (c *cgroup) killAll() {
	if c.kill != "" {
		_ = write(c.kill, "1") // before Linux 5.14 the end of the namespace does it alone
	}
}

// remove takes it away, once nothing is in it any more.
func (c *cgroup) remove() {
	for _, dir := range c.dirs {
		for range 50 {
			err := os.Remove(dir)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			time.Sleep(10 * time.Millisecond) // the kernel lets go of the dead a little later
		}
	}
}

// CheckCgroup tells why no cgroup can be made, nil if one can.
func CheckCgroup() error {
	c, err := newCgroup(fmt.Sprintf("ospulse-check-%d", os.Getpid()), Limits{MemoryBytes: 64 << 20, Processes: 16, CPUs: 1})
	if err != nil {
		return err
	}
	c.remove()
	return nil
}

// RemoveStale removes the cgroups that an agent which was killed has left behind;
// one that is in use cannot be removed.
func RemoveStale() {
	self := filepath.Join(cgroupRoot, own(""))
	parents := []string{self, filepath.Dir(self), cgroupRoot}
	for _, controller := range []string{"memory", "pids", "cpu"} {
		parents = append(parents, filepath.Join(cgroupRoot, controller, own(controller)))
	}
	for _, parent := range parents {
		left, err := filepath.Glob(filepath.Join(parent, "ospulse-*"))
		if err != nil {
			continue
		}
		for _, dir := range left {
			_ = os.Remove(dir) // no harm if it stays
		}
	}
}
