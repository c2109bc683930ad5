//go:build unix && !linux

package pgtest

import "syscall"

// dieWithParent does nothing: these systems have no such signal, and a server
// whose process was killed has to be ended by hand.
func dieWithParent(*syscall.SysProcAttr) {}
