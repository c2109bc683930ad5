package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// eventSource reads an event stream according to section 9.2 of the HTML standard.
type eventSource struct {
	lines *bufio.Reader
	skip  bool // skip a line feed that follows a carriage return

	retry       string // the reconnection time, or ""
	lastEventID string // the ID that a browser would send when it reconnects
	comments    int
}

// sseMessage is an event that a browser would dispatch.
type sseMessage struct {
	event, data, lastEventID string
}

func newEventSource(body io.Reader) *eventSource {
	lines := bufio.NewReader(body)
	if mark, err := lines.Peek(3); err == nil && string(mark) == "\ufeff" { // one byte order mark is ignored
		lines.Discard(3) //nolint:errcheck // it was peeked
	}
	return &eventSource{lines: lines}
}

// line reads up to a carriage return, a line feed or both. It ignores a line that is
// cut by the end of the stream.
func (s *eventSource) line() (string, error) {
	var line []byte
	for {
		b, err := s.lines.ReadByte()
		if err != nil {
			return "", err
		}
		if s.skip {
			s.skip = false
			if b == '\n' {
				continue
			}
		}
		switch b {
		case '\r':
			s.skip = true
			return string(line), nil
		case '\n':
			return string(line), nil
		}
		line = append(line, b)
	}
}

// next returns the next message. It discards an incomplete message at the end of the
// stream.
func (s *eventSource) next() (sseMessage, error) {
	var data strings.Builder
	eventType, id := "", s.lastEventID
	for {
		line, err := s.line()
		if err != nil {
			return sseMessage{}, err
		}
		if line == "" { // dispatch
			s.lastEventID = id
			if data.Len() == 0 {
				eventType = ""
				continue
			}
			if eventType == "" {
				eventType = "message"
			}
			return sseMessage{eventType, strings.TrimSuffix(data.String(), "\n"), id}, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
			s.comments++
		case "event":
			eventType = value
		case "data":
			data.WriteString(value + "\n")
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		case "retry":
			if strings.Trim(value, "0123456789") == "" {
				s.retry = value
			}
		}
	}
}

// stream is one connection to an event stream.
type stream struct {
	*eventSource
	header http.Header
	close  func()
}

// streamClient has a connection for each stream.
var streamClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} //nolint:gochecknoglobals // as http.DefaultClient

// openStream opens an event stream that breaks after a number of bytes, or returns the
// answer if it is refused. The stream is closed when ctx ends.
func openStream(ctx context.Context, url string, bytes int64, header ...string) (*stream, *answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := streamClient.Do(request)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	closing := func() { cancel(); response.Body.Close() }
	if response.StatusCode != http.StatusOK {
		defer closing()
		text, err := io.ReadAll(response.Body)
		return nil, &answer{response.StatusCode, response.Header, text}, err
	}
	return &stream{newEventSource(io.LimitReader(response.Body, bytes)), response.Header, closing}, nil, nil
}

// stream opens an event stream for at most five minutes.
func (b *backend) stream(path string, header ...string) *stream {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	s, refused, err := openStream(ctx, b.url+path, math.MaxInt64, header...)
	if err != nil || refused != nil {
		cancel()
		b.t.Fatalf("no stream: %v, %v", refused, err)
	}
	b.t.Cleanup(func() { s.close(); cancel() })
	return s
}

// want returns the next message, which must have this type.
func (s *stream) want(t testing.TB, event string) sseMessage {
	t.Helper()
	m, err := s.next()
	if err != nil || m.event != event {
		t.Fatalf("got %+v, %v, want a message of type %s", m, err, event)
	}
	return m
}

// streamed is an event of a stream.
type streamed struct {
	SessionID   string `json:"session_id"`
	Seq         int64  `json:"seq"`
	EventType   string `json:"event_type"`
	Source      string `json:"source"`
	ProcessName string `json:"process_name"`
	Preview     string `json:"preview"`
}

