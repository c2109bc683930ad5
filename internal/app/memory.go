package app

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	physical "github.com/pbnjay/memory"

	"ospulse/internal/memory"
)

// planMemory returns the memory limit of this program and its division.
func planMemory(getenv func(string) string) memory.Budget {
	goMemLimit := int64(0)
	if getenv("GOMEMLIMIT") != "" {
		goMemLimit = debug.SetMemoryLimit(-1) // as the runtime read it
	}
	if goMemLimit == math.MaxInt64 { // off
		goMemLimit = 0
	}
	return memory.Divide(memory.Detect(os.DirFS("/"), goMemLimit, int64(min(physical.TotalMemory(), math.MaxInt64))))
}

// tuneMemory limits the heap, and lets the garbage collector run less often while little is
// live. GOGC and GOMEMLIMIT override it.
func tuneMemory(budget memory.Budget) {
	if os.Getenv("GOGC") == "" {
		tuneGarbage(0)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(budget.Heap())
	}
}

// Most of what the backend allocates is events that live briefly. So the heap may hold
// garbageBytes of garbage. The growth, which is the garbage in percent of what is live, lies
// between Go's default and maxGrowth.
const (
	garbageBytes  = 64 << 20
	defaultGrowth = 100
	maxGrowth     = 400
)

// growth returns how much garbage the heap may hold, in percent of the live bytes.
func growth(live uint64) int {
	return int(min(max(100*garbageBytes/max(live, 1), defaultGrowth), maxGrowth))
}

// tuneGarbage fits the growth of the heap to what is live, now and after each collection. current
// is the growth that it has set already, 0 if none.
func tuneGarbage(current int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	wanted := growth(live[0].Value.Uint64())
	if wanted != current { // SetGCPercent stops the program for a moment
		debug.SetGCPercent(wanted)
	}
	runtime.AddCleanup(&[64]byte{}, tuneGarbage, wanted) // the next collection finds the bytes unused
}

// tuneProcessors adds a processor to GOMAXPROCS for SQLite. Under load one thread always
// waits for SQLite's disk, and Go counts its processor as busy. GOMAXPROCS overrides it.
func tuneProcessors(dialect string) {
	if dialect == "sqlite" && os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS()
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
