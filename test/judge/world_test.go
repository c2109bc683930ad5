//go:build linux

package judge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// setup describes a system that the judge tests.
type setup struct {
	name     string
	backends int
	postgres bool
	standby  bool
	sync     bool
}

func setups() []setup {
	return []setup{
		{name: "sqlite", backends: 1},
		{name: "postgres", backends: 1, postgres: true},
		{name: "three-sync", backends: 3, postgres: true, standby: true, sync: true},
		{name: "three-async", backends: 3, postgres: true, standby: true},
	}
}

// world is a running set-up.
type world struct {
	t        testing.TB
	setup    setup
	seed     uint64
	dir      string // folder of everything that the set-up writes
	isMount  bool   // dir/data and dir/pg are separate small disks
	backends []*backend
	pg       *postgres // nil on SQLite
	clock    *int64    // offset of the backends' clocks in seconds
	http     *http.Client
	big      string // a session with many events, "" until it is needed
	agent    *backend

	sessions int           // per round
	running  []*session    // in this round
	patience time.Duration // timeout for a stream to reach the end
	found    []Violation   // by the fault itself, in this round
	acked    int           // events of this round that were acknowledged to the fault itself
}

// Sizes of the disks that faults fill.
const dataDisk, databaseDisk = "size=192m", "size=1536m"

// startWorld starts a set-up. env has further settings of the backends.
func startWorld(t testing.TB, s setup, seed uint64, env ...string) *world {
	t.Helper()
	w := &world{t: t, setup: s, seed: seed, http: newHTTPClient(), sessions: 10, patience: wait.Patience}
	var err error
	if w.dir, err = os.MkdirTemp("", "ospulse-judge-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(w.dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(w.dir, 0o755); err != nil { // for the user that PostgreSQL runs as
		t.Fatal(err)
	}
	w.isMount = os.Geteuid() == 0
	for name, size := range map[string]string{"data": dataDisk, "pg": databaseDisk} {
		w.disk(name, size)
	}
	w.clock = openClock(t, filepath.Join(w.dir, "clock"))
	if s.postgres {
		w.pg = startPostgres(t, filepath.Join(w.dir, "pg"), s.backends, s.standby, s.sync)
	}
	w.agent = newAgent(w)
	for i := range s.backends {
		w.addBackend(i, env)
	}
	t.Cleanup(func() {
		for _, b := range w.backends {
			if err := b.end(os.Kill); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("the log of backend %d of %s ends:\n%s", b.index, s.name, b.logTail())
			}
		}
	})
	return w
}

// disk creates a folder, on a small disk of its own if this user may mount it.
func (w *world) disk(name, size string) {
	path := filepath.Join(w.dir, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if !w.isMount {
		return
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, size+",mode=0755"); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			w.t.Error(err)
		}
	})
}

// openClock creates a file that sets the clocks of backends, and returns their offset in
// seconds.
func openClock(t testing.TB, path string) *int64 {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(8); err != nil {
		t.Fatal(err)
	}
	page, err := unix.Mmap(int(file.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(page); err != nil {
			t.Error(err)
		}
	})
	return (*int64)(unsafe.Pointer(&page[0]))
}

// setClock sets the offset of the backends' clocks.
func (w *world) setClock(d time.Duration) { atomic.StoreInt64(w.clock, int64(d/time.Second)) }

func (w *world) addBackend(i int, env []string) {
	dir := filepath.Join(w.dir, "data", fmt.Sprint(i))
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	b := &backend{index: i, program: buildPrograms(w.t).backend, port: freeport.For(w.t), health: "/healthz", log: filepath.Join(w.dir, fmt.Sprint("log", i))}
	b.env = append([]string{
		fmt.Sprint("PORT=", b.port), "DATA_DIR=" + dir, "AGENT_SERVICE_URL=" + w.agent.url(), "MIN_FREE_MB=0", "DATABASE_POOL_SIZE=6",
		"SEAL_AFTER=0s", // so that events are sealed all the time
		"DATABASE_WAIT=10m", "LOG_LEVEL=warn", clockVariable + "=" + filepath.Join(w.dir, "clock"), "PATH=" + os.Getenv("PATH"),
	}, env...)
	if w.pg != nil {
		b.env = append(b.env, "DATABASE_URL="+w.pg.url(i))
	}
	if err := b.start(); err != nil {
		w.t.Fatal(err)
	}
	w.backends = append(w.backends, b)
}

