//go:build linux

package sandbox

import "golang.org/x/sys/unix"

var deniedHere = []uint32{unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_MODIFY_LDT, unix.SYS__SYSCTL, unix.SYS_USELIB, unix.SYS_CREATE_MODULE} //nolint:gochecknoglobals // a table of constants

// tables has the rules of 64-bit programs and of 32-bit ones, whose numbers are
// those of the kernel's arch/x86/entry/syscalls/syscall_32.tbl.
//
//nolint:gochecknoglobals // a table of constants
var tables = []table{
	{unix.AUDIT_ARCH_X86_64, unix.SYS_CLONE, denied, missing, 0x40000000},
	{unix.AUDIT_ARCH_I386, 120, []uint32{
		21, 22, 52, // mount, umount, umount2
		25, 79, 124, 264, 343, 405, // stime, settimeofday, adjtimex, clock_settime, clock_adjtime, clock_settime64
		51, 61, 86, 87, 88, 101, 103, 110, 111, 115, 123, 127, 128, 129, 131, 149, 169, // acct, chroot, uselib, swapon, reboot, ioperm, syslog, iopl, vhangup, swapoff, modify_ldt, modules, quotactl, _sysctl, nfsservctl
		217, 253, 274, 283, 286, 287, 288, 294, 310, 317, // pivot_root, lookup_dcookie, mbind, kexec_load, keys, migrate_pages, unshare, move_pages
		336, 341, 342, 346, 350, 357, 374, // perf_event_open, handles, setns, finit_module, bpf, userfaultfd
		428, 429, 430, 431, 432, 433, 442, // open_tree … fspick, mount_setattr
	}, []uint32{425, 426, 427, 435}, 0x40000000},
}
