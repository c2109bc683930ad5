//go:build unix

package filestore

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

func freeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	free := float64(stat.Bavail) * float64(stat.Bsize) // some systems have it unsigned, some signed
	return int64(min(free, math.MaxInt64/2)), nil
}

// syncDir makes a rename in the folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
