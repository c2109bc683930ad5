package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// localServer is a server in this program.
type localServer struct {
	url    string
	server *http.Server
}

// serveLocal serves on a free port of loopback.
func serveLocal(ctx context.Context, handler http.Handler) (*localServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &localServer{"http://" + listener.Addr().String(), &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = s.server.Serve(listener) }() // ErrServerClosed
	return s, nil
}

func (s *localServer) close() error { return s.server.Close() }

// startAgent starts an agent that answers every request of the backend with success.
func startAgent(ctx context.Context) (*localServer, error) {
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
	return serveLocal(ctx, mux)
}
