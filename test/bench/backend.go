package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// buildBackend builds the backend as it is released and gives its path.
func buildBackend(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "ospulse-backend")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "ospulse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the backend: %w\n%s", err, out)
	}
	return path, nil
}

// withBackend starts the backend on a store, does something with it and stops it.
// When that fails, the error has the end of the backend's log.
func (l *lab) withBackend(ctx context.Context, s store, fn func(*process) error) error {
	p, err := startProcess(ctx, s.dir, l.binary, "PORT=0", "DATA_DIR="+s.dir, "DATABASE_URL="+s.options.URL,
		"LOG_FORMAT=json", "MIN_FREE_MB=0", "AGENT_SERVICE_URL="+l.agent.url)
	if err != nil {
		return err
	}
	if err := fn(p); err != nil {
		return errors.Join(fmt.Errorf("%w; the backend's log ends:\n%s", err, p.logTail()), p.stop())
	}
	return p.stop()
}

// startSession uploads a file, has the agent monitor, and gives the session's ID:
// events find it as they do in real life.
func startSession(ctx context.Context, url string) (id string, err error) {
	id, err = uploadFile(ctx, url)
	if err == nil {
		request := fmt.Sprintf(`{"sessionId": %q, "mode": 1}`, id)
		_, err = call(ctx, http.MethodPost, url+"/api/start-monitor", "application/json", bytes.NewBufferString(request))
	}
	if err != nil {
		return "", fmt.Errorf("start a session: %w", err)
	}
	return id, nil
}

func uploadFile(ctx context.Context, url string) (sessionID string, err error) {
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	file, err := parts.CreateFormFile("file", "sample.exe")
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(file, "MZ"); err != nil {
		return "", err
	}
	if err := parts.Close(); err != nil {
		return "", err
	}
	text, err := call(ctx, http.MethodPost, url+"/api/create-session", parts.FormDataContentType(), &form)
	if err != nil {
		return "", err
	}
	var created struct{ SessionID string }
	err = json.Unmarshal(text, &created)
	return created.SessionID, err
}

// call makes a request and gives the body of its answer, which must be a 200.
func call(ctx context.Context, method, url, contentType string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.300s", method, url, response.Status, text)
	}
	return text, err
}
