package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ospulse/internal/durable"
)

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
	if err := durable.MkdirAll("data", 0o700); err != nil {
		t.Error("a relative path:", err)
	}
	if err := durable.MkdirAll("/", 0o700); err != nil {
		t.Error("the root:", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{file, filepath.Join(file, "x")} {
		if err := durable.MkdirAll(d, 0o700); err == nil {
			t.Errorf("%s was made, though %s is a file", d, file)
		}
	}
}

// TestRewrite checks that Rewrite changes no byte. Only the recorded system calls of
// TestPowerLoss show that it writes and syncs them.
func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.Rewrite(path); err != nil {
		t.Error("a file that is not there:", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was made:", err)
	}
	for _, size := range []int{0, 1, 1 << 20, 1<<21 + 7} {
		want := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := durable.Rewrite(path); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes became %d, %v", size, len(got), err)
		}
	}
}
