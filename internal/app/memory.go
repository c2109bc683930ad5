package app

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"

	physical "github.com/pbnjay/memory"

	"ospulse/internal/memory"
)

// planMemory divides the memory that this program may use.
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

// tuneMemory trades memory for time: events come and go, little stays, so the
// collector may run less often than it would by itself, as long as there is memory.
// GOGC and GOMEMLIMIT win.
func tuneMemory(budget memory.Budget) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(budget.Heap())
	}
}

// tuneProcessors makes up for the processor that Go counts as busy while SQLite
// waits for the disk, which under load is always. GOMAXPROCS wins.
func tuneProcessors(dialect string) {
	if dialect == "sqlite" && os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS()
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
