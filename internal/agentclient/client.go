// Package agentclient is the backend's HTTP client for agents. It hides the differences
// of existing agents: the spelling of routes, missing parts of answers, and answers
// that are not JSON.
//
// It knows nothing of sessions in the database or of the dashboard. Each call asks one
// agent for one thing. Failures are *models.Error: agent_failed if the agent is down,
// refuses or sends an answer that the client cannot read; agent_timeout if it is too
// slow; invalid or cannot_run if its code blames the request or the file.
package agentclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

const (
	// longestCall bounds an operation even if it makes progress.
	longestCall = 5 * time.Minute

	maxAnswerBytes     = 4 << 20
	maxLongAnswerBytes = 32 << 20

	// sendBufferBytes keeps the kernel's send buffer small. With megabytes in it, a
	// slow agent would seem to make no progress while it reads them.
	sendBufferBytes = 256 << 10
)

// Client sends requests to one agent. It is safe for concurrent use.
//
// An operation fails with agent_timeout if, for the client's timeout, the agent has
// taken no byte of the request and not completed its answer, and after five minutes in
// any case. Only the answer to Processes may start within the timeout and take as long
// again. Each operation has its own timeout. To bound several operations together,
// bound their ctx: an error after ctx is done wraps ctx.Err(), and is agent_timeout
// after its deadline.
type Client struct {
	name      string   // of the agent in messages
	base      *url.URL // without userinfo
	user      *url.Userinfo
	key       string // "" for none
	timeout   time.Duration
	transport http.RoundTripper
	isFetched bool // the agent fetches its work: it downloads files

	health, processes, upload, start, stop operation
}

// operation is one kind of request to an agent.
type operation struct {
	verb   string  // completes "the agent refused to"
	routes []route // the spellings in use, the usual one first
	once   bool    // must not be repeated
	long   bool    // the answer may be long

	worked atomic.Int32 // index of the spelling that the agent accepted last
}

type route struct{ method, path string }

// New returns a client for the agent at baseURL. timeout limits the time of an
// operation without progress. The client ignores proxy settings of the environment.
func New(baseURL string, timeout time.Duration) *Client {
	base, err := url.Parse(baseURL)
	if err != nil || base.Host == "" {
		base = &url.URL{Scheme: "malformed-url"} // a malformed URL may contain a password
	}
	user := base.User
	base.User, base.RawQuery, base.Fragment = nil, "", ""
	base.Path = strings.TrimRight(base.Path, "/")

	dialer := &net.Dialer{Timeout: timeout}
	return newClient(&Client{
		name:    "the agent at " + base.String(),
		base:    base,
		user:    user,
		timeout: timeout,
		transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.SetWriteBuffer(sendBufferBytes) // optional
				}
				return conn, err
			},
			TLSHandshakeTimeout:   timeout,
			IdleConnTimeout:       30 * time.Second,
			ExpectContinueTimeout: min(time.Second, timeout/4),
		},
	})
}

// NewFetched returns a client for OS-Pulse's own agent with a name, which fetches its
// requests: transport carries them. timeout is the same as for New.
func NewFetched(name string, transport http.RoundTripper, timeout time.Duration) *Client {
	return newClient(&Client{name: "the agent " + name, base: &url.URL{Scheme: "http", Host: "agent"}, timeout: timeout, transport: transport, isFetched: true})
}

// newClient adds the operations to a client.
func newClient(c *Client) *Client {
	c.health = operation{
		verb:   "report its health",
		routes: []route{{"GET", "/health"}},
	}
	c.processes = operation{
		verb:   "list its processes",
		routes: []route{{"POST", "/api/list-processes"}, {"GET", "/api/list-processes"}, {"GET", "/api/processes"}},
		long:   true,
	}
	c.upload = operation{
		verb:   "take the file",
		routes: []route{{"POST", "/api/upload-file"}, {"POST", "/api/upload"}},
	}
	c.start = operation{
		verb:   "start monitoring",
		routes: []route{{"POST", "/api/start-monitor"}, {"POST", "/api/monitor/start"}},
		once:   true,
	}
	c.stop = operation{
		verb:   "stop monitoring",
		routes: []route{{"POST", "/api/stop-monitor"}, {"POST", "/api/monitor/stop"}},
	}
	return c
}

// WithKey makes c send a key with all requests, unless it is "", and returns c. Call it
// before using c.
func (c *Client) WithKey(key string) *Client {
	c.key = key
	return c
}

// Health returns the agent's health.
func (c *Client) Health(ctx context.Context) (Health, error) {
	answer, err := c.call(ctx, &c.health, source{})
	if err != nil {
		return Health{}, err
	}
	health, err := decodeHealth(answer)
	if err != nil {
		return Health{}, c.failed(err, "gave a health report that cannot be read")
	}
	return health, nil
}

