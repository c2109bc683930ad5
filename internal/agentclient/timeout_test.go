package agentclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/models"
)

// zeros is a file of n zero bytes.
func zeros(n int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(zero{}, n)), nil }
}

type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// pipes is an in-memory network without buffers.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

// testOnFakeTime runs call against an agent that handles requests with handle, in a
// synctest bubble, and returns how long the call took. done is closed when call has
// returned.
func testOnFakeTime(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, done <-chan struct{}), call func(context.Context, *Client) error) (took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := pipes{make(chan net.Conn), make(chan struct{})}
		done := make(chan struct{})
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, done) })}
		go func() { _ = server.Serve(network) }()
		c := New("http://agent:7000", 8*time.Second)
		c.transport.(*http.Transport).DialContext = network.dial

		begin := time.Now()
		err = call(t.Context(), c)
		took = time.Since(begin)

		close(done)
		c.transport.(*http.Transport).CloseIdleConnections()
		server.Close()
	})
	return took, err
}

// pause waits for d or until done is closed.
func pause(d time.Duration, done <-chan struct{}) {
	select {
	case <-time.After(d):
	case <-done:
	}
}

func TestTimeouts(t *testing.T) {
	type handler = func(w http.ResponseWriter, r *http.Request, done <-chan struct{})
	silent := func(_ http.ResponseWriter, _ *http.Request, done <-chan struct{}) { <-done }
	// drip sends headers after a while, then one byte a second.
	drip := func(headersAfter time.Duration, body string) handler {
		return func(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
			pause(headersAfter, done)
			_ = http.NewResponseController(w).Flush()
			for _, b := range []byte(body) {
				pause(time.Second, done)
				_, _ = w.Write([]byte{b})
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	// take reads an upload in pieces of 64 KiB, one per pace, up to a number of bytes.
	take := func(pace time.Duration, upTo int64) handler {
		return func(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
			for left := upTo; left > 0; left -= 64 << 10 {
				if n, _ := io.CopyN(io.Discard, r.Body, 64<<10); n < 64<<10 {
					return
				}
				pause(pace, done)
			}
			<-done
		}
	}
	upload := func(size int64) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error {
			_, err := c.Upload(ctx, File{Name: "a.exe", SizeBytes: size, Open: zeros(size)})
			return err
		}
	}
	op := func(name string) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error { return operations[name](c, ctx) }
	}
	const silence = "the agent at http://agent:7000 did not answer within 8s"
	for name, test := range map[string]struct {
		agent    handler
		call     func(context.Context, *Client) error
		want     string // "" is success
		min, max time.Duration
	}{
		"silent, health":                    {silent, op("health"), silence, 8 * time.Second, 8 * time.Second},
		"silent, processes":                 {silent, op("processes"), silence, 8 * time.Second, 8 * time.Second},
		"silent, upload":                    {silent, op("upload"), silence, 8 * time.Second, 9 * time.Second},
		"silent, start":                     {silent, op("start"), silence, 8 * time.Second, 8 * time.Second},
		"silent, stop":                      {silent, op("stop"), silence, 8 * time.Second, 8 * time.Second},
		"drips its answer":                  {drip(0, strings.Repeat(" ", 1000)), op("start"), silence, 8 * time.Second, 8 * time.Second},
		"answers late":                      {drip(5*time.Second, "{}"), op("start"), "", 7 * time.Second, 7 * time.Second},
		"answers late and slowly":           {drip(7*time.Second, "{}"), op("start"), silence, 8 * time.Second, 8 * time.Second},
		"lists late and slowly":             {drip(7*time.Second, "[   ]"), op("processes"), "", 12 * time.Second, 12 * time.Second},
		"lists without end":                 {drip(7*time.Second, strings.Repeat(" ", 1000)), op("processes"), silence, 15 * time.Second, 15 * time.Second},
		"takes a file slowly but steadily":  {take(5*time.Second, 1<<40), upload(3 << 20), "", 4 * time.Minute, 5 * time.Minute},
		"stops taking a file in the middle": {take(time.Second, 1<<20), upload(100 << 20), silence, 20 * time.Second, 25 * time.Second},
		"takes a file for ever":             {take(5*time.Second, 1<<40), upload(100 << 20), "did not finish within 5m0s", 5 * time.Minute, 5 * time.Minute},
		"has the file and says nothing":     {take(0, 2<<20), upload(2<<20 - 1000), "", 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			took, err := testOnFakeTime(t, test.agent, test.call)
			if took < test.min || took > test.max {
				t.Errorf("took %v, want %v to %v", took, test.min, test.max)
			}
			if test.want != "" {
				wantError(t, err, models.CodeAgentTimeout, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}

	t.Run("404 on each spelling, late: one timeout for all", func(t *testing.T) {
		took, err := testOnFakeTime(t, func(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
			pause(6*time.Second, done)
			http.NotFound(w, r)
		}, op("stop"))
		wantError(t, err, models.CodeAgentTimeout, silence)
		if took != 8*time.Second {
			t.Errorf("took %v", took)
		}
	})
	t.Run("the caller's deadline", func(t *testing.T) {
		took, err := testOnFakeTime(t, silent, func(ctx context.Context, c *Client) error {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			return upload(100<<20)(ctx, c)
		})
		wantError(t, err, models.CodeAgentTimeout, "did not answer in time")
		if took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v after %v", err, took)
		}
	})
	t.Run("the caller gives up", func(t *testing.T) {
		for name, call := range operations {
			took, err := testOnFakeTime(t, silent, func(ctx context.Context, c *Client) error {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(2*time.Second, cancel)
				return call(c, ctx)
			})
			if took != 2*time.Second || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v after %v", name, err, took)
			}
		}
	})
}

func TestTimeoutsOnARealNetwork(t *testing.T) {
	t.Run("accepts and says nothing", func(t *testing.T) {
		url := rawAgent(t, func(_ int, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		for name, call := range operations {
			t.Run(name, func(t *testing.T) {
				wantError(t, call(New(url, 100*time.Millisecond), t.Context()), models.CodeAgentTimeout, "did not answer within 100ms")
			})
		}
	})
	t.Run("stops reading in the middle", func(t *testing.T) {
		done := make(chan struct{})
		a := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			<-done
		}))
		defer a.Close()
		defer close(done)
		_, err := New(a.URL, 200*time.Millisecond).Upload(t.Context(), File{Name: "a.exe", SizeBytes: 100 << 20, Open: zeros(100 << 20)})
		wantError(t, err, models.CodeAgentTimeout, "did not answer within 200ms")
	})
}
