//go:build linux

package ptrace

import "golang.org/x/sys/unix"

// nativeArch is the arch that PTRACE_GET_SYSCALL_INFO reports for calls with native numbers.
const nativeArch = unix.AUDIT_ARCH_AARCH64

var callsHere = map[uint64]call{unix.SYS_RENAMEAT: onNames("renameat", "RenameFile", isName, 0, 1, 2, 3)} //nolint:gochecknoglobals // a table of constants

var compat map[uint64]uint64 //nolint:gochecknoglobals // calls of 32-bit programs are not reported
