//go:build linux

package judge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ospulse/test/wait"
)

// session is one session under test, with its clients and their records.
type session struct {
	id       string
	backends []*backend
	http     *http.Client
	began    time.Time
	acks     *outage

	mu      sync.Mutex
	history History
	faults  []string // answers that no fault explains

	length  atomic.Int64  // of the final log; -1 until it is known
	settled chan struct{} // closed when it is known
}

// outage measures the longest time without an acknowledged append.
type outage struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (o *outage) ack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.longest = max(o.longest, now.Sub(o.last))
	o.last = now
}

// newHTTPClient returns a client that never repeats a request by itself. Go's default
// client does so on reused connections.
func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
}

// now is the time in the history.
func (s *session) now() int64 { return time.Since(s.began).Nanoseconds() }

// fault records an answer that no fault explains.
func (s *session) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 10 {
		s.faults = append(s.faults, s.id+": "+fmt.Sprintf(format, args...))
	}
}

// requestTimeout is the clients' timeout for an answer, like that of the forwarders.
const requestTimeout = 8 * time.Second

// do sends a request and reads the whole answer. status is 0 without an answer.
func (s *session) do(ctx context.Context, method, url, body string, header ...string) (status int, answer []byte, trailer http.Header) {
	return s.doWithin(ctx, requestTimeout, method, url, body, header...)
}

// doWithin is do with another timeout.
func (s *session) doWithin(ctx context.Context, timeout time.Duration, method, url, body string, header ...string) (status int, answer []byte, trailer http.Header) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		s.fault("%v", err)
		return 0, nil, nil
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.http.Do(request)
	if err != nil {
		return 0, nil, nil
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, nil
	}
	return response.StatusCode, answer, response.Trailer
}

