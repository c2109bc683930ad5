package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"ospulse/test/testbed"
)

// withBackend starts the backend on a store, calls fn and stops the backend. An error
// of fn is returned with the end of the backend's log. Settings are NAME=VALUE.
func (l *lab) withBackend(ctx context.Context, s store, fn func(*testbed.Process) error, settings ...string) error {
	p, err := testbed.Start(ctx, s.dir, append(l.environment(s), settings...), l.binary)
	if err != nil {
		return err
	}
	if err := fn(p); err != nil {
		return errors.Join(fmt.Errorf("%w; the backend's log ends:\n%s", err, p.LogTail()), p.Stop())
	}
	return p.Stop()
}

// environment returns the backend's settings for a store.
func (l *lab) environment(s store) []string {
	return []string{
		"PORT=0", "DATA_DIR=" + s.dir, "DATABASE_URL=" + s.options.URL,
		"LOG_FORMAT=json", "MIN_FREE_MB=0", "AGENT_SERVICE_URL=" + l.agent.url,
	}
}

// seal makes the backend seal all events of a session.
func (l *lab) seal(ctx context.Context, s store, sessionID string) error {
	command := exec.CommandContext(ctx, l.binary, "seal", sessionID)
	command.Dir, command.Env = s.dir, l.environment(s)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("seal a session: %w\n%s", err, out)
	}
	return nil
}

// startSession uploads a file, starts monitoring and returns the session's ID. The
// backend then attributes events to the session as in production.
func startSession(ctx context.Context, url string) (id string, err error) {
	id, err = testbed.UploadFile(ctx, url, "sample.exe", "MZ")
	if err == nil {
		err = testbed.Post(ctx, url+"/api/start-monitor", map[string]any{"sessionId": id, "mode": 1})
	}
	if err != nil {
		return "", fmt.Errorf("start a session: %w", err)
	}
	return id, nil
}
