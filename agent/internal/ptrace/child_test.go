//go:build linux && (amd64 || arm64)

package ptrace

import (
	"os/exec"
	"testing"
)

// TestOtherChildrenAreLeftAlone checks that a watch ends with its tree, although other
// children of the same thread run on, and that it does not take their exit status.
func TestOtherChildrenAreLeftAlone(t *testing.T) {
	var others []*exec.Cmd
	for range 20 {
		other := exec.Command("sleep", "1000")
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		others = append(others, other)
		trace(t, nil, "/bin/sh", "-c", "true & wait")
	}
	for _, other := range others {
		_ = other.Process.Kill()
		if err := other.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("Wait returned %v: the watch has taken the exit status", err)
		}
	}
}
