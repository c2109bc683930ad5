package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// startTimeout is how long a server may take until it listens.
const startTimeout = time.Minute

// process is a server of its own process. It logs to a file: a pipe would have
// to be read, at the cost of what is measured.
type process struct {
	url   string
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed when it has ended and err is set
	err   error
}

// startProcess starts a program in a folder, with no other environment than env,
// and returns when it has logged the JSON line {"msg": "listening", "url": …}.
func startProcess(ctx context.Context, dir, path string, env ...string) (*process, error) {
	name := filepath.Base(path)
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	if _, err = cmd.StdinPipe(); err == nil { // it ends with this program, however that ends
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := p.awaitURL(ctx); err != nil {
		err = fmt.Errorf("start %s: %w; its log ends:\n%s", name, err, p.logTail())
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// awaitURL returns when the program says where it listens.
func (p *process) awaitURL(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it does not listen after %s", startTimeout))
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		text, err := os.ReadFile(p.log.Name())
		if err != nil {
			return err
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Msg, URL string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
				p.url = entry.URL
				return nil
			}
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

// pid is the process's number.
func (p *process) pid() int { return p.cmd.Process.Pid }

// stop tells the program to end and waits until it has. It may be called again.
func (p *process) stop() error {
	interrupted := p.cmd.Process.Signal(os.Interrupt)
	if interrupted != nil && !errors.Is(interrupted, os.ErrProcessDone) { // Windows has no signals
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	<-p.ended
	_ = p.log.Close() // again, perhaps
	if interrupted == nil && p.err != nil {
		return fmt.Errorf("%s ended with %w", filepath.Base(p.cmd.Path), p.err)
	}
	return nil
}

// forgetLog empties the log, which has a line for each request.
func (p *process) forgetLog() error { return p.log.Truncate(0) }

// logTail gives the end of the log, for an error.
func (p *process) logTail() []byte {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(text[max(0, len(text)-2000):])
}