// pause waits for up to twice the mean, or until ctx ends.
func pause(ctx context.Context, r *rand.Rand, mean time.Duration) {
	timer := time.NewTimer(time.Duration(r.Int64N(int64(2 * mean))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// writer appends single events and batches until ctx ends. With keys, it repeats an
// unanswered request until it gets an answer or until ends.
func (s *session) writer(ctx, until context.Context, r *rand.Rand, name string, keyed bool) {
	for n := 0; ctx.Err() == nil; n++ {
		s.append(until, r, fmt.Sprintf("%s.%s.%d", s.id, name, n), keyed)
		pause(ctx, r, 150*time.Millisecond)
	}
}

// append sends one append of one to five events.
func (s *session) append(until context.Context, r *rand.Rand, name string, keyed bool) {
	a := Append{Backend: -1}
	path, body := "/api/events", appendEvent(nil, name)
	if size := 1 + r.IntN(5); size == 1 {
		a.Names = []string{name}
	} else {
		path, body = "/api/events/batch", []byte{'['}
		for i := range size {
			if i > 0 {
				body = append(body, ',')
			}
			item := fmt.Sprintf("%s+%d", name, i)
			if i > 0 && r.IntN(10) == 0 {
				a.Faulty = append(a.Faulty, item)
				body = append(body, `{"event_type":5,"source":"`+item+`"}`...)
				continue
			}
			a.Names = append(a.Names, item)
			body = appendEvent(body, item)
		}
		body = append(body, ']')
	}
	var header []string
	if keyed {
		header = []string{"Idempotency-Key", name}
	}
	home := s.backends[r.IntN(len(s.backends))]
	asked := map[int]bool{}
	refused := true
	a.Call = s.now()
	for {
		asked[home.index] = true
		timeout := requestTimeout
		if r.IntN(8) == 0 { // a client that does not wait for the answer
			timeout = time.Duration(1+r.IntN(300)) * time.Millisecond
		}
		status, answer, _ := s.doWithin(context.WithoutCancel(until), timeout, http.MethodPost, home.url()+path+"?sessionId="+s.id, string(body), header...)
		a.Return = s.now()
		switch {
		case status == http.StatusOK:
			a.Outcome = Stored
			a.First, a.Last = s.acknowledged(answer)
		case status == http.StatusAccepted:
			a.Outcome = Spooled
		case status == http.StatusTooManyRequests:
		case status >= 400 && status < 500:
			s.fault("%s was answered %d: %s", name, status, answer)
		default: // no answer, or an ambiguous one
			refused = false
		}
		if a.Outcome != Unknown {
			s.acks.ack()
			break
		}
		if !keyed || until.Err() != nil || status >= 400 && status < 500 && status != http.StatusTooManyRequests {
			if refused {
				a.Outcome = Refused
			}
			break
		}
		pause(until, r, 100*time.Millisecond)
		home = s.backends[r.IntN(len(s.backends))]
	}
	if len(asked) == 1 {
		a.Backend = home.index
	}
	s.mu.Lock()
	s.history.Appends = append(s.history.Appends, a)
	s.mu.Unlock()
}

func appendEvent(body []byte, name string) []byte {
	return append(body, `{"event_type":"file_operation","source":"`+name+`","data":{"n":"`+name+`","filePath":"C:\\a\u0000"}}`...)
}

// acknowledged returns the seqs of an answer.
func (s *session) acknowledged(answer []byte) (first, last int64) {
	type place struct {
		SessionID string `json:"session_id"`
		First     int64  `json:"first_seq"`
		Last      int64  `json:"last_seq"`
	}
	var a struct {
		place
		Seq    int64   `json:"seq"`
		Ranges []place `json:"ranges"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		s.fault("%v in %s", err, answer)
		return 0, 0
	}
	if a.Ranges == nil {
		a.Ranges = []place{{a.SessionID, a.Seq, a.Seq}}
	}
	if len(a.Ranges) != 1 || a.Ranges[0].SessionID != s.id {
		s.fault("events were put elsewhere: %s", answer)
		return 0, 0
	}
	return a.Ranges[0].First, a.Ranges[0].Last
}

// wireEvent is an event in any answer.
type wireEvent struct {
	Seq    int64  `json:"seq"`
	Source string `json:"source"`
}

func events(from []wireEvent) []Event {
	to := make([]Event, len(from))
	for i, e := range from {
		to[i] = Event{e.Seq, e.Source}
	}
	return to
}

// reader lists, counts and exports until ctx ends.
func (s *session) reader(ctx context.Context, r *rand.Rand) {
	for last := int64(0); ctx.Err() == nil; {
		b := s.backends[r.IntN(len(s.backends))]
		switch r.IntN(4) {
		case 0:
			s.export(ctx, b)
		case 1:
			s.exportArray(ctx, b)
		case 2:
			s.count(ctx, b)
		default:
			last = s.list(ctx, b, last, 1+r.IntN(40))
		}
		pause(ctx, r, 200*time.Millisecond)
	}
}

func (s *session) record(read Read) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.Reads = append(s.history.Reads, read)
}

// list reads a page of events, and starts from the beginning again after the last one.
func (s *session) list(ctx context.Context, b *backend, after int64, limit int) int64 {
	read := Read{Kind: "list", Backend: b.index, Call: s.now(), After: after, Length: -1}
	status, answer, _ := s.do(ctx, http.MethodGet, fmt.Sprintf("%s/api/sessions/%s/events?after=%d&limit=%d", b.url(), s.id, after, limit), "")
	read.Return = s.now()
	if status != http.StatusOK {
		s.failed(status, answer)
		return after
	}
	var page struct {
		Events  []wireEvent `json:"events"`
		HasMore bool        `json:"has_more"`
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		s.fault("%v in %s", err, answer)
	}
	read.Events = events(page.Events)
	next := after + int64(len(read.Events))
	if !page.HasMore {
		read.Length, next = next, 0
	}
	s.record(read)
	return next
}

// failed accepts only errors that report the database as away.
func (s *session) failed(status int, answer []byte) {
	switch status {
	case 0, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable:
	default:
		s.fault("a read was answered %d: %s", status, answer)
	}
}

// count requests the session's number of events.
func (s *session) count(ctx context.Context, b *backend) {
	read := Read{Kind: "count", Backend: b.index, Call: s.now()}
	status, answer, _ := s.do(ctx, http.MethodGet, b.url()+"/api/sessions/"+s.id+"/events?limit=1&before=1&count=true", "")
	read.Return = s.now()
	if status != http.StatusOK {
		s.failed(status, answer)
		return
	}
	var counted struct{ Count *int64 }
	if err := json.Unmarshal(answer, &counted); err != nil || counted.Count == nil {
		s.fault("%v in %s", err, answer)
		return
	}
	read.Length = *counted.Count
	s.record(read)
}

// export exports the session, one event per line.
func (s *session) export(ctx context.Context, b *backend) bool {
	read := Read{Kind: "export", Backend: b.index, Call: s.now()}
	status, answer, trailer := s.do(ctx, http.MethodGet, b.url()+"/api/sessions/"+s.id+"/export?format=ndjson", "")
	read.Return = s.now()
	if status != http.StatusOK {
		s.failed(status, answer)
		return false
	}
	if trailer.Get("X-Export-Status") != "complete" {
		return false
	}
	for line := range bytes.Lines(answer) {
		var e wireEvent
		if err := json.Unmarshal(line, &e); err != nil {
			s.fault("%v in an export: %s", err, line)
		}
		read.Events = append(read.Events, Event{e.Seq, e.Source})
	}
	read.Length = int64(len(read.Events))
	s.record(read)
	return true
}

// exportArray exports the session as the old dashboard does, and returns its events.
func (s *session) exportArray(ctx context.Context, b *backend) ([]Event, bool) {
	read := Read{Kind: "download", Backend: b.index, Call: s.now()}
	status, answer, _ := s.do(ctx, http.MethodGet, b.url()+"/api/events/export?sessionId="+s.id, "")
	read.Return = s.now()
	if status != http.StatusOK {
		s.failed(status, answer)
		return nil, false
	}
	var all []wireEvent
	if err := json.Unmarshal(answer, &all); err != nil {
		s.fault("%v in a download", err)
		return nil, false
	}
	read.Events = events(all)
	read.Length = int64(len(all))
	s.record(read)
	return read.Events, true
}

// poller polls as the old dashboard does until ctx ends.
func (s *session) poller(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		s.poll(context.WithoutCancel(ctx), r.IntN(len(s.backends)), 1+r.IntN(30))
		pause(ctx, r, 400*time.Millisecond)
	}
}

// poll claims unsent events, and returns their number, or -1 without an answer.
func (s *session) poll(ctx context.Context, backend, limit int) int {
	p := Poll{Limit: limit}
	status, answer, _ := s.do(ctx, http.MethodGet, fmt.Sprintf("%s/api/events/%s?limit=%d", s.backends[backend].url(), s.id, limit), "")
	got := -1
	if p.Answered = status == http.StatusOK; p.Answered {
		var some []wireEvent
		if err := json.Unmarshal(answer, &some); err != nil {
			s.fault("%v in a poll: %s", err, answer)
		}
		p.Events, got = events(some), len(some)
	} else {
		s.failed(status, answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.Polls = append(s.history.Polls, p)
	return got
}

// streamer follows the session's stream, switching between backends, until it has the
// whole final log or ctx ends. It returns the last seq that it received.
func (s *session) streamer(ctx context.Context, r *rand.Rand) int64 {
	last := int64(0)
	for ctx.Err() == nil && last != s.length.Load() {
		connection, leave := context.WithCancel(ctx)
		if s.length.Load() < 0 {
			after := time.Hour
			if r.IntN(3) == 0 { // a client that disconnects by itself
				after = time.Duration(r.IntN(2000)) * time.Millisecond
			}
			go func() {
				select {
				case <-time.After(after):
				case <-s.settled: // the stream may be at the end already and send nothing
				case <-connection.Done():
				}
				leave()
			}()
		}
		last = s.stream(connection, s.backends[r.IntN(len(s.backends))], last, r.IntN(2) == 0)
		leave()
		pause(ctx, r, 50*time.Millisecond)
	}
	return last
}

// stream reads one connection to its end and returns the seq of the last event.
func (s *session) stream(ctx context.Context, b *backend, last int64, byHeader bool) int64 {
	url := b.url() + "/api/sessions/" + s.id + "/stream"
	if !byHeader {
		url += "?after=" + strconv.FormatInt(last, 10)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		s.fault("%v", err)
		return last
	}
	if byHeader {
		request.Header.Set("Last-Event-ID", strconv.FormatInt(last, 10))
	}
	response, err := s.http.Do(request)
	if err != nil {
		return last
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)                              // for the report
		if !s.mayLose() || response.StatusCode != http.StatusBadRequest { // a log that lost its end does not have this seq
			s.failed(response.StatusCode, text)
		}
		return last
	}
	var event, data, id string
	for lines := bufio.NewReaderSize(response.Body, 1<<20); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return last
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "event":
			event = value
		case name == "data":
			data = value
		case name == "id":
			id = value
		case line == "":
			if event == "" && data != "" {
				last = s.message(b, last, data, id)
			}
			event, data, id = "", "", ""
		}
		if last == s.length.Load() {
			return last
		}
	}
}

// message processes one message of a stream.
func (s *session) message(b *backend, last int64, data, id string) int64 {
	var some []wireEvent
	if err := json.Unmarshal([]byte(data), &some); err != nil || len(some) == 0 {
		s.fault("%v in a message: %s", errors.Join(err), data)
		return last
	}
	now := s.now()
	s.record(Read{Kind: "stream", Backend: b.index, Call: now, Return: now, After: last, Events: events(some), Length: -1})
	if newest := some[len(some)-1].Seq; id != strconv.FormatInt(newest, 10) {
		s.fault("a message that ends with seq %d has the id %q", newest, id)
	}
	return some[len(some)-1].Seq
}

// durability returns the durability of the session's events.
func (s *session) durability() (string, error) {
	var details struct {
		Completeness struct{ Durability string }
	}
	for deadline := time.Now().Add(wait.Patience); ; <-time.After(50 * time.Millisecond) {
		status, answer, _ := s.do(context.Background(), http.MethodGet, s.backends[0].url()+"/api/sessions/"+s.id, "")
		if status == http.StatusOK {
			err := json.Unmarshal(answer, &details)
			return details.Completeness.Durability, err
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the session was answered %d %s", status, answer)
		}
	}
}

func (s *session) mayLose() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history.MayLose
}
