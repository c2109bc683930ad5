//go:build linux

package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"ospulse/agent/internal/event"
	"ospulse/test/wait"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childBackend); url != "" {
		if err := child(url, os.Getenv(childSpool)); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// sink is a backend that stores each key once, and fails as the test configures it.
type sink struct {
	t   *testing.T
	url string

	mu       sync.Mutex
	changed  chan struct{}
	answers  map[string]answered // by key
	got      map[string][]int    // the numbers of each session's events, in order
	reports  map[string][]report
	requests []request
	fault    func(r request) string // the name of a fault, see serve; "" for none
	itemFail func(session string, n int) string
	chokes   func(r request, raw []byte) string // a status and a message for a request with this content; "" for none
	sick     bool                               // /readyz reports that the backend is not healthy
}

type answered struct {
	digest string
	text   string
}

type request struct {
	path, key, session, auth, agent, encoding string
	n                                         int // of the request, from 0
	again                                     int // earlier requests with the same key
	bytes, events                             int
	chokes                                    bool
}

type report struct {
	Count    int
	Reason   string
	From, To time.Time
}

func newSink(t *testing.T) *sink {
	s := &sink{t: t, changed: make(chan struct{}), answers: map[string]answered{}, got: map[string][]int{}, reports: map[string][]report{}}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *sink) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case r.Header.Get("Authorization") != "Bearer secret": // see options
			w.WriteHeader(http.StatusUnauthorized)
		case s.sick || r.URL.Path != "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	q := request{path: r.URL.Path, key: r.Header.Get("Idempotency-Key"), session: r.URL.Query().Get("sessionId"), auth: r.Header.Get("Authorization"), agent: r.Header.Get("X-OSPulse-Agent"), encoding: r.Header.Get("Content-Encoding")}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if q.encoding == "zstd" {
		decoder, err := zstd.NewReader(bytes.NewReader(raw))
		if err != nil {
			s.t.Error(err)
			return
		}
		defer decoder.Close()
		if raw, err = io.ReadAll(decoder); err != nil {
			s.t.Error("the body is not zstd: ", err)
		}
	}
	q.bytes, q.events = len(raw), bytes.Count(raw, []byte("\n"))
	s.mu.Lock()
	q.n = len(s.requests)
	for _, before := range s.requests {
		if before.key == q.key {
			q.again++
		}
	}
	choke := ""
	if s.chokes != nil {
		choke = s.chokes(q, raw)
		q.chokes = choke != ""
	}
	s.requests = append(s.requests, q)
	fault := ""
	if s.fault != nil {
		fault = s.fault(q)
	}
	s.mu.Unlock()
	defer s.notify()

	if status, said, _ := strings.Cut(choke, " "); choke != "" {
		code, err := strconv.Atoi(status)
		if err != nil {
			s.t.Error(err)
		}
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"error":%q}`, said)
		return
	}
	if status, err := strconv.Atoi(fault); err == nil {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"error":"told to answer %d"}`, status)
		return
	}
	switch fault {
	case "drop": // after the body is read and before the events are stored
		panic(http.ErrAbortHandler)
	case "retry after":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case "page":
		_, _ = fmt.Fprint(w, "<html>welcome</html>")
		return
	case "null":
		_, _ = fmt.Fprint(w, "null")
		return
	}
	text := s.store(q, raw)
	switch fault {
	case "lost answer": // the events are stored, but the answer is lost
		panic(http.ErrAbortHandler)
	case "cut answer":
		w.Header().Set("Content-Length", "1000")
		_, _ = fmt.Fprint(w, text[:1])
		panic(http.ErrAbortHandler)
	case "slow":
		<-time.After(30 * time.Millisecond)
	case "spooled":
		w.WriteHeader(http.StatusAccepted)
	}
	_, _ = fmt.Fprint(w, text)
}

