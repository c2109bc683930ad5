//go:build linux

package procfs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestFollow(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(top, "real/sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"link": "real", "absolute": top + "/real/sub", "through": "link/sub/../sub/", "loop": "loop", "real/last": "sub", "root": "/",
	} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.Open(top + "/real")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	fd := "/proc/self/fd/" + strconv.Itoa(int(held.Fd()))
	for _, test := range []struct {
		dir, rest, want string
		follow          bool
	}{
		{"$", "link/x", "$/real/x", true},
		{"$/", "through/../x", "$/real/x", true},
		{"$", "absolute/x", "$/real/sub/x", true},
		{"$", "link/last", "$/real/sub", true},
		{"$", "link/last", "$/real/last", false},
		{"$", "link/last/", "$/real/sub", false},
		{"$", "link/none/../x", "$/real/none/../x", true},
		{"$", "loop/x", "$/loop/x", true},
		{"$", "../../../../../../../..", "/", true},
		{"/", "$/link//./x/", "$/real/x", true},
		{"$", "root" + top, "$", true},
		{"$", "", "$", true},
		{"$", fd + "/sub", "$/real/sub", true},
		{"$", "/proc/self/cwd/" + filepath.Base("x"), "CWD/x", true},
		{"$", "/proc/self/ns/none", "/proc/PID/ns/none", true},
	} {
		cwd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		fill := strings.NewReplacer("$", top, "CWD", cwd, "PID", strconv.Itoa(os.Getpid())).Replace
		if got, _ := Follow(os.Getpid(), os.Getpid(), fill(test.dir), fill(test.rest), test.follow); got != fill(test.want) {
			t.Errorf("%s from %s (%t): %s, want %s", test.rest, test.dir, test.follow, got, fill(test.want))
		}
	}
	// What a link of /proc leads to may have changed since the call.
	for rest, sure := range map[string]bool{"link/x": false, "link/sub": true, fd + "/sub": false, "/proc/self/cwd": false, "/proc/self/status": true} {
		if got, isThere := Follow(os.Getpid(), os.Getpid(), top, rest, true); isThere != sure {
			t.Errorf("%s: %s, sure: %v", rest, got, isThere)
		}
	}

}
