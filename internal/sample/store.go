// Package sample stores uploaded files under the SHA-256 of their content, each once, in
// a folder or in a bucket that several backends share. It also packs a file into a zip
// with a password, the form in which researchers exchange samples. It never runs a file
// and never uses a name that came from outside as a path or key.
package sample

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"ospulse/internal/bucket"
	"ospulse/internal/durable"
	"ospulse/internal/models"
)

var validSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Store stores files. It is safe for concurrent use, also by several processes.
type Store struct {
	folder  folder  // holds uploads that are being received
	objects objects // where placed files are: folder, or a bucket
	shown   string
}

// objects holds placed files. Errors that wrap fs.ErrNotExist mean that there is
// no such file; every other error means that the storage failed.
type objects interface {
	// stat returns the size of a file.
	stat(ctx context.Context, sha256 string) (sizeBytes int64, err error)
	// put stores the content of the file at path, all of it or nothing, unless it is
	// there already. It may move the file. When it returns nil, the content is durable.
	put(ctx context.Context, sha256, path string, sizeBytes int64) error
	open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error)
	// remove removes a file. Removing a file that is not there is no error.
	remove(ctx context.Context, sha256 string) error
	// list yields all files in the order of their SHA-256.
	list(ctx context.Context) iter.Seq2[Object, error]
	// readNote and writeNote keep a short text beside the files.
	readNote(ctx context.Context, name string) (string, error)
	writeNote(ctx context.Context, name, text string) error
}

// Object is a placed file, as List yields it.
type Object struct {
	SHA256   string
	PlacedAt time.Time
}

// Open opens a store in a folder. It creates the folder if needed and checks that
// it is writable.
func Open(dir string) (*Store, error) {
	f := folder{dir}
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
	return &Store{folder: f, objects: f, shown: "folder"}, nil
}

// OpenBucket opens a store in a bucket. It does not contact the bucket. The folder
// holds uploads while they are received; files that Open has placed there earlier
// are served, and MoveToBucket moves them.
func OpenBucket(dir string, location bucket.Location) (*Store, error) {
	s, err := Open(dir)
	if err != nil {
		return nil, err
	}
	files, err := bucket.Open(location)
	if err != nil {
		return nil, err
	}
	s.objects, s.shown = filesBucket{files}, location.String()
	return s, nil
}

// String names the storage: "folder", or the bucket as s3://name/prefix.
func (s *Store) String() string { return s.shown }

// Upload is content that was received completely and is durable in the folder, but
// not placed yet. Its owner must call Discard in the end. The methods of a nil
// Upload do nothing.
type Upload struct {
	File  *models.TargetFile
	store *Store
	temp  string
}

// Receive reads content to its end, in constant memory. Content of more than
// maxBytes is too_large and leaves nothing behind. An error of content is returned
// wrapped, and leaves nothing behind either.
func (s *Store) Receive(content io.Reader, maxBytes int64) (upload *Upload, err error) {
	temp, err := os.CreateTemp(s.folder.dir, uploadPattern)
	if err != nil {
		return nil, folderError(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name()) // else RemoveOldUploads does it
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
		return nil, folderError(disk.err)
	case err != nil:
		return nil, fmt.Errorf("read the file: %w", err)
	}
	file := &models.TargetFile{SHA256: hex.EncodeToString(hash.Sum(nil)), SizeBytes: size}
	return &Upload{File: file, store: s, temp: temp.Name()}, nil
}

// Send stores the content in the bucket, which may take long, so that Place only
// has to check that it is still there. It does nothing for a store in a folder,
// where Place is fast.
func (u *Upload) Send(ctx context.Context) error {
	if u == nil || !u.store.inBucket() {
		return nil
	}
	return u.Place(ctx)
}

// Place stores the content under its SHA-256, unless it is there already. When it
// returns nil, the file is durable. The caller must keep Delete of the same file
// off until others can see that the file is in use.
func (u *Upload) Place(ctx context.Context) error {
	if u == nil {
		return nil
	}
	return u.store.error(u.store.objects.put(ctx, u.File.SHA256, u.temp, u.File.SizeBytes))
}

// Discard removes what Place has not moved.
func (u *Upload) Discard() error {
	if u == nil {
		return nil
	}
	if err := os.Remove(u.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return folderError(err)
	}
	return nil
}

// Delete removes a file. Deleting a file that is not there is no error.
func (s *Store) Delete(ctx context.Context, sha256 string) error {
	if !validSHA256.MatchString(sha256) {
		return nil
	}
	err := s.objects.remove(ctx, sha256)
	if err == nil && s.inBucket() {
		err = s.folder.remove(ctx, sha256)
	}
	if err != nil {
		return models.Wrap(err, models.CodeUnavailable, "the file cannot be deleted: its storage does not answer or is not writable, or the file is being read")
	}
	return nil
}

