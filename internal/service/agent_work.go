package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"ospulse/internal/agentclient"
	"ospulse/internal/models"
)

// Intervals of AgentWork.
const (
	// workLook is how often a waiting call reads the database without being woken: a
	// message of another backend may be lost.
	workLook  = time.Second
	workSweep = time.Minute
	// workKeep is how long the requests of a dead backend stay. It is longer than any call.
	workKeep = 10 * time.Minute
)

// errNotFetched is the cause of an error if an agent does not fetch a request.
var errNotFetched = errors.New("the agent did not fetch the request")

// workChannel is the channel on which the backends of a database wake each other.
const workChannel = "ospulse_work"

// AgentRequestRepository stores requests to agents. *repository.AgentRequests implements it
// and documents its contracts.
type AgentRequestRepository interface {
	Add(ctx context.Context, request *models.AgentRequest, lasts time.Duration) error
	Take(ctx context.Context, agentID string) (*models.AgentRequest, error)
	Get(ctx context.Context, id string) (*models.AgentRequest, error)
	Answer(ctx context.Context, agentID, id string, status int, body []byte) error
	Remove(ctx context.Context, id string) (isTaken bool, err error)
	RemoveOld(ctx context.Context, age time.Duration) error
}

// Bus carries messages between the backends of a database. *database.DB implements it and
// documents its contracts.
type Bus interface {
	Listen(ctx context.Context, channel string, connected func(), heard func(payload string))
	Notify(ctx context.Context, channel string, payloads ...string) error
}

// AgentWork carries requests to agents that fetch their work, because the backend cannot or
// need not reach them. A request waits in the database, so any backend can give it to the
// agent. Each request is given out once, and only while its caller waits. The caller must
// call Run. It is safe for concurrent use.
type AgentWork struct {
	requests AgentRequestRepository
	files    FileStore
	bus      Bus
	patience time.Duration
	log      *slog.Logger

	mu       sync.Mutex
	woken    chan struct{}  // is closed when anything has changed
	fetching map[string]int // how many calls of Fetch wait for an agent
}

// NewAgentWork returns the work in requests. Agents download target files from files. A
// request that an agent does not fetch within patience is withdrawn, so that nothing of it
// can happen later.
func NewAgentWork(requests AgentRequestRepository, files FileStore, bus Bus, patience time.Duration, log *slog.Logger) *AgentWork {
	return &AgentWork{requests: requests, files: files, bus: bus, patience: patience, log: log, woken: make(chan struct{}), fetching: map[string]int{}}
}

