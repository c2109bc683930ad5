package sample

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"

	"ospulse/internal/bucket"
	"ospulse/internal/models"
)

// filesBucket stores a file under the key ab/abcd…, like folder.
type filesBucket struct{ *bucket.Bucket }

func keyOf(sha256 string) string { return path.Join(sha256[:2], sha256) }

func (b filesBucket) stat(ctx context.Context, sha256 string) (int64, error) {
	return b.Stat(ctx, keyOf(sha256))
}

func (b filesBucket) put(ctx context.Context, sha256, path string, size int64) error {
	found, err := b.stat(ctx, sha256)
	if err == nil && found == size {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if size > bucket.MaxBytes {
		return models.Errorf(models.CodeTooLarge, "the file is larger than the %d GB that a bucket takes at once", bucket.MaxBytes>>30)
	}
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	defer content.Close()
	return b.Put(ctx, keyOf(sha256), content, size)
}

func (b filesBucket) open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error) {
	return b.Get(ctx, keyOf(sha256))
}

func (b filesBucket) remove(ctx context.Context, sha256 string) error {
	return b.Remove(ctx, keyOf(sha256))
}

func (b filesBucket) readNote(ctx context.Context, name string) (string, error) {
	text, err := b.Read(ctx, name, 1<<10)
	return string(text), err
}

func (b filesBucket) writeNote(ctx context.Context, name, text string) error {
	return b.Put(ctx, name, strings.NewReader(text), int64(len(text)))
}

func (b filesBucket) list(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for entry, err := range b.List(ctx) {
			sha256 := path.Base(entry.Key)
			if err == nil && (!validSHA256.MatchString(sha256) || entry.Key != keyOf(sha256)) {
				continue
			}
			if !yield(Object{SHA256: sha256, PlacedAt: entry.StoredAt}, err) {
				return
			}
		}
	}
}