// Processes lists the processes of the agent's machine, sorted by name regardless of
// case, then by pid. The list is nil only with an error.
func (c *Client) Processes(ctx context.Context) ([]Process, error) {
	answer, err := c.call(ctx, &c.processes, jsonSource(struct{}{}))
	if err != nil {
		return nil, err
	}
	processes, err := decodeProcesses(answer)
	if err != nil {
		return nil, c.failed(err, "gave a process list that cannot be read")
	}
	return processes, nil
}

// StartRequest is what to monitor.
type StartRequest struct {
	SessionID string  `json:"sessionId"`
	FileName  string  `json:"fileName"`            // as Upload returned it
	Mode      int     `json:"mode"`                // 1 all processes, 2 Processes, 3 spawn FileName
	Processes []int64 `json:"processes,omitempty"` // pids

	// Not in the wire contract: only this project's agent reads them.
	EntryPoint string   `json:"entryPoint,omitempty"`
	Arguments  []string `json:"arguments,omitempty"`

	Network        string `json:"network,omitempty"`
	TimeoutSeconds int    `json:"timeoutSeconds,omitempty"`
	MemoryMB       int    `json:"memoryMB,omitempty"`

	Selection *models.Selection `json:"selection,omitempty"`

	// StartID is the backend's ID of this start. Our own agent carries out a start once,
	// even if the backend sends it again.
	StartID string `json:"-"`
}

// StartHeader carries the ID of a start. It is a header so that other agents get the
// body that they expect. FileHeader carries the SHA-256 of the file that an agent downloads
// with a request.
const (
	StartHeader = "X-OSPulse-Start"
	FileHeader  = "X-OSPulse-File"
)

// ErrNotSent is the cause of an error if the agent received nothing of the start.
var ErrNotSent = errors.New("nothing was sent to the agent")

// Start tells the agent to monitor. It sends the request once. After an error that is
// neither a refusal nor ErrNotSent, the agent may have started anyway; FindStart asks
// it.
func (c *Client) Start(ctx context.Context, r StartRequest) (StartResult, error) {
	var connected atomic.Bool
	tracing := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	answer, err := c.call(tracing, &c.start, jsonSource(r).with(StartHeader, r.StartID))
	if failed, ok := errors.AsType[*models.Error](err); ok {
		switch {
		case !connected.Load():
			err = models.Wrap(errors.Join(ErrNotSent, failed.Err), failed.Code, "%s", failed.Message)
		case errors.Is(err, errNotThere): // a refusal like others
			err = models.Errorf(failed.Code, "%s", failed.Message)
		}
	}
	if err != nil {
		return StartResult{}, err
	}
	return decodeStart(answer), nil
}

// ErrCannotTell is the error of FindStart if the agent keeps no record of starts. Only
// OS-Pulse's own agent keeps one.
var ErrCannotTell = errors.New("the agent cannot tell what became of a start")

// FindStart asks the agent for its report on a start. It returns ErrCannotTell if the
// agent keeps no record of starts.
func (c *Client) FindStart(ctx context.Context, id string) (Start, error) {
	find := operation{verb: "tell what became of a start", routes: []route{{"GET", "/api/starts/" + id}}}
	answer, err := c.call(ctx, &find, source{})
	if errors.Is(err, errNotThere) {
		return Start{}, ErrCannotTell
	}
	if err != nil {
		return Start{}, err
	}
	return decodeFoundStart(answer)
}

// Stop tells the agent to end the monitoring of a session, and returns what the agent
// has not delivered yet. It returns no error if the agent does not know the session. If
// startID is not "", our own agent also refuses that start when it arrives later.
func (c *Client) Stop(ctx context.Context, sessionID, startID string) (StopResult, error) {
	answer, err := c.call(ctx, &c.stop, jsonSource(map[string]string{"sessionId": sessionID}).with(StartHeader, startID))
	if errors.Is(err, errNotThere) {
		return StopResult{}, nil
	}
	if err != nil {
		return StopResult{}, err
	}
	return decodeStop(answer), nil
}

// source is the body of a request. It is reopened for each spelling, and if a kept
// connection turns out to be dead. A slow body calls progress whenever a part of it is
// read.
type source struct {
	header    http.Header
	sizeBytes int64
	more      time.Duration // in which the agent may make no progress, besides the client's timeout
	open      func(progress func()) (io.ReadCloser, error)
}

func jsonSource(value any) source {
	text, _ := json.Marshal(value) // cannot fail for these values
	return source{
		header:    http.Header{"Content-Type": {"application/json"}},
		sizeBytes: int64(len(text)),
		open:      func(func()) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
	}
}

// with adds a header, unless its value is "".
func (s source) with(name, value string) source {
	if value != "" {
		s.header.Set(name, value)
	}
	return s
}

// errNotThere is the cause of a refusal with 404 for every spelling.
var errNotThere = errors.New("404 on every route")

