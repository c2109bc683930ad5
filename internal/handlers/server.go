package handlers

import (
	"context"
	"crypto/tls"
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

// Certificates returns the certificate for a connection.
type Certificates func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// settleTime is how long a stop waits for the requests of accepted connections that have
// not sent any yet.
const settleTime = 500 * time.Millisecond

// Serve serves handler until ctx ends, over TLS if certificates is not nil. Then it accepts no more connections, closes those
// that send no request within settleTime, and waits up to patience for the others to
// finish; it cuts the rest. It closes the listener.
func Serve(ctx context.Context, listener net.Listener, certificates Certificates, handler http.Handler, patience time.Duration, log *slog.Logger) error {
	var conns connections
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ConnState:         conns.track,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() {
		if certificates == nil {
			ended <- server.Serve(listener)
			return
		}
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificates}
		ended <- server.ServeTLS(listener, "", "")
	}()
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

// connections holds the connections that have a request or may send one.
type connections struct {
	mu      sync.Mutex
	busy    map[net.Conn]http.ConnState // StateNew: it has not sent a byte yet
	settled chan struct{}               // if not nil, closed when none is busy
}

func (c *connections) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive:
		if c.busy == nil {
			c.busy = map[net.Conn]http.ConnState{}
		}
		c.busy[conn] = state
	case http.StateIdle, http.StateClosed, http.StateHijacked:
		delete(c.busy, conn)
	}
	if c.settled != nil && len(c.busy) == 0 {
		close(c.settled)
		c.settled = nil
	}
}

// settle waits until no connection is busy, at most for settleTime. It then closes the
// connections without a request: Shutdown would wait 5 s for them. Shutdown knows those
// with a request.
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
		c.mu.Lock()
		defer c.mu.Unlock()
		for conn, state := range c.busy {
			if state == http.StateNew {
				_ = conn.Close()
			}
		}
	}
}
