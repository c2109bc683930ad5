//go:build linux

package trace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/parser"
	"ospulse/test/ownnet"
)

// The test program runs as the agent if this variable is set.
const agentVariable = "OSPULSE_TEST_AGENT"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == inspect.Command {
		os.Exit(inspect.Serve(os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == parser.Command {
		os.Exit(parser.Serve())
	}
	if os.Getenv(agentVariable) == "" {
		ownnet.Enter()
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "trace":
		os.Exit(Run(context.Background(), os.Args[2:], os.Stdout, os.Stderr, os.Getenv))
	case LaunchCommand:
		os.Exit(Launch(os.Args[2:], os.Stderr))
	}
	os.Exit(99)
}

// agent runs the agent's command line.
func agent(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errors bytes.Buffer
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), agentVariable+"=1")
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	code = cmd.ProcessState.ExitCode()
	return out.String(), errors.String(), code
}

func TestExitCodesAsRoot(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notExecutable, []byte("#!/nowhere/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"success", []string{"true"}, 0, ""},
		{"the command's", []string{"--", "sh", "-c", "exit 7"}, 7, ""},
		{"a signal's", []string{"sh", "-c", "kill -TERM $$"}, exitSignal + int(syscall.SIGTERM), ""},
		{"no such command", []string{"no-such-command"}, exitMissing, "no-such-command"},
		{"no interpreter", []string{notExecutable}, exitMissing, "run " + notExecutable},
		{"nothing to run", nil, exitUsage, "no command"},
		{"unknown format", []string{"--format", "xml", "true"}, exitUsage, "text or ndjson"},
		{"too much content", []string{"--content", "99999999", "true"}, exitUsage, "0 to 16384"},
		{"odd ring", []string{"--ring", "3", "true"}, exitUsage, "power of two"},
		{"help", []string{"-h"}, 0, "usage:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, stderr, code := agent(t, append([]string{"trace", "-o", os.DevNull}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.says) {
				t.Errorf("code %d, want %d; it says %q, want %q", code, test.code, stderr, test.says)
			}
		})
	}
}

// TestSelectionAsRoot: what is left out is not printed, and counted.
func TestSelectionAsRoot(t *testing.T) {
	stdout, stderr, code := agent(t, "trace", "--leave-out", "reads,closes", "--leave-out-paths", "/usr:/lib:/etc/ld.so.cache", "cat", "/etc/hostname", "/usr/share")
	if code != 1 || strings.Contains(stdout, " read(") || strings.Contains(stdout, " close(") || strings.Contains(stdout, `openat("/usr`) {
		t.Errorf("code %d, output %s%s", code, stdout, stderr)
	}
	if !strings.Contains(stdout, "/etc/hostname") || !regexp.MustCompile(`events_left_out \{"counts":\{"closes":\d+,"paths":\d+,"reads":\d+\}`).MatchString(stdout) {
		t.Errorf("output %s%s", stdout, stderr)
	}
	if _, stderr, code := agent(t, "trace", "--leave-out", "forks", "true"); code != 2 || !strings.Contains(stderr, "there is no class") {
		t.Errorf("code %d, %s", code, stderr)
	}
}

