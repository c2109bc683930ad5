package durable

import "golang.org/x/sys/unix"

// Weakness says why files in a folder may not survive a power loss although they
// were synced, or may be damaged by another machine: the kind of file system. It
// returns "" for a folder on a disk, and for one that it cannot look at.
func Weakness(dir string) string {
	var stat unix.Statfs_t
	if unix.Statfs(dir, &stat) != nil {
		return ""
	}
	switch int64(stat.Type) { //nolint:unconvert // its type depends on the processor
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return "is in memory (tmpfs)"
	case unix.NFS_SUPER_MAGIC:
		return "is on a network file system (nfs)"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "is on a network file system (smb)"
	case unix.V9FS_MAGIC:
		return "is on a network file system (9p)"
	}
	return ""
}
