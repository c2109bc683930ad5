//go:build linux

package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func open(t *testing.T, dir string) (*Journal, []Record) {
	t.Helper()
	j, left, faults, err := Open(dir)
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	return j, left
}

// TestSurvives checks that the next runs find a session until End removes it, with the time
// until which the run that started it was alive.
func TestSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	j, left := open(t, dir)
	if len(left) > 0 {
		t.Errorf("a new journal has %+v", left)
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	long := strings.Repeat("/../é", 40)
	records := []Record{
		{SessionID: long, Mode: 3, ProcessID: 9, Began: began},
		{SessionID: "b", Mode: 1, Began: began.Add(time.Hour)},
		{SessionID: "ended", Mode: 1, Began: began},
	}
	for _, r := range records {
		if err := j.Begin(r); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := j.End("ended"); err != nil {
			t.Error(err)
		}
	}
	if err := j.note(began.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	records[0].Alive, records[1].Alive = began.Add(time.Minute), began.Add(time.Hour) // the second session began after the last note
	for range 2 {
		if j, left = open(t, dir); !slices.Equal(left, records[:2]) {
			t.Errorf("Open found %+v", left)
		}
	}
	if err := j.End(long); err != nil {
		t.Error(err)
	}
	if j, left = open(t, dir); !slices.Equal(left, records[1:2]) {
		t.Errorf("are left: %+v", left)
	}
	if err := j.Clear(); err != nil {
		t.Error(err)
	}
	if _, left = open(t, dir); len(left) > 0 {
		t.Errorf("are left: %+v", left)
	}
}

// TestWrittenAgain checks that Open writes existing records again. The sync of the earlier run
// may have failed, so the records may be only in the page cache.
func TestWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	if err := j.Begin(Record{SessionID: "a", Began: time.Now(), Alive: time.Now()}); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(j.path(name("a")))
	if err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if after, err := os.Stat(j.path(name("a"))); err != nil || os.SameFile(before, after) {
		t.Errorf("Open did not write the file again, %v", err)
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{
		"a.json": "{", name("a"): `{"session_id":"b","began":"2026-01-02T03:04:05Z"}`, name("b"): "null", "note.txt": "", name("c") + ".new": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, left, faults, err := Open(dir)
	if err != nil || len(left) > 0 || len(faults) != 3 {
		t.Errorf("%+v, %v, %v", left, faults, err)
	}
	open(t, dir)
	if _, _, _, err := Open("/proc/version"); err == nil {
		t.Error("Open accepts a file as the folder")
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j, _ := open(t, dir)
		if err := j.Begin(Record{SessionID: "a", Began: time.Now()}); err != nil {
			t.Fatal(err)
		}
		var faults []error
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			j.Run(ctx, func() time.Time { return time.Now().Add(-300 * time.Millisecond) }, func(err error) { faults = append(faults, err) })
		}()
		<-time.After(3500 * time.Millisecond)
		if _, left := open(t, dir); len(left) != 1 || !left[0].Alive.Equal(began.Add(2700*time.Millisecond)) {
			t.Errorf("%+v", left)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * time.Second)
		cancel()
		<-done
		if len(faults) != 1 || !errors.Is(faults[0], os.ErrNotExist) {
			t.Errorf("reported faults: %v", faults)
		}
	})
}
