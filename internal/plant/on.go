//go:build planted

// Package plant holds the bugs that the judge (test/judge) must find. They are
// compiled in with the build tag planted only, and even then none of them is there
// unless the environment names it.
package plant

import (
	"os"
	"sync/atomic"
)

// planted is the name of the planted bug, "" for none. The bug shows two times out of
// three: often enough for a test to find it soon, while the rest of the program still
// works.
var planted = os.Getenv("OSPULSE_PLANT")

var asked atomic.Int64

// Is reports whether the named bug is to happen now.
func Is(name string) bool { return name == planted && asked.Add(1)%3 != 0 }
