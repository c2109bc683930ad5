package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// process is a running server.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and was reaped
	err    error         // its result; valid after exited is closed
}

// launch starts cmd and returns once it is running.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run starts the server and waits for its end on one thread. On Linux the server gets
// its parent-death signal when the thread that forked it ends, and any other thread may
// end long before the process does.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	if p.err == nil {
		p.err = errors.New("exit status 0")
	}
	close(p.exited)
}

// stop asks the server to end, and kills it after the limit.
func (p *process) stop(mode StopMode, limit time.Duration) error {
	err := p.signal(mode)
	if errors.Is(err, os.ErrProcessDone) {
		<-p.exited
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
	}
	err = p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.exited
	return errors.Join(fmt.Errorf("stop PostgreSQL: killed, as it had not ended %v after a %s stop", limit, mode), err)
}
