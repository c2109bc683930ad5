//go:build linux

package sensor

import (
	"runtime"
	"testing"

	"ospulse/agent/internal/event"
)

// TestCallsAreSound checks the table of calls: what the kernel side does with it it
// does unasked.
func TestCallsAreSound(t *testing.T) {
	for arch := range 3 {
		taken := map[int]string{}
		for _, c := range calls[1:] {
			n := c.numbers[arch]
			if n >= 0 && taken[n] != "" {
				t.Errorf("%s and %s have the same number %d", c.name, taken[n], n)
			}
			if n >= socketcallBase {
				t.Errorf("the number of %s, %d, is one of socketcall's", c.name, n)
			}
			taken[n] = c.name
		}
	}
	for _, c := range calls[1:] {
		for a, index := range c.args {
			if index < -1 || index > 5 {
				t.Errorf("%s: argument %d is the call's %d", c.name, a, index)
			}
		}
		if (c.args[argData] >= 0) != (c.kind == kindTransfer && c.op != "CopyFile" || c.kind == kindNetTransfer) {
			t.Errorf("%s: has data %v", c.name, c.args[argData] >= 0)
		}
	}
}

// TestCompat runs a 64-bit program that makes 32-bit calls, the old trick to
// be missed by tracers.
func TestCompat(t *testing.T) {
	needRoot(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("int 0x80 is of amd64")
	}
	programs := build(t)
	s := newSensor(t, Options{ContentBytes: 64})
	dir := t.TempDir()
	cmd, release := held(t, dir, programs+"/compat")
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	var got []string
	for _, e := range l.events {
		switch d := e.Data.(type) {
		case *event.File:
			if d.Result.Compat {
				got = append(got, d.Operation+" "+d.Path+" "+string(d.Content.Bytes))
			}
		case *event.Network:
			if d.Result.Compat {
				got = append(got, d.Operation+" "+d.Protocol)
			}
		}
	}
	path := dir + "/compat file"
	want := []string{
		"CreateFile " + path + " ", "WriteFile " + path + " by int 80", "WriteFile " + path + " byint 80",
		"Socket udp", "CloseFile " + path + " ",
	}
	if len(got) != len(want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q\nwant %q", got[i], want[i])
		}
	}
}
