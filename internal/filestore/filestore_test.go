package filestore_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"ospulse/internal/filestore"
	"ospulse/internal/models"
)

// listFiles gives the paths of all files under dir.
func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func open(t *testing.T) (*filestore.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "files")
	store, err := filestore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

// save receives content and puts it in its place.
func save(store *filestore.Store, content io.Reader, maxBytes int64) (*models.TargetFile, error) {
	upload, err := store.Receive(content, maxBytes)
	if err != nil {
		return nil, err
	}
	return upload.File, errors.Join(upload.Place(), upload.Discard())
}

func TestSaveAndOpen(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "small": "MZ", "at the limit": strings.Repeat("x", 1000)} {
		t.Run(name, func(t *testing.T) {
			store, _ := open(t)
			file, err := save(store, strings.NewReader(content), 1000)
			if err != nil {
				t.Fatal(err)
			}
			if file.SizeBytes != int64(len(content)) || len(file.SHA256) != 64 {
				t.Errorf("got %+v", file)
			}
			r, err := store.Open(file.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || string(got) != content {
				t.Errorf("read back %q, %v", got, err)
			}
		})
	}
}

func TestSameContentIsStoredOnce(t *testing.T) {
	store, dir := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := save(store, strings.NewReader("the same"), 1000); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if files := listFiles(t, dir); len(files) != 1 {
		t.Errorf("found %q, want one file", files)
	}
}

func TestWhatCannotBeSavedLeavesNothing(t *testing.T) {
	store, dir := open(t)
	if _, err := save(store, bytes.NewReader(make([]byte, 1001)), 1000); models.ErrorCode(err) != models.CodeTooLarge {
		t.Errorf("over the limit: got %v", err)
	}
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := save(store, broken, 1000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut upload: got %v", err)
	}
	if files := listFiles(t, dir); len(files) != 0 {
		t.Errorf("left behind: %q", files)
	}
}

func TestOpenTakesHashesOnly(t *testing.T) {
	store, dir := open(t)
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "../secret", strings.Repeat("A", 64), strings.Repeat("a", 64), strings.Repeat("a", 62) + "/."} {
		if _, err := store.Open(name); models.ErrorCode(err) != models.CodeNotFound {
			t.Errorf("%q: got %v, want not_found", name, err)
		}
	}
}

func TestOldUnfinishedUploadsAreRemoved(t *testing.T) {
	_, dir := open(t)
	old, young := filepath.Join(dir, "upload-old"), filepath.Join(dir, "upload-young")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if _, err := filestore.Open(dir); err != nil {
		t.Fatal(err)
	}
	if files := listFiles(t, dir); len(files) != 1 || files[0] != young {
		t.Errorf("left are %q, want the young one", files)
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := filestore.Open(filepath.Join(file, "files")); err == nil {
		t.Error("a folder inside a file was opened")
	}
}

func TestFreeBytes(t *testing.T) {
	store, _ := open(t)
	if free, err := store.FreeBytes(); err != nil || free <= 0 {
		t.Errorf("got %d, %v", free, err)
	}
}

// What was received is in its place when it is placed, and nothing is left
// otherwise; what was deleted can be placed again.
func TestReceivePlaceDelete(t *testing.T) {
	store, dir := open(t)
	receive := func() *filestore.Upload {
		t.Helper()
		upload, err := store.Receive(strings.NewReader("the same"), 1000)
		if err != nil {
			t.Fatal(err)
		}
		return upload
	}
	first, second, third := receive(), receive(), receive()
	if _, err := store.Open(first.File.SHA256); models.ErrorCode(err) != models.CodeNotFound {
		t.Errorf("it is there before it is placed: %v", err)
	}
	there := func() bool {
		t.Helper()
		r, err := store.Open(first.File.SHA256)
		if err != nil {
			return false
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || string(got) != "the same" {
			t.Errorf("read back %q, %v", got, err)
		}
		return true
	}
	for _, step := range []struct {
		do   func() error
		want bool
	}{
		{first.Place, true}, {second.Place, true}, {first.Discard, true}, {first.Discard, true},
		{func() error { return store.Delete(first.File.SHA256) }, false}, {func() error { return store.Delete(first.File.SHA256) }, false},
		{second.Place, true}, {second.Discard, true}, {third.Discard, true}, {func() error { return store.Delete("../" + first.File.SHA256) }, true},
	} {
		if err := step.do(); err != nil || there() != step.want {
			t.Fatalf("%v, there %v, want %v", err, there(), step.want)
		}
	}
	if files := listFiles(t, dir); len(files) != 1 {
		t.Errorf("found %q, want one file", files)
	}
}
