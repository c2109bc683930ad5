package config_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"ospulse/internal/config"
)

// TestSettingsDocument keeps the tables of docs/settings.md complete: their first
// columns have exactly the variables that Load asks for.
func TestSettingsDocument(t *testing.T) {
	content, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllSubmatch(content, -1) {
		for _, name := range regexp.MustCompile("[A-Z_]+").FindAll(row[1], -1) {
			got = append(got, string(name))
		}
	}
	var want []string
	if _, err := config.Load(func(name string) string { want = append(want, name); return "" }, ""); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("variables:\ngot  %v\nwant %v", got, want)
	}
}
