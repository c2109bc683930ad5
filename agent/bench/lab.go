//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"ospulse/test/freeport"
	"ospulse/test/testbed"
)

// lab is shared by all measurements: a temporary folder, the programs and the sink.
type lab struct {
	options
	progress io.Writer
	dir      string
	self     string // this program
	agent    string
	backend  string // built at the first use
	sink     *testbed.Process
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
	l.say("building ospulse-agent")
	if l.agent, err = testbed.Build(ctx, l.dir, "ospulse-agent", "ospulse/agent"); err != nil {
		return l, err
	}
	l.sink, err = testbed.Start(ctx, l.dir, nil, l.self, sinkCommand)
	return l, err
}

// close ends everything and removes the folder.
func (l *lab) close() error {
	var err error
	if l.sink != nil {
		err = l.sink.Stop()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// say reports progress.
func (l *lab) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l.progress, format+"\n", args...)
}

// stage is an agent and the receiver of its events: the sink or a real backend.
type stage struct {
	agent, backend *testbed.Process
	isReal         bool
}

// stageOptions configure a stage.
type stageOptions struct {
	content int      // bytes, as the agent's --content
	isReal  bool     // with a backend on SQLite
	more    []string // arguments of the agent
}

// withStage starts an agent, calls fn and stops the agent. It adds the agent's processor
// time and memory to the sample.
func (l *lab) withStage(ctx context.Context, o stageOptions, fn func(*stage) (sample, error)) (s sample, err error) {
	dir, err := os.MkdirTemp(l.dir, "stage-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	port, err := freeport.Get(ctx)
	if err != nil {
		return s, err
	}
	st := &stage{backend: l.sink, isReal: o.isReal}
	if o.isReal {
		if st.backend, err = l.startBackend(ctx, dir, port); err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, st.backend.Stop()) }()
	}
	if st.agent, err = l.startAgent(ctx, dir, port, st.backend.URL, o); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, st.agent.Stop()) }()
	before := testbed.CPU(st.agent.Pid)
	if s, err = fn(st); err != nil {
		return s, fmt.Errorf("%w; the agent's log ends:\n%s", err, st.agent.LogTail())
	}
	s.AgentCPU = (testbed.CPU(st.agent.Pid) - before).Seconds()
	if s.PeakMB = testbed.Megabytes(testbed.PeakBytes(st.agent.Pid)); s.PeakMB == 0 {
		return s, fmt.Errorf("the agent has ended; its log ends:\n%s", st.agent.LogTail())
	}
	return s, nil
}

func (l *lab) startAgent(ctx context.Context, dir string, port int, backend string, o stageOptions) (*testbed.Process, error) {
	return testbed.Start(ctx, dir, []string{"PATH=" + os.Getenv("PATH")}, l.agent, append([]string{
		"--backend", backend, "--port", strconv.Itoa(port), "--data", filepath.Join(dir, "agent"), "--content", strconv.Itoa(o.content), "--log-format", "json",
	}, o.more...)...)
}

func (l *lab) startBackend(ctx context.Context, dir string, agentPort int) (_ *testbed.Process, err error) {
	if l.backend == "" {
		l.say("building ospulse-backend")
		if l.backend, err = testbed.Build(ctx, l.dir, "ospulse-backend", "ospulse"); err != nil {
			return nil, err
		}
	}
	return testbed.Start(ctx, dir, []string{
		"PORT=0", "DATA_DIR=" + filepath.Join(dir, "backend"), "DATABASE_URL=", "LOG_FORMAT=json", "MIN_FREE_MB=0",
		"AGENT_SERVICE_URL=http://127.0.0.1:" + strconv.Itoa(agentPort),
	}, l.backend)
}

// freePort finds a port for the agent. The backend starts first and needs the number.
