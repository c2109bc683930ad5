// Package filestore keeps uploaded files in a folder under the SHA-256 of their
// content, each once. It never runs a file and never uses a name that came from
// outside as a path.
package filestore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"ospulse/internal/durable"
	"ospulse/internal/models"
)

// maxTempAge is how old an unfinished upload must be to be taken for the rest of
// a crash; another replica may be writing a younger one.
const maxTempAge = 24 * time.Hour

var validSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Store is a folder of files. It is safe for concurrent use, also by several
// processes.
type Store struct{ dir string }

// Open makes the folder if it is not there, sees that it can be written to, and
// removes what uploads left that a crash cut off.
func Open(dir string) (*Store, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir, "upload-*"))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > maxTempAge {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	return &Store{dir}, nil
}

// Upload is content that was received whole and is safely on the disk, though not
// where it belongs yet. Who has it must call Discard in the end. Of a nil Upload
// there is nothing to place or to discard.
type Upload struct {
	File  *models.TargetFile
	store *Store
	temp  string
}

// Receive reads content to its end, in constant memory. Content of more than
// maxBytes is too_large and leaves nothing behind; so does an error of content,
// which is returned wrapped.
func (s *Store) Receive(content io.Reader, maxBytes int64) (upload *Upload, err error) {
	temp, err := os.CreateTemp(s.dir, "upload-*")
	if err != nil {
		return nil, storageError(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name()) // else Open removes it, some day
		}
	}()
	hash := sha256.New()
	disk := &writer{file: temp}
	size, err := io.Copy(io.MultiWriter(disk, hash), io.LimitReader(content, maxBytes+1))
	if err == nil && size > maxBytes {
		err = models.Errorf(models.CodeTooLarge, "the file is larger than the %d MB that are taken", maxBytes>>20)
	}
	if err == nil {
		disk.err = temp.Sync()
		err = disk.err
	}
	if closeErr := temp.Close(); err == nil && closeErr != nil {
		disk.err, err = closeErr, closeErr
	}
	switch {
	case disk.err != nil:
		return nil, storageError(disk.err)
	case err != nil:
		return nil, fmt.Errorf("read the file: %w", err)
	}
	file := &models.TargetFile{SHA256: hex.EncodeToString(hash.Sum(nil)), SizeBytes: size}
	return &Upload{File: file, store: s, temp: temp.Name()}, nil
}

// Place moves the content to where it belongs; what is there already is not stored
// again. When it returns, the file is safely on the disk. Where files are deleted
// too, whoever places one must keep Delete of the same hash off until others can
// know that the file is in use.
func (u *Upload) Place() error {
	if u == nil {
		return nil
	}
	name := u.store.path(u.File.SHA256)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return storageError(err)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != u.File.SizeBytes {
		if err := os.Rename(u.temp, name); err != nil {
			return storageError(err)
		}
	}
	// Another upload may have moved the file and not synced its entry yet.
	for _, dir := range []string{filepath.Dir(name), u.store.dir} {
		if err := durable.SyncDir(dir); err != nil {
			return storageError(err)
		}
	}
	return nil
}

// Discard removes what Place has not moved.
func (u *Upload) Discard() error {
	if u == nil {
		return nil
	}
	if err := os.Remove(u.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storageError(err)
	}
	return nil
}

// Delete removes the file of a hash; one that is not there is no error.
func (s *Store) Delete(sha256 string) error {
	if !validSHA256.MatchString(sha256) {
		return nil
	}
	if err := os.Remove(s.path(sha256)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return models.Wrap(err, models.CodeUnavailable, "the file cannot be deleted: the data folder is not writable, or the file is being read")
	}
	return nil
}

// Open opens the file of a hash; not_found when there is none.
func (s *Store) Open(sha256 string) (io.ReadSeekCloser, error) {
	if !validSHA256.MatchString(sha256) {
		return nil, models.Errorf(models.CodeNotFound, "there is no file with this hash")
	}
	file, err := os.Open(s.path(sha256))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, models.Wrap(err, models.CodeNotFound, "the content of this file is not on this machine")
	}
	if err != nil {
		return nil, storageError(err)
	}
	return file, nil
}

// FreeBytes gives the space that is left on the folder's disk.
func (s *Store) FreeBytes() (int64, error) { return freeBytes(s.dir) }

func (s *Store) path(sha256 string) string { return filepath.Join(s.dir, sha256[:2], sha256) }

// writer remembers whether it was the disk that failed, not the reader.
type writer struct {
	file *os.File
	err  error
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.err = err
	return n, err
}

func storageError(err error) error {
	return models.Wrap(err, models.CodeUnavailable, "the file cannot be stored: the data folder is full or not writable")
}
