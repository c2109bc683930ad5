// Package durable has the file operations that make data survive a power loss
// where the standard library and SQLite stop at the page cache.
//
// It knows nothing of what is stored.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// MkdirAll makes a folder and the ones above it that are missing, and syncs the
// entries of all. os.MkdirAll leaves them in the page cache: after a power loss a
// folder without its entry is gone, with every synced file in it.
//
// Folders that exist are synced too, because the program that made them may have
// been killed before it synced. One that this user cannot read was made by another.
func MkdirAll(dir string, perm fs.FileMode) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return err
	}
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		if err := SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// Create makes fill write a file, which appears at path when it is complete and durable.
// It replaces a file that is there. Only this user can read it. If fill fails, nothing
// remains; a kill leaves a file path.*.part.
func Create(path string, fill func(io.Writer) error) (err error) {
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part.Name()) // it may have been renamed
		}
	}()
	if err = fill(part); err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	if err = os.Rename(part.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Rewrite writes a file's bytes over themselves and syncs them. A file that does
// not exist is no error.
//
// After a failed fsync the kernel takes the pages for clean, although the disk
// does not have them: reads show them, and a later fsync succeeds without writing
// them. Rewrite makes every page dirty again, so what is read is what is synced.
// The caller keeps other programs from writing to the file.
func Rewrite(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(rewrite(file), file.Close())
}

func rewrite(file *os.File) error {
	buf := make([]byte, 1<<20)
	for offset := int64(0); ; {
		n, err := file.ReadAt(buf, offset)
		if _, err := file.WriteAt(buf[:n], offset); err != nil {
			return err
		}
		offset += int64(n)
		if errors.Is(err, io.EOF) {
			return file.Sync()
		}
		if err != nil {
			return err
		}
	}
}
