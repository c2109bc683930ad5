//go:build linux

package monitor

import (
	"bufio"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/procfs"
	"ospulse/test/wait"
)

// thread starts a Python program with two threads. The first thread runs the code in first.
// thread returns the program and the id of the second thread.
func thread(t *testing.T, first string) (cmd *exec.Cmd, id int) {
	t.Helper()
	cmd = exec.Command("python3", "-c", `
import ctypes, sys, threading
def second():
    print(threading.get_native_id(), flush=True)
    sys.stdin.read()
threading.Thread(target=second).start()
`+first)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() //nolint:errcheck // the exit status does not matter
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if id, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return cmd, id
}

// Mode 2 refuses an id that does not belong to a running process, and says what has that id.
func TestChosenProcesses(t *testing.T) {
	m := newMonitor(&world{})
	two, second := thread(t, "")
	dead := exec.Command("true")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	defer dead.Wait() //nolint:errcheck // it is a zombie until here
	wait.For(t, "a zombie", func() bool { return procfs.HasEnded(dead.Process.Pid) })
	for pid, want := range map[int]string{
		second:           strconv.Itoa(second) + " is a thread of process " + strconv.Itoa(two.Process.Pid),
		dead.Process.Pid: "process " + strconv.Itoa(dead.Process.Pid) + " has ended",
	} {
		_, err := m.Start(t.Context(), Request{SessionID: "s", Mode: ModePIDs, PIDs: []int{pid}})
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}

	// A process continues when its first thread has ended.
	headless, _ := thread(t, "ctypes.CDLL(None).pthread_exit(None)")
	pid := headless.Process.Pid
	wait.For(t, "its first thread has ended", func() bool { p, err := procfs.Read(pid); return err == nil && p.Zombie })
	for _, pids := range [][]int{{two.Process.Pid}, {pid}} {
		if _, err := m.Start(t.Context(), Request{SessionID: "s", Mode: ModePIDs, PIDs: pids}); err != nil {
			t.Error(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// session_start reports the limits of the session's watch beside those of the sensor.
func TestLimitsOfAWatch(t *testing.T) {
	w := &world{limits: "no packets of process 7"}
	m := newMonitor(w)
	m.options.SensorLimits = "no files"
	var limits string
	m.options.Deliver = func(_ string, e *event.Event) {
		if start, ok := e.Data.(*started); ok {
			limits = start.Limits
		}
	}
	if _, err := m.Start(t.Context(), Request{SessionID: "s", Mode: ModeAll}); err != nil {
		t.Fatal(err)
	}
	if limits != "no files; no packets of process 7" {
		t.Errorf("session_start reports the limits %q", limits)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
