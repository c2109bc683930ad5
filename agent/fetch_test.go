//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/enroll"
	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// proxyTo returns the URL of a server that changes requests and passes them on. It closes
// the connection of a request for which change returns false.
func proxyTo(t *testing.T, backend string, change func(*http.Request) bool, changeAnswer func(*http.Response) error) string {
	t.Helper()
	target, err := url.Parse(backend)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: changeAnswer,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !change(r) {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestFetchedStartsHappenOnce runs an enrolled agent behind a network that loses a third of
// its questions for work and of the answers in both directions. Each start happens once or
// fails as one that did not run.
func TestFetchedStartsHappenOnce(t *testing.T) {
	const starts = 5
	binary, data := buildBackend(t), t.TempDir()
	backend := fmt.Sprintf("http://127.0.0.1:%d", freeport.For(t))
	env := []string{"PORT=" + backend[strings.LastIndexByte(backend, ':')+1:], "DATA_DIR=" + data, "DATABASE_URL=", "AGENT_SERVICE_URL=http://127.0.0.1:1", "AGENT_TIMEOUT=2s"}
	command := func(arguments ...string) string {
		cmd := exec.CommandContext(t.Context(), binary, arguments...)
		cmd.Env, cmd.Dir = env, t.TempDir()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", arguments, err)
		}
		return strings.TrimSpace(string(out))
	}
	admin := command("keys", "create", "--role", "admin")
	added := strings.Fields(command("agents", "add", "lab"))
	start(t, backend+"/healthz", env, binary)

	// What a person with the key of an admin sees.
	front := proxyTo(t, backend, func(r *http.Request) bool { r.Header.Set("X-API-Key", admin); return true }, nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // faults, not secrets
	isLost := func(path string) bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.HasPrefix(path, "/api/agents/work") && random.IntN(3) == 0
	}
	lossy := proxyTo(t, backend, func(r *http.Request) bool { return !isLost(r.URL.Path) }, func(r *http.Response) error {
		if isLost(r.Request.URL.Path) {
			return http.ErrAbortHandler
		}
		return nil
	})
	folder := t.TempDir()
	if code := enroll.Run(t.Context(), []string{lossy, added[3]}, folder, t.Output(), t.Output()); code != 0 {
		t.Fatal("the agent could not be enrolled")
	}
	cfg, err := config.Load([]string{"--data", folder, "--poll", "50ms"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	spawner, fault := newSpawner(cfg, log)
	if fault != "" {
		t.Fatal(fault)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- serveOn(ctx, cfg, log, nil, openEyes(t, "procfs", cfg, log), spawner, "", time.Now()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	ran := 0
	// On a busy machine most starts take longer than AGENT_TIMEOUT, so it takes more of them.
	for i, first := 0, time.Now(); i < starts || ran == 0 && time.Since(first) < wait.Patience; i++ {
		session := upload(t, front, "sample.sh", fmt.Sprintf("exit %d\n", i))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front+"/api/start-monitor", strings.NewReader(fmt.Sprintf(`{"sessionId":%q,"mode":3}`, session)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Prefer", "respond-async")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		var now struct {
			State      string
			StartError *struct {
				Text       string
				MayHaveRun bool `json:"may_have_run"`
			} `json:"start_error"`
			End *struct {
				ExitCode *int `json:"exit_code"`
			}
		}
		wait.For(t, "the outcome of the start", func() bool {
			call(t, "GET", front+"/api/sessions/"+session, "", nil, &now)
			return now.State == "ended" || now.State == "failed"
		})
		began := 0
		for _, e := range events(t, front, session) {
			if e.Type == "session_start" {
				began++
			}
		}
		text, _ := json.Marshal(now) // for the log
		switch {
		case now.State == "ended" && began == 1:
			ran++
		case now.State == "failed" && !now.StartError.MayHaveRun && began == 0:
			t.Logf("a start did not run: %s", now.StartError.Text)
		default:
			t.Errorf("session %d is %s and has %d session_start", i, text, began)
		}
	}
	if ran == 0 {
		t.Error("no start ran")
	}
}
