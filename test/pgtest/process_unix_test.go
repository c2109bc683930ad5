//go:build unix

package pgtest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReachable(t *testing.T) {
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(closed, "open")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := reachable(closed, inside, filepath.Join(closed, "missing"), "/")
	if err != nil || got != "/" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := reachable(closed, inside); err == nil {
		t.Errorf("%q is behind a closed folder", got)
	}
}
