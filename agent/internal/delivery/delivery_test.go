//go:build linux

package delivery

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/agent/internal/event"
)

// Whatever fails, each event arrives once and in order, and a repeated request has its old
// key.
func TestFaults(t *testing.T) {
	faults := []string{"drop", "500", "lost answer", "", "503", "cut answer", "slow", "502", "page", "null", "spooled", "408"}
	s := newSink(t)
	s.fault = func(q request) string { return faults[q.n%len(faults)] }
	d := newDelivery(t, options(t, s.url))
	stop := run(t, d)
	const n = 5000
	for i := range n {
		for _, session := range []string{"a", "b", "c"} {
			d.Add(session, numbered(i))
		}
	}
	for _, session := range []string{"a", "b", "c"} {
		s.want(session, n)
	}
	s.set(nil)
	// The answer to the last batch may have been lost, so that it is sent once more.
	waitStatus(t, d, func(s Status) bool { return s.Delivered >= 3*n })
	stop()
	if status := wantSum(t, d); status.Delivered != 3*n || status.Lost != 0 {
		t.Errorf("%+v", status)
	}
	for _, q := range s.asked() {
		if q.auth != "Bearer secret" || q.agent != "vm7" || q.path != "/api/events/batch" || q.encoding != "zstd" {
			t.Fatalf("a request was %+v", q)
		}
	}
}

// Delivery counts and reports each refused event once, and delivers the other events of the
// batch.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		fault    func(request) string
		itemFail func(session string, n int) string
		n        int
		want     []int // numbers that arrive
		reason   string
		lost     int
	}{
		"single events": {
			itemFail: func(_ string, n int) string {
				if n == 3 || n == 7 {
					return "data is wrong"
				}
				return ""
			},
			n: 10, want: []int{0, 1, 2, 4, 5, 6, 8, 9}, reason: "refused: data is wrong", lost: 2,
		},
		"400 once, which is mended by asking again": {
			fault: func(q request) string {
				if q.n == 0 {
					return "400"
				}
				return ""
			},
			n: 5, want: []int{0, 1, 2, 3, 4},
		},
		"400 for good": {
			fault: func(q request) string {
				if q.n < 3 { // the batch and its halves; the report is taken
					return "400"
				}
				return ""
			},
			n: 2, want: []int{}, reason: "refused: told to answer 400", lost: 2,
		},
		"413 by size": {
			fault: func(q request) string {
				if q.bytes > 2000 {
					return "413"
				}
				return ""
			},
			n: 300, want: upTo(300),
		},
		"415 for zstd": {
			fault: func(q request) string {
				if q.encoding != "" {
					return "415"
				}
				return ""
			},
			n: 300, want: upTo(300),
		},
		"415 for batches": {
			fault: func(q request) string {
				if strings.HasSuffix(q.path, "/batch") {
					return "415"
				}
				return ""
			},
			n: 30, want: upTo(30),
		},
		"404 for batches": {fault: noBatches("404"), n: 30, want: upTo(30)},
		"405 for batches": {fault: noBatches("405"), n: 30, want: upTo(30)},
		"401 for a time":  {fault: firstOnly("401"), n: 30, want: upTo(30)},
		"402 for a time":  {fault: firstOnly("402"), n: 30, want: upTo(30)},
		"403 for a time":  {fault: firstOnly("403"), n: 30, want: upTo(30)},
		"429 for a time":  {fault: firstOnly("retry after"), n: 30, want: upTo(30)},
		"307 for a time":  {fault: firstOnly("307"), n: 30, want: upTo(30)},
		"no route at all, for a time": {
			fault: func(q request) string {
				if q.n < 4 {
					return "404"
				}
				return ""
			},
			n: 30, want: upTo(30),
		},
		"409 for a time": {fault: firstOnly("409"), n: 30, want: upTo(30)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			s.fault, s.itemFail = test.fault, test.itemFail
			d := newDelivery(t, options(t, s.url))
			run(t, d)
			for i := range test.n {
				d.Add("a", numbered(i))
			}
			s.wait("all of it", func() bool {
				return len(s.got["a"]) >= len(test.want) && (test.lost == 0 || len(s.reports["a"]) > 0)
			})
			got := slices.DeleteFunc(s.has("a"), func(n int) bool { return n < 0 })
			if !slices.Equal(got, test.want) {
				t.Errorf("%v arrived, want %v", got, test.want)
			}
			lost := 0
			for _, r := range s.lossReports("a") {
				lost += r.Count
				if r.Reason != test.reason || !r.From.Equal(numbered(0).Time) || !r.To.Equal(numbered(test.n-1).Time) {
					t.Errorf("the report is %+v", r)
				}
			}
			if status := d.Status(); lost != test.lost || status.Lost != int64(lost) {
				t.Errorf("%d events are reported as lost, want %d; the status is %+v", lost, test.lost, status)
			}
		})
	}
}

