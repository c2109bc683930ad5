package testbed

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestMain runs the servers of the tests.
func TestMain(m *testing.M) {
	switch os.Getenv("TESTBED_SERVER") {
	case "echo":
		Main("", func(ctx context.Context) error {
			return Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }), os.Stdin, os.Stdout)
		})
	case "broken":
		_, _ = os.Stderr.WriteString("no disk")
		os.Exit(3)
	default:
		os.Exit(m.Run())
	}
}

func TestProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(t.Context(), t.TempDir(), []string{"TESTBED_SERVER=echo"}, self)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Call(t.Context(), http.MethodPost, p.URL, "text/plain", strings.NewReader("hello"))
	if err != nil || string(text) != "hello" {
		t.Errorf("got %q, %v", text, err)
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	_, err = Start(t.Context(), t.TempDir(), []string{"TESTBED_SERVER=broken"}, self)
	if err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("a program that fails: %v", err)
	}
}
