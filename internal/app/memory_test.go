package app

import (
	"runtime"
	"runtime/metrics"
	"testing"

	"ospulse/test/wait"
)

// TestGarbageFollowsWhatIsLive checks that the growth of the heap is set after each collection.
func TestGarbageFollowsWhatIsLive(t *testing.T) {
	tuneGarbage(0)
	few := growthNow()
	if few <= defaultGrowth || few > maxGrowth {
		t.Errorf("the heap of a small program may grow by %d percent", few)
	}
	for range 2 {
		many := make([]byte, 2*garbageBytes)
		runtime.GC()
		wait.For(t, "less growth", func() bool { return growthNow() == defaultGrowth })
		runtime.KeepAlive(many)
		runtime.GC()
		wait.For(t, "the growth of before", func() bool { return growthNow() > defaultGrowth })
	}
}

func growthNow() int {
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(percent)
	return int(percent[0].Value.Uint64())
}

func TestGrowth(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 10 << 20: 400, 32 << 20: 200, 64 << 20: 100, 1 << 40: 100} {
		if got := growth(live); got != want {
			t.Errorf("with %d live bytes the heap may grow by %d percent, want %d", live, got, want)
		}
	}
}