func upTo(n int) []int {
	var numbers []int
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

func noBatches(status string) func(request) string {
	return func(q request) string {
		switch {
		case strings.HasSuffix(q.path, "/batch"):
			return status
		case q.n == 7:
			return "lost answer"
		case q.n == 11:
			return "500"
		}
		return ""
	}
}

func firstOnly(fault string) func(request) string {
	return func(q request) string {
		if q.n == 0 {
			return fault
		}
		return ""
	}
}

// Delivery does not report the loss of a refused report. On a busy machine, it reports the
// other losses one by one.
func TestRefusedReportsDoNotLoop(t *testing.T) {
	s := newSink(t)
	s.fault = func(q request) string {
		if q.session == "a" {
			return "400"
		}
		return ""
	}
	d := newDelivery(t, options(t, s.url))
	stop := run(t, d)
	for i := range 8 {
		d.Add("a", numbered(i))
	}
	waitStatus(t, d, func(s Status) bool { return s.Reports > 0 && s.Lost == 8+s.Reports })
	for i := range 100 {
		d.Add("b", numbered(i))
	}
	s.want("b", 100)
	stop() // with a loop, it would send reports until its timeout
	if status := wantSum(t, d); status.Lost != 8+status.Reports || status.Reports > 8 {
		t.Errorf("%+v", status)
	}
}

// A session whose events the backend cannot store does not delay the others. Its events
// arrive when the backend can store them.
func TestPoisonedSession(t *testing.T) {
	for _, fault := range []string{"507", "drop", "409"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			s.fault = func(q request) string {
				if q.session == "bad" && (fault != "409" || q.again < 2) {
					return fault
				}
				return ""
			}
			d := newDelivery(t, options(t, s.url))
			stop := run(t, d)
			for i := range 3000 {
				d.Add("bad", numbered(i))
				d.Add("good", numbered(i))
			}
			s.want("good", 3000)
			s.set(nil)
			s.want("bad", 3000)
			stop()
			if status := wantSum(t, d); status.Lost != 0 || status.Delivered != 6000 {
				t.Errorf("%+v", status)
			}
		})
	}
}

// Undelivered events go to disk, and the next run delivers them before new events. The
// backend recognises the key of a request whose answer the agent did not receive.
func TestRestarts(t *testing.T) {
	s := newSink(t)
	s.fault = func(q request) string { return "lost answer" }
	o := options(t, s.url)
	o.FlushTimeout = 50 * time.Millisecond
	n := 0
	for range 3 {
		d := newDelivery(t, o)
		stop := run(t, d)
		requests := len(s.asked())
		for range 2500 {
			d.Add("a", numbered(n))
			d.Add("b", numbered(n))
			n++
		}
		s.wait("a request", func() bool { return len(s.requests) > requests })
		stop()
		if status := wantSum(t, d); status.SpooledEvents != int64(2*n) || status.QueuedEvents != 0 || status.Lost != 0 {
			t.Errorf("%+v", status)
		}
	}
	s.set(nil)
	o.FlushTimeout = time.Minute // long enough to receive the last answer
	d := newDelivery(t, o)
	if status := d.Status(); status.Unclean || status.Inherited != int64(2*n) {
		t.Errorf("%+v", status)
	}
	stop := run(t, d)
	d.Add("a", numbered(n))
	s.want("a", n+1)
	s.want("b", n)
	stop()
	if status := wantSum(t, d); status.SpooledEvents != 0 || status.SpooledBytes != 0 {
		t.Errorf("%+v", status)
	}
	wantFiles(t, o.Dir, "lock")
}

