package handlers_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"ospulse/internal/handlers"
)

// TestStopDoesNotWaitForSpareConnections checks that Serve cuts nothing, and has nothing to
// report, when a client holds a connection on which it has sent nothing.
// http.Server.Shutdown would wait for 5 s.
func TestStopDoesNotWaitForSpareConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		answer := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		ended <- handlers.Serve(ctx, listener, nil, answer, 4*time.Second, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	spare, err := net.Dial("tcp", listener.Addr().String()) // accepted before the next one
	if err != nil {
		t.Fatal(err)
	}
	defer spare.Close()
	response, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil || log.Len() > 0 {
		t.Errorf("%v, %s", err, &log)
	}
}
