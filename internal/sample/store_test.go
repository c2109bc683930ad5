package sample_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"ospulse/internal/bucket"
	"ospulse/internal/models"
	"ospulse/internal/sample"
)

// listFiles returns the paths of all files under dir.
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

func open(t *testing.T) (*sample.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "files")
	store, err := sample.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

// eachStore runs fn with a store in a folder and with one in a bucket.
func eachStore(t *testing.T, fn func(t *testing.T, store *sample.Store, dir string)) {
	t.Helper()
	t.Run("folder", func(t *testing.T) {
		store, dir := open(t)
		fn(t, store, dir)
	})
	t.Run("bucket", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "files")
		fn(t, openBucket(t, dir, startS3(t, nil).URL), dir)
	})
}

// startS3 starts an S3 service with the bucket "bucket". around, if not nil, wraps its
// handler.
func startS3(t *testing.T, around func(http.Handler) http.Handler) *httptest.Server {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	handler := gofakes3.New(backend).Server()
	if around != nil {
		handler = around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func openBucket(t *testing.T, dir, endpoint string) *sample.Store {
	t.Helper()
	store, err := sample.OpenBucket(dir, bucket.Location{Endpoint: endpoint, Region: "us-east-1", Name: "bucket", Prefix: "some/prefix", AccessKey: "key", SecretKey: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// placed lists the SHA-256 of the placed files.
func placed(t *testing.T, store *sample.Store) (names []string) {
	t.Helper()
	for object, err := range store.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(object.PlacedAt); age < -time.Hour || age > time.Hour {
			t.Errorf("%s was placed at %v", object.SHA256, object.PlacedAt)
		}
		names = append(names, object.SHA256)
	}
	return names
}

// save receives content and places it.
func save(store *sample.Store, content io.Reader, maxBytes int64) (*models.TargetFile, error) {
	upload, err := store.Receive(content, maxBytes)
	if err != nil {
		return nil, err
	}
	return upload.File, errors.Join(upload.Place(context.Background()), upload.Discard())
}

func TestSaveAndOpen(t *testing.T) {
	eachStore(t, func(t *testing.T, store *sample.Store, _ string) {
		for name, content := range map[string]string{"empty": "", "small": "MZ", "at the limit": strings.Repeat("x", 1000)} {
			t.Run(name, func(t *testing.T) {
				file, err := save(store, strings.NewReader(content), 1000)
				if err != nil {
					t.Fatal(err)
				}
				if file.SizeBytes != int64(len(content)) || len(file.SHA256) != 64 {
					t.Errorf("got %+v", file)
				}
				r, err := store.Open(t.Context(), file.SHA256)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				for range 2 {
					if got, err := io.ReadAll(r); err != nil || string(got) != content {
						t.Errorf("read back %q, %v", got, err)
					}
					if n, err := r.Seek(0, io.SeekEnd); err != nil || n != int64(len(content)) {
						t.Errorf("the end is at %d, %v", n, err)
					}
					if _, err := r.Seek(0, io.SeekStart); err != nil {
						t.Error(err)
					}
				}
			})
		}
	})
}

func TestSameContentIsStoredOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, store *sample.Store, dir string) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := save(store, strings.NewReader("the same"), 1000); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if names := placed(t, store); len(names) != 1 {
			t.Errorf("placed are %q, want one file", names)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "upload-*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
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
		if _, err := store.Open(t.Context(), name); models.ErrorCode(err) != models.CodeNotFound {
			t.Errorf("%q: got %v, want not_found", name, err)
		}
	}
}

func TestOldUnfinishedUploadsAreRemoved(t *testing.T) {
	store, dir := open(t)
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
	if n, err := store.RemoveOldUploads(time.Now().Add(-time.Hour)); err != nil || n != 1 {
		t.Errorf("%d were removed, %v", n, err)
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
	if _, err := sample.Open(filepath.Join(file, "files")); err == nil {
		t.Error("a folder inside a file was opened")
	}
}

func TestFreeBytes(t *testing.T) {
	store, _ := open(t)
	if free, err := store.FreeBytes(); err != nil || free <= 0 {
		t.Errorf("got %d, %v", free, err)
	}
}

// TestReceivePlaceDelete checks that a received file exists once it is placed and not
// before, and that a deleted file can be placed again.
func TestReceivePlaceDelete(t *testing.T) {
	eachStore(t, func(t *testing.T, store *sample.Store, dir string) {
		receive := func() *sample.Upload {
			t.Helper()
			upload, err := store.Receive(strings.NewReader("the same"), 1000)
			if err != nil {
				t.Fatal(err)
			}
			return upload
		}
		first, second, third := receive(), receive(), receive()
		sha256 := first.File.SHA256
		if _, err := store.Open(t.Context(), sha256); models.ErrorCode(err) != models.CodeNotFound {
			t.Errorf("it is there before it is placed: %v", err)
		}
		there := func() bool {
			t.Helper()
			has, err := store.Has(t.Context(), sha256)
			if err != nil {
				t.Error(err)
			}
			r, err := store.Open(t.Context(), sha256)
			if err != nil {
				return false
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || string(got) != "the same" || !has {
				t.Errorf("read back %q, %v; Has says %v", got, err, has)
			}
			return true
		}
		place := func(u *sample.Upload) func() error {
			return func() error { return u.Place(t.Context()) }
		}
		remove := func(sha256 string) func() error {
			return func() error { return store.Delete(t.Context(), sha256) }
		}
		for _, step := range []struct {
			do   func() error
			want bool
		}{
			{place(first), true}, {place(second), true}, {first.Discard, true}, {first.Discard, true},
			{remove(sha256), false}, {remove(sha256), false},
			{place(second), true}, {second.Discard, true}, {third.Discard, true}, {remove("../" + sha256), true},
		} {
			if err := step.do(); err != nil || there() != step.want {
				t.Fatalf("%v, there %v, want %v", err, there(), step.want)
			}
		}
		if names := placed(t, store); len(names) != 1 || names[0] != sha256 {
			t.Errorf("placed are %q, want one file", names)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "upload-*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

// TestSend checks that Send stores a file in the bucket before it is placed, and does
// nothing for a folder.
func TestSend(t *testing.T) {
	eachStore(t, func(t *testing.T, store *sample.Store, _ string) {
		upload, err := store.Receive(strings.NewReader("MZ"), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if err := upload.Send(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := 0
		if store.String() == "s3://bucket/some/prefix" {
			want = 1
		}
		if names := placed(t, store); len(names) != want {
			t.Errorf("placed are %q, want %d", names, want)
		}
		if err := errors.Join(upload.Place(t.Context()), upload.Discard()); err != nil || len(placed(t, store)) != 1 {
			t.Errorf("placed are %q, %v", placed(t, store), err)
		}
	})
}

// TestListIsInOrder checks that List is ordered by SHA-256 and returns only files. Two
// hundred files are more than one two-digit folder holds.
func TestListIsInOrder(t *testing.T) {
	eachStore(t, func(t *testing.T, store *sample.Store, _ string) {
		var want []string
		for n := range 200 {
			file, err := save(store, strings.NewReader(strconv.Itoa(n)), 1000)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, file.SHA256)
		}
		if isOwner, err := store.Claim(t.Context(), "me"); err != nil || !isOwner {
			t.Errorf("the claim: %v, %v", isOwner, err)
		}
		slices.Sort(want)
		if got := placed(t, store); !slices.Equal(got, want) {
			t.Errorf("got %d files, in order %v", len(got), slices.IsSorted(got))
		}
	})
}

func TestFirstClaimWins(t *testing.T) {
	eachStore(t, func(t *testing.T, store *sample.Store, _ string) {
		for i, step := range []struct {
			owner string
			want  bool
		}{{"a", true}, {"b", false}, {"a", true}} {
			if got, err := store.Claim(t.Context(), step.owner); err != nil || got != step.want {
				t.Errorf("claim %d of %s: %v, %v", i, step.owner, got, err)
			}
		}
	})
}

// TestBucketThatFails checks that any failure of the S3 service is unavailable, and
// never a missing file.
func TestBucketThatFails(t *testing.T) {
	for name, around := range map[string]func(http.Handler) http.Handler{
		"it refuses": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		},
		"it is overloaded": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		},
		"it hangs up": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits between retries
			dir := filepath.Join(t.TempDir(), "files")
			store := openBucket(t, dir, startS3(t, around).URL)
			upload, err := store.Receive(strings.NewReader("MZ"), 1000)
			if err != nil {
				t.Fatal(err)
			}
			sha256 := upload.File.SHA256
			_, openErr := store.Open(t.Context(), sha256)
			_, hasErr := store.Has(t.Context(), sha256)
			_, claimErr := store.Claim(t.Context(), "me")
			var listErr error
			for _, listErr = range store.List(t.Context()) {
			}
			for what, err := range map[string]error{
				"send": upload.Send(t.Context()), "place": upload.Place(t.Context()), "open": openErr, "has": hasErr,
				"delete": store.Delete(t.Context(), sha256), "list": listErr, "claim": claimErr,
			} {
				if models.ErrorCode(err) != models.CodeUnavailable || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: got %v, want unavailable", what, err)
				}
			}
			if err := upload.Discard(); err != nil || len(listFiles(t, dir)) > 0 {
				t.Errorf("left behind: %q, %v", listFiles(t, dir), err)
			}
		})
	}
}

// TestMoveToBucket checks that files from before the bucket was configured are served
// from the folder until they are moved. Damaged and unknown files stay.
func TestMoveToBucket(t *testing.T) {
	before, dir := open(t)
	var files []string
	for _, content := range []string{"one", "two", "damaged", "unknown"} {
		file, err := save(before, strings.NewReader(content), 1000)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file.SHA256)
	}
	damaged, unknown := files[2], files[3]
	if err := os.WriteFile(filepath.Join(dir, damaged[:2], damaged), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	store := openBucket(t, dir, startS3(t, nil).URL)
	read := func() {
		t.Helper()
		for i, sha256 := range files {
			r, err := store.Open(t.Context(), sha256)
			if err != nil {
				t.Errorf("file %d: %v", i, err)
				continue
			}
			found := sha256of(t, r)
			if has, err := store.Has(t.Context(), sha256); err != nil || !has || (found != sha256) != (sha256 == damaged) {
				t.Errorf("file %d has the SHA-256 %s; there: %v, %v", i, found, has, err)
			}
		}
	}
	read()
	isKnown := func(_ context.Context, sha256 string) (bool, error) { return sha256 != unknown, nil }
	for round, want := range []int{2, 0} {
		moved, err := store.MoveToBucket(t.Context(), isKnown)
		if moved != want || err == nil || !strings.Contains(err.Error(), damaged) || strings.Contains(err.Error(), unknown) {
			t.Errorf("round %d: moved %d, %v", round, moved, err)
		}
	}
	if names := placed(t, store); len(names) != 2 || len(listFiles(t, dir)) != 2 {
		t.Errorf("in the bucket are %q, in the folder %q", names, listFiles(t, dir))
	}
	read()
	if err := store.Delete(t.Context(), damaged); err != nil || len(listFiles(t, dir)) != 1 {
		t.Errorf("%v, in the folder are %q", err, listFiles(t, dir))
	}
}

// TestFileIsFoundWhileItMoves checks that a file is found even if it is moved after the
// lookup in the bucket and before the one in the folder.
func TestFileIsFoundWhileItMoves(t *testing.T) {
	for name, find := range map[string]func(store *sample.Store, sha256 string) (bool, error){
		"Open": func(store *sample.Store, sha256 string) (bool, error) {
			r, err := store.Open(t.Context(), sha256)
			if err != nil {
				return false, err
			}
			return true, r.Close()
		},
		"Has": func(store *sample.Store, sha256 string) (bool, error) { return store.Has(t.Context(), sha256) },
	} {
		t.Run(name, func(t *testing.T) {
			before, dir := open(t)
			file, err := save(before, strings.NewReader("moves"), 1000)
			if err != nil {
				t.Fatal(err)
			}
			var store *sample.Store
			var moving atomic.Bool
			server := startS3(t, func(inner http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					answer := httptest.NewRecorder()
					inner.ServeHTTP(answer, r)
					if answer.Code == http.StatusNotFound && moving.CompareAndSwap(false, true) {
						isKnown := func(context.Context, string) (bool, error) { return true, nil }
						if moved, err := store.MoveToBucket(t.Context(), isKnown); moved != 1 || err != nil {
							t.Errorf("moved %d, %v", moved, err)
						}
					}
					for name, values := range answer.Header() {
						w.Header()[name] = values
					}
					w.WriteHeader(answer.Code)
					_, _ = w.Write(answer.Body.Bytes())
				})
			})
			store = openBucket(t, dir, server.URL)
			if found, err := find(store, file.SHA256); !found || err != nil {
				t.Errorf("found %t, %v", found, err)
			}
			if left := listFiles(t, dir); len(left) != 0 {
				t.Errorf("the file did not move: %q", left)
			}
		})
	}
}

func sha256of(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	hash := sha256.New()
	_, err := io.Copy(hash, r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// TestDownloadThatBreaksOff checks that an interrupted download fails and does not
// hang.
func TestDownloadThatBreaksOff(t *testing.T) {
	server := startS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			io.WriteString(w, "half") //nolint:errcheck // the download is interrupted anyway
			panic(http.ErrAbortHandler)
		})
	})
	store := openBucket(t, filepath.Join(t.TempDir(), "files"), server.URL)
	file, err := save(store, strings.NewReader(strings.Repeat("x", 1000)), 1000)
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.Context(), file.SHA256)
	if err != nil {
		return // the error may be detected here
	}
	if got, err := io.ReadAll(r); err == nil {
		t.Errorf("read %d bytes and no error", len(got))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
