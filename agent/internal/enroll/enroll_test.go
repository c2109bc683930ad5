//go:build linux

package enroll

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// enrollWith runs the command and returns its exit code and what it says.
func enrollWith(t *testing.T, folder string, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	code = Run(t.Context(), args, folder, &out, &out)
	return code, out.String()
}

func TestEnroll(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Token string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/api/agents/enroll" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		if request.Token != "once" {
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{"error":"the token was used before","code":"unauthorized"}`)) //nolint:errcheck // the test fails anyway
			return
		}
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{"key":"osp_key","agent_id":"default","name":"lab"}`)) //nolint:errcheck // the test fails anyway
	}))
	defer backend.Close()
	folder := filepath.Join(t.TempDir(), "new", "data")

	if code, said := enrollWith(t, folder, backend.URL, "twice"); code != 1 || !strings.Contains(said, "the backend refuses: the token was used before") {
		t.Errorf("a used token: %d %s", code, said)
	}
	if e, err := Read(folder); e != nil || err != nil {
		t.Errorf("after a refusal there is %+v, %v", e, err)
	}
	if code, said := enrollWith(t, folder, "--data", folder, backend.URL+"/", "once"); code != 0 || !strings.Contains(said, `enrolled as "lab"`) || !strings.Contains(said, "not encrypted") {
		t.Errorf("%d %s", code, said)
	}
	e, err := Read(folder)
	if err != nil || *e != (Enrollment{Backend: backend.URL, Name: "lab", Key: "osp_key"}) {
		t.Errorf("stored %+v, %v", e, err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 {
		t.Fatalf("the folder has %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the key: %v %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(folder, FileName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(folder); err == nil || !strings.Contains(err.Error(), "enroll the agent again") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestBadEnrollments(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for want, args := range map[string][]string{
		"a token are needed":            {"http://localhost:1"},
		"must be like https":            {"localhost:3003", "x"},
		"flag provided but not defined": {"http://localhost:1", "x", "--nonsense"},
		"--backend-fingerprint must be": {"https://localhost:1", "x", "--backend-fingerprint", "abc"},
		"needs an https URL":            {"http://localhost:1", "x", "--backend-fingerprint", strings.Repeat("ab", 32)},
		"connection refused":            {"http://127.0.0.1:1", "x"},
		"is no backend of OS-Pulse, or": {other.URL, "x"},
	} {
		if code, said := enrollWith(t, t.TempDir(), args...); code != 1 || !strings.Contains(said, want) {
			t.Errorf("%q: %d %s, want %q", args, code, said, want)
		}
	}
	if code, said := enrollWith(t, "/the/folder", "--help"); code != 0 || !strings.Contains(said, "default /the/folder") {
		t.Errorf("%d %s", code, said)
	}
}