// call sends op and returns the body of the 2xx answer. After a 404 or 405, it tries
// the next spelling, because this one may not exist.
func (c *Client) call(caller context.Context, op *operation, body source) ([]byte, error) {
	ctx, end := context.WithTimeoutCause(caller, longestCall, c.timedOut("did not finish within %s", longestCall))
	defer end()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	patience := c.timeout + body.more
	timer := time.AfterFunc(patience, func() { giveUp(c.timedOut("did not answer within %s", patience)) })
	defer timer.Stop()
	progress := func() { timer.Reset(patience) }

	var told string // the most informative complaint so far
	toldMore, notThere := false, true
	first := int(op.worked.Load())
	for i := range op.routes {
		n := (first + i) % len(op.routes)
		answer, err := c.send(ctx, op, op.routes[n], body, progress)
		switch {
		case err != nil:
			return nil, c.explain(caller, ctx, op, err)
		case answer.status/100 == 2:
			op.worked.Store(int32(n))
			return answer.body, nil
		}
		if err := answer.refusal(); err != nil {
			return nil, err
		}
		absent := answer.status == http.StatusNotFound || answer.status == http.StatusMethodNotAllowed
		notThere = notThere && answer.status == http.StatusNotFound
		if text, more := answer.complaint(); told == "" || !absent || more && !toldMore {
			told, toldMore = text, more
		}
		if answer.status == http.StatusUnauthorized {
			told += c.keyAdvice()
		}
		if !absent {
			break
		}
	}
	refused := models.Errorf(models.CodeAgentFailed, "the agent refused to %s: %s", op.verb, told)
	if notThere {
		refused.Err = errNotThere
	}
	return nil, refused
}

// keyAdvice says what to do about an answer 401.
func (c *Client) keyAdvice() string {
	why := "; it requires a key"
	if c.key != "" {
		why = "; it does not accept this backend's key"
	}
	return why + ": set the same AGENT_API_KEY for the agent and for the backend whose AGENT_SERVICE_URL it is"
}

// send makes one request and reads the answer.
func (c *Client) send(ctx context.Context, op *operation, to route, body source, progress func()) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, to.method, c.base.JoinPath(to.path).String(), nil)
	if err != nil {
		return answer{}, err
	}
	if to.method != http.MethodGet {
		request.GetBody = func() (io.ReadCloser, error) { return body.open(progress) }
		if request.Body, err = request.GetBody(); err != nil {
			return answer{}, err
		}
		request.ContentLength = body.sizeBytes
		request.Header = body.header.Clone()
	}
	if c.key != "" {
		request.Header.Set("X-API-Key", c.key)
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.user != nil {
		password, _ := c.user.Password()
		request.SetBasicAuth(c.user.Username(), password)
	}
	if op.once {
		// A kept connection may be closing. It would then be unknown whether the agent
		// got the request.
		if kept, ok := c.transport.(*http.Transport); ok {
			kept.CloseIdleConnections()
		}
	} else {
		// This header is not sent. It makes the transport repeat the request if a kept
		// connection turns out to be dead.
		request.Header["Idempotency-Key"] = []string{}
	}

	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	maxBytes := maxAnswerBytes
	if op.long {
		maxBytes = maxLongAnswerBytes
		progress()
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, int64(maxBytes)+1))
	if ok := response.StatusCode/100 == 2; ok && len(text) > maxBytes {
		return answer{}, c.failed(nil, "gave an answer of more than %d MB", maxBytes>>20)
	} else if err != nil && (ok || ctx.Err() != nil) {
		return answer{}, err
	}
	return answer{response.StatusCode, response.Header.Get("Content-Type"), jsonscan.TrimBOM(text)}, nil
}

// explain converts an error of send to the error for the caller.
func (c *Client) explain(caller, ctx context.Context, op *operation, err error) error {
	switch stopped := caller.Err(); {
	case errors.Is(stopped, context.DeadlineExceeded):
		timedOut := c.timedOut("did not answer in time")
		timedOut.Err = stopped
		return timedOut
	case stopped != nil:
		return fmt.Errorf("asking the agent to %s: %w", op.verb, stopped)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if _, explained := errors.AsType[*models.Error](err); explained {
		return err
	}
	reason := clean(err.Error())
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		reason = number.Error()
	} else if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		reason = lookup.Err
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		reason = "it closed the connection before it had answered"
	}
	return c.failed(err, "cannot be reached: %s", reason)
}

func (c *Client) failed(err error, format string, args ...any) *models.Error {
	return models.Wrap(err, models.CodeAgentFailed, "%s %s", c.name, fmt.Sprintf(format, args...))
}

func (c *Client) timedOut(format string, args ...any) *models.Error {
	return models.Errorf(models.CodeAgentTimeout, "%s %s", c.name, fmt.Sprintf(format, args...))
}
