//go:build linux

package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"ospulse/agent/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is one that can be away, that knows keys, and that fails as it is told.
type backend struct {
	mu       sync.Mutex
	seen     map[string]bool
	got      map[string][]int // of each session the n of its events
	lost     []map[string]any // the data of events_lost
	requests int
	fail     func(r *http.Request, n int) (status int, header string) // 0 takes it
	takes    bool                                                     // though it fails: the answer is what is lost
	arrived  chan struct{}
}

func newBackend(t *testing.T) (*backend, string) {
	t.Helper()
	b := &backend{seen: map[string]bool{}, got: map[string][]int{}, arrived: make(chan struct{}, 1)}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, server.URL
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Header.Get("Content-Encoding") == "zstd" {
		d, _ := zstd.NewReader(nil)
		defer d.Close()
		if body, err = d.DecodeAll(body, nil); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		select {
		case b.arrived <- struct{}{}:
		default:
		}
	}()
	b.requests++
	status, header := 0, ""
	if b.fail != nil {
		status, header = b.fail(r, b.requests)
	}
	if status == 0 || b.takes {
		key := r.Header.Get("Idempotency-Key")
		if key == "" || !b.seen[key] {
			b.seen[key] = true
			for line := range bytes.Lines(body) {
				var e struct {
					Type string `json:"event_type"`
					Data map[string]any
				}
				if err := json.Unmarshal(line, &e); err != nil {
					http.Error(w, err.Error(), 400)
					return
				}
				if e.Type == "events_lost" {
					b.lost = append(b.lost, e.Data)
					continue
				}
				session := r.URL.Query().Get("sessionId")
				b.got[session] = append(b.got[session], int(e.Data["n"].(float64)))
			}
		}
	}
	if status != 0 {
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		http.Error(w, "no", status)
		return
	}
	_, _ = fmt.Fprintln(w, `{"status":"success"}`)
}

// until waits until ok, which is asked after each request.
func (b *backend) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		b.mu.Lock()
		done := ok()
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-b.arrived:
		case <-deadline:
			t.Fatal("not in time: ", what)
		}
	}
}

// check wants 0 … n-1 of a session, in order, each once.
func (b *backend) check(t *testing.T, session string, n int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got[session]
	for i, v := range got {
		if v != i {
			t.Fatalf("session %s: event %d is number %d", session, v, i)
		}
	}
	if len(got) != n {
		t.Fatalf("session %s has %d events, want %d", session, len(got), n)
	}
}

// text is data that is written already.
type text string

func (t text) AppendJSON(out []byte) []byte { return append(out, t...) }

func number(n, padding int) *event.Event {
	data := text(fmt.Sprintf(`{"n":%d}`, n))
	if padding > 0 {
		data = text(fmt.Sprintf(`{"n":%d,"padding":%q}`, n, strings.Repeat(fmt.Sprintf("%x", n*2654435761), padding/8)))
	}
	return &event.Event{Type: "file_operation", Time: time.Unix(int64(n), 0), Data: data}
}

func open(t *testing.T, url, dir string, maxBytes int64) *Sender {
	t.Helper()
	s, err := Open(Options{Backend: url, Key: "k", SpoolDir: dir, SpoolMaxBytes: maxBytes, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.http.CloseIdleConnections)
	return s
}

// run gives the function that stops it.
func run(s *Sender) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	return func() { cancel(); <-done }
}

func TestInOrderEachOnce(t *testing.T) {
	b, url := newBackend(t)
	// Of three requests one is taken and not answered well, one is refused for now.
	b.takes = true
	b.fail = func(r *http.Request, n int) (int, string) {
		if got := r.Header.Get("Authorization"); got != "Bearer k" {
			return 400, ""
		}
		return map[int]int{1: 503, 2: 500}[n%3], ""
	}
	s := open(t, url, t.TempDir(), 64<<20)
	stop := run(s)
	for i := range 10_000 {
		s.Send("a", number(i, 0))
		s.Send("b", number(i, 0))
	}
	b.until(t, "all are there", func() bool { return len(b.got["a"])+len(b.got["b"]) >= 20_000 })
	stop()
	b.check(t, "a", 10_000)
	b.check(t, "b", 10_000)
	if c := s.Counts(); c.Accepted != 20_000 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}

func TestStopDelivers(t *testing.T) {
	b, url := newBackend(t)
	s := open(t, url, t.TempDir(), 64<<20)
	stop := run(s)
	for i := range 5000 {
		s.Send("a", number(i, 0))
	}
	stop()
	b.check(t, "a", 5000)
}

func TestFlush(t *testing.T) {
	b, url := newBackend(t)
	s := open(t, url, t.TempDir(), 64<<20)
	defer run(s)()
	for i := range 3000 {
		s.Send("a", number(i, 0))
	}
	s.Flush(t.Context())
	b.check(t, "a", 3000)
}

