//go:build linux

// Package durable has the operations on folders that survive a power loss. It knows
// nothing of what is stored.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MkdirAll makes a folder and the ones above it that are missing, and syncs the entry
// of each before it makes the next. os.MkdirAll leaves them in the page cache: a power
// loss takes a folder without its entry, with every synced file in it.
//
// The entry of the deepest folder that exists is synced too, because the program that
// made it may have been killed before it synced. A parent that this user cannot read
// is another user's.
func MkdirAll(dir string, perm fs.FileMode) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return err
	}
	if err := SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// SyncDir makes the entries of a folder survive a power loss. File systems that sync
// no folders, and those that are read only, are no error.
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