// bigEvents is the number of events in the session for heavy readers.
const bigEvents = 20_000

// fillBig creates a session that takes long to read.
func (w *world) fillBig() {
	w.big = w.createSession().id
	for range bigEvents / 2000 {
		body := []byte{'['}
		for i := range 2000 {
			if i > 0 {
				body = append(body, ',')
			}
			body = appendEvent(body, "big")
		}
		response, err := w.http.Post(w.backends[0].url()+"/api/events/batch?sessionId="+w.big, "application/json", bytes.NewReader(append(body, ']')))
		if err != nil {
			w.t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusAccepted {
			w.t.Fatalf("the big session was answered %d", response.StatusCode)
		}
	}
}

// createSession creates a session by an upload.
func (w *world) createSession() *session { return w.upload("sample.exe", "MZ") }

// upload creates a session for a file.
func (w *world) upload(name, content string) *session {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", name)
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err = errors.Join(err, form.Close()); err != nil {
		w.t.Fatal(err)
	}
	text := body.Bytes()
	for deadline := time.Now().Add(wait.Patience); ; <-time.After(50 * time.Millisecond) {
		response, err := w.http.Post(w.backends[0].url()+"/api/create-session", form.FormDataContentType(), bytes.NewReader(text))
		if err == nil {
			var created struct{ SessionID string }
			answer, readErr := io.ReadAll(response.Body)
			err = errors.Join(readErr, response.Body.Close(), json.Unmarshal(answer, &created))
			if err == nil && created.SessionID != "" {
				s := &session{id: created.SessionID, backends: w.backends, http: w.http, settled: make(chan struct{})}
				s.length.Store(-1)
				return s
			}
			err = errors.Join(err, fmt.Errorf("%d %s", response.StatusCode, answer))
		}
		if time.Now().After(deadline) {
			w.t.Fatal("no session can be created: ", err)
		}
	}
}

// awaitDrained returns when every backend is ready and all spools are empty, or with an
// error after patience.
func (w *world) awaitDrained(patience time.Duration) error {
	for _, b := range w.backends {
		for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
			response, err := w.http.Get(b.url() + "/readyz")
			if err == nil {
				var answer []byte
				answer, err = io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode == http.StatusOK && bytes.Contains(answer, []byte(`"spool":"ok"`)) {
					break
				}
				err = errors.Join(err, fmt.Errorf("%d %s", response.StatusCode, answer))
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("backend %d is not ready: %w", b.index, err)
			}
		}
	}
	return nil
}

// result is the outcome of one round.
type result struct {
	fault      string
	seed       uint64
	histories  int
	acked      int // events
	outage     time.Duration
	violations []Violation
}

// roundSeed returns the seed of a round, derived from the run's seed, the set-up and
// the number.
func roundSeed(seed uint64, setup string, round int) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, seed, setup, round) // never fails
	return h.Sum64()
}

