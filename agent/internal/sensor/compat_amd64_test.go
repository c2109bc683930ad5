//go:build linux

package sensor

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"ospulse/agent/internal/event"
)

// killedBy returns the signal that ended a program; 0 if it exited with status 0.
func killedBy(t *testing.T, err error) syscall.Signal {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return status.Signal()
		}
	}
	t.Fatal(err)
	return 0
}

// TestCompatAsRoot runs a 64-bit program that makes 32-bit calls, a known trick to evade
// tracers. A kernel booted with ia32_emulation=off, or a paravirtualised guest, ends such a
// program with SIGSEGV. The sensor then reports no such call, only the signal.
func TestCompatAsRoot(t *testing.T) {
	programs := build(t)
	signal := killedBy(t, exec.Command(programs+"/compat", "probe").Run())
	if signal != 0 && signal != syscall.SIGSEGV {
		t.Fatalf("the probe for 32-bit calls: %v", signal)
	}
	s := newSensor(t, Options{ContentBytes: 64})
	dir := t.TempDir()
	cmd, release := held(t, dir, programs+"/compat")
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if got := killedBy(t, cmd.Wait()); got != signal {
		t.Fatalf("the program was ended by %v, the probe by %v", got, signal)
	}
	closeWatch(t, w)
	var got []string
	var exits []int
	for _, e := range l.events {
		switch d := e.Data.(type) {
		case *event.File:
			if d.Result.Compat {
				got = append(got, d.Operation+" "+d.Path+" "+string(d.Content.Bytes))
			}
		case *event.Network:
			if d.Result.Compat {
				got = append(got, d.Operation+" "+d.Protocol)
			}
		case *event.Exit:
			exits = append(exits, d.Signal)
		}
	}
	path := dir + "/compat file"
	var want []string
	if signal == 0 {
		want = []string{
			"CreateFile " + path + " ", "WriteFile " + path + " by int 80", "WriteFile " + path + " byint 80",
			"Socket udp", "CloseFile " + path + " ",
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if !slices.Equal(exits, []int{int(signal)}) {
		t.Errorf("exits with signals %d, want %d", exits, signal)
	}
	if _, err := os.Stat(path); (err == nil) != (signal == 0) {
		t.Errorf("the file: %v", err)
	}
}
