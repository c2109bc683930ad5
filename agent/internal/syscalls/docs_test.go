package syscalls

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/syscalls.md")

const docsPath = "../../../docs/syscalls.md"

// TestDocs keeps docs/syscalls.md as the table says.
func TestDocs(t *testing.T) {
	want := docs()
	if *update {
		if err := os.WriteFile(docsPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/syscalls.md differs from the table: go test ./agent/internal/syscalls -run TestDocs -update")
	}
}

// conditions are for which arguments an event reports a call.
var conditions = [...]string{
	WhenMap:          "what may be executed and written, files that may be executed, and files that the program may change through the memory",
	WhenDuplicate:    "F_DUPFD and F_DUPFD_CLOEXEC",
	WhenIoctl:        "FICLONE, FICLONERANGE and FS_IOC_SETFLAGS",
	WhenProtect:      "memory that becomes executable",
	WhenPrctl:        "options that change how the process looks, or what it may do",
	WhenSocketOption: "options that show or change the packets of others",
	WhenOther:        "signals to another process",
	WhenLimit:        "a new limit",
	WhenAttribute:    "",
}

var verdicts = [...]string{Allow: "allowed", Deny: "denied", Absent: "absent"}

func docs() string {
	var out strings.Builder
	out.WriteString("# System calls\n\nWhat the agent for Linux does with each system call of Linux. This page is made from the agent's table, " +
		"`agent/internal/syscalls`: `go test ./agent/internal/syscalls -run TestDocs -update`.\n\n" +
		"In the sandbox, a denied call fails with EPERM, and an absent one with ENOSYS, as in a kernel that lacks it. " +
		"Calls that are newer than this table are absent there, and no event reports them.\n\n" +
		"A session can leave out events by their [class](agent.md#selection). `*` marks calls to which rules about paths apply. " +
		"If such a call fails because its path does not exist, its class is `lookups`.\n\n" +
		"## Reported\n\n| call | operation of its event | reported are | class | in the sandbox |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		c, e := byName[name], Table[name]
		if e.Name == "" {
			continue
		}
		operation := c.Operation
		switch c.Kind {
		case Exec:
			operation = "`process_creation`, or `execve` if it fails"
		case Fork:
			operation = "`process_fork` or `thread_creation`"
		default:
			if c.Flags&Socketcall != 0 {
				operation = "that of the call which it makes"
			}
		}
		class := ""
		if c.Class() != ClassNone {
			class = "`" + c.Class().String() + "`"
		}
		if c.HasPath() {
			class += "*"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", name, operation, conditions[c.When], class, verdicts[e.Sandbox])
	}
	out.WriteString("\n## Not reported\n")
	for _, reason := range slices.Sorted(maps.Keys(Reasons)) {
		var names []string
		for _, name := range slices.Sorted(maps.Keys(Table)) {
			e := Table[name]
			if e.Omitted != reason {
				continue
			}
			text := "`" + name + "`"
			if e.Sandbox != Allow {
				text += " (" + verdicts[e.Sandbox] + ")"
			}
			names = append(names, text)
		}
		fmt.Fprintf(&out, "\n%s %s\n", Reasons[reason], strings.Join(names, ", "))
	}
	return out.String()
}