// A full spool keeps the older events. Delivery reports each span of loss in its place with
// the exact count.
func TestFullSpool(t *testing.T) {
	s := newSink(t)
	s.fault = func(request) string { return "503" }
	o := options(t, s.url)
	o.SpoolMaxBytes, o.QueueMaxBytes = 30_000, 100_000
	d := newDelivery(t, o)
	stop := run(t, d)
	n := 0
	for span := range 2 {
		requests := len(s.asked())
		full := func() int64 { return d.Status().LostByReason[event.ReasonSpoolFull] }
		for before := full(); full() < before+1000; n++ {
			d.Add("a", numbered(n))
		}
		// A loss of the sensor, for whose report there is no room either.
		d.Add("a", &event.Event{Type: event.TypeLost, Time: numbered(n).Time, Data: &event.Lost{Count: 5, Reason: event.ReasonOverrun, From: numbered(n).Time, To: numbered(n).Time}})
		s.wait("that it is away", func() bool { return len(s.requests) > requests })
		waitStatus(t, d, func(s Status) bool { return s.Away }) // it has read the answer
		if status := wantSum(t, d); status.SpooledBytes > o.SpoolMaxBytes || status.QueuedBytes > o.QueueMaxBytes+1000 || !status.Away {
			t.Fatalf("%+v", status)
		}
		s.set(nil)
		s.waitReports(d, "a")
		s.wait("the sensor's report", func() bool {
			n := 0
			for _, r := range s.reports["a"] {
				if r.Reason == event.ReasonOverrun && r.Count == 5 {
					n++
				}
			}
			return n == span+1
		})
		s.set(func(request) string { return "503" })
	}
	s.set(nil)
	d.Add("a", numbered(n))
	s.wait("the last event", func() bool { return s.got["a"][len(s.got["a"])-1] == n })
	stop()
	lost, next := 0, 0
	for _, got := range s.has("a") {
		switch {
		case got == -5: // the sensor's
		case got < 0:
			next -= got
			lost -= got
		case got != next:
			t.Fatalf("the next event has the number %d, want %d", got, next)
		default:
			next++
		}
	}
	status := wantSum(t, d)
	if int64(lost) != status.Lost || next != n+1 {
		t.Errorf("%d events are reported as lost; %d of %d arrived or were reported: %+v", lost, next, n+1, status)
	}
	for _, r := range s.lossReports("a") {
		if r.Reason == event.ReasonOverrun || len(status.LostByReason) > 1 { // a very busy machine has losses of both kinds
			continue
		}
		if span := r.To.Sub(r.From)/time.Millisecond + 1; r.Reason != event.ReasonSpoolFull || int(span) != r.Count {
			t.Errorf("%+v spans %d", r, span)
		}
	}
}

// A full spool still accepts the report of the loss at the end of the run.
func TestLossAtTheEnd(t *testing.T) {
	s := newSink(t)
	s.fault = func(request) string { return "503" }
	o := options(t, s.url)
	o.SpoolMaxBytes, o.QueueMaxBytes, o.FlushTimeout = 20_000, 50_000, time.Millisecond
	d := newDelivery(t, o)
	stop := run(t, d)
	n := 0
	for ; d.Status().LostByReason[event.ReasonSpoolFull] < 100; n++ {
		d.Add("a", numbered(n))
	}
	stop()
	before := wantSum(t, d)
	d.Add("a", numbered(n)) // too late
	if status := wantSum(t, d); status.Lost != before.Lost+1 || status.LostByReason[ReasonStopped] != 1 {
		t.Errorf("%+v", status)
	}
	s.set(nil)
	run(t, newDelivery(t, o))
	var kept, lost int
	s.wait("the reports", func() bool {
		kept, lost = len(s.got["a"])-len(s.reports["a"]), 0
		for _, r := range s.reports["a"] {
			lost += r.Count
		}
		return int64(lost) >= before.Lost
	})
	if int64(lost) != before.Lost || kept+lost != n {
		t.Errorf("%d arrived and %d are reported lost, of %d", kept, lost, n)
	}
}

// Delivery drops an event that is too large for any backend, and reports the loss.
func TestTooLargeAnEvent(t *testing.T) {
	s := newSink(t)
	d := newDelivery(t, options(t, s.url))
	stop := run(t, d)
	d.Add("a", numbered(0))
	huge := numbered(1)
	huge.Data = text(`"` + strings.Repeat("x", maxEventBytes) + `"`)
	d.Add("a", huge)
	large := numbered(2)
	large.Data = text(`{"n":2,` + "\n" + `"x":"` + strings.Repeat("x", maxBatchBytes) + `"}`)
	d.Add("a", large)
	d.Add("a", numbered(3))
	s.wait("all", func() bool { return len(s.got["a"]) == 4 })
	stop()
	if got := s.has("a"); !slices.Equal(got, []int{0, -1, 2, 3}) {
		t.Errorf("%v arrived", got)
	}
	if r := s.lossReports("a")[0]; r.Reason != event.ReasonTooLarge || r.Count != 1 || !r.From.Equal(huge.Time) {
		t.Errorf("the report is %+v", r)
	}
	wantSum(t, d)
}

