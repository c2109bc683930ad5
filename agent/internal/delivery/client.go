//go:build linux

package delivery

import (
	"bytes"
	"context"
	"crypto/tls"
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

	// askAgainAfter is the time until the client tries the batch route, or zstd, again
	// after the backend did not support it. A newer backend may have replaced that one.
	askAgainAfter = time.Minute
)

// verdict is the meaning of a backend's answer for the sent events.
type verdict int

const (
	taken    verdict = iota // accepted, except the events in faults
	refused                 // permanently, because of their content
	conflict                // the key is in use, or was used for another request
	tooLarge                // the request is too large
	noRoute                 // the backend lacks the route
	badType                 // the backend does not support the content type or encoding
	failed                  // retry; these events may be the cause
	broke                   // status 500: retry; if it repeats, these events are the cause
	away                    // the backend is unavailable: retry
	aside                   // not an answer: the agent set the event aside
)

// answer is the result of one request.
type answer struct {
	verdict verdict
	after   time.Duration // from Retry-After; 0: none
	faults  []fault       // refused events of an accepted batch
	said    string        // the backend's error message
	err     error         // said with its context
}

// fault is an event of a batch that the backend refuses.
type fault struct {
	Index int    `json:"index"`
	Error string `json:"error"`
}

// client sends requests to one backend. It is safe for concurrent use.
type client struct {
	base, key string
	agent     string // the agent's name; "": none
	http      *http.Client
	own       bool

	mu          sync.Mutex
	singleUntil time.Time // until then, assume that there is no batch route
	plainUntil  time.Time // until then, assume that the backend does not support zstd
}

func newClient(base, key, agent string, secure *tls.Config, use *http.Client) (*client, error) {
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
			TLSClientConfig:     secure,
			TLSHandshakeTimeout: dialTimeout,
			ForceAttemptHTTP2:   true,
			DisableCompression:  true,
			MaxIdleConnsPerHost: maxInFlight,
			IdleConnTimeout:     30 * time.Second,
		}}
	}
	copied := *use
	// A redirect turns a POST into a GET, and may send the key to another host.
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &copied
	return c, nil
}

func (c *client) close() {
	if c.own {
		c.http.CloseIdleConnections()
	}
}

// ways reports whether to send events one by one, and whether to send them without zstd.
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

// batch sends events as NDJSON.
func (c *client) batch(ctx context.Context, key, session string, body []byte, isZstd bool) answer {
	encoding := ""
	if isZstd {
		encoding = "zstd"
	}
	a, text := c.post(ctx, "/api/events/batch", key, session, "application/x-ndjson", encoding, body)
	if a.verdict != taken {
		return a
	}
	var result *struct {
		Errors []fault `json:"errors"`
	}
	if err := json.Unmarshal(text, &result); err != nil || result == nil {
		// A server that answers every request with a page is not a backend.
		return answer{verdict: failed, err: fmt.Errorf("the answer to a batch does not have the format of a backend: %.200q", text)}
	}
	a.faults = result.Errors
	return a
}

// single sends one event to the route of old backends.
func (c *client) single(ctx context.Context, key, session string, event []byte) answer {
	a, _ := c.post(ctx, "/api/events", key, session, "application/json", "", event)
	return a
}

// isReady asks the backend whether it is healthy. It returns false for a backend without
// these routes.
func (c *client) isReady(ctx context.Context) bool {
	for _, path := range []string{"/readyz", "/healthz"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
		if err != nil {
			return false
		}
		response, err := c.do(request)
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

// do sends a request with the key.
func (c *client) do(request *http.Request) (*http.Response, error) {
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	return c.http.Do(request)
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
	response, err := c.do(request)
	if err != nil {
		v := failed
		if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
			v = away
		}
		return answer{verdict: v, err: err}, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil { // if the backend accepted the events, it recognises the repeated key
		return answer{verdict: failed, err: fmt.Errorf("read the backend's answer: %w", err)}, nil
	}
	a := answer{verdict: judge(response.StatusCode), after: retryAfter(response.Header.Get("Retry-After"), time.Now())}
	if a.verdict != taken {
		a.said = message(text)
		a.err = fmt.Errorf("the backend answered %s: %s", response.Status, a.said)
	}
	return a, text
}

// judge returns the verdict for a status. A status that is not known to be permanent leads
// to a retry, which costs only time.
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
	case http.StatusUnauthorized, http.StatusForbidden, // the operator must fix these
		http.StatusTooManyRequests, http.StatusServiceUnavailable,
		http.StatusBadGateway, http.StatusGatewayTimeout: // from a proxy whose backend is down
		return away
	case http.StatusInternalServerError:
		return broke
	}
	if status/100 == 2 {
		return taken
	}
	return failed
}

// message returns the error in an answer, or the first 200 bytes of its text.
func message(text []byte) string {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &body) == nil && body.Error != "" {
		return body.Error
	}
	return strings.TrimSpace(string(text[:min(len(text), 200)]))
}

// retryAfter parses a Retry-After header, which is in seconds or a time; see RFC 9110,
// section 10.2.3. It returns at most maxRetryAfter, and 0 if the header is invalid.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
