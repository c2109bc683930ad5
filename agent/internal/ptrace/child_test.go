//go:build linux && (amd64 || arm64)

package ptrace

import (
	"os/exec"
	"testing"
)

// A watch must end with its tree, and leave alone what was started otherwise from
// the thread that it might run on: the one of whoever starts it.
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
			t.Errorf("somebody else waited for it: %v", err)
		}
	}
}
