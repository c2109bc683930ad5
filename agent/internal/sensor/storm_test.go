//go:build linux

package sensor

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/procfs"
	"ospulse/test/wait"
)

// born identifies a process, even if its pid is reused.
type born struct {
	pid   int
	start time.Time
}

// TestStormAsRoot runs thousands of processes that end at once, some after forking. The
// start, the end and each executed image of a process are reported once.
func TestStormAsRoot(t *testing.T) {
	const each = 1000 // processes of each of two threads; of ten, two fork and three execute an image
	const processes, images = 2*each + 2*2*each/10, 2 * 3 * each / 10
	s := newSensor(t, Options{})
	events, cmd := watched(t, s, t.TempDir(), build(t)+"/storm", strconv.Itoa(each))
	if !cmd.ProcessState.Success() {
		t.Fatal(cmd.ProcessState)
	}
	begun, ended, ran := map[born]int{}, map[born]int{}, map[born]int{}
	codes := 0
	for _, e := range events {
		switch d := e.Data.(type) {
		case *event.Fork:
			if !d.IsThread {
				begun[born{d.New.PID, d.New.StartTime}]++
			}
		case *event.Creation:
			ran[born{d.New.PID, d.New.StartTime}]++
		case *event.Exit:
			ended[born{d.Actor.PID, d.Actor.StartTime}]++
			codes += d.Code
		case *event.Lost:
			t.Errorf("%d events lost", d.Count)
		}
	}
	if len(begun) != processes || len(ended) != processes+1 || len(ran) != images+1 { // and the program itself
		t.Errorf("%d began, %d ended, %d ran an image; want %d, %d, %d", len(begun), len(ended), len(ran), processes, processes+1, images+1)
	}
	for p, n := range begun {
		if n != 1 || ended[p] != 1 {
			t.Errorf("process %d began %d times and ended %d times", p.pid, n, ended[p])
		}
	}
	for p, n := range ran {
		if n != 1 || ended[p] != 1 {
			t.Errorf("process %d ran %d images and ended %d times", p.pid, n, ended[p])
		}
	}
	want := 0
	for i := range each {
		switch i % 10 {
		case 5:
			want += 2 * 2 * (i % 7)
		case 6:
			want += 2 * (i%7 + 7)
		case 8, 9:
			want += 2 * 7
		default:
			want += 2 * (i % 7)
		}
	}
	if codes != want {
		t.Errorf("the exit codes come to %d, want %d", codes, want)
	}
}

