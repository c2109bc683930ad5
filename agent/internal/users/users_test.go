//go:build linux

package users

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "passwd")
	text := "root:x:0:0:root:/root:/bin/sh\n\n# comment\ntoor:x:0:0::/:/bin/sh\nanna:x:1000:1000\n:x:7:7::/:\n" +
		"+::::::\nb:x:-1:0::\nc:x:4294967296:0::\nd:x:08:1::\nü:x:9:1::\nlong:x:" // the end is missing
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := Names{0: "root", 1000: "anna", 8: "d", 9: "ü"}
	if got, err := Read(file); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	// A number that the limit cuts is no number.
	cut := strings.Repeat("#", maxFileBytes-len("\nanna:x:10")) + "\nanna:x:1000:1000::/:\n"
	if err := os.WriteFile(file, []byte(cut), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(file); err != nil || len(got) > 0 {
		t.Errorf("a file that is too long: %v, %v", got, err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, dir, filepath.Join(dir, "missing")} {
		if got, err := Read(name); err == nil || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestName(t *testing.T) {
	names := Names{0: "root", 1000: "anna"}
	for _, tt := range []struct {
		created event.Creation
		want    string
	}{
		{event.Creation{New: event.Process{UserID: 1000}}, "anna"},
		{event.Creation{New: event.Process{UserID: 1001}}, ""},
		{event.Creation{New: event.Process{UserID: 1000}, Actor: event.Process{RootPath: "/srv/jail"}}, ""},
		{event.Creation{New: event.Process{UserID: 1000}, Actor: event.Process{MountNamespace: 7}}, ""},
	} {
		created := tt.created
		if names.Name(&event.Event{Data: &created}); created.NewUserName != tt.want {
			t.Errorf("%+v: %q, want %q", tt.created, created.NewUserName, tt.want)
		}
	}
	names.Name(&event.Event{Data: &event.Exit{}})
}
