package pgtest

import (
	"os"
	"syscall"
)

const (
	memoryDir     = "/dev/shm"
	memoryMinFree = 4 << 30
	tmpfsMagic    = 0x01021994 // statfs(2)
)

// inMemory returns a folder in memory, or "" if there is none with enough space. Creating
// a database there needs half the processor time.
func inMemory() string {
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memoryDir, &fs) != nil || fs.Type != tmpfsMagic || fs.Bavail*uint64(fs.Bsize) < memoryMinFree {
		return ""
	}
	return memoryDir
}

// dieWithParent makes the kernel stop the server (immediate) when the thread that
// forked it ends. See PR_SET_PDEATHSIG in prctl(2).
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
