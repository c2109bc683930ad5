package sample

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"ospulse/internal/durable"
)

// folder stores a file at dir/ab/abcd…, where ab are the first digits of its hash.
type folder struct{ dir string }

func (f folder) path(sha256 string) string { return filepath.Join(f.dir, sha256[:2], sha256) }

func (f folder) stat(_ context.Context, sha256 string) (int64, error) {
	info, err := os.Stat(f.path(sha256))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f folder) put(_ context.Context, sha256, path string, size int64) error {
	name := f.path(sha256)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if info, err := os.Stat(name); err != nil || info.Size() != size {
		if err := os.Rename(path, name); err != nil {
			return err
		}
	}
	// Another upload may have moved the file and not synced its entry yet.
	return errors.Join(durable.SyncDir(filepath.Dir(name)), durable.SyncDir(f.dir))
}

func (f folder) open(_ context.Context, sha256 string) (io.ReadSeekCloser, error) {
	return os.Open(f.path(sha256))
}

func (f folder) remove(_ context.Context, sha256 string) error {
	if err := os.Remove(f.path(sha256)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readNote reads a file beside the folder, such as files.owner.
func (f folder) readNote(_ context.Context, name string) (string, error) {
	text, err := os.ReadFile(f.dir + "." + name)
	return string(text), err
}

func (f folder) writeNote(_ context.Context, name, text string) error {
	return os.WriteFile(f.dir+"."+name, []byte(text), 0o600)
}

func (f folder) list(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := filepath.WalkDir(f.dir, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed during the walk
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			name := entry.Name()
			if entry.IsDir() || !validSHA256.MatchString(name) || path != f.path(name) {
				return nil
			}
			info, err := entry.Info()
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case !yield(Object{SHA256: name, PlacedAt: info.ModTime()}, nil):
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Object{}, err)
		}
	}
}
