// Package s3test starts S3 services in memory for tests. They answer over HTTP, and can
// refuse requests or be slow.
package s3test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"ospulse/internal/bucket"
)

// Name is the name of the bucket that a service has.
const Name = "bucket"

// Server is an S3 service with one bucket.
type Server struct {
	URL      string
	Refuses  atomic.Bool  // it answers 403
	Delay    atomic.Int64 // nanoseconds before each answer
	Requests atomic.Int64 // that it received
	storage  *s3mem.Backend
}

// Start starts a service, which is stopped when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{storage: s3mem.New()}
	if err := s.storage.CreateBucket(Name); err != nil {
		t.Fatal(err)
	}
	service := gofakes3.New(s.storage, gofakes3.WithTimeSkewLimit(0)).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Requests.Add(1)
		if s.Refuses.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		select {
		case <-time.After(time.Duration(s.Delay.Load())):
		case <-r.Context().Done():
			return
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Objects returns the objects of the bucket.
func (s *Server) Objects(t testing.TB) *bucket.Objects {
	t.Helper()
	b, err := bucket.Open(bucket.Location{Endpoint: s.URL, Region: "us-east-1", Name: Name, Prefix: "some/blocks", AccessKey: "key", SecretKey: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return bucket.NewObjects(b)
}

// Keys returns the keys of all objects.
func (s *Server) Keys(t testing.TB) (keys []string) {
	t.Helper()
	list, err := s.storage.ListBucket(Name, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range list.Contents {
		keys = append(keys, object.Key)
	}
	return keys
}

// Read returns the content of an object.
func (s *Server) Read(t testing.TB, key string) []byte {
	t.Helper()
	object, err := s.storage.GetObject(Name, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer object.Contents.Close()
	content, err := io.ReadAll(object.Contents)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Write stores an object.
func (s *Server) Write(t testing.TB, key string, content []byte) {
	t.Helper()
	if _, err := s.storage.PutObject(Name, key, map[string]string{}, bytes.NewReader(content), int64(len(content)), nil); err != nil {
		t.Fatal(err)
	}
}

// Remove removes an object.
func (s *Server) Remove(t testing.TB, key string) {
	t.Helper()
	if _, err := s.storage.DeleteObject(Name, key); err != nil {
		t.Fatal(err)
	}
}
