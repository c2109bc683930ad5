package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startTimeout is how long a server may take until it listens.
const startTimeout = time.Minute

// Process is a server in its own process. It logs to a file, because reading a pipe
// would cost processor time during the measurement.
type Process struct {
	URL string // where it listens
	*os.Process
	log   *os.File
	ended chan struct{} // closed when the process has ended and err is set
	err   error
}

// Start starts a program in dir with exactly the environment env, and returns when the
// program has logged the JSON line {"msg": "listening", "url": …} or "ready", or as
// VictoriaLogs does {"msg": "started server at URL"}.
func Start(ctx context.Context, dir string, env []string, path string, args ...string) (*Process, error) {
	name := filepath.Base(path)
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append([]string{}, env...), log, log
	if _, err = cmd.StdinPipe(); err == nil { // the pipe closes when this program ends, however that happens
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	p := &Process{Process: cmd.Process, log: log, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := p.awaitURL(ctx); err != nil {
		err = fmt.Errorf("start %s: %w; its log ends:\n%s", name, err, p.LogTail())
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// awaitURL waits until the program has logged where it listens.
func (p *Process) awaitURL(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it does not listen after %s", startTimeout))
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		text, err := os.ReadFile(p.log.Name())
		if err != nil {
			return err
		}
		if p.URL = listeningURL(text); p.URL != "" {
			return nil
		}
		select {
		case <-poll.C:
		case <-p.ended:
			return fmt.Errorf("it ended: %w", p.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// listeningURL returns the URL in a log of JSON lines, or "" if there is none yet.
func listeningURL(log []byte) string {
	for line := range bytes.Lines(log) {
		var entry struct{ Msg, URL string }
		if json.Unmarshal(line, &entry) != nil {
			continue
		}
		if entry.Msg == "listening" || entry.Msg == "ready" {
			return entry.URL
		}
		if url, ok := strings.CutPrefix(entry.Msg, "started server at "); ok {
			return strings.TrimSuffix(url, "/")
		}
	}
	return ""
}

// Stop interrupts the program and waits until it has ended. A program that then fails
// is an error. A second call does nothing.
func (p *Process) Stop() error {
	interrupted := p.Signal(os.Interrupt)
	if interrupted != nil && !errors.Is(interrupted, os.ErrProcessDone) { // Windows has no signals
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	<-p.ended
	_ = p.log.Close() // a second call closes it again
	if interrupted == nil && p.err != nil {
		return fmt.Errorf("%s ended with %w; its log ends:\n%s", filepath.Base(p.log.Name()), p.err, p.LogTail())
	}
	return nil
}

// ForgetLog empties the log, which has a line for each request.
func (p *Process) ForgetLog() error { return p.log.Truncate(0) }

// LogTail returns the end of the log, for an error.
func (p *Process) LogTail() []byte {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(text[max(0, len(text)-2000):])
}
