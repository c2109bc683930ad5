//go:build linux

package sandbox

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ospulse/agent/internal/procfs"
)

// supervise watches the sandbox from its start to its end.
func (p *Process) supervise() {
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		m, _, err := receive(p.reports)
		if err == nil && m.Op == opExited {
			p.mu.Lock()
			status := syscall.WaitStatus(m.Status)
			p.status = &status
			p.mu.Unlock()
		}
	}()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	running, stop := true, p.stop
	for running {
		select {
		case <-p.ended:
			p.letting.Lock() // let Release receive the reason of a failed exec first
			running = false
			p.letting.Unlock()
		case <-stop:
			p.killAll()
			select {
			case <-p.ended:
			case <-time.After(stopTimeout): // the process hangs in the kernel
			}
			running = false
		case <-tick.C:
			p.check()
		}
	}
	left := p.killAll()
	_ = p.reports.SetReadDeadline(time.Now().Add(time.Second)) // the socket closes with process 1
	<-exited
	p.cleanUp()
	p.finish(left)
	close(p.done)
}

// check enforces the limits that the kernel does not enforce.
func (p *Process) check() {
	p.mu.Lock()
	released := p.released
	p.mu.Unlock()
	for _, name := range p.cgroup.hit() {
		p.hit(name)
	}
	if !released.IsZero() && time.Since(released) > p.options.Timeout {
		p.end(ReasonTimeout)
	}
	if p.cgroup.controls("memory") && p.cgroup.controls("pids") {
		return
	}
	members := p.members()
	if len(members) >= p.options.Processes {
		p.hit("processes")
	}
	if p.cgroup.controls("memory") {
		return
	}
	if used := memoryOf(members); used > int64(p.options.MemoryMB+p.options.DiskMB)<<20 {
		p.hit("memory")
		p.end(ReasonMemory)
	}
}

func (p *Process) hit(limit string) {
	p.mu.Lock()
	p.limits[limit] = true
	p.mu.Unlock()
}

// members returns the pids of the tree's living processes, including process 1.
func (p *Process) members() []int {
	if p.namespace == "" {
		return nil // the namespace is not known yet
	}
	pids, err := procfs.PIDs()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(pids, func(pid int) bool {
		if procfs.PIDNamespace(pid) != p.namespace {
			return true
		}
		process, err := procfs.Read(pid)
		return err != nil || process.Zombie
	})
}

// killAll kills the tree. It returns the pids that are left after stopTimeout.
func (p *Process) killAll() []int {
	_ = p.control.Close() // a held launcher then ends
	deadline := time.Now().Add(stopTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		p.cgroup.kill()
		if p.init != nil {
			_ = p.init.Kill() // the whole namespace ends with process 1
		}
		select {
		case <-p.ended:
		default:
			_ = p.cmd.Process.Kill()
		}
		if left := p.members(); len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(wait)
	}
}

func (p *Process) cleanUp() {
	p.endNAT()
	p.closeSockets()
	p.output.close()
	for _, name := range p.cgroup.hit() {
		p.hit(name)
	}
	if err := p.cgroup.remove(); err != nil {
		p.options.Log.Warn("the sandbox left its cgroup behind", "error", err)
	}
	if p.init != nil {
		_ = p.init.Release() // it has ended
	}
}

func (p *Process) closeSockets() {
	_ = p.reports.Close()
	_ = p.control.Close()
}

// finish stores the result after the tree has ended.
func (p *Process) finish(left []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Result{Reason: p.reason, ExitCode: -1, Left: left}
	r.Output, r.OutputBytes = p.output.last(tailBytes), p.output.total()
	if !p.released.IsZero() {
		r.Duration = time.Since(p.released)
	}
	byItself := ReasonExited
	if s := p.status; s != nil && s.Signaled() {
		r.Signal, byItself = s.Signal(), p.killedBy(s.Signal())
	} else if s != nil {
		r.ExitCode = s.ExitStatus()
	}
	if r.Reason == "" {
		r.Reason = byItself
	}
	for _, name := range []string{"memory", "processes", "cpu", "disk"} {
		if p.limits[name] {
			r.Limits = append(r.Limits, name)
		}
	}
	p.result = r
}

// killedBy returns the reason that a signal implies. It records the limit if the signal came
// from one.
func (p *Process) killedBy(signal syscall.Signal) Reason {
	switch {
	case signal == syscall.SIGXCPU:
		p.limits["cpu"] = true
		return ReasonCPU
	case signal == syscall.SIGXFSZ:
		p.limits["disk"] = true
		return ReasonDisk
	case signal == syscall.SIGKILL && p.limits["memory"]:
		return ReasonMemory
	}
	return ReasonKilled
}

// memoryOf returns the memory use of processes in bytes. It divides shared memory among the
// processes that share it (PSS).
func memoryOf(pids []int) int64 {
	var total int64
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
				if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					total += kb << 10
				}
			}
		}
	}
	return total
}
