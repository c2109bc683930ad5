//go:build linux

package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func openStarts(t *testing.T, dir string, left ...Record) *Starts {
	t.Helper()
	s, faults, err := OpenStarts(dir, left)
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	return s
}

// TestStartsSurvive checks that the next run knows each start, and ends those that were not
// over.
func TestStartsSurvive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "starts")
	s := openStarts(t, dir)
	want := map[string]StartState{}
	for _, start := range []struct {
		id          string
		state, then StartState
	}{
		{"a", StartStarting, StartNotRun}, {"left", StartStarting, StartEnded}, {"../é", StartRunning, StartEnded},
		{"b", StartEnded, StartEnded}, {"c", StartNotRun, StartNotRun}, {"d", StartFailed, StartFailed},
	} {
		if err := s.Put(Start{ID: start.id, SessionID: "s", State: start.state, ProcessID: 7, Code: "x", Reason: "y"}); err != nil {
			t.Fatal(err)
		}
		if got := s.Get(start.id); got.State != start.state || time.Since(got.At) > time.Minute {
			t.Errorf("%s is %+v, want %s", start.id, got, start.state)
		}
		want[start.id] = start.then
	}
	want["e"] = StartUnknown
	for range 2 {
		s = openStarts(t, dir, Record{SessionID: "s", StartID: "left"})
		for id, state := range want {
			if got := s.Get(id); got.State != state || got.ID != id || state != StartUnknown && (got.SessionID != "s" || got.ProcessID != 7 || got.Code != "x") {
				t.Errorf("%s is %+v, want %s", id, got, state)
			}
		}
	}
}

// TestDamagedStarts checks that a damaged file does not affect other starts.
func TestDamagedStarts(t *testing.T) {
	dir := t.TempDir()
	if err := openStarts(t, dir).Put(Start{ID: "a", State: StartEnded}); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"x.json": "{", name("b"): `{"start_id":"c"}`, "note.txt": ""} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, faults, err := OpenStarts(dir, nil)
	if err != nil || len(faults) != 2 || s.Get("a").State != StartEnded {
		t.Errorf("%+v, %v, %v", s, faults, err)
	}
}

// TestStartsAreForgotten checks that too many starts remove the oldest that are over.
func TestStartsAreForgotten(t *testing.T) {
	dir := t.TempDir()
	s := openStarts(t, dir)
	if err := s.Put(Start{ID: "old", State: StartEnded}); err != nil {
		t.Fatal(err)
	}
	for i := range maxStarts {
		id := fmt.Sprint(i)
		s.byID[id] = Start{ID: id, State: StartRunning, At: time.Now().Add(time.Duration(i) * time.Second)}
	}
	if err := s.Put(Start{ID: "new", State: StartStarting}); err != nil {
		t.Fatal(err)
	}
	if s.Get("old").State != StartUnknown || s.Get("0").State != StartRunning || s.Get("new").State != StartStarting {
		t.Error("the wrong starts are forgotten")
	}
	if _, err := os.Stat(filepath.Join(dir, name("old"))); !os.IsNotExist(err) {
		t.Error("the file of a forgotten start still exists:", err)
	}
}
