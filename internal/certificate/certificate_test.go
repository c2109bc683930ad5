package certificate

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFilesAreReadAgain checks that a changed certificate applies, and that a faulty one
// leaves the last one in use and is reported once.
func TestFilesAreReadAgain(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	cert, key, err := SelfSigned(dir, []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(cert, key, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	get := func() string {
		f.checked = time.Time{} // the last look is long ago
		if _, err := f.Get(nil); err != nil {
			t.Fatal(err)
		}
		return f.Fingerprint()
	}
	first := get()
	if again, _, err := SelfSigned(dir, nil); err != nil || again != cert || get() != first {
		t.Error("the certificate was made again: ", err)
	}
	other, otherKey, err := SelfSigned(filepath.Join(dir, "other"), []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, []byte("half a certifi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if before, again := get(), get(); before != first || again != first || strings.Count(out.String(), "cannot be used") != 1 {
		t.Errorf("a faulty file: %s", &out)
	}
	for from, to := range map[string]string{other: cert, otherKey: key} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if get() == first || !strings.Contains(out.String(), "read again") {
		t.Errorf("the new certificate is not used: %s", &out)
	}
	if info, err := os.Stat(otherKey); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
}
