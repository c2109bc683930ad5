//go:build linux

package inspect

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// local maps the names of local file systems to their magic numbers. Neither a program
// nor another machine can stop them from answering.
var local = map[string]int64{ //nolint:gochecknoglobals // a table of constants
	"ext2": unix.EXT2_SUPER_MAGIC, "ext3": unix.EXT3_SUPER_MAGIC, "ext4": unix.EXT4_SUPER_MAGIC,
	"xfs": unix.XFS_SUPER_MAGIC, "btrfs": unix.BTRFS_SUPER_MAGIC, "f2fs": unix.F2FS_SUPER_MAGIC,
	"bcachefs": 0xca451a4e, "zfs": 0x2fc12fc1, "jfs": 0x3153464a, "reiserfs": unix.REISERFS_SUPER_MAGIC, "nilfs2": 0x3434,
	"tmpfs": unix.TMPFS_MAGIC, "devtmpfs": unix.TMPFS_MAGIC, "ramfs": unix.RAMFS_MAGIC, "rootfs": unix.RAMFS_MAGIC,
	"overlay": unix.OVERLAYFS_SUPER_MAGIC, "squashfs": unix.SQUASHFS_MAGIC, "erofs": unix.EROFS_SUPER_MAGIC_V1,
	"iso9660": unix.ISOFS_SUPER_MAGIC, "vfat": unix.MSDOS_SUPER_MAGIC, "exfat": unix.EXFAT_SUPER_MAGIC, "ntfs3": 0x7366746e,
}

// checkFileSystem returns errRefused for a file on a file system that is not local. It
// looks the mount up in the mountinfo of the process, which asks no file system. Only if
// the mount is not there, as for a file in memory or of another mount namespace, does it
// ask the file system itself.
func checkFileSystem(pid, handle int) error {
	mounts := "/proc/self/mountinfo"
	if pid > 0 {
		mounts = procPath(pid, "mountinfo")
	}
	if name := mountType(mounts, mountOf(handle)); name != "" {
		if _, ok := local[name]; !ok {
			return fmt.Errorf("%w: it is on a file system of the type %q", errRefused, name)
		}
		return nil
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(handle, &stat); err != nil {
		return fmt.Errorf("stat its file system: %w", err)
	}
	for _, magic := range local {
		if int64(stat.Type) == magic { //nolint:unconvert // the type of Type differs between architectures
			return nil
		}
	}
	return fmt.Errorf("%w: it is on a file system of the type %#x", errRefused, stat.Type)
}

// mountOf returns the mount ID of an open file, as in mountinfo, or "" if the kernel
// does not report it.
func mountOf(handle int) string {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(handle))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(info) {
		if id, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return string(bytes.TrimSpace(id))
		}
	}
	return ""
}

// mountType returns the file system type of a mount, or "" if mountinfo does not list
// the mount.
func mountType(mountinfo, id string) string {
	text, err := os.ReadFile(mountinfo)
	if err != nil || id == "" {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(line, " - ") // type, device, options
		number, _, _ := strings.Cut(before, " ")
		if ok && number == id {
			name, _, _ := strings.Cut(after, " ")
			return name
		}
	}
	return ""
}