// TestNoFeedbackAsRoot watches the machine with a sink that imitates the agent and the
// backend: it sends each event over loopback to a process that writes it to a file. The
// sensor reports what a program does, and nothing of the agent and the backend.
func TestNoFeedbackAsRoot(t *testing.T) {
	programs := build(t)
	s := newSensor(t, Options{ContentBytes: 256})
	dir := t.TempDir()
	backend := exec.Command(python(t), "-c", `
import socket, sys
server = socket.create_server(('127.0.0.1', 0))
print(server.getsockname()[1], flush=True)
c = server.accept()[0]
while data := c.recv(65536):
    with open(sys.argv[1], 'ab') as f:
        f.write(data)
    c.sendall(b'.')
`, dir+"/stored")
	out, err := backend.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.Start(); err != nil {
		t.Fatal(err)
	}
	var line [16]byte
	n, err := out.Read(line[:])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	const writes = 300
	cmd, release := held(t, dir, programs+"/many", strconv.Itoa(writes))
	program := cmd.Process.Pid
	var mu sync.Mutex // guards counts: the sink runs in the sensor's goroutine
	counts := map[int]int{}
	w, err := s.Watch(Scope{All: true, Exclude: []int{os.Getpid(), backend.Process.Pid}}, func(e *event.Event) {
		var pid int
		switch d := e.Data.(type) {
		case *event.File:
			pid = d.Actor.PID
		case *event.Network:
			pid = d.Actor.PID
		}
		mu.Lock()
		defer mu.Unlock()
		if counts[pid]++; pid != os.Getpid() && pid != backend.Process.Pid && pid != program {
			return // another process of this machine
		}
		var answer [1]byte
		_, err := conn.Write(e.AppendJSON(nil))
		if err == nil {
			_, err = conn.Read(answer[:])
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(program); err != nil { // watched although its parent is excluded
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // feedback would add events with each flush
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	closeWatch(t, w)
	_ = conn.Close()
	if err := backend.Wait(); err != nil {
		t.Fatal(err)
	}
	if stored, err := os.Stat(dir + "/stored"); err != nil || stored.Size() == 0 {
		t.Fatalf("nothing was stored: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if counts[os.Getpid()] > 0 || counts[backend.Process.Pid] > 0 {
		t.Errorf("%d events of the agent and %d of the backend", counts[os.Getpid()], counts[backend.Process.Pid])
	}
	if got := counts[program]; got < writes || got > writes+100 {
		t.Errorf("%d events of a program that writes %d times", got, writes)
	}
}

// TestPauseAsRoot holds the reader for two seconds while two programs run at full speed, with
// a small ring. They are paused, so that nothing is lost, and each pause is reported.
func TestPauseAsRoot(t *testing.T) {
	programs := build(t)
	const calls = 100_000
	dir := t.TempDir()
	command := func(writes int) []string {
		return []string{"/bin/sh", "-c", "$0 $1 & $0 $1 & wait", programs + "/many", strconv.Itoa(writes)}
	}
	all, _ := watched(t, newSensor(t, Options{}), dir, command(0)...)
	s := newSensor(t, Options{ContentBytes: 256, RingBytes: 1 << 20})
	cmd, release := held(t, dir, command(calls)...)
	got, pauses := 0, 0
	var longest time.Duration
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true, Pause: true}, func(e *event.Event) {
		switch d := e.Data.(type) {
		case *event.Lost:
			t.Errorf("%d events lost", d.Count)
			return
		case *event.Paused:
			pauses++
			longest = max(longest, d.To.Sub(d.From))
			return
		}
		if got++; got == 100 {
			<-time.After(2 * time.Second) // the reader is held
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	t.Logf("%d events, %d pauses, the longest of %s", got, pauses, longest)
	if want := len(all) + 2*calls; got != want {
		t.Errorf("%d events, want %d", got, want)
	}
	if pauses < 2 || longest < time.Second || longest > time.Minute {
		t.Errorf("%d pauses, the longest of %s", pauses, longest)
	}
}

// TestLatePauseAsRoot: a process that the kernel side pauses after the ring was read, because
// it had looked at the ring before, is resumed too.
func TestLatePauseAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() }() // the error is that it was killed
	paused := make(chan *event.Paused, 1)
	w, err := s.Watch(Scope{PIDs: []int{sleeper.Process.Pid}, Pause: true}, func(e *event.Event) {
		if d, ok := e.Data.(*event.Paused); ok {
			paused <- d
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeWatch(t, w)
	if err := sleeper.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := s.objects.Pauses.Put(uint32(sleeper.Process.Pid), &pause{Sessions: 1 << w.slot}); err != nil {
		t.Fatal(err)
	}
	if d := wait.Receive(t, "the process is resumed", paused); d.PID != sleeper.Process.Pid {
		t.Errorf("process %d was resumed, want %d", d.PID, sleeper.Process.Pid)
	}
}

// TestLateStopAsRoot: a process that gets the SIGSTOP of its pause after the agent has resumed
// it is resumed again.
func TestLateStopAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() }() // the error is that it was killed
	isStopped := func() bool {
		p, err := procfs.Read(sleeper.Process.Pid)
		return err == nil && p.Stopped
	}
	stopped := make(chan error, 1)
	w, err := s.Watch(Scope{PIDs: []int{sleeper.Process.Pid}, Pause: true}, func(e *event.Event) {
		if _, ok := e.Data.(*event.Paused); ok {
			stopped <- sleeper.Process.Signal(syscall.SIGSTOP)
			wait.For(t, "the process is stopped", isStopped)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeWatch(t, w)
	if err := s.objects.Pauses.Put(uint32(sleeper.Process.Pid), &pause{Sessions: 1 << w.slot}); err != nil {
		t.Fatal(err)
	}
	if err := wait.Receive(t, "the process was resumed", stopped); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the process is resumed again", func() bool { return !isStopped() })
}

// TestLossIsCountedAsRoot overruns the ring with two programs at once: the events that
// arrive and the reported losses add up to exactly the events of the run.
func TestLossIsCountedAsRoot(t *testing.T) {
	programs := build(t)
	const calls = 100_000
	dir := t.TempDir()
	command := func(writes int) []string {
		return []string{"/bin/sh", "-c", "$0 $1 & $0 $1 & wait", programs + "/many", strconv.Itoa(writes)}
	}
	all, _ := watched(t, newSensor(t, Options{}), dir, command(0)...)
	s := newSensor(t, Options{ContentBytes: 256, RingBytes: 1 << 16})
	cmd, release := held(t, dir, command(calls)...)
	var reported, got uint64
	var lost []*event.Lost
	ended := make(chan struct{})
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, func(e *event.Event) {
		if d, ok := e.Data.(*event.Lost); ok {
			reported += d.Count
			lost = append(lost, d)
			return
		}
		if got++; got == 100 {
			<-ended // the reader blocks while the program runs
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	close(ended)
	closeWatch(t, w)
	t.Logf("%d events arrived; %d were lost, in %d reports", got, reported, len(lost))
	if reported == 0 {
		t.Fatal("nothing was lost: the test shows nothing")
	}
	if done := uint64(len(all) + 2*calls); got+reported != done {
		t.Errorf("%d events arrived and %d were lost, of %d", got, reported, done)
	}
	var cpus []int
	for _, d := range lost {
		if d.From.After(d.To) || d.From.Before(begin.Add(-time.Second)) || d.To.After(time.Now()) {
			t.Errorf("a loss from %s to %s, in a run that began at %s", d.From, d.To, begin)
		}
		if !slices.Contains(cpus, d.CPU) {
			cpus = append(cpus, d.CPU)
		}
	}
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("lost on CPUs %v of %s", cpus, strings.TrimSpace(string(online)))
}
