package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// message writes events with these seqs as the backend sends them. All have the same
// time.
func message(sent time.Time, seqs ...int64) string {
	var events []byte
	id := int64(0)
	for i, seq := range seqs {
		if i > 0 {
			events = append(events, ',')
		}
		preview := `{"seq":0,"timestamp":"2001-01-01T00:00:00Z"}`
		events = wire.AppendListedEvent(events, &models.Event{SessionID: "s", Seq: seq, EventType: "x", Timestamp: sent, Preview: &preview, CreatedAt: sent})
		id = seq
	}
	return fmt.Sprintf("id: %d\ndata: [%s]\n\n", id, events)
}

func TestTakeNotesHowOldEventsAre(t *testing.T) {
	sent := time.Date(2026, 11, 24, 8, 32, 44, 998_500_000, time.UTC)
	data := func(at time.Time, seqs ...int64) []byte {
		_, text, _ := strings.Cut(message(at, seqs...), "data: ")
		return []byte(text)
	}
	var s stream
	for i, c := range []struct {
		at    time.Time
		seq   int64
		since int64
	}{
		{sent, 1, 0}, // nothing is counted yet
		{sent, 2, sent.UnixMicro() + 1},
		{sent, 3, sent.UnixMicro()},
		{sent.Add(1500 * time.Microsecond), 4, sent.UnixMicro()}, // a whole second
		{sent.Add(2500 * time.Microsecond), 5, sent.UnixMicro()},
	} {
		if err := s.take(data(c.at, c.seq), c.at.Add(20*time.Millisecond).UnixMicro(), c.since); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if lowest, highest := s.latencies.percentile(0), s.latencies.percentile(1); lowest < 19*time.Millisecond || highest > 21*time.Millisecond {
		t.Errorf("they were %s to %s old", lowest, highest)
	}
	counted := uint32(0)
	for _, n := range s.latencies {
		counted += n
	}
	if counted != 3 {
		t.Errorf("%d were counted, want 3", counted)
	}
	for name, text := range map[string]string{
		"an event is missing":   string(data(sent, 7)),
		"an event comes again":  string(data(sent, 5)),
		"they are out of order": string(data(sent, 6, 8, 7)),
		"there is no time":      `[{"seq":6}]`,
		"a time cannot be read": `[{"seq":6,"timestamp":"yesterday, at half past ten"}]`,
		"a time is too short":   `[{"seq":6,"timestamp":"2026"}]`,
		"a seq is no number":    `[{"seq":"6","timestamp":"2026-11-24T08:32:44Z"}]`,
	} {
		other := stream{}
		other.last.Store(5)
		checkFault(t, name, other.take([]byte(text), 0, 0), "WRONG")
	}
}

// streamServer serves streams of a session with some events; serve writes one.
func streamServer(t *testing.T, serve func(send func(string), after int64)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
		if r.Header.Get("Last-Event-ID") == "" {
			after, err = strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
		}
		if err != nil || r.URL.Path != "/api/sessions/s/stream" {
			t.Errorf("asked for %s, %q", r.URL, r.Header.Get("Last-Event-ID"))
		}
		w.Header().Set("Content-Type", "text/event-stream")
		send := func(text string) {
			if _, err := w.Write([]byte(text)); err == nil {
				http.NewResponseController(w).Flush() //nolint:errcheck // the client is gone
			}
		}
		send("retry: 1\nevent: session\nid: " + strconv.FormatInt(after, 10) + "\ndata: {\"state\":\"active\"}\n\n")
		serve(send, after)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestStreamsFollow(t *testing.T) {
	ended := make(chan struct{})
	defer close(ended)
	url := streamServer(t, func(send func(string), after int64) {
		for seq := after + 1; seq < 100; seq += 2 {
			send(message(time.Now(), seq, seq+1))
		}
		send(": all is told\n\n")
		<-ended
	})
	s, err := followSession(t.Context(), url, "s", 5)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.await(100); err != nil {
		t.Error(err)
	}
	if n := s.reconnected.Load(); n > 0 {
		t.Errorf("they came back %d times", n)
	}
}

func TestStreamsThatAreCutComeBack(t *testing.T) {
	var opened atomic.Int64
	url := streamServer(t, func(send func(string), after int64) {
		opened.Add(1)
		if after < 50 {
			send(message(time.Now(), after+1, after+2))
			half := message(time.Now(), after+3)
			send(half[:len(half)-1]) // an incomplete message
		}
	})
	s, err := followSession(t.Context(), url, "s", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.await(50); err != nil {
		t.Error(err)
	}
	if n := s.reconnected.Load(); n < 24 {
		t.Errorf("it came back %d times, for 25 pieces", n)
	}
}

func TestStreamsThatAreWrongAreNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		messages []string
		fault    string
	}{
		"a gap":               {[]string{message(time.Now(), 1), message(time.Now(), 3)}, "event 1 is followed by 3"},
		"a repetition":        {[]string{message(time.Now(), 1), message(time.Now(), 1, 2)}, "event 1 is followed by 1"},
		"an id of its own":    {[]string{message(time.Now(), 1) + "id: 9\ndata: []\n\n"}, `id of a message is "9", its last event is 1`},
		"cut again and again": {nil, "again and again"},
	} {
		t.Run(name, func(t *testing.T) {
			url := streamServer(t, func(send func(string), _ int64) {
				for _, m := range c.messages {
					send(m)
				}
			})
			s, err := followSession(t.Context(), url, "s", 2)
			if err == nil {
				err = s.await(100)
				s.close()
			}
			checkFault(t, name, err, c.fault)
		})
	}
}

func TestStreamsThatAreRefused(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, err := followSession(t.Context(), server.URL, "s", 3)
	checkFault(t, "refused", err, "stream 1 of 3: GET /api/sessions/s/stream?after=0: the answer is HTTP/1.1 404 Not Found")
}
