package durable_test

import (
	"os"
	"strings"
	"testing"

	"ospulse/internal/durable"
)

// TestWeakness checks that Weakness agrees with the mounts of this machine.
func TestWeakness(t *testing.T) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{} // a later mount at the same place hides an earlier one
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		switch dir := fields[1]; fields[2] {
		case "tmpfs":
			want[dir] = "is in memory (tmpfs)"
		case "ext4", "xfs", "btrfs", "overlay":
			want[dir] = ""
		default:
			delete(want, dir)
		}
	}
	for dir, why := range want {
		if _, err := os.Stat(dir); err != nil { // this user has no access
			continue
		}
		if got := durable.Weakness(dir); got != why {
			t.Errorf("%s: got %q, want %q", dir, got, why)
		}
	}
	if got := durable.Weakness("/not/there"); got != "" {
		t.Errorf("a folder that is not there: %q", got)
	}
}