// events returns the events of a message, whose id must be the seq of the last one.
func (m *sseMessage) events() ([]streamed, error) {
	var events []streamed
	if err := json.Unmarshal([]byte(m.data), &events); err != nil || m.event != "message" || len(events) == 0 {
		return nil, fmt.Errorf("%w: no events: %.300s %.300s", errors.Join(err, errBadStream), m.event, m.data)
	}
	if last := events[len(events)-1].Seq; m.lastEventID != strconv.FormatInt(last, 10) {
		return nil, fmt.Errorf("%w: the id is %s, the last seq %d", errBadStream, m.lastEventID, last)
	}
	return events, nil
}

var errBadStream = errors.New("a bad message")

// wantSeqs checks that the next events of the stream have the seqs first to last.
func (s *stream) wantSeqs(t testing.TB, first, last int64) []streamed {
	t.Helper()
	var all []streamed
	for seq := first; seq <= last; {
		m, err := s.next()
		if err != nil {
			t.Fatalf("waiting for event %d: %v", seq, err)
		}
		if m.event == "session" || m.event == "findings" {
			continue
		}
		events, err := m.events()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Seq != seq {
				t.Fatalf("got event %d, want %d", e.Seq, seq)
			}
			seq++
		}
		all = append(all, events...)
	}
	return all
}

// post stores events by their source names.
func (b *backend) post(sources ...string) {
	b.t.Helper()
	if a := b.send("POST", "/api/events/batch", eventsNamed(sources...)); a.status != http.StatusOK {
		b.t.Fatalf("%d %s", a.status, a.body)
	}
}

func eventsNamed(sources ...string) string {
	var body bytes.Buffer
	for i, source := range sources {
		body.WriteByte("[,"[min(i, 1)])
		fmt.Fprintf(&body, `{"event_type":"x","source":%q,"data":{"n":%d}}`, source, i)
	}
	body.WriteByte(']')
	return body.String()
}

func TestStreamReplaysAndGoesLive(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		b.post("a", "b", "c")
		live, all := b.stream("/api/sessions/unassigned/stream"), b.stream("/api/sessions/unassigned/stream?after=0")
		resumed := b.stream("/api/sessions/unassigned/stream?after=0", "Last-Event-ID: 2")
		for s, id := range map[*stream]string{live: "3", all: "0", resumed: "2"} {
			m := s.want(t, "session")
			if m.lastEventID != id || !strings.Contains(m.data, `"id":"unassigned"`) || s.retry != "2000" {
				t.Errorf("the stream begins with %+v, retry %s, want the session and id %s", m, s.retry, id)
			}
			for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
				if got := s.header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		}
		b.post("d", "e")
		if got := live.wantSeqs(t, 4, 5); got[0].Source != "d" || got[0].Preview != `{"n":0}` && got[0].Preview != `{"n": 0}` {
			t.Errorf("got %+v", got)
		}
		all.wantSeqs(t, 1, 5)
		resumed.wantSeqs(t, 3, 5)
	})
}

// cutReader follows a stream that is interrupted repeatedly, as a browser does, and
// keeps the seqs of the events.
type cutReader struct {
	path string
	urls []string // of the backends that it uses alternately
	cuts int      // number of interruptions
	cut  func()   // called after each interruption
	seqs []int64
}

// run reads until the stream has reached last.
func (r *cutReader) run(ctx context.Context, last int64) error {
	id := "0"
	for n := 0; ; n++ {
		seq, err := strconv.ParseInt(id, 10, 64)
		if err != nil || seq >= last {
			return err
		}
		next, err := r.connect(ctx, r.urls[n%len(r.urls)]+r.path, id, n < r.cuts, last)
		if err != nil {
			return fmt.Errorf("connection %d, after event %s: %w", n, id, err)
		}
		id = next
		if n < r.cuts {
			r.cut()
		}
	}
}

