package bucket

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/models"
)

// TestServiceThatHangsHoldsOneReader checks that, after the service did not answer, one
// reader at a time tries it again and the others fail at once; that its answer ends that;
// and that a caller who gives up says nothing about the service.
func TestServiceThatHangsHoldsOneReader(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var answers atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answers.Load() {
			if !strings.Contains(r.URL.Path, "/unseen/") {
				select {
				case arrived <- struct{}{}:
				case <-r.Context().Done():
					return
				}
			}
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", time.Unix(0, 0).UTC().Format(http.TimeFormat))
		w.Write([]byte("content")) //nolint:errcheck // the test would notice
	}))
	t.Cleanup(server.Close)
	b, err := Open(Location{Endpoint: server.URL, Region: "us-east-1", Name: "bucket", AccessKey: "key", SecretKey: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	o := NewObjects(b)
	get := func(ctx context.Context, installation string) error {
		data, err := o.Get(ctx, o.Name(installation, []byte("content")), 7)
		if err == nil && string(data) != "content" {
			t.Errorf("read %q", data)
		}
		return err
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if err := get(ctx, "seen"); !errors.Is(err, context.Canceled) || o.Failure() != "" {
		t.Errorf("a caller that gives up: %v, %q", err, o.Failure())
	}

	o.timeout = time.Millisecond
	if err := get(t.Context(), "unseen"); models.ErrorCode(err) != models.CodeUnavailable || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(o.Failure(), "BLOCKS_URL) does not answer in time") {
		t.Errorf("no answer: %v, %q", err, o.Failure())
	}
	o.timeout = time.Minute
	first := make(chan error)
	go func() { first <- get(t.Context(), "seen") }()
	<-arrived
	for range 10 {
		if err := get(t.Context(), "unseen"); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("beside a reader that tries: %v", err)
		}
	}
	answers.Store(true)
	close(release)
	if err := <-first; err != nil || o.Failure() != "" {
		t.Errorf("an answer: %v, %q", err, o.Failure())
	}
	if err := get(t.Context(), "unseen"); err != nil {
		t.Error(err)
	}
}

// TestReasonsHideHostsAndKeys checks what users see of a failure.
func TestReasonsHideHostsAndKeys(t *testing.T) {
	for status, want := range map[int]string{http.StatusForbidden: "refuses: AccessDenied", http.StatusTeapot: "refuses: "} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(server.Close)
		wantFailure(t, server.URL, want)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	wantFailure(t, gone.URL, "connection refused")
}

func wantFailure(t *testing.T, endpoint, want string) {
	t.Helper()
	b, err := Open(Location{Endpoint: endpoint, Region: "us-east-1", Name: "bucket", AccessKey: "key", SecretKey: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	o := NewObjects(b)
	err = o.Put(t.Context(), "me/name", []byte("content"))
	if models.ErrorCode(err) != models.CodeUnavailable || !strings.Contains(o.Failure(), want) || strings.Contains(o.Failure(), "127.0.0.1") || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %v, shown as %q, want %q", err, o.Failure(), want)
	}
}
