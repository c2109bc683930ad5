package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBenchGoesOnWithoutVictoriaLogs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no build succeeds
	var said strings.Builder
	l := &lab{dir: t.TempDir(), progress: &said}
	l.buildVictoria(ctx)
	if l.victoria.binary != "" || !strings.Contains(said.String(), "left out") {
		t.Errorf("VictoriaLogs is %q, and it said %q", l.victoria.binary, said.String())
	}
	for _, s := range scenarios(&lab{bodies: &bodies{}}, sqlite) {
		for _, c := range s.against {
			if strings.Contains(c.limit.name, "VictoriaLogs") {
				t.Errorf("%s is compared with %s", s.name, c.limit.name)
			}
		}
	}
}

func TestFolderBytes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "part"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"a": 5, "part/b": 7} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := folderBytes(dir); err != nil || got != 12 {
		t.Errorf("%d bytes, %v, want 12", got, err)
	}
}

func TestCountLines(t *testing.T) {
	const lines = 20_000
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/none" {
			return
		}
		for range lines { // in chunks
			io.WriteString(w, `{"a":"line"}`+"\n") //nolint:errcheck // the client notices
		}
	}))
	defer server.Close()
	g, err := dialGetter(t.Context(), server.URL, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close() //nolint:errcheck // the test is over
	for range 2 {   // one connection
		for path, want := range map[string]int{"/none": 0, "/all": lines} {
			if n, err := g.countLines(path); err != nil || n != want {
				t.Errorf("%s has %d lines, %v, want %d", path, n, err, want)
			}
		}
	}
}
