// Package memory detects how much memory this program may use, and divides it among the
// parts whose use grows with load. It knows nothing of these parts.
package memory

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// Sources of a Limit.
const (
	Cgroup     = "cgroup"
	Machine    = "machine"
	GoMemLimit = "GOMEMLIMIT"
)

// Limit is the memory available to this program or, if the source is Machine, to all
// programs together.
type Limit struct {
	Bytes  int64
	Source string // Cgroup, Machine or GoMemLimit
}

// Detect returns the limit: goMemLimit in bytes, if it is not 0; else the smallest
// limit of this program's cgroup and those above it; else machine. root is the file
// system at /.
func Detect(root fs.FS, goMemLimit, machine int64) Limit {
	if goMemLimit > 0 {
		return Limit{goMemLimit, GoMemLimit}
	}
	if limit := cgroupLimit(root); limit < machine {
		return Limit{limit, Cgroup}
	}
	return Limit{machine, Machine}
}

// Budget is the most bytes of each part. Their sum is well below Total: the rest is for
// the program itself and its garbage.
type Budget struct {
	Limit   Limit
	Total   int64 // memory that this program plans to use
	Queue   int64 // events that wait to be stored
	Rings   int64 // recent events of sessions that have streams
	Rollups int64 // rollups of sessions
	Rules   int64 // events that the rules have not been applied to, and what they know of processes
	Bodies  int64 // request bodies, from their first byte to the answer
	Imports int64 // bundles being imported
	Caches  int64 // of the embedded database, outside of Go's heap
}

const (
	mb = 1 << 20
	// minTotal is the smallest Total: with less, the program could not accept the
	// largest requests.
	minTotal = 128 * mb
)

// Divide returns the budget for a limit.
func Divide(limit Limit) Budget {
	total := limit.Bytes
	switch limit.Source {
	case Machine:
		total /= 4 // other programs run there, such as the database and the browser
	case Cgroup:
		total -= total / 5 // the kernel's page cache counts too
	}
	total = max(total, minTotal)
	part := func(divisor, most int64) int64 { return min(total/divisor, most) }
	return Budget{
		Limit: limit, Total: total,
		Queue: part(8, 64*mb), Rings: part(16, 64*mb), Rollups: part(16, 128*mb),
		Rules: part(16, 48*mb), Bodies: part(8, 512*mb), Imports: part(8, 512*mb), Caches: part(10, 128*mb),
	}
}

// Heap returns the limit for Go's own memory.
func (b Budget) Heap() int64 { return b.Total - b.Caches }

// cgroupLimit returns the smallest limit of this process's cgroups, version 1 or 2;
// math.MaxInt64 if there is none.
func cgroupLimit(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	for _, m := range memoryMounts(root) {
		for _, group := range groupsOf(root, m.isV2) {
			// A container may see only its own part of the tree. The mount then shows
			// that part, while the path is the one outside.
			inside := strings.TrimPrefix(group, strings.TrimSuffix(m.root, "/"))
			for folder := path.Join(m.point, inside); ; folder = path.Dir(folder) {
				for _, file := range m.files() {
					limit = min(limit, readLimit(root, path.Join(folder, file)))
				}
				if len(folder) <= len(m.point) || folder == "/" || folder == "." {
					break
				}
			}
		}
	}
	return limit
}

// mount is a mount point of a cgroup tree that may limit memory.
type mount struct {
	root, point string
	isV2        bool
}

func (m mount) files() []string {
	if m.isV2 {
		return []string{"memory.max", "memory.high"}
	}
	return []string{"memory.limit_in_bytes"}
}

// memoryMounts reads /proc/self/mountinfo; see proc_pid_mountinfo(5).
func memoryMounts(root fs.FS) (mounts []mount) {
	for line := range lines(root, "proc/self/mountinfo") {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		isV2 := kind[0] == "cgroup2"
		if isV2 || kind[0] == "cgroup" && hasWord(kind[2], "memory") {
			mounts = append(mounts, mount{fields[3], fields[4], isV2})
		}
	}
	return mounts
}

// groupsOf reads the process's cgroup from /proc/self/cgroup; see cgroups(7).
func groupsOf(root fs.FS, isV2 bool) (groups []string) {
	for line := range lines(root, "proc/self/cgroup") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) == 3 && (isV2 && fields[0] == "0" && fields[1] == "" || !isV2 && hasWord(fields[1], "memory")) {
			groups = append(groups, fields[2])
		}
	}
	return groups
}

func hasWord(list, word string) bool { return strings.Contains(","+list+",", ","+word+",") }

// readLimit reads a file with a number of bytes; math.MaxInt64 if there is none.
func readLimit(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, strings.TrimPrefix(name, "/"))
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil || n <= 0 { // such as "max"
		return math.MaxInt64
	}
	return n
}

// lines yields a file's lines, none if it is unreadable.
func lines(root fs.FS, name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return
		}
		for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
			if !yield(scanner.Text()) {
				return
			}
		}
	}
}
