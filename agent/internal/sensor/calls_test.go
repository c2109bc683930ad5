//go:build linux

package sensor

import "testing"

// TestCallsAreSound checks the table of calls, which the kernel side uses unchecked.
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
				t.Errorf("%s: argument %d has index %d", c.name, a, index)
			}
		}
		if (c.args[argData] >= 0) != (c.kind == kindTransfer && c.op != "CopyFile" || c.kind == kindNetTransfer) {
			t.Errorf("%s: has data %v", c.name, c.args[argData] >= 0)
		}
	}
}
