//go:build linux

package work

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/test/wait"
)

// backend is a fake backend. It gives out tasks and keeps the answers.
type backend struct {
	mu      sync.Mutex
	tasks   []string
	files   map[string]string // contents by the ID of the task
	answers []string          // ID, status and body
	faults  int               // how many answers it refuses first
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := strings.TrimPrefix(r.URL.Path, "/api/agents/work/")
	file, isFile := strings.CutSuffix(id, "/file")
	switch {
	case r.Header.Get("Authorization") != "Bearer the key":
		w.WriteHeader(http.StatusUnauthorized)
	case isFile && b.files[file] == "":
		w.WriteHeader(http.StatusNotFound)
	case isFile:
		_, _ = io.WriteString(w, b.files[file])
	case r.Method == http.MethodPost && b.faults > 0:
		b.faults--
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		b.answers = append(b.answers, id+" "+r.URL.Query().Get("status")+" "+string(body))
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	case len(b.tasks) == 0:
		_, _ = io.WriteString(w, `{"work":null}`)
	default:
		_, _ = io.WriteString(w, `{"work":`+b.tasks[0]+`}`)
		b.tasks = b.tasks[1:]
	}
}

func (b *backend) add(task string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tasks = append(b.tasks, task)
}

func (b *backend) answered() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.answers...)
}

func TestRun(t *testing.T) {
	fake := &backend{files: map[string]string{"t2": "MZ the file"}, faults: 1}
	server := httptest.NewServer(fake)
	defer server.Close()
	handler := http.NewServeMux()
	handler.HandleFunc("POST /api/start-monitor", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(r.Header.Get("X-OSPulse-Start") + string(body)) // into memory
	})
	handler.HandleFunc("POST /api/upload-file", func(w http.ResponseWriter, r *http.Request) {
		file, header, err := r.FormFile("file")
		if err != nil {
			_ = json.NewEncoder(w).Encode("no file") // into memory
			return
		}
		content, _ := io.ReadAll(file)
		_ = json.NewEncoder(w).Encode(header.Filename + ": " + string(content)) // into memory
	})
	release := make(chan struct{})
	handler.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = io.WriteString(w, `"slow"`)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, Options{Backend: server.URL + "/", Key: "the key", Handler: handler, Shutdown: time.Hour, Log: slog.New(slog.DiscardHandler)})
	}()
	fake.add(`{"id":"t0","method":"GET","path":"/slow","start_id":"","body":null,"has_file":false}`) // does not hold up the others
	fake.add(`{"id":"t1","method":"POST","path":"/api/start-monitor","start_id":"s1","body":{"mode":3},"has_file":false}`)
	fake.add(`{"id":"t2","method":"POST","path":"/api/upload-file","start_id":"","body":{"fileName":"ä \"b\".exe"},"has_file":true}`)
	fake.add(`{"id":"t3","method":"POST","path":"/api/upload-file","start_id":"","body":{"fileName":"gone"},"has_file":true}`)
	want := map[string]bool{
		`t1 400 "s1{\"mode\":3}"` + "\n": true, `t2 200 "ä \"b\".exe: MZ the file"` + "\n": true, `t3 502 {"error":"the agent could not download the file: the backend answered 404 Not Found: "}` + "\n": true,
	}
	wait.For(t, "three answers", func() bool { return len(fake.answered()) == 3 })
	for _, got := range fake.answered() {
		if !want[got] {
			t.Errorf("got the answer %s", got)
		}
	}
	cancel() // a request that runs is still answered
	close(release)
	<-ended
	if got := fake.answered(); got[len(got)-1] != `t0 200 "slow"` {
		t.Errorf("the last answer is %s", got[len(got)-1])
	}
}