// The backend is away, the agent is killed and started again, also while it
// drains: nothing is lost, nothing is there twice.
func TestSpoolOutlivesTheAgent(t *testing.T) {
	b, url := newBackend(t)
	dir := t.TempDir()
	b.fail = func(*http.Request, int) (int, string) { return 503, "" }
	n := 0
	for range 3 {
		s := open(t, url, dir, 64<<20)
		stop := run(s)
		for range 4000 {
			s.Send("a", number(n, 0))
			n++
		}
		b.until(t, "it has noticed", func() bool { return b.requests > 0 })
		s.Flush(t.Context())
		stop()
	}
	// A crash: what was appended is there, the end may be half a record.
	files, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil || len(files) == 0 {
		t.Fatal("no spool: ", err)
	}
	file, err := os.OpenFile(files[len(files)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte{200, 1, 0, 0, 7, 7}); err != nil {
		t.Fatal(err)
	}
	file.Close()
	// Every request is taken, and the agent hears of every third only; so the one
	// that is stopped has batches that the backend has.
	b.mu.Lock()
	b.takes, b.fail = true, func(_ *http.Request, n int) (int, string) { return map[int]int{1: 500, 2: 502}[n%3], "" }
	before := b.requests
	b.mu.Unlock()
	stop := run(open(t, url, dir, 64<<20))
	b.until(t, "some are drained", func() bool { return b.requests > before })
	stop()
	b.mu.Lock()
	b.fail = nil
	b.mu.Unlock()
	s := open(t, url, dir, 64<<20)
	stop = run(s)
	for range 100 {
		s.Send("a", number(n, 0))
		n++
	}
	b.until(t, "all are there", func() bool { return len(b.got["a"]) >= n })
	stop()
	b.check(t, "a", n)
	if left, _ := filepath.Glob(filepath.Join(dir, "*.spool")); len(left) > 0 {
		t.Errorf("the spool is not empty: %q", left)
	}
}

func TestFullSpoolIsCounted(t *testing.T) {
	b, url := newBackend(t)
	b.fail = func(*http.Request, int) (int, string) { return 503, "" }
	s := open(t, url, t.TempDir(), 50_000)
	stop := run(s)
	const n = 40_000
	for i := range n {
		s.Send("a", number(i, 64))
	}
	s.Flush(t.Context())
	b.until(t, "it has noticed", func() bool { return b.requests > 1 })
	if c := s.Counts(); c.Lost == 0 || c.SpoolBytes > 50_000+maxMemoryBytes {
		t.Fatalf("nothing was dropped: %+v", c)
	}
	b.mu.Lock()
	b.fail = nil
	b.mu.Unlock()
	b.until(t, "the loss is told", func() bool { return len(b.lost) > 0 })
	stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := 0
	for _, data := range b.lost {
		lost += int(data["count"].(float64))
		if data["reason"] != "spool_full" || data["from"] == "" || data["to"] == "" {
			t.Errorf("it is told as %v", data)
		}
	}
	if got := len(b.got["a"]); got+lost != n || lost == 0 {
		t.Errorf("%d came and %d are told lost, of %d", got, lost, n)
	}
	if c := s.Counts(); c.Lost != int64(lost) {
		t.Errorf("counted as lost: %d, told: %d", c.Lost, lost)
	}
}

func TestWhatTheBackendRefuses(t *testing.T) {
	b, url := newBackend(t)
	b.fail = func(_ *http.Request, n int) (int, string) {
		if n == 1 {
			return 400, ""
		}
		return 0, ""
	}
	s := open(t, url, t.TempDir(), 1<<20)
	stop := run(s)
	for i := range 7 {
		s.Send("a", number(i, 0))
	}
	b.until(t, "the loss is told", func() bool { return len(b.lost) > 0 })
	stop()
	if got := b.lost[0]; got["count"] != 7.0 || got["reason"] != "refused" || got["from"] != "1970-01-01T00:00:00.000000Z" || got["to"] != "1970-01-01T00:00:06.000000Z" {
		t.Errorf("told as %v", got)
	}
}

func TestTooLarge(t *testing.T) {
	b, url := newBackend(t)
	b.fail = func(r *http.Request, _ int) (int, string) {
		if r.ContentLength > 3000 { // as a proxy before it may have it
			return 413, ""
		}
		return 0, ""
	}
	s := open(t, url, t.TempDir(), 1<<20)
	stop := run(s)
	huge := number(-1, 0)
	huge.Data = text(`{"x":"` + strings.Repeat("x", maxEventBytes) + `"}`)
	s.Send("a", huge)
	for i := range 1000 {
		s.Send("a", number(i, 8))
	}
	b.until(t, "all are there", func() bool { return len(b.got["a"]) >= 1000 && len(b.lost) > 0 })
	stop()
	b.check(t, "a", 1000)
	if got := b.lost[0]; got["count"] != 1.0 || got["reason"] != "event_too_large" {
		t.Errorf("told as %v", got)
	}
}

func TestAnOldBackend(t *testing.T) {
	for _, status := range []int{404, 405} {
		b, url := newBackend(t)
		down := true
		b.fail = func(r *http.Request, n int) (int, string) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/batch"):
				return status, ""
			case down && n == 6: // in the middle of a batch
				down = false
				return 503, "0"
			}
			return 0, ""
		}
		s := open(t, url, t.TempDir(), 1<<20)
		stop := run(s)
		for i := range 10 {
			s.Send("a", number(i, 0))
		}
		b.until(t, "all are there", func() bool { return len(b.got["a"]) >= 10 })
		stop()
		b.check(t, "a", 10)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"": 0, "2": 2 * time.Second, "-1": 0, "x": 0, "99999999": maxRetryAfter, "Mon, 02 Jan 2006 15:04:05 GMT": 0} {
		if got := retryAfter(text); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestOneAgentASpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := openSpool(dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSpool(dir, 1000); err == nil {
		t.Error("two agents have one spool")
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever is on the disk, reading it ends, and gives whole batches only.
func FuzzReadRecord(f *testing.F) {
	dir := f.TempDir()
	s, err := openSpool(dir, 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.append(&batch{head{Key: "k", Session: "s", Count: 1}, []byte("body")}, false); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(s.path(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Fuzz(func(t *testing.T, text []byte) {
		b, size, err := readRecord(bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatal(err)
			}
			return
		}
		if int(size) > len(text) || b == nil {
			t.Fatalf("%d bytes of %d", size, len(text))
		}
	})
}
