//go:build linux

package sensor

import (
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
