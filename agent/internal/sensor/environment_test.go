//go:build linux

package sensor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ospulse/agent/internal/event"
)

// execProgram executes /bin/true with an environment, which may be no valid one: its arguments,
// whose characters are the bytes.
const execProgram = `
import ctypes, sys
entries = [argument.encode('latin1') for argument in sys.argv[1:]]
array = (ctypes.c_char_p * (len(entries) + 1))(*entries)
ctypes.CDLL(None).execve(b'/bin/true', (ctypes.c_char_p * 2)(b'true'), array)`

// TestEnvironmentAsRoot checks that a creation has exactly the variables that the exec passed,
// in their order, that a long environment is marked as cut off, and that the setting keeps
// secrets out.
func TestEnvironmentAsRoot(t *testing.T) {
	passed := []string{"LD_PRELOAD=/nowhere.so", "TOKEN=\n<b>\xe9", "LC_ALL=C", "odd", "", "LD_PRELOAD=/second.so"}
	some := append(slices.Clone(passed), "LONG="+strings.Repeat("x", 90000))
	long := append(slices.Clone(some), "MORE="+strings.Repeat("y", 90000))
	for _, test := range []struct {
		setting      string
		passed, want []string
		isCut        bool
	}{
		{event.AllVariables, passed, passed, false},
		{event.AllVariables, []string{}, []string{}, false},
		{event.AllVariables, some, some, false},
		{event.AllVariables, long, some, true},
		{event.SomeVariables, passed, []string{"LD_PRELOAD=/nowhere.so", "LD_PRELOAD=/second.so"}, false},
		{event.NoVariables, passed, nil, false},
		{"", passed, nil, false},
	} {
		t.Run(fmt.Sprint(test.setting, len(test.passed)), func(t *testing.T) {
			s := newSensor(t, Options{Environment: test.setting})
			cmd, release := launcher(t, append([]string{"/usr/bin/python3", "-ESc", execProgram}, latin1(test.passed)...)...)
			start(t, cmd)
			var l log
			w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
			if err != nil {
				t.Fatal(err)
			}
			release()
			_ = cmd.Wait() // a preloaded library that is not there does not matter
			closeWatch(t, w)
			found := false
			for _, e := range l.events {
				d, ok := e.Data.(*event.Creation)
				if !ok || !strings.HasSuffix(d.ImagePath, "/true") {
					continue
				}
				found = true
				if test.isCut && len(d.Environment) > len(test.want) { // the variable that is cut off
					d.Environment = d.Environment[:len(test.want)]
				}
				if !slices.Equal(d.Environment, test.want) || (d.Environment == nil) != (test.want == nil) || d.EnvironmentCut != test.isCut {
					t.Errorf("%.300q, cut: %v; want %.300q, %v", d.Environment, d.EnvironmentCut, test.want, test.isCut)
				}
			}
			if !found {
				t.Error("the program was not reported")
			}
		})
	}
}

// latin1 returns texts whose characters are the bytes of the given ones.
func latin1(texts []string) []string {
	converted := make([]string, len(texts))
	for i, text := range texts {
		runes := make([]rune, len(text))
		for j := range len(text) {
			runes[j] = rune(text[j])
		}
		converted[i] = string(runes)
	}
	return converted
}

// TestLongArgumentsAsRoot checks that the arguments and the environment of a program are complete
// up to their limits, and that what is missing is marked.
func TestLongArgumentsAsRoot(t *testing.T) {
	argv := []string{"/bin/true"}
	for i := range 20 {
		argv = append(argv, strconv.Itoa(i)+strings.Repeat(string(rune('a'+i)), 100_000))
	}
	variable := "LONG=" + strings.Repeat("x", 100_000)
	run := func(argv []string) (created []*event.Creation, raw [][]byte) {
		s := newSensor(t, Options{Environment: event.AllVariables})
		s.tap = func(record []byte) { raw = append(raw, bytes.Clone(record)) }
		cmd, release := launcher(t, argv...)
		cmd.Env = append(cmd.Env, variable)
		start(t, cmd)
		w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, func(e *event.Event) {
			if d, ok := e.Data.(*event.Creation); ok {
				created = append(created, d)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		release()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		closeWatch(t, w)
		if len(created) != 1 {
			t.Fatalf("%d programs were executed", len(created))
		}
		return created, raw
	}
	created, raw := run(argv[:11]) // somewhat less than 1 MiB
	if d := created[0]; !slices.Equal(d.Args, argv[:11]) || d.ArgsCut || d.EnvironmentCut || !slices.Contains(d.Environment, variable) {
		t.Errorf("%d arguments of %d bytes, cut: %v; %d variables, cut: %v", len(d.Args), len(strings.Join(d.Args, "")), d.ArgsCut, len(d.Environment), d.EnvironmentCut)
	}
	prefix := func(d *event.Creation, want []string) int {
		got := strings.Join(d.Args, "\x00")
		if !strings.HasPrefix(strings.Join(want, "\x00"), got) || !d.ArgsCut {
			t.Errorf("the arguments are wrong, or not marked as cut: %v", d.ArgsCut)
		}
		return len(got)
	}
	many, _ := run(argv[:18])
	if n := prefix(many[0], argv[:18]); n < 1<<20 {
		t.Errorf("%d bytes of long arguments were reported", n)
	}

	// A part is lost.
	d, lost := recordedDecoder(nil), false
	d.environment = event.AllVariables
	for _, record := range raw {
		if binary.LittleEndian.Uint16(record[112:]) == recordPart && binary.LittleEndian.Uint64(record[24:]) == 5 && !lost {
			lost = true
			continue
		}
		if err := d.decode(record, func(e *event.Event) {
			if c, ok := e.Data.(*event.Creation); ok {
				if n := prefix(c, argv[:11]); n < 5*16384-20 || n > 5*16384 || c.EnvironmentCut || !slices.Contains(c.Environment, variable) {
					t.Errorf("%d bytes without the lost part; %d variables, cut: %v", n, len(c.Environment), c.EnvironmentCut)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if !lost || len(d.parts) > 0 || d.partsBytes != 0 {
		t.Errorf("lost: %v; %d parts of %d bytes are left", lost, len(d.parts), d.partsBytes)
	}
}
