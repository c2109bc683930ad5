//go:build linux

package sensor

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroup is where a process is accounted, and the container that this is of.
type cgroup struct {
	path      string // "" if it is not known
	container string // "" outside of containers
}

// maxCgroups bounds how many cgroups are remembered.
const maxCgroups = 4096

// cgroups finds the cgroups of the ids that the kernel side gives, which are those
// of the unified hierarchy (version 2). Where containers are in the hierarchies of
// version 1, processes have to be asked themselves. It is used by one goroutine.
type cgroups struct {
	mount    *os.File // of the unified hierarchy; nil if there is none
	byID     map[uint64]cgroup
	version1 bool
}

func newCgroups() *cgroups {
	c := &cgroups{byID: map[uint64]cgroup{}}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil {
		if at := unifiedMount(mounts); at != "" {
			c.mount, _ = os.Open(at) // without it nothing is known of cgroups
		}
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	c.version1 = err == nil && bytes.Count(own, []byte("\n")) > 1
	return c
}

func (c *cgroups) close() {
	if c.mount != nil {
		_ = c.mount.Close()
	}
}

// unifiedMount finds where the unified hierarchy is mounted.
func unifiedMount(mountinfo []byte) string {
	for line := range strings.Lines(string(mountinfo)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before) // id, parent, device, root, where
		if ok && len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return fields[4]
		}
	}
	return ""
}

// of gives the cgroup with an id, which a process is in; before is the one that the
// process was in, or its parent: by version 1, one that has ended is in none, and
// none leaves its container.
func (c *cgroups) of(id uint64, pid uint32, before cgroup) cgroup {
	found, ok := c.byID[id]
	if !ok {
		found.path = c.path(id)
		found.container = containerOf(found.path)
		if len(c.byID) >= maxCgroups {
			clear(c.byID)
		}
		c.byID[id] = found
	}
	if !c.version1 || found.container != "" {
		return found
	}
	if before.container != "" {
		found = before
	}
	lines, err := os.Open("/proc/" + strconv.Itoa(int(pid)) + "/cgroup")
	if err != nil {
		return found
	}
	defer lines.Close()
	for scanner := bufio.NewScanner(lines); scanner.Scan(); { // number:controllers:path
		_, rest, _ := strings.Cut(scanner.Text(), ":")
		_, path, _ := strings.Cut(rest, ":")
		if container := containerOf(path); container != "" {
			return cgroup{path, container}
		}
	}
	return found
}

// path asks the kernel for the path of a cgroup by its id; "" if it is gone.
func (c *cgroups) path(id uint64) string {
	if c.mount == nil || id == 0 {
		return ""
	}
	const kernfs = 0xfe // FILEID_KERNFS: a handle is the id
	handle := unix.NewFileHandle(kernfs, binary.LittleEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(int(c.mount.Fd()), handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return ""
	}
	path = strings.TrimPrefix(path, strings.TrimSuffix(c.mount.Name(), "/"))
	if path == "" {
		return "/"
	}
	return path
}

// containerNames are how engines name the cgroup of a container: Docker, Podman,
// containerd, CRI-O and Kubernetes by 64 digits, with what made it before and
// .scope behind; Amazon's ECS by 32 and a number; LXC and systemd-nspawn by its
// name.
var containerNames = regexp.MustCompile(`^(?:.*[-:])?([0-9a-f]{64})(?:\.scope)?$|^([0-9a-f]{32}-[0-9]+)$|^lxc\.payload\.(.+)$|^systemd-nspawn@(.+)\.service$`)

// containerOf gives the container that a cgroup is of, the innermost; "" for none.
func containerOf(path string) string {
	for path != "" {
		at := strings.LastIndexByte(path, '/')
		name := path[at+1:]
		path = path[:max(at, 0)]
		if strings.Contains(name, "conmon") { // watches over a container from outside
			return ""
		}
		for i, found := range containerNames.FindStringSubmatch(name) {
			if i > 0 && found != "" {
				return found
			}
		}
	}
	return ""
}
