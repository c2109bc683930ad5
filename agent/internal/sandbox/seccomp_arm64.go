//go:build linux

package sandbox

import "golang.org/x/sys/unix"

var deniedHere []uint32 //nolint:gochecknoglobals // a table of constants

var tables = []table{{ //nolint:gochecknoglobals // a table of constants
	arch: unix.AUDIT_ARCH_AARCH64, denied: denied, missing: missing,
	clone: unix.SYS_CLONE, ioctl: unix.SYS_IOCTL, personality: unix.SYS_PERSONALITY, socket: unix.SYS_SOCKET,
}}
