package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"sync"
	"testing"
)

// testAgent is a fake agent: it accepts everything, unless a test sets another handler
// for a route.
type testAgent struct {
	*httptest.Server
	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // by "METHOD /path"; "METHOD /folder/" is for the paths in it
	requests []agentRequest
}

// agentRequest is a request from the backend to the agent.
type agentRequest struct {
	route string // "METHOD /path"
	body  string
}

func newTestAgent(t testing.TB) *testAgent {
	a := &testAgent{handlers: map[string]http.HandlerFunc{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body) //nolint:errcheck // the backend may be gone
		}
	}
	a.handle("POST /api/upload-file", text(200, `{"message":"ok","filename":"renamed_by_agent.exe","path":"C:\\samples\\renamed_by_agent.exe"}`))
	a.handle("POST /api/list-processes", text(200, `[{"name":"zsh","pid":3},{"name":"Bash","pid":2},{"name":"ash","pid":1}]`))
	a.handle("POST /api/start-monitor", text(200, `{"message":"started","sessionId":"x","monitoringPid":4711,"mode":1}`))
	a.handle("POST /api/stop-monitor", text(200, `{"message":"stopped"}`))
	a.handle("GET /health", text(200, `{"status":"healthy","service":"test-agent","active_sessions":0}`))
	return a
}

// handle sets the handler of a route; nil makes it a 404.
func (a *testAgent) handle(route string, handler http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers[route] = handler
}

func (a *testAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	route := r.Method + " " + r.URL.Path
	a.mu.Lock()
	if r.URL.Path != "/health" {
		a.requests = append(a.requests, agentRequest{route, string(body)})
	}
	handler, ok := a.handlers[route]
	if !ok {
		handler = a.handlers[r.Method+" "+path.Dir(r.URL.Path)+"/"]
	}
	a.mu.Unlock()
	if handler == nil {
		http.NotFound(w, r)
		return
	}
	handler(w, r)
}

// requestsSoFar returns the requests that the agent has received.
func (a *testAgent) requestsSoFar() []agentRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// received returns the requests of a route so far.
func (a *testAgent) received(route string) []agentRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []agentRequest
	for _, r := range a.requests {
		if r.route == route {
			found = append(found, r)
		}
	}
	return found
}
