//go:build unix

package durable

import (
	"errors"
	"os"
	"syscall"
)

// SyncDir makes the entries of a folder survive a power loss: files that were
// created, renamed or removed in it. File systems that sync no folders, and those
// that are read only, are no error.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EROFS) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
