//go:build linux

package sensor

import (
	"fmt"
	"os"
	"time"

	"ospulse/agent/internal/procfs"
)

// followTime bounds how long events wait for a path to be followed: a file system of
// a program's own (FUSE) may never answer.
const followTime = 50 * time.Millisecond

// follower follows what the kernel side could not. One that hangs is left behind, and
// until it returns nothing is followed.
type follower struct {
	busy    chan struct{} // holds a value while a path is followed
	timeout time.Duration
}

func newFollower(timeout time.Duration) *follower {
	return &follower{make(chan struct{}, 1), timeout}
}

// follow is decoder.lookup.
func (f *follower) follow(pids []int, mountNamespace uint32, dir, rest string, followLast bool) (full string, isThere, ok bool) {
	select {
	case f.busy <- struct{}{}:
	default:
		return "", false, false
	}
	type result struct {
		full    string
		isThere bool
	}
	followed := make(chan result, 1)
	go func() {
		defer func() { <-f.busy }()
		if viewer, ok := viewerOf(pids, mountNamespace); ok {
			full, isThere := procfs.Follow(viewer, pids[0], dir, rest, followLast)
			followed <- result{full, isThere}
		}
		close(followed)
	}()
	timer := time.NewTimer(f.timeout)
	defer timer.Stop()
	select {
	case r, ok := <-followed:
		return r.full, r.isThere, ok
	case <-timer.C:
		return "", false, false
	}
}

// viewerOf gives the first of the processes that is of a mount namespace. The agent
// is the last that is asked.
func viewerOf(pids []int, mountNamespace uint32) (int, bool) {
	want := fmt.Sprintf("mnt:[%d]", mountNamespace)
	for _, pid := range append(pids, os.Getpid()) {
		if namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err == nil && namespace == want {
			return pid, true
		}
	}
	return 0, false
}
