//go:build linux

package heartbeat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Location": {"http://elsewhere"}}, Body: io.NopCloser(strings.NewReader(body))}
}

// TestWhen checks when Run sends heartbeats, and what it logs about those that fail.
func TestWhen(t *testing.T) {
	const s = time.Second
	type said struct {
		status int // 0: the backend is unreachable; -1: it does not answer
		body   string
	}
	ok, fails, hangs := said{200, `{"id":"x","interval_seconds":10}`}, said{}, said{-1, ""}
	for name, tt := range map[string]struct {
		answers []said // the last one repeats
		within  time.Duration
		want    []time.Duration
		logged  []string
	}{
		"as asked":              {answers: []said{ok}, within: 25 * s, want: []time.Duration{0, 10 * s, 20 * s}},
		"asked for less":        {answers: []said{{200, `{"interval_seconds":0.001}`}}, within: 2 * s, want: []time.Duration{0, s, 2 * s}},
		"asked for much":        {answers: []said{{201, `{"interval_seconds":1e300}`}}, within: 400 * s, want: []time.Duration{0, 300 * s}},
		"asked for nothing":     {answers: []said{{200, `{}`}}, within: 15 * s, want: []time.Duration{0, 10 * s}},
		"no such route":         {answers: []said{{404, ""}, {405, ""}, ok}, within: 1211 * s, want: []time.Duration{0, 600 * s, 1200 * s, 1210 * s}},
		"away, and back":        {answers: []said{fails, {503, ""}, ok}, within: 14 * s, want: []time.Duration{0, s, 3 * s, 13 * s}, logged: []string{"does not accept", "again"}},
		"away for long":         {answers: []said{fails}, within: 250 * s, want: []time.Duration{0, s, 3 * s, 7 * s, 15 * s, 31 * s, 63 * s, 123 * s, 183 * s, 243 * s}, logged: []string{"no route to host"}},
		"something else":        {answers: []said{{200, "<html>"}}, within: s, want: []time.Duration{0, s}, logged: []string{"not JSON of a backend"}},
		"sent elsewhere":        {answers: []said{{307, ""}}, within: s / 2, want: []time.Duration{0}, logged: []string{"answered Temporary Redirect"}},
		"one that hangs for 5s": {answers: []said{hangs}, within: 12 * s, want: []time.Duration{0, 6 * s}, logged: []string{"deadline exceeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var asked []time.Duration
				var log bytes.Buffer
				client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					asked = append(asked, time.Since(began))
					if r.URL.String() != "http://backend/x/api/agents/heartbeat" || r.Method != "POST" || r.Header.Get("Authorization") != "Bearer k" {
						t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
					}
					next := tt.answers[min(len(asked), len(tt.answers))-1]
					switch next.status {
					case 0:
						return nil, errors.New("no route to host")
					case -1:
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return answer(next.status, next.body), nil
				})}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					Run(ctx, Options{Backend: "http://backend/x/", Key: "k", Report: func() Report { return Report{Name: "n"} }, Client: client, Log: slog.New(slog.NewTextHandler(&log, nil))})
				}()
				<-time.After(tt.within)
				synctest.Wait()
				cancel()
				<-done
				if !slices.Equal(asked, tt.want) {
					t.Errorf("heartbeats at %v, want %v", asked, tt.want)
				}
				lines := strings.Split(strings.TrimSpace(log.String()), "\n")
				if len(tt.logged) == 0 && log.Len() > 0 || len(tt.logged) > 0 && len(lines) != len(tt.logged) {
					t.Fatalf("logged:\n%s", &log)
				}
				for i, want := range tt.logged {
					if !strings.Contains(lines[i], want) {
						t.Errorf("logged %s, want %s", lines[i], want)
					}
				}
			})
		})
	}
}

// TestReport checks that a heartbeat is valid JSON on one line, whatever the kernel reported,
// and that OnIdentity receives the backend's identity with the nonce.
func TestReport(t *testing.T) {
	var body []byte
	var received string
	o := Options{Backend: "http://backend", Client: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		var err error
		body, err = io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "" {
			t.Error("a heartbeat without a key has an Authorization header")
		}
		return answer(200, `{"backend":{"pid":7}}`), err
	})}, OnIdentity: func(nonce string, identity json.RawMessage) { received = nonce + " " + string(identity) }, Report: func() Report {
		return Report{
			Name: "vm", URL: "http://127.0.0.1:7000", Version: "1", Platform: "linux", Arch: "x64", Sensor: "procfs", Sessions: []string{"s"},
			Capabilities: []Capability{{Name: "eBPF", Reason: "line 1\n\xff" + strings.Repeat("é", 900), Remedy: "x"}}, Delivery: Delivery{1, 2, 3, 4},
			StartOptions: &StartOptions{[]string{"none"}, "none", 600, 16, 1024},
		}
	}}
	if interval, err := o.beat(t.Context()); err != nil || interval != usualInterval {
		t.Fatal(interval, err)
	}
	text := string(body)
	i, j := strings.Index(text, `"reason":"`), strings.Index(text, `","remedy"`)
	if reason := text[i+10 : j]; !strings.HasPrefix(reason, "line 1 ?éé") || len(reason) > maxTextBytes+3 || !utf8.ValidString(reason) {
		t.Errorf("the reason is %q", reason)
	}
	const want = `{"name":"vm","url":"http://127.0.0.1:7000","version":"1","platform":"linux","arch":"x64","sensor":"procfs","capabilities":[{"name":"eBPF","supported":false,` +
		`"reason":"","remedy":"x"}],"start_options":{"networks":["none"],"network":"none","timeout_seconds":600,"min_memory_mb":16,"memory_mb":1024},"sessions":["s"],"delivery":{"delivered":1,"lost":2,"queued_events":3,"spooled_events":4},"nonce":""}`
	nonce := regexp.MustCompile(`"nonce":"([A-Z2-7]{26})"`).FindStringSubmatch(text)
	if len(nonce) != 2 || nonce[1]+` {"pid":7}` != received {
		t.Errorf("OnIdentity received %q, the nonce was %q", received, nonce)
	}
	text = strings.Replace(text, nonce[1], "", 1)
	if text = text[:i+10] + text[j:]; text != want || !json.Valid(body) {
		t.Errorf("sent %s", text)
	}
}
