//go:build linux

package sensor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/event"
)

// unnamed matches the name of a file that was opened with O_TMPFILE, and the number of a
// descriptor, which depends on those that the test inherits.
var unnamed = regexp.MustCompile(`(#|/fd/)[0-9]+`)

// TestPathsAsRoot: a file has one path, under whatever name a call uses it. The program's
// links and folders are gone when it ends. paths.txt has the expected events: the call, the
// path, in brackets the path that the program wrote, and for some calls the second path.
// $ is the folder that the program runs in.
func TestPathsAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	events, cmd := watched(t, s, dir, build(t)+"/paths")
	if !cmd.ProcessState.Success() {
		t.Fatal(cmd.ProcessState)
	}
	var got []string
	add := func(r *event.Result, path, given, newPath, newGiven string, isGuess bool) {
		line := r.Syscall + " " + path
		if given != "" {
			line += " (" + given + ")"
		}
		if newPath != "" {
			line += " → " + newPath
		}
		if newGiven != "" {
			line += " (" + newGiven + ")"
		}
		if r.Failed() {
			line += " " + event.Errno(r.Return)
		}
		if isGuess {
			line += " guessed"
		}
		got = append(got, unnamed.ReplaceAllString(strings.ReplaceAll(line, dir, "$"), "$1"))
	}
	for _, e := range events {
		switch d := e.Data.(type) {
		case *event.File:
			if !strings.HasPrefix(d.Path, "/usr") && !strings.HasPrefix(d.Path, "/etc") && d.Operation != "CloseFile" && d.Operation != "MapFile" && !d.Transfer {
				add(&d.Result, d.Path, d.Given, d.NewPath, d.NewGiven, d.PathGuessed)
			}
		case *event.Creation:
			if filepath.Base(d.ImagePath) != "paths" {
				add(&d.Result, d.ImagePath, d.Given, d.FilePath, "", false)
			}
		case *event.FailedExec:
			add(&d.Result, d.Path, d.Given, "", "", false)
		}
	}
	text, err := os.ReadFile("testdata/programs/paths.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// TestFollowedLaterAsRoot: the agent follows paths that the kernel side cannot follow: those
// with a folder of too many names, or a link whose target the file system does not keep in
// memory. If they are gone by then, the event says that its path is a guess.
func TestFollowedLaterAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	s.mu.Lock()
	s.decoder.lookup = newFollower(time.Minute).follow // the machine may be slow
	s.mu.Unlock()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("l", 200)
	for _, err := range []error{
		os.MkdirAll(dir+"/"+long+"/full/first", 0o700),
		os.Symlink(long, dir+"/link"),
		os.Symlink(long, dir+"/short-lived"),
		os.WriteFile(dir+"/"+long+"/full/first/file", nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1500 {
		if err := os.WriteFile(fmt.Sprintf("%s/%s/full/%d", dir, long, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pathOf := func(argv ...string) string {
		cmd, release := held(t, dir, argv...)
		var l log
		w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock() // keeps the reader from reading events before the program has ended
		release()
		_ = cmd.Wait() // its events show whether it succeeded
		s.mu.Unlock()
		closeWatch(t, w)
		var all []string
		for _, e := range l.events {
			if d, ok := e.Data.(*event.File); ok && d.Operation == "ChangeMode" {
				all = append(all, fmt.Sprintf("%s (%s) %t", strings.ReplaceAll(strings.ReplaceAll(d.Path, long, "LONG"), dir, "$"), d.Given, d.PathGuessed))
			}
		}
		return strings.Join(all, "; ")
	}
	if got, want := pathOf("/bin/chmod", "700", "link/full/first/file"), "$/LONG/full/first/file (link/full/first/file) false"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := pathOf("/bin/sh", "-c", "chmod 700 short-lived/full/first; rm short-lived"), "$/short-lived/full/first (short-lived/full/first) true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDeepPathsAsRoot: paths with as many folders as PATH_MAX has room for are complete, and the
// kernel side resolves them.
func TestDeepPathsAsRoot(t *testing.T) {
	s := newSensor(t, Options{})
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	depth := (4095 - len(dir) - len("/moved")) / len("/d")
	events, _ := watched(t, s, dir, build(t)+"/deep", strconv.Itoa(depth))
	folder := strings.Repeat("d/", depth)
	var got []string
	deepest := 0
	add := func(name, path, given string, isGuess bool) {
		short := strings.NewReplacer(dir, "$", folder, "DEEP/").Replace
		line := name + " " + short(path) + " (" + short(given) + ")"
		if isGuess {
			line += " guessed"
		}
		got = append(got, line)
	}
	for _, e := range events {
		switch d := e.Data.(type) {
		case *event.File:
			switch d.Operation {
			case "CreateDirectory":
				if want := dir + strings.Repeat("/d", deepest+1); d.Path != want || d.PathGuessed {
					t.Fatalf("folder %d: %q, guessed: %v", deepest, d.Path, d.PathGuessed)
				}
				deepest++
			case "CreateFile", "CloseFile", "ChangeMode", "TruncateFile", "RenameFile", "DeleteFile":
				if strings.HasPrefix(d.Path, dir) {
					add(d.Operation, d.Path, d.Given, d.PathGuessed)
				}
				if d.NewPath != "" {
					add("to", d.NewPath, d.NewGiven, d.PathGuessed)
				}
			}
		case *event.FailedExec:
			add("execve", d.Path, d.Given, false)
		}
	}
	want := []string{
		"CreateFile $/DEEP/file (DEEP/file)", "CloseFile $/DEEP/file ()", "ChangeMode $/DEEP/file (DEEP/file)", "TruncateFile $/DEEP/file (DEEP/file)",
		"execve $/DEEP/file (DEEP/file)", "RenameFile $/DEEP/file (DEEP/file)", "to $/DEEP/moved (DEEP/moved)", "DeleteFile $/DEEP/moved (DEEP/moved)",
	}
	if deepest != depth || !slices.Equal(got, want) {
		t.Errorf("%d folders, want %d\ngot  %.3000q\nwant %q", deepest, depth, got, want)
	}
}
