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

// cgroup is a cgroup and the container that it belongs to.
type cgroup struct {
	path      string // "" if unknown
	container string // the container's ID; "" outside of containers
}

// maxCgroups bounds the cache of cgroups.
const maxCgroups = 4096

// cgroups looks up cgroups by the IDs in records, which belong to the unified hierarchy
// (version 2). If containers are in the hierarchies of version 1, it reads the cgroups of
// the process from /proc. Only one goroutine may use it.
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
			c.mount, _ = os.Open(at) // without it, cgroups are unknown
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

// unifiedMount returns the mount point of the unified hierarchy; "" if there is none.
func unifiedMount(mountinfo []byte) string {
	for line := range strings.Lines(string(mountinfo)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before) // ID, parent, device, root, mount point
		if ok && len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return fields[4]
		}
	}
	return ""
}

// of returns the cgroup with the ID, which the process is in. before is the last known cgroup
// of the process or its parent. In version 1, a process that has ended is in no cgroup; of
// then returns before if it has a container, as processes do not leave their container.
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

// path returns the path of the cgroup with the ID; "" if the cgroup is gone.
func (c *cgroups) path(id uint64) string {
	if c.mount == nil || id == 0 {
		return ""
	}
	const kernfs = 0xfe // FILEID_KERNFS: the handle is the ID
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

// containerNames matches the names that engines give to cgroups of containers. Docker,
// Podman, containerd, CRI-O and Kubernetes use 64 hexadecimal digits, with the engine as an
// optional prefix and .scope as an optional suffix. Amazon ECS uses 32 digits and a number,
// LXC and systemd-nspawn the container's name.
var containerNames = regexp.MustCompile(`^(?:.*[-:])?([0-9a-f]{64})(?:\.scope)?$|^([0-9a-f]{32}-[0-9]+)$|^lxc\.payload\.(.+)$|^systemd-nspawn@(.+)\.service$`)

// containerOf returns the innermost container that a cgroup path is in; "" for none.
func containerOf(path string) string {
	for path != "" {
		at := strings.LastIndexByte(path, '/')
		name := path[at+1:]
		path = path[:max(at, 0)]
		if strings.Contains(name, "conmon") { // a monitor, which runs outside of its container
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
