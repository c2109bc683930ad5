package service_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/sample"
	"ospulse/internal/service"
)

// fileRows are rows of target files in memory.
type fileRows struct {
	known []string
	err   error
}

func (*fileRows) InstallationID(context.Context) (string, error) { return "me", nil }

func (r *fileRows) Has(_ context.Context, sha256 string) (bool, error) {
	return slices.Contains(r.known, sha256), r.err
}

func (r *fileRows) List(_ context.Context, after string, limit int) (files []models.TargetFile, err error) {
	for _, sha256 := range slices.Sorted(slices.Values(r.known)) {
		if sha256 > after && len(files) < limit {
			files = append(files, models.TargetFile{SHA256: sha256})
		}
	}
	return files, r.err
}

func (r *fileRows) DeleteOrphan(ctx context.Context, sha256 string, unlink func(string) error) (bool, error) {
	if has, err := r.Has(ctx, sha256); err != nil || has {
		return false, err
	}
	return true, unlink(sha256)
}

// TestFileSweep checks that a sweep removes old files without a row and old unfinished
// uploads, and nothing else, and that it reports rows without a file.
func TestFileSweep(t *testing.T) {
	hash := func(digit string) string { return strings.Repeat(digit, 64) }
	known, orphan, young, last := hash("1"), hash("4"), hash("7"), hash("e")
	for name, tt := range map[string]struct {
		rows    []string
		err     error
		owner   string
		mayOwn  bool
		left    []string
		missing int
	}{
		"no rows":               {nil, nil, "", true, []string{young}, 0},
		"rows and files":        {[]string{known, last}, nil, "", true, []string{known, young, last}, 0},
		"all are known":         {[]string{known, orphan, young, last}, nil, "", true, []string{known, orphan, young, last}, 0},
		"some are missing":      {[]string{hash("0"), known, hash("5"), last, hash("f")}, nil, "", true, []string{known, young, last}, 3},
		"another owner":         {[]string{known, hash("5")}, nil, "another", true, []string{known, orphan, young, last}, 1},
		"perhaps another owner": {[]string{known, hash("5")}, nil, "", false, []string{known, orphan, young, last}, 1},
		"the database is away":  {[]string{known}, errors.New("away"), "", true, []string{known, orphan, young, last}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "files")
			files, err := sample.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			write := func(name string, age time.Duration) {
				t.Helper()
				path := filepath.Join(dir, name)
				err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("MZ"), 0o600), os.Chtimes(path, now.Add(-age), now.Add(-age)))
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, sha256 := range []string{known, orphan, young, last} {
				age := 2 * time.Hour
				if sha256 == young {
					age = time.Minute
				}
				write(filepath.Join(sha256[:2], sha256), age)
			}
			write("upload-1", 2*time.Hour)
			write("notes.txt", 2*time.Hour)
			if tt.owner != "" {
				if _, err := files.Claim(t.Context(), tt.owner); err != nil {
					t.Fatal(err)
				}
			}
			sweep := service.NewFileSweep(files, &fileRows{tt.rows, tt.err}, tt.mayOwn, func() time.Time { return now }, slog.New(slog.DiscardHandler))
			var check models.FileCheck
			synctest.Test(t, func(*testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				go sweep.Run(ctx)
				for synctest.Wait(); sweep.Last().CheckedAt.IsZero(); synctest.Wait() {
				}
				cancel()
				check = sweep.Last()
			})
			var left []string
			err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					left = append(left, entry.Name())
				}
				return err
			})
			if want := append(slices.Clone(tt.left), "notes.txt"); err != nil || !slices.Equal(left, want) {
				t.Errorf("left are %.8s, want %.8s, %v", left, want, err)
			}
			if check.Missing != tt.missing || (check.Error != "") != (tt.err != nil) {
				t.Errorf("the check says %+v", check)
			}
		})
	}
}
