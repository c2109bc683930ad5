package handlers

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Timeouts of a connection. A whole request or answer has none, because an upload or an
// export may take long.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
)

// settleTime is how long a shutdown waits for accepted connections that have not sent
// their request yet. http.Server.Shutdown would drop them.
const settleTime = 500 * time.Millisecond

// Serve serves handler until ctx ends. Then it accepts no more connections and lets
// accepted requests finish for at most patience, after which it cuts them. It closes
// the listener.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, patience time.Duration, log *slog.Logger) error {
	var conns connections
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ConnState:         conns.track,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}

	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := listener.Close()
	if serveErr := <-ended; !errors.Is(serveErr, net.ErrClosed) {
		err = errors.Join(err, serveErr)
	}
	server.SetKeepAlivesEnabled(false) // each connection closes after its answer
	conns.settle(deadline)
	if shutdownErr := server.Shutdown(deadline); shutdownErr != nil {
		log.Warn("some requests did not finish in time and are cut", "error", shutdownErr)
		err = errors.Join(err, server.Close())
	}
	return err
}

// connections tracks the connections that have a request, or may send their first.
type connections struct {
	mu      sync.Mutex
	busy    map[net.Conn]struct{}
	settled chan struct{} // if not nil, closed when no connection is busy
}

func (c *connections) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive:
		if c.busy == nil {
			c.busy = map[net.Conn]struct{}{}
		}
		c.busy[conn] = struct{}{}
	case http.StateIdle, http.StateClosed, http.StateHijacked:
		delete(c.busy, conn)
	}
	if c.settled != nil && len(c.busy) == 0 {
		close(c.settled)
		c.settled = nil
	}
}

// settle waits until no connection is busy, at most for settleTime. Shutdown knows the
// requests that are running by then.
func (c *connections) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	settled := make(chan struct{})
	c.mu.Lock()
	if len(c.busy) == 0 {
		close(settled)
	} else {
		c.settled = settled
	}
	c.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}