// TestNDJSONAsRoot traces a shell whose child outlives it.
func TestNDJSONAsRoot(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	stdout, stderr, code := agent(t, "trace", "--format", "ndjson", "--content", "4", "-o", out, "sh", "-c",
		"echo hello; (sleep 0.1; cat /etc/hostname > "+dir+"/late) & exit 3")
	if code != 3 || stdout != "hello\n" || stderr != "" {
		t.Fatalf("code %d, output %q, %q", code, stdout, stderr)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var begun, wrote, late, ended int
	for line := range bytes.Lines(text) {
		var e struct {
			Type   string `json:"event_type"`
			Source string
			Data   struct {
				Operation, FilePath, Content, CommandLine string
				BytesTransferred                          int
			}
		}
		if err := json.Unmarshal(line, &e); err != nil || e.Source != "os-pulse-agent" {
			t.Fatalf("%s: %v", line, err)
		}
		switch {
		case e.Type == event.TypeProcessCreation:
			begun++
			if begun == 1 && !strings.HasPrefix(e.Data.CommandLine, "sh -c 'echo hello;") {
				t.Errorf("the first event is of %q", e.Data.CommandLine)
			}
		case e.Data.Operation == "WriteFile" && e.Data.Content == "68 65 6C 6C" && e.Data.BytesTransferred == 6:
			wrote++
		case e.Data.Operation == "CreateFile" && e.Data.FilePath == dir+"/late":
			late++
		case e.Type == event.TypeProcessExit:
			ended++
		}
	}
	if begun != 3 || wrote != 1 || late != 1 || ended < 3 {
		t.Errorf("%d programs began, want 3; %d writes, %d late files, want 1 each; %d processes ended", begun, wrote, late, ended)
	}
}

func TestTextAsRoot(t *testing.T) {
	stdout, _, code := agent(t, "trace", "cat", "/etc/hostname", "/nowhere")
	if code != 1 {
		t.Errorf("code %d", code)
	}
	for _, want := range []string{
		`] execve("/usr/bin/cat", ["cat", "/etc/hostname", "/nowhere"]) = 0`,
		`] openat("/etc/hostname", O_RDONLY) = 3`,
		`] read(3</etc/hostname>, "`,
		`] openat("/nowhere", O_RDONLY) = -1 ENOENT`,
		`] +++ exited with 1 +++`,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("the output has colours, but is not a terminal")
	}
}

// TestLines checks the lines of rare events.
func TestLines(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 0, 0, 1000, time.Local)
	who := event.Process{PID: 7, Name: "a\x1bb", ThreadID: 8}
	for _, test := range []struct {
		data event.Data
		want string
	}{
		{
			&event.File{Actor: who, Result: event.Result{Syscall: "rename"}, Handle: -1, NewHandle: -1, Path: "/a\n", NewPath: "/b"},
			`[a\x1bb 7/8] rename("/a\n", "/b") = 0`,
		},
		{
			&event.File{Actor: who, Result: event.Result{Syscall: "close", Return: -9}, Operation: "CloseFile", Handle: 99, NewHandle: -1},
			`[a\x1bb 7/8] close(99) = -1 EBADF`,
		},
		{
			&event.Operation{Actor: who, Result: event.Result{Syscall: "setresuid", Args: [6]uint64{0xffffffff, 0, 5}}, Name: "SetUserId"},
			`[a\x1bb 7/8] setresuid(-1, 0, 5) = 0`,
		},
		{&event.File{Actor: who, Ring: "NOP", Handle: -1, NewHandle: -1}, `[a\x1bb 7/8] io_uring(NOP) = ?`},
		{&event.File{Actor: who, Ring: "WRITE", Path: "/f", Handle: 4, NewHandle: -1}, `[a\x1bb 7/8] io_uring(WRITE, 4</f>) = ?`},
		{&event.Network{Actor: who, Ring: "CONNECT", Protocol: "tcp", Handle: 5, NewHandle: -1}, `[a\x1bb 7/8] io_uring(CONNECT, 5<tcp>) = ?`},
		{&event.Exit{Actor: event.Process{PID: 7, Name: "x"}, Signal: 9}, `[x 7] +++ killed by SIGKILL +++`},
		{&event.Lost{Count: 12}, `!!! 12 events lost !!!`},
	} {
		p := &printer{out: bufio.NewWriter(&bytes.Buffer{})}
		got := string(p.text(nil, &event.Event{Time: at, Data: test.data}))
		if want := "09:00:00.000001 " + test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		p.color = true
		colored := string(p.text(nil, &event.Event{Time: at, Data: test.data}))
		for _, code := range []string{dim, bold, red, green, yellow, cyan, "0"} {
			colored = strings.ReplaceAll(colored, "\x1b["+code+"m", "")
		}
		if colored != got {
			t.Errorf("with colours %q, without %q", colored, got)
		}
	}
}
