//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// lab is what all measurements share: a temporary folder, the programs, the sink.
type lab struct {
	options
	progress io.Writer
	dir      string
	self     string // this program
	agent    string
	backend  string // built when it is needed
	sink     *process
}

// openLab builds the agent and starts the sink.
func openLab(ctx context.Context, o options, progress io.Writer) (l *lab, err error) {
	l = &lab{options: o, progress: progress}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.dir, err = os.MkdirTemp("", "ospulse-agent-bench-"); err != nil {
		return l, err
	}
	if l.self, err = os.Executable(); err != nil {
		return l, err
	}
	if l.agent, err = l.build(ctx, "ospulse-agent", "ospulse/agent"); err != nil {
		return l, err
	}
	l.sink, err = startProcess(ctx, l.dir, []string{}, l.self, sinkCommand)
	return l, err
}

// close ends everything and removes the folder.
func (l *lab) close() error {
	var err error
	if l.sink != nil {
		err = l.sink.stop()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// say tells what is being done.
func (l *lab) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l.progress, format+"\n", args...)
}

// build builds a program of this module as it is released.
func (l *lab) build(ctx context.Context, name, pkg string) (path string, err error) {
	l.say("building %s", name)
	path = filepath.Join(l.dir, name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// stage is an agent, and whom it tells: the sink, or a real backend.
type stage struct {
	agent, backend *process
	isReal         bool
}

// stageOptions say what a stage is like.
type stageOptions struct {
	content int  // bytes, as the agent's --content
	isReal  bool // with a backend on SQLite
}

// withStage starts an agent, does something and stops it. What the agent used
// meanwhile goes into the sample.
func (l *lab) withStage(ctx context.Context, o stageOptions, fn func(*stage) (sample, error)) (s sample, err error) {
	dir, err := os.MkdirTemp(l.dir, "stage-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	port, err := freePort(ctx)
	if err != nil {
		return s, err
	}
	st := &stage{backend: l.sink, isReal: o.isReal}
	if o.isReal {
		if st.backend, err = l.startBackend(ctx, dir, port); err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, st.backend.stop()) }()
	}
	if st.agent, err = l.startAgent(ctx, dir, port, st.backend.url, o.content); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, st.agent.stop()) }()
	before, err := st.agent.usage()
	if err != nil {
		return s, err
	}
	if s, err = fn(st); err != nil {
		return s, fmt.Errorf("%w; the agent's log ends:\n%s", err, st.agent.logTail())
	}
	after, err := st.agent.usage()
	s.AgentCPU, s.PeakMB = (after.cpu - before.cpu).Seconds(), after.peakMB
	return s, err
}

func (l *lab) startAgent(ctx context.Context, dir string, port int, backend string, content int) (*process, error) {
	return startProcess(ctx, dir, []string{}, l.agent, "--backend", backend, "--port", strconv.Itoa(port), "--data", filepath.Join(dir, "agent"),
		"--content", strconv.Itoa(content), "--log-format", "json")
}

func (l *lab) startBackend(ctx context.Context, dir string, agentPort int) (_ *process, err error) {
	if l.backend == "" {
		if l.backend, err = l.build(ctx, "ospulse-backend", "ospulse"); err != nil {
			return nil, err
		}
	}
	return startProcess(ctx, dir, []string{
		"PORT=0", "DATA_DIR=" + filepath.Join(dir, "backend"), "DATABASE_URL=", "LOG_FORMAT=json", "MIN_FREE_MB=0",
		"AGENT_SERVICE_URL=http://127.0.0.1:" + strconv.Itoa(agentPort),
	}, l.backend)
}

// freePort finds a port for the agent, whose number the backend has to know first.
func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
