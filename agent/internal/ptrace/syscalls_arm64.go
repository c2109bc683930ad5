//go:build linux

package ptrace

import "golang.org/x/sys/unix"

// nativeArch is what PTRACE_GET_SYSCALL_INFO says of calls with native numbers.
const nativeArch = unix.AUDIT_ARCH_AARCH64

var callsHere = map[uint64]call{unix.SYS_RENAMEAT: onNames("renameat", "RenameFile", isName, 0, 1, 2, 3)} //nolint:gochecknoglobals // a table of constants

var compat map[uint64]uint64 //nolint:gochecknoglobals // 32-bit programs are not reported here
