package apidoc

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestAPIList keeps docs/api.md complete: its tables list exactly the paths of
// openapi.yaml.
func TestAPIList(t *testing.T) {
	paths := func(file, pattern string) (found []string) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(pattern).FindAllSubmatch(content, -1) {
			found = append(found, string(match[1]))
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	got := paths("../../docs/api.md", "`[A-Z]+ (/[^`]+)`")
	want := paths("openapi.yaml", `(?m)^  (/\S+):$`)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("paths:\ngot  %v\nwant %v", got, want)
	}
}
