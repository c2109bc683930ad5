package syscalls

import (
	_ "embed"
	"runtime"
	"strconv"
	"strings"
)

// Verdict is what the sandbox does with a call.
type Verdict uint8

// The verdicts.
const (
	Allow  Verdict = iota
	Deny           // it fails with EPERM
	Absent         // it fails with ENOSYS, as in a kernel that lacks it
)

// Entry is a system call of Linux.
type Entry struct {
	Name    string
	AMD64   int // its numbers; -1 if an architecture lacks it
	ARM64   int
	I386    int
	Sandbox Verdict
	Omitted string // a key of Reasons: why no event reports the call; "" if one does
}

// Reasons are why no event reports a call.
var Reasons = map[string]string{ //nolint:gochecknoglobals // a constant
	"asks":   "It only asks for something and changes nothing.",
	"waits":  "It waits, or wakes what waits.",
	"itself": "It changes only the memory, the timers, the signals or the priority of its own process.",
	"handle": "It makes or changes a descriptor whose use is reported, or that only this process uses.",
	"disk":   "It decides when data moves between memory and the disk.",
	"memory": "Its arguments are in memory. Only 32-bit programs of before 1996 use it.",
	"gone":   "Supported kernels lack it.",
}

//go:embed calls.txt
var text string

// Table are all system calls, by name.
var Table = parse(text) //nolint:gochecknoglobals // a constant

func parse(text string) map[string]Entry {
	table := map[string]Entry{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		number := func(i int) int {
			n, err := strconv.Atoi(fields[i])
			if err != nil {
				return -1 // "-"
			}
			return n
		}
		e := Entry{Name: fields[0], AMD64: number(1), ARM64: number(2), I386: number(3)}
		switch fields[4] {
		case "deny":
			e.Sandbox = Deny
		case "absent":
			e.Sandbox = Absent
		}
		if len(fields) > 5 {
			e.Omitted = fields[5]
		}
		table[e.Name] = e
	}
	return table
}

// Native returns the call's number on this machine's architecture; -1 if it lacks the call.
func (e *Entry) Native() int {
	if runtime.GOARCH == "arm64" {
		return e.ARM64
	}
	return e.AMD64
}
