package syscalls

import "testing"

// TestCallsAreSound checks the table of calls, which the kernel side uses unchecked.
func TestCallsAreSound(t *testing.T) {
	native, i386 := map[int]string{}, map[int]string{}
	unique := func(taken map[int]string, n int, name string) {
		if n >= 0 && taken[n] != "" {
			t.Errorf("%s and %s have the same number %d", name, taken[n], n)
		}
		if n >= SocketcallBase {
			t.Errorf("the number of %s, %d, is one of socketcall's", name, n)
		}
		taken[n] = name
	}
	for _, c := range Calls[1:] {
		unique(native, c.Native, c.Name)
		unique(i386, c.I386, c.Name)
		if c.Flags&Struct != 0 {
			if c.Args[ArgData] > 5 || c.Args[ArgLen] > 64 || c.Args[ArgAddrLen] > c.Args[ArgLen] || c.Args[ArgAddr] >= 0 {
				t.Errorf("%s: its struct is %v", c.Name, c.Args)
			}
			continue
		}
		for a, index := range c.Args {
			if index < -1 || index > 5 {
				t.Errorf("%s: argument %d has index %d", c.Name, a, index)
			}
		}
		if (c.Args[ArgData] >= 0) != (c.Kind == Transfer && c.Operation != "CopyFile" || c.Kind == NetTransfer || c.Flags&Value != 0) {
			t.Errorf("%s: has data %v", c.Name, c.Args[ArgData] >= 0)
		}
	}
}

// TestEachCallHasItsPlace checks that an event reports each call of Linux, or that the table
// says why none does.
func TestEachCallHasItsPlace(t *testing.T) {
	for name, e := range Table {
		isReported := ByName(name) != nil
		if isReported != (e.Omitted == "") {
			t.Errorf("%s: it is reported: %v; the reason that it is not: %q", name, isReported, e.Omitted)
		}
		if e.Omitted != "" && Reasons[e.Omitted] == "" {
			t.Errorf("%s: %q is no reason", name, e.Omitted)
		}
	}
	for _, c := range Calls[1:] {
		if c.Native < 0 && c.I386 < 0 && c.Socketcall == 0 && Table[c.Name].Name == "" && c.Name != UringName && c.Name != AioName {
			t.Errorf("%s is no system call", c.Name)
		}
	}
}