// store stores the events of a request, once for each key.
func (s *sink) store(q request, raw []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := q.path + q.session + string(raw)
	if known, ok := s.answers[q.key]; ok {
		if known.digest != digest {
			s.t.Errorf("another request used the key %s before", q.key)
		}
		return known.text
	}
	type fault struct {
		Index int    `json:"index"`
		Error string `json:"error"`
	}
	var faults []fault
	stored := 0
	for i, line := range slices.Collect(bytes.Lines(raw)) {
		var e struct {
			Type string `json:"event_type"`
			Data struct {
				N int
				report
			}
		}
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Errorf("line %d is %.100q: %v", i, line, err)
			continue
		}
		if s.itemFail != nil && e.Type != event.TypeLost {
			if text := s.itemFail(q.session, e.Data.N); text != "" {
				faults = append(faults, fault{i, text})
				continue
			}
		}
		stored++
		if e.Type == event.TypeLost {
			s.reports[q.session] = append(s.reports[q.session], e.Data.report)
			s.got[q.session] = append(s.got[q.session], -max(e.Data.Count, 1))
			continue
		}
		s.got[q.session] = append(s.got[q.session], e.Data.N)
	}
	text, err := json.Marshal(map[string]any{"status": "success", "stored": stored, "errors": faults})
	if err != nil {
		s.t.Error(err)
	}
	s.answers[q.key] = answered{digest, string(text)}
	return string(text)
}

func (s *sink) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// asked returns the requests so far.
func (s *sink) asked() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// has returns the numbers of a session's events so far, in order. A report of loss appears
// as its negated count.
func (s *sink) has(session string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got[session])
}

// lossReports returns a session's reports of loss so far.
func (s *sink) lossReports(session string) []report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reports[session])
}

// waitReports waits until all losses of a session are reported, and returns the number of
// lost events.
func (s *sink) waitReports(d *Delivery, session string) int64 {
	s.t.Helper()
	sum := int64(0)
	s.wait("the reports of all losses", func() bool {
		sum = 0
		for _, r := range s.reports[session] {
			if r.Reason != event.ReasonOverrun { // the sensor's
				sum += int64(r.Count)
			}
		}
		return sum > 0 && sum == d.Status().Lost
	})
	return sum
}

func (s *sink) set(fault func(request) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// wait waits for a request after which ok returns true.
func (s *sink) wait(what string, ok func() bool) {
	s.t.Helper()
	late := time.After(wait.Patience)
	for {
		s.mu.Lock()
		changed, done := s.changed, ok()
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-late:
			s.t.Fatal("not in time: ", what)
		}
	}
}

// want waits for the events 0 … n-1 of a session, and checks that each arrives once and in
// order.
func (s *sink) want(session string, n int) {
	s.t.Helper()
	s.wait(fmt.Sprintf("%d events of %q", n, session), func() bool { return len(s.got[session]) >= n })
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, got := range s.got[session] {
		if i != got {
			s.t.Fatalf("event %d of %q has the number %d", i, session, got)
		}
	}
	if len(s.got[session]) > n {
		s.t.Errorf("%q has %d events, want %d", session, len(s.got[session]), n)
	}
}

// text is event data that is already JSON.
type text string

func (t text) AppendJSON(out []byte) []byte { return append(out, t...) }

// numbered returns an event with a number that the sink reads.
func numbered(n int) *event.Event {
	return &event.Event{Type: event.TypeFile, Time: time.Unix(1_700_000_000, 0).Add(time.Duration(n) * time.Millisecond), Data: text(fmt.Sprintf(`{"n":%d,"filePath":"/tmp/%x"}`, n, n*2654435761))}
}

func options(t *testing.T, url string) Options {
	return Options{Backend: url, Key: "secret", Agent: "vm7", Dir: t.TempDir(), SpoolMaxBytes: 64 << 20, Log: slog.New(slog.NewTextHandler(testLog{t}, nil))}
}

// testLog returns a log that is printed if the test fails.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

func newDelivery(t *testing.T, o Options) *Delivery {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run runs d until the test ends or the caller calls the returned function.
func run(t *testing.T, d *Delivery) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// wantSum checks that the counts of the status add up.
func wantSum(t *testing.T, d *Delivery) Status {
	t.Helper()
	s := d.Status()
	if have, want := s.Delivered+s.Lost+s.QueuedEvents+s.SpooledEvents, s.Added+s.Reports+s.Inherited; have != want {
		t.Errorf("the counts add up to %d events, want %d: %+v", have, want, s)
	}
	sum := int64(0)
	for _, n := range s.LostByReason {
		sum += n
	}
	if sum != s.Lost {
		t.Errorf("the losses by reason are %d: %+v", sum, s)
	}
	return s
}
