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
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	requestTimeout = 30 * time.Second
	oldBackendFor  = time.Minute // until the batch route is tried again
	maxRetryAfter  = time.Minute
)

// outcome is what came of a request.
type outcome int

const (
	taken     outcome = iota
	refused           // for good, for what it says
	tooLarge          // for good, for its size
	absent            // there is no such route
	later             // try again
	unlimited = 256 << 20
)

// client sends batches to one backend.
type client struct {
	base, key string
	http      *http.Client
	decoder   *zstd.Decoder
	encoder   *zstd.Encoder

	oldUntil time.Time // the backend has no batch route, as far as is known
}

func newClient(base, key string) (*client, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(unlimited))
	if err != nil {
		return nil, err
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &client{base: base, key: key, decoder: decoder, encoder: encoder, http: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// result is what the backend made of a batch.
type result struct {
	lost     int           // events that it will not take
	reason   string        // why
	retry    bool          // nothing is known yet: send it again
	after    time.Duration // that it wants to be left alone
	err      error         // what to tell people
	progress int           // events that were taken one by one before it failed
}

// send sends a batch. from is how many of its events were taken one by one in an
// earlier try.
func (c *client) send(ctx context.Context, b *batch, from int) result {
	if from == 0 && time.Now().After(c.oldUntil) {
		r, known := c.sendBatch(ctx, b.Key, b.Session, b.Count, b.body)
		if known {
			return r
		}
		c.oldUntil = time.Now().Add(oldBackendFor)
	}
	return c.sendSingly(ctx, b, from)
}

// sendBatch uses the batch route; known is false if the backend has none. A batch
// that is too large for it goes in halves, whose keys follow from the whole's, so
// that they are the same each time.
func (c *client) sendBatch(ctx context.Context, key, session string, count int, body []byte) (r result, known bool) {
	what, after, text, err := c.post(ctx, "/api/events/batch", session, key, "application/x-ndjson", "zstd", body)
	switch what {
	case taken:
		var told struct {
			Errors []struct {
				Index int    `json:"index"`
				Error string `json:"error"`
			} `json:"errors"`
		}
		if json.Unmarshal(text, &told) == nil && len(told.Errors) > 0 {
			return result{lost: len(told.Errors), reason: "refused", err: fmt.Errorf("%d events were refused, the first: %s", len(told.Errors), told.Errors[0].Error)}, true
		}
		return result{}, true
	case absent:
		return result{}, false
	case later:
		return result{retry: true, after: after, err: err}, true
	case tooLarge:
		if count > 1 {
			return c.sendHalves(ctx, key, session, body)
		}
		return result{lost: count, reason: "event_too_large", err: err}, true
	default:
		return result{lost: count, reason: "refused", err: err}, true
	}
}

func (c *client) sendHalves(ctx context.Context, key, session string, body []byte) (result, bool) {
	plain, err := c.decoder.DecodeAll(body, nil)
	lines := bytes.SplitAfter(bytes.TrimSuffix(plain, []byte("\n")), []byte("\n"))
	if err != nil || len(lines) < 2 {
		return result{lost: len(lines), reason: "event_too_large", err: err}, true
	}
	var whole result
	for i, half := range [][][]byte{lines[:len(lines)/2], lines[len(lines)/2:]} {
		text := bytes.Join(half, nil)
		r, known := c.sendBatch(ctx, key+"-"+strconv.Itoa(i), session, len(half), c.encoder.EncodeAll(text, nil))
		if !known || r.retry {
			return r, known
		}
		whole.lost += r.lost
		if r.err != nil {
			whole.reason, whole.err = r.reason, r.err
		}
	}
	return whole, true
}

// sendSingly sends the events one by one, as old backends take them.
func (c *client) sendSingly(ctx context.Context, b *batch, from int) result {
	plain, err := c.decoder.DecodeAll(b.body, nil)
	if err != nil {
		return result{lost: b.Count - from, reason: "refused", err: fmt.Errorf("a batch cannot be read back: %w", err)}
	}
	r := result{progress: from}
	for i, line := range bytes.Split(bytes.TrimSuffix(plain, []byte("\n")), []byte("\n")) {
		if i < from {
			continue
		}
		what, after, _, err := c.post(ctx, "/api/events", b.Session, "", "application/json", "", line)
		switch what {
		case taken:
		case later, absent: // without any route it is no backend, or none yet
			r.retry, r.after, r.err = true, after, err
			return r
		default:
			r.lost++
			r.reason, r.err = "refused", err
		}
		r.progress++
	}
	return r
}

// post makes one request.
func (c *client) post(ctx context.Context, path, session, key, contentType, encoding string, body []byte) (outcome, time.Duration, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path+"?sessionId="+url.QueryEscape(session), bytes.NewReader(body))
	if err != nil {
		return later, 0, nil, err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("User-Agent", "ospulse-agent")
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return later, 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return later, 0, nil, err
	}
	told := errors.New("the backend answered " + response.Status + ": " + string(text[:min(len(text), 300)]))
	switch code := response.StatusCode; {
	case code/100 == 2:
		return taken, 0, text, nil
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		return absent, 0, text, told
	case code == http.StatusRequestEntityTooLarge:
		return tooLarge, 0, text, told
	// A wrong key is the operator's to mend: nothing is lost until then.
	case code/100 == 5, code/100 == 3, code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		return later, retryAfter(response.Header.Get("Retry-After")), text, told
	default:
		return refused, 0, text, told
	}
}

// retryAfter reads the header of that name, RFC 9110 section 10.2.3.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return min(time.Duration(min(seconds, 3600))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), maxRetryAfter)
	}
	return 0
}
