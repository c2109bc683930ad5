//go:build linux

package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"ospulse/agent/internal/durable"
)

// TestMkdirAll checks which folders MkdirAll creates. TestFailedSyncOfTheAgentAsRoot of the
// agent checks that they are synced.
func TestMkdirAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", d, info, err)
		}
	}
	t.Chdir(dir)
	for _, d := range []string{"data", "/"} {
		if err := durable.MkdirAll(d, 0o700); err != nil {
			t.Error(d, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{file, filepath.Join(file, "x")} {
		if err := durable.MkdirAll(d, 0o700); err == nil {
			t.Errorf("MkdirAll created %s, although %s is a file", d, file)
		}
	}
}
