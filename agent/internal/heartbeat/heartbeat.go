//go:build linux

// Package heartbeat sends heartbeats to the backend. It must not know what the agent
// does: the caller supplies the report.
package heartbeat

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
)

const (
	requestTimeout = 5 * time.Second
	usualInterval  = 10 * time.Second // if the backend asks for no interval
	maxInterval    = 5 * time.Minute
	absentInterval = 10 * time.Minute // between attempts at a backend without this route
	firstBackoff   = time.Second
	maxBackoff     = time.Minute
	maxAnswerBytes = 64 << 10
	maxTextBytes   = 1000 // of a capability's reason and remedy
)

// Report is the content of a heartbeat.
type Report struct {
	Name         string        `json:"name"`                    // of the machine
	URL          string        `json:"url"`                     // at which the agent listens; "" if it fetches its work
	EventClasses []string      `json:"event_classes,omitempty"` // that sessions can leave out
	FetchesWork  bool          `json:"fetches_work,omitempty"`
	Version      string        `json:"version"`
	Platform     string        `json:"platform"`
	Arch         string        `json:"arch"`
	Sensor       string        `json:"sensor"`
	Capabilities []Capability  `json:"capabilities"`
	StartOptions *StartOptions `json:"start_options,omitempty"` // nil if the agent cannot start files
	Sessions     []string      `json:"sessions"`                // running sessions
	Delivery     Delivery      `json:"delivery"`
	Nonce        string        `json:"nonce"` // random; the backend's proof of its identity covers it
}

// Capability is a feature of the agent that this machine may not support.
type Capability struct {
	Name      string `json:"name"`
	Supported bool   `json:"supported"`
	Reason    string `json:"reason"`
	Remedy    string `json:"remedy"`
}

// StartOptions are what a start of a file may ask for, and what it gets if it does not ask.
type StartOptions struct {
	Networks       []string `json:"networks"`        // all that are allowed
	Network        string   `json:"network"`         // the one without a request
	TimeoutSeconds int      `json:"timeout_seconds"` // the most, and without a request
	MinMemoryMB    int      `json:"min_memory_mb"`
	MemoryMB       int      `json:"memory_mb"` // the most, and without a request
}

// Delivery counts the agent's events by their state.
type Delivery struct {
	Delivered int64 `json:"delivered"`
	Lost      int64 `json:"lost"`
	Queued    int64 `json:"queued_events"`
	Spooled   int64 `json:"spooled_events"`
}

// Options are the settings of Run.
type Options struct {
	Backend string      // base URL
	Key     string      // sent as Authorization: Bearer, unless empty
	TLS     *tls.Config // nil: the certificates that the machine trusts
	Report  func() Report
	// OnIdentity receives the identity from the backend's answer, as JSON, and the nonce of
	// the heartbeat.
	OnIdentity func(nonce string, identity json.RawMessage)
	Log        *slog.Logger
	Client     *http.Client // nil: Run creates one
}

// Run sends a heartbeat at once and then at the interval that the backend asks for, until
// ctx ends. It does not log a backend that has no route for heartbeats.
func Run(ctx context.Context, o Options) {
	if o.Client == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		o.Client = &http.Client{Transport: transport}
	}
	client := *o.Client
	// A redirect may send the key elsewhere.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o.Client = &client

	timer := time.NewTimer(0)
	defer timer.Stop()
	backoff := time.Duration(0)
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		interval, err := o.beat(ctx)
		switch {
		case err == nil:
			if backoff > 0 {
				o.Log.Info("the backend accepts heartbeats again")
			}
			backoff = 0
		case errors.Is(err, errAbsent):
			backoff, interval = 0, absentInterval
		case ctx.Err() != nil:
			return
		default:
			if backoff == 0 {
				o.Log.Warn("the backend does not accept heartbeats; the agent retries", "error", err)
			}
			backoff = min(max(2*backoff, firstBackoff), maxBackoff)
			interval = backoff
		}
		timer.Reset(interval)
	}
}

var errAbsent = errors.New("the backend has no route for heartbeats")

// beat sends one heartbeat and returns the time until the next. It returns errAbsent if
// the backend has no route for heartbeats.
func (o *Options) beat(ctx context.Context) (time.Duration, error) {
	report := o.Report()
	report.Nonce = rand.Text()
	for i := range report.Capabilities {
		c := &report.Capabilities[i]
		c.Reason, c.Remedy = oneLine(c.Reason), oneLine(c.Remedy)
	}
	body, err := json.Marshal(report)
	if err != nil {
		return 0, fmt.Errorf("encode a heartbeat: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(o.Backend, "/")+"/api/agents/heartbeat", bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("send a heartbeat: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "os-pulse-agent")
	if o.Key != "" {
		request.Header.Set("Authorization", "Bearer "+o.Key)
	}
	response, err := o.Client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("send a heartbeat: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	switch {
	case response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusMethodNotAllowed:
		return 0, errAbsent
	case err != nil:
		return 0, fmt.Errorf("read the answer to a heartbeat: %w", err)
	case response.StatusCode/100 != 2:
		return 0, fmt.Errorf("the backend answered %s: %.200s", response.Status, text)
	}
	var answer struct {
		Seconds float64         `json:"interval_seconds"`
		Backend json.RawMessage `json:"backend"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, fmt.Errorf("the answer to a heartbeat is not JSON of a backend: %.100q", text)
	}
	if len(answer.Backend) > 0 {
		o.OnIdentity(report.Nonce, answer.Backend)
	}
	if answer.Seconds <= 0 {
		return usualInterval, nil
	}
	seconds := min(max(answer.Seconds, 1), maxInterval.Seconds())
	return time.Duration(seconds * float64(time.Second)), nil
}

// oneLine returns a text without control characters, cut to maxTextBytes. The text may
// come from the kernel.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxTextBytes {
		text = strings.ToValidUTF8(text[:maxTextBytes], "") + "…"
	}
	return text
}
