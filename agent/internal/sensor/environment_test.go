//go:build linux

package sensor

import (
	"fmt"
	"slices"
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
	long := append(slices.Clone(passed), "LONG="+strings.Repeat("x", 30000))
	for _, test := range []struct {
		setting      string
		passed, want []string
		isCut        bool
	}{
		{event.AllVariables, passed, passed, false},
		{event.AllVariables, []string{}, []string{}, false},
		{event.AllVariables, long, passed, true},
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