// Run hears of the work of other backends, and removes what dead ones left, until ctx ends.
func (w *AgentWork) Run(ctx context.Context) {
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { w.bus.Listen(ctx, workChannel, w.wake, func(string) { w.wake() }) })
	ticker := time.NewTicker(workSweep)
	defer ticker.Stop()
	for {
		if err := w.requests.RemoveOld(ctx, workKeep); err != nil && ctx.Err() == nil {
			w.log.Debug("old requests to agents could not be removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// wake makes all waiting calls read the database.
func (w *AgentWork) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.woken)
	w.woken = make(chan struct{})
}

// tell wakes the waiting calls of all backends. If it cannot reach others, they look by
// themselves within workLook.
func (w *AgentWork) tell(ctx context.Context) {
	w.wake()
	if err := w.bus.Notify(ctx, workChannel, ""); err != nil && ctx.Err() == nil {
		w.log.Debug("other backends could not be told of a request to an agent", "error", err)
	}
}

// await calls look until it returns true or an error, or until ctx ends.
func (w *AgentWork) await(ctx context.Context, look func() (bool, error)) error {
	ticker := time.NewTicker(workLook)
	defer ticker.Stop()
	for {
		w.mu.Lock()
		woken := w.woken
		w.mu.Unlock()
		if done, err := look(); done || err != nil {
			return err
		}
		select {
		case <-woken:
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Fetch returns a request for the agent, and waits for one for at most wait; nil if there
// is none. The agent must carry it out and call Answer. Fetch returns overloaded if the agent
// has many calls waiting already.
func (w *AgentWork) Fetch(ctx context.Context, agentID string, wait time.Duration) (request *models.AgentRequest, err error) {
	if !w.enter(agentID) {
		return nil, models.Errorf(models.CodeOverloaded, "this agent waits for work %d times already", maxFetching)
	}
	defer w.leave(agentID)
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = w.await(waiting, func() (bool, error) {
		request, err = w.requests.Take(ctx, agentID)
		return request != nil, err
	})
	if waiting.Err() != nil && ctx.Err() == nil && request == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	return request, err
}

// maxFetching is how many calls of Fetch may wait for one agent. Ours needs one, and a second
// one after a lost connection.
const maxFetching = 4

func (w *AgentWork) enter(agentID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fetching[agentID] >= maxFetching {
		return false
	}
	w.fetching[agentID]++
	return true
}

func (w *AgentWork) leave(agentID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fetching[agentID]--; w.fetching[agentID] == 0 {
		delete(w.fetching, agentID)
	}
}

// Answer delivers an agent's answer to a request. It returns not_found if nobody waits for
// it any more.
func (w *AgentWork) Answer(ctx context.Context, agentID, id string, status int, body []byte) error {
	if status < 100 || status > 999 {
		return models.Errorf(models.CodeInvalid, "status must be that of an HTTP answer, not %d", status)
	}
	if _, err := w.taken(ctx, agentID, id); err != nil { // a read costs less, and many may be wrong
		return err
	}
	err := w.requests.Answer(ctx, agentID, id, status, body)
	if err == nil {
		w.tell(ctx)
	}
	return err
}

// taken returns a request that the agent has taken, or not_found.
func (w *AgentWork) taken(ctx context.Context, agentID, id string) (*models.AgentRequest, error) {
	request, err := w.requests.Get(ctx, id)
	if err == nil && (request.AgentID != agentID || !request.IsTaken) {
		err = models.Errorf(models.CodeNotFound, "the request does not exist")
	}
	return request, err
}

// OpenFile opens the target file of a request that the agent has taken. It returns not_found
// for any other request.
func (w *AgentWork) OpenFile(ctx context.Context, agentID, id string) (io.ReadSeekCloser, error) {
	request, err := w.taken(ctx, agentID, id)
	if err != nil {
		return nil, err
	}
	if request.FileSHA256 == "" {
		return nil, models.Errorf(models.CodeNotFound, "the request has no file")
	}
	return w.files.Open(ctx, request.FileSHA256)
}

// Transport returns the transport of a client for an agent. Its requests must be those of
// agentclient: it carries their method, path, body and start. If the agent did not take a
// request, its error is that of a connection that was never made: see net/http/httptrace.
func (w *AgentWork) Transport(agentID string) http.RoundTripper { return agentTransport{w, agentID} }

type agentTransport struct {
	work    *AgentWork
	agentID string
}

// RoundTrip implements http.RoundTripper.
func (t agentTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w, ctx := t.work, r.Context()
	request := &models.AgentRequest{
		ID: strings.ToLower(rand.Text()), AgentID: t.agentID, Method: r.Method, Path: r.URL.Path,
		StartID: r.Header.Get(agentclient.StartHeader), FileSHA256: r.Header.Get(agentclient.FileHeader),
	}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err = closed(r.Body, err); err != nil {
			return nil, err
		}
		request.Body = body
	}
	if err := w.requests.Add(ctx, request, w.patience); err != nil {
		return nil, err
	}
	w.tell(ctx)
	answered, isTaken, err := w.awaitAnswer(ctx, request.ID)
	// The request goes in any case. If it was taken at the last moment, the caller must know.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
	defer cancel()
	wasTaken, removeErr := w.requests.Remove(ending, request.ID)
	if isTaken || wasTaken || removeErr != nil {
		if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{})
		}
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: answered.Status, Status: fmt.Sprintf("%d %s", answered.Status, http.StatusText(answered.Status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(answered.Answer)), ContentLength: int64(len(answered.Answer)), Request: r,
	}, nil
}

// closed closes a body and returns the first error.
func closed(body io.Closer, err error) error {
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	return err
}

// awaitAnswer returns the request with its answer, and whether the agent has taken it. It
// fails if the agent does not take it within the patience.
func (w *AgentWork) awaitAnswer(ctx context.Context, id string) (answered *models.AgentRequest, isTaken bool, err error) {
	mustTake := time.Now().Add(w.patience)
	err = w.await(ctx, func() (bool, error) {
		answered, err = w.requests.Get(ctx, id)
		switch {
		case err != nil:
			return false, err
		case !answered.IsTaken && !time.Now().Before(mustTake):
			return false, models.Wrap(errNotFetched, models.CodeAgentFailed, "the agent does not fetch its work: it is not running, or cannot reach this backend")
		}
		isTaken = answered.IsTaken
		return answered.Status != 0, nil
	})
	return answered, isTaken, err
}