// connect reads one connection, which may break at any byte or at any time, and returns
// the id for the next one.
func (r *cutReader) connect(ctx context.Context, url, id string, isCut bool, last int64) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bytes := int64(math.MaxInt64)
	if isCut && rand.IntN(2) == 0 {
		bytes = rand.Int64N(40_000)
	}
	s, refused, err := openStream(ctx, url, bytes, "Last-Event-ID: "+id)
	if err != nil || refused != nil {
		return id, fmt.Errorf("no stream: %v, %w", refused, err)
	}
	defer s.close()
	s.lastEventID = id
	if isCut {
		timer := time.AfterFunc(rand.N(12*time.Millisecond), cancel)
		defer timer.Stop()
	}
	for {
		m, err := s.next()
		if err != nil {
			if isCut {
				return s.lastEventID, nil
			}
			return s.lastEventID, err
		}
		if m.event == "message" {
			if err := r.take(m.data, s.lastEventID); err != nil {
				return s.lastEventID, err
			}
		}
		if seq, err := strconv.ParseInt(s.lastEventID, 10, 64); err != nil || seq >= last {
			return s.lastEventID, err
		}
	}
}

// take keeps the seqs of a message's events. It parses nothing else, because there are
// many. The id must be the last of them.
func (r *cutReader) take(data, id string) error {
	text := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(data, `[{"session_id":"unassigned","seq":`), `,{"session_id":"unassigned","seq":`) {
		text, _, _ = strings.Cut(part, ",")
		seq, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %w", errBadStream, err)
		}
		r.seqs = append(r.seqs, seq)
	}
	if text != id {
		return fmt.Errorf("%w: the id is %s, the last seq %s", errBadStream, id, text)
	}
	return nil
}

// TestCutStreamMissesNothing checks that readers which are interrupted hundreds of times
// during many writes get each event once, in order.
func TestCutStreamMissesNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		backends := []*backend{startBackend(t, env)}
		if env["DATABASE_URL"] != "" {
			backends = append(backends, startBackend(t, env))
		}
		var urls []string
		for _, b := range backends {
			urls = append(urls, b.url)
		}
		const writers, each = 4, 50
		batches := 20 * rounds(t, 8) // 400 in make torture
		cuts := 5 * batches / 2
		// Writing follows the interruptions, so that it lasts as long.
		begin := make(chan struct{}, batches)
		done := 0
		all := &cutReader{path: "/api/sessions/unassigned/stream", urls: urls, cuts: cuts, cut: func() {
			if done++; done%5 < 2 { // there are 2 batches for 5 interruptions
				begin <- struct{}{}
			}
		}}
		some := &cutReader{path: "/api/sessions/unassigned/stream?filter=" + url.QueryEscape(`type = "y"`), urls: urls, cuts: cuts / 10, cut: func() {}}
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
		defer cancel()
		var running sync.WaitGroup
		for w := range writers {
			running.Go(func() {
				for range batches / writers {
					select {
					case <-begin:
					case <-ctx.Done():
						return
					}
					var body bytes.Buffer
					for i := range each {
						fmt.Fprintf(&body, `{"event_type":"%c","source":"%d","data":{"metadata":{"processId":%d}}}`+"\n", "yx"[i/20%2], w, i%10) // the filter selects the last one
					}
					a, err := backends[w%len(backends)].trySend("POST", "/api/events/batch", body.String(), "Content-Type: application/x-ndjson")
					if err != nil || a.status != http.StatusOK && a.status != http.StatusAccepted { // the machine is busy
						t.Errorf("a batch got %d %s, %v", a.status, a.body, err)
						cancel()
					}
				}
			})
		}
		for _, r := range []*cutReader{all, some} {
			running.Go(func() {
				if err := r.run(ctx, int64(batches*each)); err != nil {
					t.Error(err)
					cancel()
				}
			})
		}
		running.Wait()
		if t.Failed() {
			return
		}
		where, err := filter.Parse(`type = "y"`)
		if err != nil {
			t.Fatal(err)
		}
		var every, selected []int64
		for _, e := range backends[0].export("unassigned") {
			every = append(every, e.Seq)
			if where.Match(&models.Event{EventType: e.EventType}) {
				selected = append(selected, e.Seq)
			}
		}
		if len(every) != batches*each || !slices.Equal(all.seqs, every) {
			t.Errorf("of %d events the stream gave %d: not each once, in order", len(every), len(all.seqs))
		}
		if !slices.Equal(some.seqs, selected) {
			t.Errorf("of the %d events that the filter selects the stream gave %d: not each once, in order", len(selected), len(some.seqs))
		}
	})
}