// round runs clients on new sessions, injects a fault, waits until everything works
// again, and checks the histories.
func (w *world) round(number int, f fault) result {
	seed := roundSeed(w.seed, w.setup.name, number)
	r := rand.New(rand.NewPCG(seed, 0))
	acks := &outage{last: time.Now()}
	sessions := make([]*session, w.sessions)
	w.running = sessions
	for i := range sessions {
		sessions[i] = w.createSession()
	}
	began := time.Now()
	writing, stopWriting := context.WithCancel(context.Background())
	defer stopWriting()
	reading, stopReading := context.WithCancel(context.Background())
	defer stopReading()
	giveUp, cancel := context.WithTimeout(context.Background(), wait.Patience)
	defer cancel()
	streaming, stopStreaming := context.WithCancel(context.Background())
	defer stopStreaming()
	var writers, readers, streamers sync.WaitGroup
	for _, s := range sessions {
		s.began, s.acks = began, acks
		s.history.Session = s.id
		own := func() *rand.Rand { return rand.New(rand.NewPCG(seed, r.Uint64())) }
		for i := range 3 {
			writer := own()
			writers.Go(func() { s.writer(writing, giveUp, writer, fmt.Sprint("w", i), i > 0) })
		}
		reader, streamer := own(), own()
		readers.Go(func() { s.reader(reading, reader) })
		for range 2 {
			poller := own()
			readers.Go(func() { s.poller(reading, poller) })
		}
		streamers.Go(func() {
			if last := s.streamer(streaming, streamer); last != s.length.Load() && !s.mayLose() {
				s.fault("the stream came to %d of %d", last, s.length.Load())
			}
		})
	}
	res := result{fault: f.name, seed: seed, histories: len(sessions)}
	pause(giveUp, r, 300*time.Millisecond)
	err := f.inject(w, r)
	if err == nil {
		err = w.awaitDrained(wait.Patience) // while the clients continue
	}
	pause(giveUp, r, 100*time.Millisecond)
	stopWriting()
	writers.Wait()
	if err == nil {
		err = w.awaitDrained(wait.Patience) // events of that time may be spooled
	}
	stopReading()
	readers.Wait()
	if err != nil {
		w.t.Fatalf("%s, round %d, %s: %v\n%s", w.setup.name, number, f.name, err, w.activity())
	}
	for _, s := range sessions {
		w.finish(s, giveUp)
	}
	if sessions[0].history.MayLose { // a stream beyond the end of the log receives nothing more
		stopStreaming()
	}
	defer time.AfterFunc(w.patience, stopStreaming).Stop()
	streamers.Wait()
	for _, s := range sessions {
		for _, a := range s.history.Appends {
			if a.Outcome == Stored || a.Outcome == Spooled {
				res.acked += len(a.Names)
			}
		}
		res.violations = append(res.violations, Check(&s.history)...)
		for _, text := range s.faults {
			res.violations = append(res.violations, Violation{Rule: "wrong answer", Events: 1, Text: text})
		}
	}
	res.outage = acks.longest
	res.acked += w.acked
	res.violations = append(res.violations, w.found...)
	w.acked, w.found = 0, nil
	return res
}

// activity returns PostgreSQL's activity, for the report of a round that does not end.
func (w *world) activity() string {
	if w.pg == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := w.pg.connect(ctx)
	if err != nil {
		return err.Error()
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT concat_ws(' ', pid, usename, application_name, state, wait_event_type, wait_event, pg_blocking_pids(pid)::text, now() - query_start, left(query, 100))
		FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender') ORDER BY query_start`)
	if err != nil {
		return err.Error()
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(lines, "\n") + fmt.Sprint("\n", err)
}

// finish reads the final log of a session, and polls the remaining events.
func (w *world) finish(s *session, ctx context.Context) { //nolint:revive // the session is the subject
	for ok := false; !ok; {
		if s.history.Final, ok = s.exportArray(ctx, w.backends[len(s.id)%len(w.backends)]); !ok && ctx.Err() != nil {
			w.t.Fatalf("%s: session %s cannot be exported: %v", w.setup.name, s.id, s.faults)
		}
	}
	for got := -1; got != 0 && ctx.Err() == nil; {
		got = s.poll(ctx, 0, 1000)
	}
	s.length.Store(int64(len(s.history.Final)))
	close(s.settled)
}

// summary joins the texts of the first violations.
func summary(violations []Violation) string {
	var text strings.Builder
	for i, v := range violations {
		if i == 12 {
			fmt.Fprintf(&text, "… and %d more", len(violations)-i)
			break
		}
		fmt.Fprintln(&text, v)
	}
	return text.String()
}
