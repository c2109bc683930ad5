package syscalls

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCallsAreListed keeps complete the backend's list of the calls that the agent reports:
// a rule about another call cannot match.
func TestCallsAreListed(t *testing.T) {
	text, err := os.ReadFile("../../../internal/sigma/calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range Calls[1:] {
		names = append(names, Calls[1+i].Name)
	}
	slices.Sort(names)
	if names = slices.Compact(names); !slices.Equal(strings.Fields(string(text)), names) {
		t.Errorf("internal/sigma/calls.txt must have these lines:\n%s", strings.Join(names, "\n"))
	}
}
