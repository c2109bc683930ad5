package handlers_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"ospulse/internal/handlers"
	"ospulse/internal/models"
	"ospulse/internal/process"
)

// full is a limit that admits nobody and counts the attempts.
type full struct{ asked int }

func (f *full) Do(context.Context, func(context.Context, func()) error) error {
	f.asked++
	return models.Errorf(models.CodeOverloaded, "full")
}

func (f *full) Enter(context.Context) (func(), error) {
	f.asked++
	return nil, models.Errorf(models.CodeOverloaded, "full")
}

// TestHeavyRoutesAreLimited checks that exactly the routes that may read much are
// limited: other requests never wait for a read.
func TestHeavyRoutesAreLimited(t *testing.T) {
	const free, read, export = "free", "read", "export"
	for path, want := range map[string]string{
		"GET /api/sessions":                          free,
		"GET /api/sessions?limit=500":                free,
		"GET /api/sessions?q=x":                      read,
		"GET /api/sessions?file=x":                   read,
		"GET /api/sessions?tag=x":                    read,
		"GET /api/sessions?sha256=abcd":              read,
		"GET /api/sessions?state=ended":              read,
		"GET /api/sessions?agent=a":                  read,
		"GET /api/sessions/s":                        free, // its service takes a turn if it has many events to count
		"GET /api/sessions/s/processes":              read,
		"GET /api/sessions/s/events":                 free,
		"GET /api/sessions/s/events?after=5&limit=9": free,
		"GET /api/sessions/s/events?filter=x":        read,
		"GET /api/sessions/s/events?count=true":      read,
		"GET /api/sessions/s/events?fields=a":        read,
		"GET /api/sessions/s/events/1":               free,
		"GET /api/sessions/s/histogram":              read,
		"GET /api/sessions/s/facets?field=type":      read,
		"GET /api/sessions/s/files":                  read,
		"GET /api/sessions/s/conversations":          read,
		"GET /api/sessions/s/export?format=ndjson":   export,
		"GET /api/sessions/s/export?format=bundle":   export,
		"GET /api/events/export":                     export,
		"GET /api/events/export?sessionId=s":         export,
		"GET /api/events/s":                          free,
		"GET /api/sessions/s/stream?filter=x":        free,
		"POST /api/events":                           free,
		"POST /api/events/batch":                     free,
		"GET /healthz":                               free,
	} {
		t.Run(path, func(t *testing.T) {
			var reads, exports full
			router, err := handlers.New(handlers.Services{Identify: everyone{}, Audit: unaudited{}, Reads: &reads, ExportsAtOnce: &exports}, handlers.Checks{}, handlers.Options{
				Metrics: http.NotFoundHandler(), ListenHost: "127.0.0.1", Log: slog.New(slog.DiscardHandler), RequestLog: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			method, path, _ := strings.Cut(path, " ")
			answer := ask(t, router, method, path)
			got := map[[2]int]string{{0, 0}: free, {1, 0}: read, {0, 1}: export}[[2]int{reads.asked, exports.asked}]
			if got != want {
				t.Errorf("it is %q, want %q", got, want)
			}
			if want != free && (answer.Code != http.StatusTooManyRequests || answer.Header().Get("Retry-After") == "") {
				t.Errorf("it is answered %d, %v", answer.Code, answer.Header())
			}
		})
	}
}

// watched is a limit that records whether the read was done before it returned.
type watched struct{ isDone, wasDone bool }

func (w *watched) Do(ctx context.Context, read func(context.Context, func()) error) error {
	err := read(ctx, func() { w.isDone = true })
	w.wasDone = w.isDone
	return err
}

// processes is a service with one fixed result.
type processes struct{ handlers.ProcessService }

func (processes) Tree(context.Context, string) (process.Tree, error) {
	return process.Tree{}, nil
}

// stuck is a client that receives nothing of its response.
type stuck struct {
	http.ResponseWriter
	reads    *watched
	tooEarly bool
}

func (s *stuck) Write([]byte) (int, error) {
	s.tooEarly = !s.reads.isDone
	return 0, errors.New("it takes nothing")
}

// TestAnswerHoldsNoRead checks that a client which does not receive its response holds
// no read.
func TestAnswerHoldsNoRead(t *testing.T) {
	var reads watched
	router, err := handlers.New(handlers.Services{Identify: everyone{}, Audit: unaudited{}, Reads: &reads, Processes: processes{}}, handlers.Checks{}, handlers.Options{
		Metrics: http.NotFoundHandler(), ListenHost: "127.0.0.1", Log: slog.New(slog.DiscardHandler), RequestLog: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/api/sessions/s/processes", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &stuck{ResponseWriter: ask(t, http.NotFoundHandler(), http.MethodGet, "/"), reads: &reads}
	router.ServeHTTP(client, request)
	if !reads.wasDone || client.tooEarly {
		t.Error("the read was not done when its answer was written")
	}
}
