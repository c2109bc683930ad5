//go:build unix && !linux

package pgtest

import "syscall"

// dieWithParent does nothing. These systems have no such signal: a server whose parent
// was killed must be stopped by hand.
func dieWithParent(*syscall.SysProcAttr) {}

func inMemory() string { return "" }
