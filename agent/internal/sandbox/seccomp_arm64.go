//go:build linux

package sandbox

import "golang.org/x/sys/unix"

var deniedHere []uint32 //nolint:gochecknoglobals // a table of constants

var tables = []table{{unix.AUDIT_ARCH_AARCH64, unix.SYS_CLONE, denied, missing, 0x40000000}} //nolint:gochecknoglobals // a table of constants
