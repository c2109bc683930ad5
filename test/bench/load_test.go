package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want string // words of the error; "" is none
	}{
		"200":                  {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello", ""},
		"an empty body":        {"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", ""},
		"another status":       {"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nfull", "429 Too Many Requests: full"},
		"a status like 200":    {"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "2000"},
		"an error with little": {"HTTP/1.1 503 No\r\n\r\n", "503 No"},
		"no length":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no Content-Length"},
		"a broken length":      {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Content-Length: x"},
		"a negative length":    {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "no Content-Length"},
		"nothing":              {"", "no answer"},
		"half a header":        {"HTTP/1.1 200 OK\r\nContent-Le", "half an answer"},
		"half a body":          {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "half an answer"},
	} {
		t.Run(name, func(t *testing.T) {
			const next = "the next answer"
			text := c.text
			if c.want == "" {
				text += next
			}
			r := bufio.NewReader(strings.NewReader(text))
			err := readAnswer(r)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if rest, _ := io.ReadAll(r); string(rest) != next {
				t.Errorf("left is %q", rest)
			}
		})
	}
}

func TestReadAnswerTakesNoMemory(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	text := strings.NewReader(answer)
	r := bufio.NewReader(text)
	allocations := testing.AllocsPerRun(100, func() {
		text.Reset(answer)
		r.Reset(text)
		if err := readAnswer(r); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 0 {
		t.Errorf("%g allocations", allocations)
	}
}

func TestLoadAgainstServer(t *testing.T) {
	var received atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text, err := io.ReadAll(r.Body); err != nil || r.Method != http.MethodPost || r.URL.Path != eventPath || string(text) != "first" && string(text) != "second" {
			t.Errorf("%s %s %q, %v", r.Method, r.URL, text, err)
		}
		if received.Add(1) > 100 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
		io.WriteString(w, "the answer") //nolint:errcheck // the client notices
	}))
	defer server.Close()
	l := load{[]request{newRequest(eventPath, "", []byte("first"), isoTime), newRequest(eventPath, "X-Test: 1\r\n", []byte("second"), isoTime)}, 3, 4}
	c, err := l.dial(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close() //nolint:errcheck // the test is over
	workers, err := c.workers(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	tallies, err := drive(t.Context(), window{length: time.Minute}, workers)
	if err == nil || !strings.Contains(err.Error(), "429 Too Many Requests: the answer") {
		t.Errorf("got %v", err)
	}
	if got := merge(tallies).acknowledged; got != 300 {
		t.Errorf("%d events were acknowledged, want 300", got)
	}
}

func TestPaceIsEvenWhateverTheAnswersTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace{began: time.Now(), every: 5 * time.Millisecond}
		var sent []time.Duration
		var mu sync.Mutex
		answers := []time.Duration{time.Millisecond, 12 * time.Millisecond, 3 * time.Millisecond}
		work := func() (int, error) {
			p.wait(t.Context())
			mu.Lock()
			sent = append(sent, time.Since(p.began))
			n := len(sent)
			mu.Unlock()
			<-time.After(answers[n%len(answers)])
			return 1, nil
		}
		if _, err := drive(t.Context(), window{length: time.Second}, []worker{work, work, work, work}); err != nil {
			t.Fatal(err)
		}
		for i, at := range sent {
			if want := time.Duration(i+1) * p.every; at != want {
				t.Fatalf("request %d was sent after %s, want %s", i+1, at, want)
			}
		}
		if len(sent) < 200 {
			t.Errorf("%d were sent in a second, want 200", len(sent))
		}
	})
}