// transport is a backend without a network, for tests with a fake clock.
type transport func(*http.Request) (status int)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	status := f(r)
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{"Retry-After": {"7"}}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

func TestTiming(t *testing.T) {
	o := Options{Backend: "http://backend", SpoolMaxBytes: 1 << 20, FlushTimeout: time.Second}
	for name, test := range map[string]struct {
		answer func(n int) (status int, took time.Duration) // the n-th request's
		adds   []time.Duration                              // when events are added
		want   []time.Duration                              // when requests come
	}{
		"an idle one waits 20 ms for company": {
			answer: func(int) (int, time.Duration) { return 200, 0 },
			adds:   []time.Duration{0, 15 * time.Millisecond, 30 * time.Millisecond}, want: []time.Duration{20 * time.Millisecond, 50 * time.Millisecond},
		},
		"a busy one waits 200 ms": {
			answer: func(int) (int, time.Duration) { return 200, 400 * time.Millisecond },
			adds:   []time.Duration{0, 100 * time.Millisecond, 299 * time.Millisecond, 301 * time.Millisecond},
			want:   []time.Duration{20 * time.Millisecond, 420 * time.Millisecond, 820 * time.Millisecond},
		},
		"Retry-After is kept to": {
			answer: func(n int) (int, time.Duration) {
				if n == 0 {
					return 429, 0
				}
				return 200, 0
			},
			adds: []time.Duration{0}, want: []time.Duration{20 * time.Millisecond, 7020 * time.Millisecond},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var got []time.Duration
				o := o
				o.Dir = t.TempDir()
				o.Client = &http.Client{Transport: transport(func(*http.Request) int {
					n := len(got)
					got = append(got, time.Since(start))
					status, took := test.answer(n)
					<-time.After(took)
					return status
				})}
				d := newDelivery(t, o)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); d.Run(ctx) }()
				for i, at := range test.adds {
					<-time.After(time.Until(start.Add(at)))
					d.Add("a", numbered(i))
				}
				<-time.After(20 * time.Second)
				cancel()
				<-done
				if !slices.Equal(got, test.want) {
					t.Errorf("requests arrived at %v, want %v", got, test.want)
				}
			})
		})
	}
}

// After a minute, Delivery tries the batch route, or zstd, again with a backend that did not
// support it, because a newer backend may have replaced it.
func TestAsksAgain(t *testing.T) {
	for status, without := range map[int]string{404: "/api/events", 405: "/api/events", 501: "/api/events", 415: "/api/events/batch"} {
		synctest.Test(t, func(t *testing.T) {
			const with = "/api/events/batch zstd"
			var asked []string
			isNew := false
			d := newDelivery(t, Options{Backend: "http://backend", Dir: t.TempDir(), Client: &http.Client{Transport: transport(func(r *http.Request) int {
				way := strings.TrimSpace(r.URL.Path + " " + r.Header.Get("Content-Encoding"))
				asked = append(asked, way)
				if way == with && !isNew {
					return status
				}
				return 200
			})}})
			stop := run(t, d)
			for i, want := range [][]string{{with, without}, {without}, {with}} {
				asked, isNew = nil, i == 2
				d.Add("a", numbered(i))
				<-time.After(31 * time.Second)
				synctest.Wait()
				if !slices.Equal(asked, want) {
					t.Errorf("%d: event %d was sent to %q, want %q", status, i, asked, want)
				}
			}
			stop()
			wantSum(t, d)
		})
	}
}

// While the backend is away, the attempts become less frequent and never stop.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		d := newDelivery(t, Options{Backend: "http://backend", Dir: t.TempDir(), SpoolMaxBytes: 1 << 20, FlushTimeout: time.Second, Client: &http.Client{Transport: transport(func(r *http.Request) int {
			if r.Method == http.MethodPost {
				tries = append(tries, time.Now())
			}
			return 500
		})}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Run(ctx) }()
		d.Add("a", numbered(0))
		<-time.After(1500 * time.Millisecond)
		if s := d.Status(); s.SpooledEvents != 1 || s.QueuedEvents != 0 || !s.Away || s.LastError == "" {
			t.Errorf("after 1.5 s: %+v", s)
		}
		<-time.After(10 * time.Minute)
		cancel()
		<-done
		for i := 1; i+1 < len(tries); i++ { // the last try is the one at the end of the run
			wait, least := tries[i].Sub(tries[i-1]), min(50*time.Millisecond<<min(i-1, 10), 5*time.Second)
			if least = max(least, 7*time.Second); wait < least || wait > max(2*least, 10*time.Second) {
				t.Errorf("try %d came after %v", i, wait)
			}
		}
		if len(tries) < 60 {
			t.Errorf("%d tries in 10 minutes", len(tries))
		}
	})
}

