package handlers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/handlers"
	"ospulse/internal/live"
	"ospulse/internal/models"
)

// noFilters completes no filter.
type noFilters struct{}

func (noFilters) Complete(_ context.Context, _ string, where *filter.Filter) (*filter.Filter, error) {
	return where, nil
}

// store is an in-memory store of one session and its events.
type store struct {
	mu      sync.Mutex
	session models.Session
	events  []models.Event
	gone    bool
	away    bool
}

func (s *store) Get(_ context.Context, id string) (*models.Session, error) {
	found, err := s.ListByID(context.Background(), []string{id})
	if err == nil && len(found) == 0 {
		return nil, models.Errorf(models.CodeNotFound, "session %s does not exist", id)
	}
	return &found[0], err
}

func (s *store) ListByID(_ context.Context, ids []string) (found []models.Session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, models.Errorf(models.CodeUnavailable, "away")
	}
	for _, id := range ids {
		if id == s.session.ID && !s.gone {
			found = append(found, s.session)
		}
	}
	return found, nil
}

func (s *store) ListHeads(ctx context.Context, ids []string) ([]models.Session, error) {
	return s.ListByID(ctx, ids)
}

func (s *store) ListHeadsAfter(ctx context.Context, after string, _ int) ([]models.Session, error) {
	if after != "" {
		return nil, nil
	}
	return s.ListByID(ctx, []string{"s"})
}

func (s *store) List(_ context.Context, _ string, _ *filter.Filter, page models.EventPage) ([]models.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, models.Errorf(models.CodeUnavailable, "away")
	}
	var found []models.Event
	for _, e := range s.events {
		if e.Seq > page.After && (page.Before == 0 || e.Seq < page.Before) && len(found) < page.Limit {
			found = append(found, e)
		}
	}
	return found, nil
}

func (s *store) ListWhole(ctx context.Context, id string, where *filter.Filter, page models.EventPage, _ int) ([]models.Event, bool, error) {
	events, err := s.List(ctx, id, where, page)
	return events, false, err
}

func (s *store) Listen(ctx context.Context, _ string, _ func(), _ func(string)) { <-ctx.Done() }

func (s *store) Notify(context.Context, string, ...string) error { return nil }

// append stores n events, as a commit does.
func (s *store) append(n int) models.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := models.Batch{Events: make([]models.Incoming, n)}
	for i := range n {
		s.session.EventCount++
		batch.Events[i].Event = models.Event{SessionID: "s", Seq: s.session.EventCount, EventType: "x", Data: models.JSON("{}")}
		s.events = append(s.events, batch.Events[i].Event)
	}
	return batch
}

// change modifies the store as another request would.
func (s *store) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// meter counts streams and the events that they send.
type meter struct{ opened, closed, sent, tooSlow atomic.Int64 }

func (m *meter) Opened()             { m.opened.Add(1) }
func (m *meter) Closed()             { m.closed.Add(1) }
func (m *meter) Sent(events int)     { m.sent.Add(int64(events)) }
func (m *meter) TooSlow()            { m.tooSlow.Add(1) }
func (m *meter) Refused(int, string) {}

// pipes is a listener with in-memory connections without buffers.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// server is the router with a hub, inside a synctest bubble.
type server struct {
	*store
	t     *testing.T
	hub   *live.Hub
	meter *meter
	pipes *pipes
	stop  func() // stops the hub as the end of the program does
}

