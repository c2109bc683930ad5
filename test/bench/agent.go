package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// agent answers every request of the backend with success.
type agent struct {
	url    string
	server *http.Server
}

func startAgent(ctx context.Context) (*agent, error) {
	mux := http.NewServeMux()
	for route, answer := range map[string]string{
		"POST /api/upload-file":   `{"message":"ok","filename":"sample.exe","path":"C:\\samples\\sample.exe"}`,
		"POST /api/start-monitor": `{"message":"started","sessionId":"x","monitoringPid":4711,"mode":1}`,
		"POST /api/stop-monitor":  `{"message":"stopped"}`,
		"GET /health":             `{"status":"healthy","service":"bench","active_sessions":1}`,
	} {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, answer)
		})
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &agent{url: "http://" + listener.Addr().String(), server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = a.server.Serve(listener) }() // ErrServerClosed
	return a, nil
}

func (a *agent) close() error { return a.server.Close() }
