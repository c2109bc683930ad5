package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// residentMB returns the peak resident memory of a process.
func residentMB(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kb, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb >> 10
}

// plainBackend returns the program without the race detector, which needs several times
// the memory. It is built once.
func plainBackend(t *testing.T) string {
	t.Helper()
	program, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

//nolint:gochecknoglobals // one program for all tests
var buildPlain = sync.OnceValues(func() (string, error) {
	program := filepath.Join(programs, "ospulse-backend")
	build := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", program, "main.go")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the backend: %w %s", err, out)
	}
	return program, nil
})

// TestExportTakesLittleMemory checks that a large export needs as little memory as a
// small one, of rows and of sealed segments.
func TestExportTakesLittleMemory(t *testing.T) {
	const n, limitMB = 24_000, 32 // in memory they would need more than twice the limit
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"], env["DATA_DIR"], env["SEAL_AFTER"] = newTestAgent(t).URL, filepath.Join(t.TempDir(), "data"), "never"
		env["GOGC"] = "10"           // little garbage
		env["GOMEMLIMIT"] = "128MiB" // small caches of SQLite, which grow at the first reads
		p := command(t, env)
		p.Path = plainBackend(t)
		p.start(t)
		b := &backend{t: t, url: p.url}
		id := b.startSession()
		b.sendEvents(id, []string{`{"event_type":"x","timestamp":"2026-11-22T18:57:39Z","data":"` + incompressible(3000, []rune("0123456789abcdef")) + `"}`})
		check := func(form string) {
			t.Helper()
			for _, format := range []string{"ndjson", "bundle"} {
				// Linux keeps the peak; 5 resets it to what is resident now.
				if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.Process.Pid), []byte("5"), 0); err != nil {
					t.Fatal(err)
				}
				before := residentMB(t, p.Process.Pid)
				b.discard(t, "/api/sessions/"+id+"/export?format="+format)
				grown := residentMB(t, p.Process.Pid) - before
				t.Logf("%s of %s: %d MB more than %d", format, form, grown, before)
				if grown > limitMB {
					t.Errorf("%s of %d events, %s: the memory grew by %d MB", format, n, form, grown)
				}
			}
		}
		check("one row")
		multiplySession(t, env, id, n)
		waitForSegments(t, env, n)
		check("rows")
		seal := command(t, env, "seal", id)
		seal.Path = p.Path
		if out, err := seal.Output(); err != nil {
			t.Fatalf("seal: %v %s", err, out)
		}
		check("sealed")
	})
}

// TestMemoryIsBounded checks that a backend which receives many times more than its
// memory holds stays within its limit: it answers 429, stores what it acknowledges, and
// meanwhile accepts small events.
func TestMemoryIsBounded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		const limitMB = 256
		env["GOMEMLIMIT"], env["DATA_DIR"] = fmt.Sprint(limitMB, "MiB"), filepath.Join(t.TempDir(), "data")
		p := command(t, env)
		p.Path = plainBackend(t)
		p.start(t)
		event := `{"event_type":"large","data":"` + strings.Repeat("x", 1<<20) + `"}`
		large := []byte("[" + event + strings.Repeat(","+event, 14) + "]")
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		var mu sync.Mutex
		outcomes := map[string]int{}
		post := func(path string, body []byte) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, bytes.NewReader(body))
			if err != nil {
				return err
			}
			request.Header.Set("Content-Type", "application/json")
			response, err := http.DefaultClient.Do(request)
			if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				// On a busy machine, the client still sends when the backend has waited
				// long enough for a refused body to end.
				mu.Lock()
				defer mu.Unlock()
				outcomes[path+" cut off"]++
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[fmt.Sprint(path, " ", response.StatusCode)]++
			return response.Body.Close()
		}
		var clients sync.WaitGroup
		for range 40 { // 600 MB at once, twice
			clients.Go(func() {
				for range 2 {
					if err := post("/api/events/batch", large); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { clients.Wait(); close(done) }()
		for isDone := false; !isDone; {
			if err := post("/api/events", []byte(`{"event_type":"small"}`)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-done:
				isDone = true
			default:
			}
		}
		resident := residentMB(t, p.Process.Pid)
		t.Logf("%d MB resident; %v", resident, outcomes)
		if resident > 2*limitMB {
			t.Errorf("it had %d MB, with a limit of %d", resident, limitMB)
		}
		for outcome := range outcomes {
			if !strings.HasSuffix(outcome, " 200") && !strings.HasSuffix(outcome, " 429") && outcome != "/api/events/batch cut off" {
				t.Errorf("there were other answers: %v", outcomes)
			}
		}
		if outcomes["/api/events 200"] == 0 || outcomes["/api/events/batch 200"] == 0 || outcomes["/api/events/batch 429"] == 0 {
			t.Errorf("the answers were %v", outcomes)
		}
	})
}

// TestHealthShowsMemory checks that /api/health has the memory limit, its source and
// its parts, and that GOMEMLIMIT has precedence.
func TestHealthShowsMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		env     map[string]string
		sources []string
	}{
		"this machine or its cgroup": {map[string]string{}, []string{"machine", "cgroup"}},
		"GOMEMLIMIT":                 {map[string]string{"GOMEMLIMIT": "300MiB"}, []string{"GOMEMLIMIT"}},
		"GOMEMLIMIT that is off":     {map[string]string{"GOMEMLIMIT": "off"}, []string{"machine", "cgroup"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := command(t, tt.env)
			p.start(t)
			b := &backend{t: t, url: p.url}
			var health struct {
				Memory struct {
					Limit   int64  `json:"limit_bytes"`
					Source  string `json:"source"`
					Planned int64  `json:"planned_bytes"`
					Parts   map[string]struct {
						Limit int64  `json:"limit_bytes"`
						Used  *int64 `json:"used_bytes"`
					} `json:"parts"`
				} `json:"memory"`
			}
			b.decode(b.send("GET", "/api/health", ""), http.StatusOK, &health)
			m := health.Memory
			if !slices.Contains(tt.sources, m.Source) || m.Planned < 128<<20 || tt.env["GOMEMLIMIT"] == "300MiB" && m.Limit != 300<<20 {
				t.Errorf("got %+v", m)
			}
			for _, part := range []string{"queue", "rings", "rollups", "rules", "bodies", "imports", "caches"} {
				if p, ok := m.Parts[part]; !ok || p.Limit <= 0 || p.Used != nil && *p.Used != 0 {
					t.Errorf("%s is %+v", part, p)
				}
			}
		})
	}
}
