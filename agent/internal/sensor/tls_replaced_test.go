//go:build linux

package sensor

import (
	"os"
	"testing"
)

// TestReplacedImage checks that the agent notices that a process runs another image than the
// one of its exec: it would otherwise say of the first what is true of the second.
func TestReplacedImage(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	for name, test := range map[string]struct {
		c    candidate
		want bool
	}{
		"the same image":              {candidate{pid, []string{exeFile(pid)}, use{path: own}}, false},
		"seen from another root":      {candidate{pid, []string{exeFile(pid)}, use{path: "/jail/" + own}}, false},
		"deleted":                     {candidate{pid, []string{exeFile(pid)}, use{path: own + " (deleted)"}}, false},
		"another image":               {candidate{pid, []string{exeFile(pid)}, use{path: "/usr/bin/dash"}}, true},
		"a library, which has a path": {candidate{pid, []string{mapFile(pid, "1000-2000")}, use{path: "/lib/libx.so"}}, false},
		"a process that has ended":    {candidate{1 << 30, []string{exeFile(1 << 30)}, use{path: "/usr/bin/dash"}}, false},
		"nobody runs it yet":          {candidate{pid, []string{exeFile(pid)}, use{}}, false},
	} {
		if got := test.c.isReplaced(); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
