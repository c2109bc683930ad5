//go:build linux

package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	requestTimeout = 30 * time.Second
	dialTimeout    = 5 * time.Second
	maxAnswer      = 4 << 20
	maxRetryAfter  = time.Minute

	// askAgainAfter is when a backend that did not know the batch route, or zstd, is
	// asked for it again: it may have been replaced by a newer one.
	askAgainAfter = time.Minute
)

// verdict is what a backend's answer means for the events that were sent.
type verdict int

const (
	taken    verdict = iota // stored, or kept to be stored; without those that are refused one by one
	refused                 // for good, for what they say
	conflict                // the key was used for something else, or is in use
	tooLarge                // as one request
	noRoute                 // there is no such route
	badType                 // it does not read this type or encoding
	failed                  // it did not work: try again; it may be these events' fault
	broke                   // the backend chokes: the same, and if it goes on it is these events' fault
	away                    // nothing works there now: try again
	aside                   // no answer: the event was set aside
)

// answer is what a backend said.
type answer struct {
	verdict verdict
	after   time.Duration // that it wants to be left alone
	faults  []fault       // of single events
	said    string        // why it is not taken, in the backend's words
	err     error         // the same with more about it
}

// fault is an event of a batch that the backend will not take.
type fault struct {
	Index int    `json:"index"`
	Error string `json:"error"`
}

// client speaks to one backend. It is safe for concurrent use.
type client struct {
	base, key string
	agent     string // its name, "" for none
	http      *http.Client
	own       bool

	mu          sync.Mutex
	singleUntil time.Time // there is no batch route, as far as is known
	plainUntil  time.Time // it does not read zstd, as far as is known
}

func newClient(base, key, agent string, use *http.Client) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the backend's URL must be like http://127.0.0.1:3003, not %q", base)
	}
	c := &client{base: strings.TrimRight(base, "/"), key: key, agent: agent}
	if use == nil {
		c.own = true
		use = &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout: dialTimeout,
			ForceAttemptHTTP2:   true,
			DisableCompression:  true,
			MaxIdleConnsPerHost: maxInFlight,
			IdleConnTimeout:     30 * time.Second,
		}}
	}
	copied := *use
	// A redirect turns a POST into a GET, and may send the key elsewhere.
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &copied
	return c, nil
}

func (c *client) close() {
	if c.own {
		c.http.CloseIdleConnections()
	}
}

// ways tells how this backend takes events, as far as is known.
func (c *client) ways() (single, plain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return now.Before(c.singleUntil), now.Before(c.plainUntil)
}

func (c *client) useSingle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.singleUntil = time.Now().Add(askAgainAfter)
}

func (c *client) usePlain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plainUntil = time.Now().Add(askAgainAfter)
}

// batch sends events, one a line.
func (c *client) batch(ctx context.Context, key, session string, body []byte, isZstd bool) answer {
	encoding := ""
	if isZstd {
		encoding = "zstd"
	}
	a, text := c.post(ctx, "/api/events/batch", key, session, "application/x-ndjson", encoding, body)
	if a.verdict != taken {
		return a
	}
	var told *struct {
		Errors []fault `json:"errors"`
	}
	if err := json.Unmarshal(text, &told); err != nil || told == nil {
		// Something that answers everything with a page is no backend.
		return answer{verdict: failed, err: fmt.Errorf("the backend's answer to a batch is not what a backend answers: %.200q", text)}
	}
	a.faults = told.Errors
	return a
}

// single sends one event, as old backends take it.
func (c *client) single(ctx context.Context, key, session string, event []byte) answer {
	a, _ := c.post(ctx, "/api/events", key, session, "application/json", "", event)
	return a
}

// isReady asks whether the backend works. One without these routes does not say so.
func (c *client) isReady(ctx context.Context) bool {
	for _, path := range []string{"/readyz", "/healthz"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
		if err != nil {
			return false
		}
		response, err := c.http.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			return response.StatusCode == http.StatusOK
		}
	}
	return false
}

func (c *client) post(ctx context.Context, path, key, session, contentType, encoding string, body []byte) (answer, []byte) {
	target := c.base + path
	if session != "" {
		target += "?sessionId=" + url.QueryEscape(session)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return answer{verdict: failed, err: err}, nil
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("User-Agent", "os-pulse-agent")
	request.Header.Set("Idempotency-Key", key)
	if c.agent != "" {
		request.Header.Set("X-OSPulse-Agent", c.agent)
	}
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		v := failed
		if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
			v = away
		}
		return answer{verdict: v, err: err}, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil { // whatever it was, it is known by its key
		return answer{verdict: failed, err: fmt.Errorf("read the backend's answer: %w", err)}, nil
	}
	a := answer{verdict: judge(response.StatusCode), after: retryAfter(response.Header.Get("Retry-After"), time.Now())}
	if a.verdict != taken {
		a.said = message(text)
		a.err = fmt.Errorf("the backend answered %s: %s", response.Status, a.said)
	}
	return a, text
}

// judge tells what a status means. What is not known to be for good is tried
// again: nothing is lost by that but time.
func judge(status int) verdict {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return refused
	case http.StatusConflict:
		return conflict
	case http.StatusRequestEntityTooLarge:
		return tooLarge
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return noRoute
	case http.StatusUnsupportedMediaType:
		return badType
	case http.StatusUnauthorized, http.StatusForbidden, // the operator's to mend
		http.StatusTooManyRequests, http.StatusServiceUnavailable,
		http.StatusBadGateway, http.StatusGatewayTimeout: // a proxy's, of a backend that is not there
		return away
	case http.StatusInternalServerError:
		return broke
	}
	if status/100 == 2 {
		return taken
	}
	return failed
}

// message gives the error that an answer has, or the beginning of its text.
func message(text []byte) string {
	var told struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &told) == nil && told.Error != "" {
		return told.Error
	}
	return strings.TrimSpace(string(text[:min(len(text), 200)]))
}

// retryAfter reads the header of that name: seconds or a time, RFC 9110 section
// 10.2.3.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
