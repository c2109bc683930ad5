//go:build linux

package delivery

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// disk simulates failing syncs. It knows what a power cut would leave of the spool: the
// content at the last sync of each file whose syncs never failed.
type disk struct {
	mu    sync.Mutex
	fails func(n int, path string) bool // of the n-th sync, from 0
	n     int
	files map[string][]byte
	bad   map[string]bool
}

func (k *disk) fsync(file *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, path := k.n, file.Name()
	k.n++
	if k.fails(n, path) {
		k.bad[path] = true
		return &os.PathError{Op: "sync", Path: path, Err: syscall.EIO}
	}
	content, err := os.ReadFile(path)
	if err == nil && !k.bad[path] {
		k.files[path] = content
	}
	return file.Sync()
}

// cut returns a folder with the files that a power cut leaves. On a real disk the mark of a
// record may or may not survive; here it does.
func (k *disk) cut(t *testing.T) string {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	dir := t.TempDir()
	for path, content := range k.files {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || !strings.HasSuffix(path, segmentSuffix) {
			continue // the spool has removed the file
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// After a failed sync, a successful one proves nothing, because the kernel may have dropped
// data that it could not write. Events that SafeUntil reports as safe survive a power cut.
// While all syncs fail, SafeUntil reports no event as safe.
func TestSyncFails(t *testing.T) {
	for name, fails := range map[string]func(n int, path string) bool{
		"once":             func(n int, _ string) bool { return n == 0 },
		"every third time": func(n int, _ string) bool { return n%3 == 0 },
		"syncs of folders": func(n int, path string) bool { return n < 4 && !strings.HasSuffix(path, segmentSuffix) },
		"five times":       func(n int, _ string) bool { return n < 5 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			s.set(func(request) string { return "503" })
			o := options(t, s.url)
			o.SpoolMaxBytes, o.FlushTimeout = 1<<20, time.Millisecond // the segments have 64 KB
			d := newDelivery(t, o)
			k := &disk{fails: fails, files: map[string][]byte{}, bad: map[string]bool{}}
			d.spool.fsync = k.fsync
			stop := run(t, d)
			const n = 3000
			for i := range n {
				d.Add("a", numbered(i))
			}
			if !d.Settle(t.Context(), "a") {
				t.Fatal("the events do not become safe")
			}
			o.Dir = k.cut(t)
			stop()
			wantSum(t, d)

			s.set(nil)
			o.FlushTimeout = time.Minute
			next := newDelivery(t, o)
			stop = run(t, next)
			s.want("a", n)
			stop()
		})
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		s := newSink(t)
		s.set(func(request) string { return "503" })
		o := options(t, s.url)
		o.FlushTimeout = time.Millisecond
		d := newDelivery(t, o)
		k := &disk{fails: func(int, string) bool { return true }, files: map[string][]byte{}, bad: map[string]bool{}}
		d.spool.fsync = k.fsync
		stop := run(t, d)
		before := time.Now()
		d.Add("a", numbered(0))
		after := time.Now()
		for tries := 0; tries < 4; {
			k.mu.Lock()
			tries = k.n
			k.mu.Unlock()
			if safe := d.SafeUntil(); safe.After(after) || safe.Before(before) {
				t.Fatalf("SafeUntil is %s; the event was added before %s", safe, after)
			}
			<-time.After(10 * time.Millisecond)
		}
		stop()
		if next := newDelivery(t, o); !next.Status().Unclean {
			t.Error("the next run does not know that something may be missing")
		}
	})
}

// A failed sync does not change the order of a session's events, although newer events were
// written to another segment meanwhile, whose own sync succeeds.
func TestOrderAfterAFailedSync(t *testing.T) {
	s := newSink(t)
	s.set(func(request) string { return "503" })
	o := options(t, s.url)
	o.FlushTimeout = time.Millisecond
	d := newDelivery(t, o)
	d.spool.segBytes = 1 // each batch has a segment of its own
	var once sync.Once
	d.spool.fsync = func(file *os.File) (err error) {
		once.Do(func() {
			for i := range 10 {
				d.Add("a", numbered(10+i))
			}
			for wrote := d.Status().SpooledEvents; d.Status().SpooledEvents == wrote; {
				<-time.After(time.Millisecond)
			}
			err = &os.PathError{Op: "sync", Path: file.Name(), Err: syscall.EIO}
		})
		return err
	}
	stop := run(t, d)
	for i := range 10 {
		d.Add("a", numbered(i))
	}
	if !d.Settle(t.Context(), "a") {
		t.Fatal("the events do not become safe")
	}
	stop()

	s.set(nil)
	o.FlushTimeout = time.Minute
	next := newDelivery(t, o)
	stop = run(t, next)
	s.want("a", 20)
	stop()
}

// A segment whose first record did not fit on the disk has no data to sync. Its name is
// synced with the first record that does fit.
func TestNameOfAnEmptySegmentIsSynced(t *testing.T) {
	s, _, _, err := openSpool(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	synced := map[string]bool{}
	s.fsync = func(file *os.File) error {
		synced[file.Name()] = true
		return nil
	}
	if err := s.newSegment(); err != nil {
		t.Fatal(err)
	}
	if err := s.sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.append(&batch{key: "k", count: 1}, []byte("x"), false); err != nil {
		t.Fatal(err)
	}
	if err := s.sync(); err != nil || !synced[s.dir] || !synced[s.path(s.newest)] {
		t.Errorf("%v, only these were synced: %v", err, synced)
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
}
