//go:build linux

package sensor

import (
	"fmt"
	"os"
	"time"

	"ospulse/agent/internal/procfs"
)

// followTime bounds how long the event reader waits for a path to be followed: a file
// system of a program's own (FUSE) may never answer.
const followTime = 50 * time.Millisecond

// The event reader spends at most followShare of its time on look-ups: a file system that
// answers each look-up slowly could hold it up otherwise, until the ring overflows. It
// may spend followBurst at once.
const (
	followShare = 0.5
	followBurst = time.Second
)

// view says which files a process sees.
type view struct {
	mountNamespace uint32
	root           string // as /proc/PID/root names it
}

// follower follows paths that the kernel side could not follow. While a look-up hangs,
// and when the time for look-ups is used up, it follows nothing. Only the event reader
// uses it.
type follower struct {
	timeout time.Duration
	lookUp  func(pids []int, seen view, dir, rest string, followLast bool) (full string, isThere, ok bool)

	busy chan struct{} // holds a value while a look-up runs
	left time.Duration // for look-ups
	seen time.Time     // when left was brought up to date
}

func newFollower(timeout time.Duration) *follower {
	return &follower{timeout: timeout, lookUp: lookUp, busy: make(chan struct{}, 1), left: followBurst, seen: time.Now()}
}

// follow is decoder.lookup.
func (f *follower) follow(pids []int, seen view, dir, rest string, followLast bool) (full string, isThere, ok bool) {
	began := time.Now()
	f.left = min(f.left+time.Duration(followShare*float64(began.Sub(f.seen))), followBurst)
	f.seen = began
	if f.left <= 0 {
		return "", false, false
	}
	defer func() { f.left -= time.Since(began) }()
	select {
	case f.busy <- struct{}{}:
	default:
		return "", false, false
	}
	type result struct {
		full        string
		isThere, ok bool
	}
	followed := make(chan result, 1)
	go func() {
		full, isThere, ok := f.lookUp(pids, seen, dir, rest, followLast)
		<-f.busy // before the result, so that the next look-up finds it free
		followed <- result{full, isThere, ok}
	}()
	timer := time.NewTimer(f.timeout)
	defer timer.Stop()
	select {
	case r := <-followed:
		return r.full, r.isThere, r.ok
	case <-timer.C:
		return "", false, false
	}
}

// lookUp follows a path as the first of the processes sees it that still has the view.
func lookUp(pids []int, seen view, dir, rest string, followLast bool) (full string, isThere, ok bool) {
	viewer, ok := viewerOf(pids, seen)
	if !ok {
		return "", false, false
	}
	full, isThere = procfs.Follow(viewer, pids[0], dir, rest, followLast)
	return full, isThere, true
}

// viewerOf returns the first of the processes that has a view. It asks the agent itself last.
func viewerOf(pids []int, seen view) (int, bool) {
	want := fmt.Sprintf("mnt:[%d]", seen.mountNamespace)
	for _, pid := range append(pids, os.Getpid()) {
		namespace, err1 := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		root, err2 := os.Readlink(fmt.Sprintf("/proc/%d/root", pid))
		if err1 == nil && err2 == nil && namespace == want && root == seen.root {
			return pid, true
		}
	}
	return 0, false
}