func TestOptions(t *testing.T) {
	good := Options{Backend: "http://127.0.0.1:3003", Dir: t.TempDir()}
	for name, change := range map[string]func(*Options){
		"no backend":   func(o *Options) { o.Backend = "" },
		"no URL":       func(o *Options) { o.Backend = "127.0.0.1:3003" },
		"other scheme": func(o *Options) { o.Backend = "ftp://127.0.0.1" },
		"no folder":    func(o *Options) { o.Dir = "" },
		"negative":     func(o *Options) { o.SpoolMaxBytes = -1 },
		"a file":       func(o *Options) { o.Dir = "/proc/version" },
	} {
		o := good
		change(&o)
		if d, err := New(o); err == nil {
			t.Errorf("%s: New accepts it: %+v", name, d.Status())
		}
	}
	d := newDelivery(t, good)
	if _, err := New(good); err == nil {
		t.Error("two agents use one spool")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.Run(ctx)
	run(t, newDelivery(t, good))
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "-1": 0, "x": 0, "99999": maxRetryAfter,
		"Tue, 24 Nov 2026 10:00:05 GMT": 5 * time.Second, "Mon, 02 Jan 2006 15:04:05 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// The next run reports that the previous run was killed.
func TestUnclean(t *testing.T) {
	o := options(t, "http://127.0.0.1:1")
	if err := os.WriteFile(filepath.Join(o.Dir, "lock"), []byte("in use\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDelivery(t, o)
	if !d.Status().Unclean {
		t.Error("New does not report that the previous run was killed")
	}
	run(t, d)()
	d = newDelivery(t, o)
	if d.Status().Unclean {
		t.Error("New reports that the previous run was killed, although it ended in order")
	}
	run(t, d)()
}

// written returns an event for a write, like those of a sensor.
func written(n int) *event.Event {
	at := time.Unix(1_700_000_000, int64(n)*10_000)
	return &event.Event{Type: event.TypeFile, Time: at, Data: &event.File{
		Actor: event.Process{PID: 4242, Name: "python3"}, Result: event.Result{Syscall: "write", Return: int64(n)}, Time: at,
		Operation: "WriteFile", Handle: 3, NewHandle: -1, Path: "/home/user/documents/report-" + strconv.Itoa(n) + ".txt", Transfer: true,
	}}
}

// BenchmarkAdd adds 100,000 events of file writes, and measures the time until the last one
// is delivered or on disk.
func BenchmarkAdd(b *testing.B) {
	events := make([]*event.Event, 100_000)
	for i := range events {
		events[i] = written(i)
	}
	for _, name := range []string{"delivered", "spooled"} {
		b.Run(name, func(b *testing.B) {
			status := http.StatusOK
			if name == "spooled" {
				status = http.StatusServiceUnavailable
			}
			url := newServer(b, status)
			worst := time.Duration(0)
			b.ReportAllocs()
			for b.Loop() {
				d, err := New(Options{Backend: url, Dir: b.TempDir(), SpoolMaxBytes: 256 << 20, FlushTimeout: 10 * time.Minute})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() { defer close(done); d.Run(ctx) }()
				for _, e := range events {
					start := time.Now()
					d.Add("session", e)
					worst = max(worst, time.Since(start))
				}
				cancel()
				<-done
				if s := d.Status(); s.Lost > 0 || s.Delivered+s.SpooledEvents != int64(len(events)) {
					b.Fatalf("%+v", s)
				}
			}
			total := float64(len(events) * b.N)
			b.ReportMetric(total/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(worst.Microseconds()), "worst-Add-µs")
		})
	}
}

// BenchmarkEncode measures the encoding that Add does.
func BenchmarkEncode(b *testing.B) {
	e := written(1)
	batch := batch{raw: make([]byte, 0, 2*maxBatchBytes)}
	b.ReportAllocs()
	for b.Loop() {
		if batch.add(e); batch.isFull() {
			batch.raw, batch.count = batch.raw[:0], 0
		}
	}
}
