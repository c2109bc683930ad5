package syscalls

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestClassOf(t *testing.T) {
	for _, test := range []struct {
		name             string
		want             Class
		looksUp, hasPath bool
	}{
		{"read", ClassReads, false, true},
		{"pwritev2", ClassWrites, false, true},
		{"vmsplice", ClassWrites, false, true},
		{"sendfile", ClassNone, false, true},
		{"close_range", ClassCloses, false, true},
		{"fcntl", ClassDuplicates, false, true},
		{"openat", ClassOpens, true, true},
		{"creat", ClassNone, true, true},
		{"open_tree", ClassNone, true, true},
		{"open_by_handle_at", ClassNone, false, true},
		{"symlink", ClassNone, true, true},
		{"fsetxattr", ClassNone, false, true}, // its text is no path
		{"recvmmsg", ClassTransfers, false, false},
		{"connect", ClassNone, false, false},
		{"mount", ClassNone, false, false},
		{"chroot", ClassNone, false, false},
		{"io_submit", ClassNone, false, false},
		{"execve", ClassNone, false, false},
		{"finit_module", ClassNone, false, false},
		{"fsconfig", ClassNone, false, false},
	} {
		c := ByName(test.name)
		if c.Class() != test.want || c.LooksUp() != test.looksUp || c.HasPath() != test.hasPath {
			t.Errorf("%s: %q, %v, %v", test.name, c.Class(), c.LooksUp(), c.HasPath())
		}
	}
}

// TestClassesOfTheKernelSide checks that the kernel side numbers the classes in the same way.
func TestClassesOfTheKernelSide(t *testing.T) {
	header, err := os.ReadFile("../../bpf/event.h")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`CLASS_([A-Z]+) = (\d+)`).FindAllStringSubmatch(string(header), -1)
	for _, m := range found {
		if n, err := strconv.Atoi(m[2]); err != nil || n >= len(Classes) || Class(n) != ClassNone && !strings.EqualFold(Classes[n], m[1]) {
			t.Errorf("%s is %s here", m[0], Class(n))
		}
	}
	if len(found) != len(Classes) {
		t.Errorf("the kernel side has %d classes, of %d", len(found), len(Classes))
	}
}
