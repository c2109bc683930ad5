//go:build linux

// Package work fetches requests of the backend, for an agent that the backend does not call.
// It passes them to the handler that would serve the backend's calls, and sends the answers
// back. It must not know what the requests mean.
package work

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	waitSeconds    = 25               // for which the backend holds a request for work
	requestTimeout = 15 * time.Second // besides that
	downloadTime   = 5 * time.Minute  // for a file
	answerTime     = time.Minute      // in which the agent tries to deliver an answer
	atOnce         = 8                // requests

	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second

	maxTaskBytes = 8 << 20
	maxSaidBytes = 4 << 10 // of an error
)

// Options are the settings of Run.
type Options struct {
	Backend string      // base URL
	Key     string      // of the agent
	TLS     *tls.Config // nil: the certificates that the machine trusts
	Handler http.Handler
	// Shutdown is how long running requests may take after the end of Run's context.
	Shutdown time.Duration
	Log      *slog.Logger
}

// task is a request of the backend.
type task struct {
	ID      string          `json:"id"`
	Method  string          `json:"method"`
	Path    string          `json:"path"`
	StartID string          `json:"start_id"`
	Body    json.RawMessage `json:"body"`
	HasFile bool            `json:"has_file"`
}

type worker struct {
	Options
	client *http.Client
}

// Run fetches and serves requests until ctx ends. Then it waits for those that run.
func Run(ctx context.Context, o Options) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	w := worker{o, &http.Client{
		Transport: transport,
		// A redirect may send the key elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(o.Shutdown, cancel) })()
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, atOnce)
	backoff := time.Duration(0)
	for ctx.Err() == nil {
		places <- struct{}{}
		next, err := w.fetch(ctx)
		if next != nil {
			running.Go(func() {
				defer func() { <-places }()
				w.serve(serving, next)
			})
		} else {
			<-places
		}
		switch {
		case err == nil && backoff > 0:
			w.Log.Info("the backend gives work again")
			backoff = 0
		case err != nil && ctx.Err() == nil:
			if backoff == 0 {
				w.Log.Warn("the backend gives no work; the agent retries", "error", err)
			}
			backoff = min(max(2*backoff, firstBackoff), maxBackoff)
			pause(ctx, backoff)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fetch returns the next request; nil if there is none.
func (w *worker) fetch(ctx context.Context) (*task, error) {
	ctx, cancel := context.WithTimeout(ctx, waitSeconds*time.Second+requestTimeout)
	defer cancel()
	response, err := w.send(ctx, http.MethodGet, "?wait="+strconv.Itoa(waitSeconds), nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var next struct {
		Work *task `json:"work"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxTaskBytes)).Decode(&next); err != nil {
		return nil, fmt.Errorf("read a request of the backend: %w", err)
	}
	return next.Work, nil
}

// send sends a request below the route for work, and returns a successful answer.
func (w *worker) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(w.Backend, "/")+"/api/agents/work"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+w.Key)
	request.Header.Set("User-Agent", "os-pulse-agent")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(response.Body, maxSaidBytes))
		return nil, &refusal{response.StatusCode, fmt.Sprintf("the backend answered %s: %.200s", response.Status, said)}
	}
	return response, nil
}

// refusal is an answer of the backend that is not successful.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// serve passes a request to the handler and delivers the answer.
func (w *worker) serve(ctx context.Context, t *task) {
	answer := w.handle(ctx, t)
	path := "/" + t.ID + "?status=" + strconv.Itoa(cmp.Or(answer.status, http.StatusOK))
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		response, err := w.send(ctx, http.MethodPost, path, answer.body.Bytes())
		if err == nil {
			_ = response.Body.Close()
			return
		}
		if refused, ok := errors.AsType[*refusal](err); ctx.Err() != nil || ok && refused.status/100 == 4 && refused.status != http.StatusTooManyRequests {
			w.Log.Warn("the backend does not wait for the answer to its request any more", "path", t.Path, "error", err)
			return
		}
		pause(ctx, backoff)
	}
}

// handle returns the handler's answer to a task.
func (w *worker) handle(ctx context.Context, t *task) *recorder {
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	var file *download
	body, contentType := io.Reader(bytes.NewReader(t.Body)), "application/json"
	if t.HasFile {
		file = w.download(ctx, t)
		body, contentType = file.form, file.contentType
	}
	request, err := http.NewRequestWithContext(ctx, t.Method, "http://localhost"+t.Path, body)
	if err != nil {
		return failed(http.StatusBadRequest, err)
	}
	request.Header.Set("Content-Type", contentType)
	if t.StartID != "" {
		request.Header.Set("X-OSPulse-Start", t.StartID)
	}
	answer := &recorder{header: http.Header{}}
	w.Handler.ServeHTTP(answer, request)
	if file != nil {
		_ = file.form.Close() // ends a download of which a part was not read; always nil
		if err := <-file.ended; err != nil {
			return failed(http.StatusBadGateway, fmt.Errorf("the agent could not download the file: %w", err))
		}
	}
	return answer
}

// failed returns the answer to a task that the handler could not carry out.
func failed(status int, err error) *recorder {
	answer := &recorder{header: http.Header{}, status: status}
	_ = json.NewEncoder(&answer.body).Encode(map[string]string{"error": err.Error()}) // into memory
	return answer
}

// download is a file that is read while it arrives.
type download struct {
	form        io.ReadCloser // the form in which backends upload files
	contentType string
	ended       chan error // gets nil if the whole file arrived, or its reader did not want the rest
}

// download begins the download of the file of a task.
func (w *worker) download(ctx context.Context, t *task) *download {
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	file := &download{reader, form.FormDataContentType(), make(chan error, 1)}
	go func() {
		err := w.copyFile(ctx, t, form)
		_ = writer.CloseWithError(err) // always nil
		if errors.Is(err, io.ErrClosedPipe) {
			err = nil
		}
		file.ended <- err
	}()
	return file
}

// copyFile writes the file of a task to a form.
func (w *worker) copyFile(ctx context.Context, t *task, form *multipart.Writer) error {
	var file struct {
		Name string `json:"fileName"`
	}
	if err := json.Unmarshal(t.Body, &file); err != nil {
		return err
	}
	response, err := w.send(ctx, http.MethodGet, "/"+t.ID+"/file", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	part, err := form.CreateFormFile("file", file.Name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, response.Body); err != nil {
		return err
	}
	return form.Close()
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(status int)      { r.status = cmp.Or(r.status, status) }