// twoBackends returns two backends that share a database.
func twoBackends(t *testing.T, env map[string]string) (here, there *backend) {
	t.Helper()
	if env["DATABASE_URL"] == "" {
		env["DATA_DIR"] = t.TempDir()
	}
	return startBackend(t, env), startBackend(t, env)
}

// TestStreamTellsWhatAnotherBackendDid checks that the streams of one backend report
// the changes of another one: through notifications, or by polling where the database
// has none.
func TestStreamTellsWhatAnotherBackendDid(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		here, there := twoBackends(t, env)
		all := there.stream("/api/stream")
		if m := all.want(t, "ready"); m.data != "{}" {
			t.Errorf("ready says %q", m.data)
		}
		id := here.createSession("sample.exe", "MZ")["sessionId"].(string)
		wantSession := func(s *stream, words string) {
			t.Helper()
			for {
				if m := s.want(t, "session"); strings.Contains(m.data, `"id":"`+id+`"`) && strings.Contains(m.data, words) {
					return
				}
			}
		}
		wantSession(all, `"state":"created"`)
		one := there.stream("/api/sessions/" + id + "/stream")
		wantSession(one, `"event_count":0`)
		if a := here.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`); a.status != http.StatusOK {
			t.Fatalf("start: %d %s", a.status, a.body)
		}
		wantSession(one, `"state":"active"`)
		wantSession(all, `"state":"active"`)
		here.post("a", "b")
		if got := one.wantSeqs(t, 1, 2); got[0].SessionID != id || got[1].Source != "b" {
			t.Errorf("got %+v", got)
		}
		wantSession(all, `"event_count":2`)
		there.post("c")
		one.wantSeqs(t, 3, 3)
		if env["DATABASE_URL"] != "" {
			// A backend without notifications finds events when it polls, every two
			// seconds: three more finds, one after the other, take more than 4 seconds,
			// even if one poll was late.
			seq, found := int64(3), []time.Time{}
			wait.For(t, "events are there earlier than by polling", func() bool {
				here.post("d")
				seq++
				one.wantSeqs(t, seq, seq)
				found = append(found, time.Now())
				n := len(found)
				return n > 3 && found[n-1].Sub(found[n-4]) < 4*time.Second
			})
		}

		// It is deleted without a notification, as by another program.
		options := database.Options{URL: env["DATABASE_URL"], PoolSize: 2, AllowWeak: true, Log: slog.New(slog.DiscardHandler)}
		if options.URL == "" {
			options.Path = filepath.Join(env["DATA_DIR"], "ospulse.db")
		}
		now := time.Now().UTC()
		if _, err := repository.NewSessions(dbtest.Open(t, options)).Update(t.Context(), id, func(s *models.Session) error {
			s.DeletingSince = &now
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*stream{one, all} {
			for {
				m, err := s.next()
				if err != nil {
					t.Fatal("waiting for the end of the session: ", err)
				}
				if m.event == "deleted" {
					if m.data != `{"id":"`+id+`"}` {
						t.Errorf("deleted says %s", m.data)
					}
					break
				}
			}
		}
		if m, err := one.next(); !errors.Is(err, io.EOF) {
			t.Errorf("after that came %+v, %v, want the end", m, err)
		}
	})
}

// TestStreamOutlivesItsListener checks that the connection with which a backend listens
// for notifications is opened again when it is lost.
func TestStreamOutlivesItsListener(t *testing.T) {
	t.Parallel()
	options := dbtest.Postgres(t)
	here, there := twoBackends(t, map[string]string{"DATABASE_URL": options.URL})
	db := dbtest.Open(t, options)
	s := there.stream("/api/sessions/unassigned/stream?after=0")
	for i := range int64(20) {
		if i%4 == 1 {
			if err := db.Read(t.Context()).Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%(listening)' AND datname = current_database()").Error; err != nil {
				t.Fatal(err)
			}
		}
		here.post("a", "b")
		s.wantSeqs(t, 2*i+1, 2*i+2)
	}
}

func TestStreamRefusesBadRequests(t *testing.T) {
	t.Parallel()
	b := startBackend(t, map[string]string{"STREAMS_PER_CLIENT": "2"})
	b.post("a", "b", "c")
	for name, tt := range map[string]struct {
		path, header, code, words string
		status                    int
	}{
		"after is no number":      {"unassigned/stream?after=x", "", "invalid", "after must be", 400},
		"after is negative":       {"unassigned/stream?after=-1", "", "invalid", "after must be", 400},
		"after is too large":      {"unassigned/stream?after=9223372036854775808", "", "invalid", "after must be", 400},
		"after is in the future":  {"unassigned/stream?after=4", "", "invalid", "newest of the session is 3", 400},
		"the header is no number": {"unassigned/stream?after=1", "Last-Event-ID: 1.0", "invalid", "Last-Event-ID must be", 400},
		"the header is from afar": {"unassigned/stream?after=1", "Last-Event-ID: 99", "invalid", "newest of the session is 3", 400},
		"no such session":         {"none/stream", "", "not_found", "session none", 404},
		"what cannot be an id":    {"%00/stream", "", "not_found", "does not exist", 404},
		"another host":            {"unassigned/stream", "Host: evil.example", "forbidden", "evil.example", 403},
	} {
		var header []string
		if tt.header != "" {
			header = append(header, tt.header)
		}
		a := b.send("GET", "/api/sessions/"+tt.path, "", header...)
		t.Run(name, func(t *testing.T) { wantError(t, a, tt.status, tt.code, tt.words) })
	}
	for _, path := range []string{"/api/stream", "/api/sessions/unassigned/stream"} {
		wantError(t, b.send("POST", path, ""), http.StatusMethodNotAllowed, "method_not_allowed", "does not take POST")
	}
	one, two := b.stream("/api/stream"), b.stream("/api/sessions/unassigned/stream")
	one.want(t, "ready")
	two.want(t, "session")
	a := b.send("GET", "/api/sessions/unassigned/stream", "")
	if wantError(t, a, http.StatusTooManyRequests, "overloaded", "STREAMS_PER_CLIENT"); a.header.Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
	wantMetric := func(line string) {
		t.Helper()
		wait.For(t, line, func() bool { return strings.Contains(string(b.send("GET", "/metrics", "").body), line+"\n") })
	}
	b.post("d")
	two.wantSeqs(t, 4, 4)
	wantMetric("ospulse_streams_open 2")
	wantMetric("ospulse_stream_events_sent_total 1")
	one.close()
	two.close()
	wantMetric("ospulse_streams_open 0")
	wantMetric("ospulse_streams_too_slow_total 0")
}

// TestSlowClientStopsNobody checks that a client that reads nothing is disconnected,
// and delays neither the storage of events nor other clients.
func TestSlowClientStopsNobody(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/sessions/unassigned/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	other := b.stream("/api/sessions/unassigned/stream?after=0")
	sources := slices.Repeat([]string{strings.Repeat("x", 90)}, 1000)
	posted := int64(0)
	for range 30 { // more than the kernel buffers
		b.post(sources...)
		other.wantSeqs(t, posted+1, posted+1000)
		posted += 1000
	}
	wait.For(t, "the end of the slow client", func() bool {
		return strings.Contains(string(b.send("GET", "/metrics", "").body), "ospulse_streams_too_slow_total 1\n")
	})
	b.post("last")
	other.wantSeqs(t, posted+1, posted+1)
	wait.For(t, "a word in the log", func() bool { return strings.Contains(b.log.String(), "took nothing of a stream for 10s") })
}

// TestStopEndsStreamsAtOnce checks that open streams get a comment when the program
// stops, and do not delay it.
func TestStopEndsStreamsAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		b.post("a")
		var streams []*stream
		for i := range 50 {
			path := "/api/sessions/unassigned/stream"
			if i%2 == 0 {
				path = "/api/stream"
			}
			s := b.stream(path)
			if _, err := s.next(); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		b.stop()
		if strings.Contains(b.log.String(), "did not finish in time") {
			t.Error("the stop waited until its time was over")
		}
		for _, s := range streams {
			for {
				if _, err := s.next(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal("a stream was cut: ", err)
				}
			}
			if s.comments == 0 {
				t.Error("a stream ended without a word")
			}
		}
	})
}
