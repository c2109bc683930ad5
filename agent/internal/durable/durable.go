//go:build linux

// Package durable creates and syncs folders so that they survive a power loss. It must not
// know what is stored in them.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MkdirAll creates a folder and its missing parents, and syncs the entry of each before it
// creates the next. os.MkdirAll leaves the entries in the page cache: a power loss destroys
// a folder whose entry is not synced, with all synced files in it.
//
// MkdirAll also syncs the entry of the deepest existing folder, because the program that
// created it may have been killed before the sync. It does not sync a parent that this user
// may not read: that folder belongs to another user.
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

// SyncDir syncs the entries of a folder, so that they survive a power loss. It returns no
// error for a file system that cannot sync folders or is read-only.
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
