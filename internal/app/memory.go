package app

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"

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

// tuneMemory lets the garbage collector run less often while memory is free, because most
// of the heap is events that live briefly. GOGC and GOMEMLIMIT override it.
func tuneMemory(budget memory.Budget) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(budget.Heap())
	}
}

// tuneProcessors adds a processor to GOMAXPROCS for SQLite. Under load one thread always
// waits for SQLite's disk, and Go counts its processor as busy. GOMAXPROCS overrides it.
func tuneProcessors(dialect string) {
	if dialect == "sqlite" && os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS()
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
