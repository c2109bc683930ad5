//go:build unix

package sample

import (
	"math"

	"golang.org/x/sys/unix"
)

func freeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	free := float64(stat.Bavail) * float64(stat.Bsize) // signed on some systems
	return int64(min(free, math.MaxInt64/2)), nil
}
