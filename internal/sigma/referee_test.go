//go:build referee

package sigma_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ospulse/internal/sigma"
)

// TestRefereeRules reads the rules of SigmaHQ in REFEREE_DIR: all of them parse, at least 215
// of 248 can run (or the same share), and each of the others says what it needs.
func TestRefereeRules(t *testing.T) {
	dir := filepath.Join(os.Getenv("REFEREE_DIR"), "sigma")
	all, run := 0, 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yml") {
			return err
		}
		all++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rule, err := sigma.Placeholders(nil).Parse(text)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
			return nil
		}
		compiled, err := rule.Compile()
		switch {
		case err != nil:
			t.Errorf("%s: %v", filepath.Base(path), err)
		case compiled.CanRun():
			run++
			if len(compiled.Needs) > 0 {
				t.Logf("%s runs without %s", filepath.Base(path), strings.Join(compiled.Needs, ", "))
			}
		case len(compiled.Needs) == 0:
			t.Errorf("%s cannot run and does not say why", filepath.Base(path))
		default:
			t.Logf("%s needs %s", filepath.Base(path), strings.Join(compiled.Needs, ", "))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all == 0 || run*248 < all*215 {
		t.Errorf("%d of %d rules can run, want 215 of 248", run, all)
	}
	t.Logf("%d of %d rules can run", run, all)
}
