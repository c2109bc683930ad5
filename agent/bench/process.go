//go:build linux

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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTimeout is how long a server may take until it listens.
const startTimeout = 30 * time.Second

// tick is the unit of processor time in /proc, the same on all machines that Go
// runs on: see USER_HZ in time(7).
const tick = 10 * time.Millisecond

// process is a server of its own process, which logs to a file.
type process struct {
	url   string
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed when it has ended and err is set
	err   error
}

// startProcess starts a server in a folder, and returns when it has logged the JSON
// line that says where it listens.
func startProcess(ctx context.Context, dir string, env []string, path string, args ...string) (*process, error) {
	name := filepath.Base(path)
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
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
		if p.url = listens(text); p.url != "" {
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

// listens gives the URL that a log of JSON lines says its program listens at.
func listens(log []byte) string {
	for line := range bytes.Lines(log) {
		var entry struct{ Msg, URL string }
		if json.Unmarshal(line, &entry) == nil && (entry.Msg == "listening" || entry.Msg == "ready") {
			return entry.URL
		}
	}
	return ""
}

// stop tells the program to end and waits until it has. It may be called again.
func (p *process) stop() error {
	told := p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	_ = p.log.Close() // again, perhaps
	if told == nil && p.err != nil {
		return fmt.Errorf("%s ended with %w; its log ends:\n%s", filepath.Base(p.cmd.Path), p.err, p.logTail())
	}
	return nil
}

// logTail gives the end of the log, for an error.
func (p *process) logTail() []byte {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(text[max(0, len(text)-2000):])
}

// usage is what a process has used so far.
type usage struct {
	cpu    time.Duration
	peakMB float64
}

func (p *process) usage() (u usage, err error) {
	folder := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	stat, err := os.ReadFile(folder + "stat")
	if err != nil {
		return u, err
	}
	status, err := os.ReadFile(folder + "status")
	if err != nil {
		return u, err
	}
	if u.cpu, err = parseCPU(string(stat)); err != nil {
		return u, err
	}
	u.peakMB, err = parsePeak(status)
	return u, err
}

// parseCPU reads the processor time in /proc/<pid>/stat, see proc_pid_stat(5).
func parseCPU(stat string) (time.Duration, error) {
	// 12 (name with spaces) S 1 … 14th: utime stime
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("no processor time in %q", stat)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, fmt.Errorf("read the processor time: %w", err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		return 0, fmt.Errorf("read the processor time: %w", err)
	}
	return tick * time.Duration(user+system), nil
}

// parsePeak reads the most memory that a process had, from /proc/<pid>/status, in
// MiB.
func parsePeak(status []byte) (float64, error) {
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "VmHWM:" {
			kilobytes, err := strconv.Atoi(string(fields[1]))
			return float64(kilobytes) / 1024, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/<pid>/status")
}
