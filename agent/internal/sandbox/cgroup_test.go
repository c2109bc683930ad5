//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestUnifiedLimits writes limits of version 2 into files like those of the kernel, because
// machines with version 1 do not have them.
func TestUnifiedLimits(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.procs", "cgroup.kill"} {
		file(name, "")
	}
	c := &cgroup{dirs: map[string]string{"": dir}, unified: true}
	if err := c.set(dir, limits{MemoryMB: 100, DiskMB: 28, Processes: 7, CPUs: 1.5, Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := c.add(4711); err != nil {
		t.Fatal(err)
	}
	c.kill()
	for name, want := range map[string]string{"memory.max": "134217728", "memory.swap.max": "0", "pids.max": "7", "cpu.max": "150000 100000", "cgroup.procs": "4711", "cgroup.kill": "1"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s has %q, want %q (%v)", name, got, want, err)
		}
	}
	if got := c.members(); !slices.Equal(got, []int{4711}) {
		t.Errorf("members: %v", got)
	}
	file("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\n")
	file("pids.events", "max 0\n")
	if got := c.hit(); len(got) != 0 {
		t.Errorf("hit: %v", got)
	}
	file("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n")
	file("pids.events", "max 3\n")
	if got := c.hit(); !slices.Equal(got, []string{"memory", "processes"}) {
		t.Errorf("hit: %v", got)
	}
}

// TestNoCgroup checks that newCgroup reports what it cannot create, and leaves nothing behind.
func TestNoCgroup(t *testing.T) {
	for name, files := range map[string][]string{"version 2 without controllers": {"cgroup.controllers"}, "version 1": {}} {
		root := t.TempDir()
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(root, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, lacks := newCgroup(root, "ospulse-test", limits{MemoryMB: 1})
		if !strings.Contains(lacks, "memory") || !strings.Contains(lacks, "processors") || c.controls("memory") || len(c.members()) > 0 {
			t.Errorf("%s: lacks %q", name, lacks)
		}
		if err := c.remove(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(root + "/ospulse*"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	var none *cgroup
	none.kill()
	if err := none.add(1); err != nil || len(none.members()) > 0 || len(none.hit()) > 0 || none.remove() != nil {
		t.Errorf("without one: %v", err)
	}
}

// members returns the ids of the processes in the cgroup.
func (c *cgroup) members() []int {
	found := map[int]bool{}
	_ = c.each(func(dir string) error { // an unreadable folder has no members
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				found[pid] = true
			}
		}
		return err
	})
	pids := make([]int, 0, len(found))
	for pid := range found {
		pids = append(pids, pid)
	}
	return pids
}
