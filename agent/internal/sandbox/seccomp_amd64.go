//go:build linux

package sandbox

import "golang.org/x/sys/unix"

var deniedHere = []uint32{ //nolint:gochecknoglobals // a table of constants
	unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_MODIFY_LDT, unix.SYS__SYSCTL, unix.SYS_USELIB, unix.SYS_CREATE_MODULE,
}

// tables has the rules for 64-bit and for 32-bit programs. The numbers of the latter are
// in the kernel's arch/x86/entry/syscalls/syscall_32.tbl.
//
//nolint:gochecknoglobals // a table of constants
var tables = []table{
	{
		arch: unix.AUDIT_ARCH_X86_64, denied: denied, missing: missing,
		clone: unix.SYS_CLONE, ioctl: unix.SYS_IOCTL, personality: unix.SYS_PERSONALITY, socket: unix.SYS_SOCKET,
	},
	{
		arch: unix.AUDIT_ARCH_I386,
		denied: []uint32{
			21, 22, 52, 217, 61, // mount, umount, umount2, pivot_root, chroot
			428, 429, 430, 431, 432, 433, 442, 467, // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr, open_tree_attr
			310, 346, // unshare, setns
			283, 127, 128, 129, 350, // kexec_load, create_module, init_module, delete_module, finit_module
			88, 87, 115, 51, 131, 443, 103, 111, // reboot, swapon, swapoff, acct, quotactl, quotactl_fd, syslog, vhangup
			25, 79, 124, 264, 343, 404, 405, // stime, settimeofday, adjtimex, clock_settime, clock_adjtime, clock_settime64, clock_adjtime64
			74, 121, // sethostname, setdomainname
			357, 336, 374, 338, // bpf, perf_event_open, userfaultfd, fanotify_init
			286, 287, 288, // add_key, request_key, keyctl
			341, 342, 253, 169, // name_to_handle_at, open_by_handle_at, lookup_dcookie, nfsservctl
			274, 294, 317, // mbind, migrate_pages, move_pages
			101, 110, 123, 149, 86, // ioperm, iopl, modify_ldt, _sysctl, uselib
		},
		missing: []uint32{
			435, 425, 426, 427, // clone3, io_uring_setup, io_uring_enter, io_uring_register
			245, 246, 247, 248, 249, 385, 416, // io_setup, io_destroy, io_getevents, io_submit, io_cancel, io_pgetevents, io_pgetevents_time64
		},
		clone: 120, ioctl: 54, personality: 136, socket: 359, socketcall: 102,
	},
}