// Open opens a file; not_found when there is none.
func (s *Store) Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error) {
	if !validSHA256.MatchString(sha256) {
		return nil, models.Errorf(models.CodeNotFound, "there is no file with this hash")
	}
	file, err := find(s, func(where objects) (io.ReadSeekCloser, error) { return where.open(ctx, sha256) })
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.inBucket():
		return nil, models.Wrap(err, models.CodeNotFound, "the content of this file is not in the storage of files")
	case errors.Is(err, fs.ErrNotExist):
		return nil, models.Wrap(err, models.CodeNotFound, "the content of this file is not on this machine")
	case err != nil:
		return nil, s.error(err)
	}
	return file, nil
}

// Has reports whether a file is there.
func (s *Store) Has(ctx context.Context, sha256 string) (bool, error) {
	_, err := find(s, func(where objects) (int64, error) { return where.stat(ctx, sha256) })
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, s.error(err)
}

// find calls look with the places where a file may be, until one has it. MoveToBucket
// places a file in the bucket before it removes it from the folder. So a file that moves
// in between, and is in neither place when look gets there, is in the bucket afterwards.
func find[T any](s *Store, look func(where objects) (T, error)) (found T, err error) {
	places := []objects{s.objects}
	if s.inBucket() {
		places = []objects{s.objects, s.folder, s.objects}
	}
	for _, where := range places {
		if found, err = look(where); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return found, err
}

// List yields all placed files in the order of their SHA-256. It ends with the
// first error.
func (s *Store) List(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for object, err := range s.objects.list(ctx) {
			if !yield(object, s.error(err)) || err != nil {
				return
			}
		}
	}
}

// ownerNote names the note that says whose files these are.
const ownerNote = "owner"

// Claim makes owner the owner of a storage that has none yet, and reports whether
// owner is the owner. Files that an owner does not know may be another owner's.
func (s *Store) Claim(ctx context.Context, owner string) (bool, error) {
	found, err := s.objects.readNote(ctx, ownerNote)
	if errors.Is(err, fs.ErrNotExist) || err == nil && found == "" {
		found, err = owner, s.objects.writeNote(ctx, ownerNote, owner)
	}
	return found == owner && err == nil, s.error(err)
}

// MoveToBucket moves the files that are still in the folder to the bucket, as far as
// isKnown reports true for them, and returns how many it moved. It does nothing for
// a store in a folder. A file whose content does not match its name stays where it
// is, with an error; the others are moved all the same.
func (s *Store) MoveToBucket(ctx context.Context, isKnown func(ctx context.Context, sha256 string) (bool, error)) (moved int, err error) {
	if !s.inBucket() {
		return 0, nil
	}
	var failed []error
	for object, err := range s.folder.list(ctx) {
		known := false
		if err == nil {
			known, err = isKnown(ctx, object.SHA256)
		}
		if known {
			err = s.move(ctx, object.SHA256)
		}
		switch {
		case known && err == nil:
			moved++
		case err == nil:
		case errors.Is(err, fs.ErrNotExist): // another backend that shares the folder was faster
		case len(failed) < maxMoveErrors:
			failed = append(failed, err)
		}
	}
	return moved, errors.Join(failed...)
}

// maxMoveErrors is how many errors of one move are reported.
const maxMoveErrors = 10

func (s *Store) move(ctx context.Context, sha256 string) error {
	path := s.folder.path(sha256)
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	found, size, err := hashOf(content)
	if err := errors.Join(err, content.Close()); err != nil {
		return err
	}
	if found != sha256 {
		return fmt.Errorf("the file %s is damaged: its content has the SHA-256 %s", path, found)
	}
	upload := Upload{File: &models.TargetFile{SHA256: sha256, SizeBytes: size}, store: s, temp: path}
	if err := upload.Place(ctx); err != nil {
		return err
	}
	return s.folder.remove(ctx, sha256)
}

func hashOf(content io.Reader) (hexSHA256 string, size int64, err error) {
	hash := sha256.New()
	size, err = io.Copy(hash, content)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}

// uploadPattern is how os.CreateTemp names uploads that are being received.
const uploadPattern = "upload-*"

// RemoveOldUploads removes what crashed uploads have left: temporary files that
// nobody has written to since a time.
func (s *Store) RemoveOldUploads(before time.Time) (removed int, err error) {
	left, err := filepath.Glob(filepath.Join(s.folder.dir, uploadPattern))
	if err != nil {
		return 0, err
	}
	for _, name := range left {
		info, err := os.Stat(name)
		if err != nil || !info.ModTime().Before(before) {
			continue // it is in use, or its owner has just removed it
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// FreeBytes returns the free space on the folder's disk.
func (s *Store) FreeBytes() (int64, error) { return freeBytes(s.folder.dir) }

func (s *Store) inBucket() bool { return s.objects != objects(s.folder) }

// error adds the code and message to an error of the storage.
func (s *Store) error(err error) error {
	switch {
	case err == nil || models.ErrorCode(err) == models.CodeTooLarge:
		return err
	case s.inBucket():
		return models.Wrap(err, models.CodeUnavailable, "the storage of files (FILES_URL) does not answer or refuses; try again")
	}
	return folderError(err)
}

func folderError(err error) error {
	return models.Wrap(err, models.CodeUnavailable, "the file cannot be stored: the data folder is full or not writable")
}

// writer records whether the disk failed, and not the reader.
type writer struct {
	file *os.File
	err  error
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.err = err
	return n, err
}