func serve(t *testing.T, limits live.Limits) *server {
	s := &server{store: &store{session: models.Session{ID: "s"}}, t: t, meter: &meter{}, pipes: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
	s.hub = live.New(s.store, s.store, s.store, limits)
	log := slog.New(slog.DiscardHandler)
	router, err := handlers.New(handlers.Services{Identify: everyone{}, Live: s.hub, Filters: noFilters{}}, handlers.Checks{}, handlers.Options{
		ListenHost: "localhost", Refusals: s.meter, Streams: s.meter, Metrics: http.NotFoundHandler(), Log: log, RequestLog: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, s.hub.Close)
	var running sync.WaitGroup
	running.Go(func() { s.hub.Run(ctx) })
	running.Go(func() {
		if err := handlers.Serve(ctx, s.pipes, nil, router, 5*time.Second, log); err != nil {
			t.Error("serve: ", err)
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(s.stop)
	return s
}

// get sends a request and returns the connection, from which nothing has been read yet.
func (s *server) get(path string, header ...string) net.Conn {
	client, conn := net.Pipe()
	s.t.Cleanup(func() { client.Close() })
	s.pipes.conns <- conn
	if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n"+strings.Join(append(header, "\r\n"), "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	return client
}

// opened is a response's header and a reader of its body.
type opened struct {
	status int
	header http.Header
	body   io.Reader
}

// open returns the response to a request.
func (s *server) open(path string, header ...string) opened {
	response, err := http.ReadResponse(bufio.NewReader(s.get(path, header...)), nil) //nolint:bodyclose // closed with its connection
	if err != nil {
		s.t.Fatal(err)
	}
	return opened{response.StatusCode, response.Header, response.Body}
}

// reader reads the lines of a stream in the background.
type reader struct {
	mu   sync.Mutex
	text strings.Builder
	done bool
	err  error
}

func read(body io.Reader) *reader {
	r := &reader{}
	go func() {
		lines := bufio.NewReader(body)
		for {
			line, err := lines.ReadString('\n')
			r.mu.Lock()
			r.text.WriteString(line)
			r.done, r.err = err != nil, err
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return r
}

// take returns the lines received since the last call, once no more arrive.
func (r *reader) take() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.text.Reset()
	return r.text.String()
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

const plenty = 100

func TestStreamShowsThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: plenty, PerClient: plenty})
		for path, first := range map[string]string{"/api/sessions/s/stream": "event: session", "/api/stream": "event: ready"} {
			r := read(s.open(path).body)
			if got := r.take(); !strings.HasPrefix(got, "retry: 2000\n"+first) {
				t.Fatalf("%s begins with %q", path, got)
			}
			pass(15*time.Second - 1)
			if got := r.take(); got != "" {
				t.Errorf("%s said %q before its time", path, got)
			}
			for range 3 {
				pass(1)
				if got := r.take(); got != ":\n\n" {
					t.Errorf("%s said %q after 15 seconds, want a comment", path, got)
				}
				pass(15*time.Second - 1)
			}
		}
	})
}

// TestStreamSendsSeveralEventsAMessage checks that the first event after a pause is
// sent at once, and the following ones together.
func TestStreamSendsSeveralEventsAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: plenty, PerClient: plenty})
		r := read(s.open("/api/sessions/s/stream").body)
		r.take()
		publish := func(n int) { s.hub.Published([]models.Batch{s.append(n)}, []models.Receipt{{Stored: n}}) }
		seqs := func(text string) string {
			var found []string
			for line := range strings.Lines(text) {
				switch {
				case strings.HasPrefix(line, "id: "):
					found = append(found, "id"+strings.TrimSpace(line[4:]))
				case strings.HasPrefix(line, "data: ["):
					found = append(found, fmt.Sprint(strings.Count(line, `"seq":`)))
				}
			}
			return strings.Join(found, " ")
		}
		publish(1)
		if got := seqs(r.take()); got != "1 id1" {
			t.Errorf("got %s at once, want the event", got)
		}
		for range 3 {
			publish(1)
		}
		if got := r.take(); got != "" {
			t.Errorf("got %s right after it", got)
		}
		pass(20 * time.Millisecond)
		if got := seqs(r.take()); got != "3 id4" {
			t.Errorf("got %s a little later, want three events", got)
		}
		pass(time.Second)
		publish(1200)
		if got := seqs(r.take()); got != "500 id504 500 id1004 200 id1204" {
			t.Errorf("got %s of 1200 events, want 500 a message", got)
		}
		if sent := s.meter.sent.Load(); sent != 1204 {
			t.Errorf("%d events were counted, want 1204", sent)
		}
	})
}

// TestSlowClientIsCutOff checks that a client that reads nothing is disconnected, and
// that nothing waits for it.
func TestSlowClientIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: plenty, PerClient: plenty})
		slow := s.get("/api/sessions/s/stream")
		r := read(s.open("/api/sessions/s/stream").body)
		r.take()
		for range 20 {
			s.hub.Published([]models.Batch{s.append(500)}, []models.Receipt{{Stored: 500}})
			if got := r.take(); !strings.Contains(got, fmt.Sprintf("id: %d\n", s.session.EventCount)) {
				t.Fatalf("the other client got %.300q of event %d", got, s.session.EventCount)
			}
			pass(490 * time.Millisecond)
		}
		if n := s.meter.tooSlow.Load(); n != 0 {
			t.Error("it was cut off before its time")
		}
		pass(time.Second)
		synctest.Wait()
		if n := s.meter.tooSlow.Load(); n != 1 || s.meter.closed.Load() != 1 {
			t.Errorf("%d slow clients were cut off, want 1", n)
		}
		if rest, err := io.ReadAll(slow); err != nil || len(rest) > 0 {
			t.Errorf("the slow client could still read %q, %v", rest, err)
		}
		again := read(s.open("/api/sessions/s/stream", "Last-Event-ID: 9999").body)
		if got := again.take(); !strings.Contains(got, "id: 10000\n") {
			t.Errorf("when it came back it got %.300q", got)
		}
	})
}

func TestTooManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: 2, PerClient: plenty})
		one := s.get("/api/sessions/s/stream")
		r := read(one)
		read(s.open("/api/stream").body)
		synctest.Wait()
		for _, path := range []string{"/api/sessions/s/stream", "/api/stream"} {
			response := s.open(path)
			text, err := io.ReadAll(response.body)
			if err != nil || response.status != http.StatusTooManyRequests || response.header.Get("Retry-After") == "" || !strings.Contains(string(text), "STREAMS_MAX") {
				t.Errorf("%s got %d %s, %v", path, response.status, text, err)
			}
		}
		one.Close()
		if r.take(); !r.done {
			t.Fatal("it does not end")
		}
		if response := s.open("/api/stream"); response.status != http.StatusOK {
			t.Errorf("when one had ended, another got %d", response.status)
		}
	})
}

// TestStreamOutlivesTheDatabase checks that a stream stays open and sends keepalives
// while the database is away, and then resumes where it stopped.
func TestStreamOutlivesTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: plenty, PerClient: plenty})
		s.append(10)
		r := read(s.open("/api/sessions/s/stream").body)
		r.take()
		s.append(10) // by another program; the poll finds them
		pass(2 * time.Second)
		if got := r.take(); !strings.Contains(got, "id: 20\n") {
			t.Fatalf("got %q, want what another program stored", got)
		}
		pass(time.Second)
		s.change(func() { s.away = true })
		s.hub.Published([]models.Batch{s.append(1)}, []models.Receipt{{Stored: 1}})
		if got := r.take(); !strings.Contains(got, "id: 21\n") {
			t.Errorf("got %q, want what needs no database", got)
		}
		s.append(3)
		s.hub.Published([]models.Batch{s.append(1)}, []models.Receipt{{Stored: 1}}) // the events before it are only in the database
		pass(40 * time.Second)
		if got := r.take(); got != ":\n\n:\n\n" {
			t.Errorf("meanwhile got %q, want two heartbeats", got)
		}
		s.change(func() { s.away = false })
		pass(time.Second)
		if got := r.take(); strings.Count(got, `"seq":`) != 4 || !strings.Contains(got, "id: 25\n") {
			t.Errorf("then got %q, want events 22 to 25", got)
		}
	})
}

func TestStreamTellsOfItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: plenty, PerClient: plenty})
		one, all := read(s.open("/api/sessions/s/stream").body), read(s.open("/api/stream").body)
		one.take()
		all.take()
		s.change(func() { s.session.IsActive, s.session.UpdatedAt = true, time.Now() })
		s.hub.SessionChanged("s")
		for name, r := range map[string]*reader{"session": one, "list": all} {
			if got := r.take(); !strings.HasPrefix(got, "event: session\ndata: {") || !strings.Contains(got, `"state":"active"`) || strings.Count(got, "\n") != 3 {
				t.Errorf("the stream of the %s got %q, want the session", name, got)
			}
		}
		s.change(func() { s.session.IsActive, s.session.UpdatedAt = false, time.Now().Add(time.Millisecond) }) // not announced
		pass(3 * time.Second)
		for name, r := range map[string]*reader{"session": one, "list": all} {
			if got := r.take(); !strings.Contains(got, `"state":"created"`) {
				t.Errorf("the stream of the %s got %q, want the session", name, got)
			}
		}
		s.change(func() { s.gone = true })
		s.hub.SessionChanged("s")
		for name, r := range map[string]*reader{"session": one, "list": all} {
			if got := r.take(); got != "event: deleted\ndata: {\"id\":\"s\"}\n\n" || r.done != (r == one) {
				t.Errorf("the stream of the %s got %q, and its end is %v", name, got, r.done)
			}
		}
		if response := s.open("/api/sessions/s/stream"); response.status != http.StatusNotFound {
			t.Errorf("a stream of a deleted session got %d", response.status)
		}
	})
}

// TestListStreamCountsEvents checks that the stream of all sessions reports new events
// once a second.
func TestListStreamCountsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: plenty, PerClient: plenty})
		r := read(s.open("/api/stream").body)
		r.take()
		for range 50 {
			s.hub.Published([]models.Batch{s.append(1)}, []models.Receipt{{Stored: 1, Ranges: []models.SeqRange{{SessionID: "s"}}}})
			pass(100 * time.Millisecond)
		}
		pass(time.Second)
		got := r.take()
		if n := strings.Count(got, "event: session\n"); n < 5 || n > 7 || !strings.Contains(got, `"event_count":50`) {
			t.Errorf("in 6 seconds it heard %d times: %q", n, got)
		}
	})
}

// TestStopEndsStreams checks that open streams do not delay the end of the program.
func TestStopEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, live.Limits{Streams: plenty, PerClient: plenty})
		readers := []*reader{read(s.open("/api/sessions/s/stream").body), read(s.open("/api/stream").body)}
		for _, r := range readers {
			r.take()
		}
		began := time.Now()
		s.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the stop took %s", took)
		}
		for _, r := range readers {
			if got := r.take(); !strings.HasPrefix(got, ": the backend is shutting down\n\n") || !errors.Is(r.err, io.EOF) {
				t.Errorf("a stream ended with %q, %v, want a word and a proper end", got, r.err)
			}
		}
	})
}
