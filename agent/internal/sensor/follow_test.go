//go:build linux

package sensor

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowLookUpsTakeAShareOfTheTime: a file system that answers each look-up just in time
// takes at most followShare of the event reader's time.
func TestSlowLookUpsTakeAShareOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = followTime - time.Millisecond
		f := newFollower(followTime)
		f.lookUp = func([]int, view, string, string, bool) (string, bool, bool) {
			<-time.After(slow)
			return "/found", true, true
		}
		var waited time.Duration
		followed := 0
		const events, between = 100_000, time.Millisecond
		began := time.Now()
		for range events {
			asked := time.Now()
			if _, _, ok := f.follow(nil, view{}, "/", "a", true); ok {
				followed++
			}
			waited += time.Since(asked)
			<-time.After(between)
		}
		if limit := time.Duration(followShare*float64(time.Since(began))) + followBurst + followTime; waited > limit {
			t.Errorf("the reader waited %s of %s", waited, time.Since(began))
		}
		if followed < 100 {
			t.Errorf("%d paths were followed", followed)
		}
	})
}

// TestLookUpsFollowEachOther: a look-up that has ended does not keep the next one from
// running.
func TestLookUpsFollowEachOther(t *testing.T) {
	f := newFollower(time.Minute)
	f.lookUp = func([]int, view, string, string, bool) (string, bool, bool) { return "/found", true, true }
	for i := range 20_000 {
		f.left = followBurst // a slow machine must not use up the time for look-ups
		if _, _, ok := f.follow(nil, view{}, "/", "a", true); !ok {
			t.Fatalf("look-up %d was skipped", i)
		}
	}
}

// TestLookUpThatHangs: while a look-up hangs, the event reader does not wait for another one.
func TestLookUpThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(followTime)
		release := make(chan struct{})
		f.lookUp = func([]int, view, string, string, bool) (string, bool, bool) {
			<-release
			return "/found", true, true
		}
		began := time.Now()
		for range 1000 {
			if _, _, ok := f.follow(nil, view{}, "/", "a", true); ok {
				t.Fatal("a path was followed")
			}
		}
		if waited := time.Since(began); waited > followTime {
			t.Errorf("the reader waited %s", waited)
		}
		close(release)
		synctest.Wait()
		if _, _, ok := f.follow(nil, view{}, "/", "a", true); !ok {
			t.Error("no path is followed after the look-up has ended")
		}
	})
}

// TestViewerHasTheSameRoot: a process with another root directory does not look up the paths of a
// process in a jail, nor the agent.
func TestViewerHasTheSameRoot(t *testing.T) {
	link, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	var own view
	if _, err := fmt.Sscanf(link, "mnt:[%d]", &own.mountNamespace); err != nil {
		t.Fatal(err)
	}
	if own.root, err = os.Readlink("/proc/self/root"); err != nil {
		t.Fatal(err)
	}
	if viewer, ok := viewerOf([]int{os.Getpid()}, own); !ok || viewer != os.Getpid() {
		t.Errorf("viewer %d, %v", viewer, ok)
	}
	jailed := own
	jailed.root = "/jail"
	other := own
	other.mountNamespace++
	for _, v := range []view{jailed, other} {
		if viewer, ok := viewerOf([]int{os.Getpid()}, v); ok {
			t.Errorf("process %d would look up paths of %+v", viewer, v)
		}
	}
}
