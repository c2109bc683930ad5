//go:build linux

package monitor

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// sleeper starts a process that ends with the test.
func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // the error is that it was killed
	return cmd.Process.Pid
}

// TestIsProgram checks which processes belong to what sessions watch.
func TestIsProgram(t *testing.T) {
	chosen, child, other, backend := os.Getpid(), sleeper(t), os.Getppid(), sleeper(t)
	w := &world{}
	m := newMonitor(w)
	own, _ := read(backend, roleBackend)
	m.options.Exclude = func(bool) []Own { return []Own{own} }
	start := func(r Request) {
		t.Helper()
		if _, err := m.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, has bool, programs ...int) {
		t.Helper()
		if got := m.HasPrograms(); got != has {
			t.Errorf("%s: HasPrograms is %v", when, got)
		}
		for _, pid := range []int{chosen, child, other, backend} {
			if got, want := m.IsProgram(pid), slices.Contains(programs, pid); got != want {
				t.Errorf("%s: process %d (chosen %d, its child %d, another %d, the backend %d): %v", when, pid, chosen, child, other, backend, got)
			}
		}
	}
	check("before", false)
	start(Request{SessionID: "all", Mode: ModeAll})
	check("with all processes", false)
	start(Request{SessionID: "chosen", Mode: ModePIDs, PIDs: []int{chosen}})
	check("with a chosen process", true, chosen, child) // the backend is excluded, although it is a child
	w.member = other
	check("with one that the sensor knows", true, chosen, child, other)
	if !m.IsProgram(1 << 30) {
		t.Error("a process that has ended is none")
	}
	if m.IsQuiet() {
		t.Error("it is quiet")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	check("after", false)
	if !m.IsQuiet() {
		t.Error("it is not quiet")
	}
}

// TestBackendUsers checks that a process at the backend's address makes its user one of the
// backend only while no session runs.
func TestBackendUsers(t *testing.T) {
	_, address, end := peer(t, python(), listening("127.0.0.1", 0))
	own := finder(t, address, "")
	if users := own.BackendUsers(false); len(users) != 0 {
		t.Errorf("while a session runs: %v", users)
	}
	if users := own.BackendUsers(true); !slices.Equal(users, []int{os.Geteuid()}) {
		t.Errorf("while none runs: %v", users)
	}
	if users := own.BackendUsers(false); !slices.Equal(users, []int{os.Geteuid()}) {
		t.Errorf("while another session runs: %v", users)
	}
	end()
	if users := own.BackendUsers(true); len(users) != 0 {
		t.Errorf("after its end: %v", users)
	}
}
