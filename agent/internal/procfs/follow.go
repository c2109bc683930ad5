//go:build linux

package procfs

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links the kernel follows in a path.
const maxLinks = 40

// Follow returns where rest leads from dir for the process self. It follows links and
// dots as far as they exist; isThere says that everything to follow exists, and that none of it
// is a link that /proc makes, such as /proc/1/fd/3: that may lead elsewhere by now. Paths are
// relative to the root of the process viewer, which sees the same files as self and may
// be another process if self is gone. dir must be resolved. followLast says whether
// Follow follows a link at the end; a link with a slash behind it is always followed.
func Follow(viewer, self int, dir, rest string, followLast bool) (full string, isThere bool) {
	at := filepath.Join("/", dir)
	if strings.HasPrefix(rest, "/") {
		at = "/"
	}
	isThere = true
	for links := 0; ; {
		name, after, slashed := strings.Cut(strings.TrimLeft(rest, "/"), "/")
		after = strings.TrimLeft(after, "/")
		rest = after
		switch name {
		case "":
			return at, isThere
		case ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		if after == "" && !followLast && !slashed {
			return next, isThere
		}
		target, err := readLink(viewer, self, next)
		switch {
		case errors.Is(err, unix.EINVAL): // next exists and is not a link
			at = next
			continue
		case err == nil && after == "" && strings.Contains(target, ":[") && !strings.HasPrefix(target, "/"):
			return target, false // a descriptor of a file without a name
		case err != nil || links == maxLinks:
			return strings.TrimRight(next+"/"+after, "/"), false
		}
		links++
		isThere = isThere && !isMade(next)
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		if rest = target; slashed {
			rest += "/" + after
		}
	}
}

// readLink reads a link as self sees it.
func readLink(viewer, self int, name string) (string, error) {
	if name == "/proc/self" || name == "/proc/thread-self" {
		if inner := InnermostPID(self); inner != 0 {
			return strconv.Itoa(inner), nil
		}
		return "", gone(self, os.ErrNotExist)
	}
	target, err := os.Readlink(path(viewer, "root") + name)
	if isMade(name) {
		target = Below(viewer, strings.TrimSuffix(target, " (deleted)"))
	}
	return target, err
}

// isMade reports whether a link below /proc leads to what a process has now.
func isMade(name string) bool {
	inner, ok := strings.CutPrefix(name, "/proc/")
	return ok && inner != "" && inner[0] >= '0' && inner[0] <= '9'
}

// Below converts a path on this machine to the path from the root of a process.
func Below(pid int, name string) string {
	root, err := os.Readlink(path(pid, "root"))
	if err != nil || root == "/" || name != root && !strings.HasPrefix(name, root+"/") {
		return name
	}
	return "/" + strings.TrimPrefix(name[len(root):], "/")
}
