//go:build referee

package attack

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ospulse/internal/sigma"
)

// TestRefereeRules checks that this version of ATT&CK has all techniques that the rules of
// SigmaHQ in REFEREE_DIR name.
func TestRefereeRules(t *testing.T) {
	named := 0
	err := filepath.WalkDir(filepath.Join(os.Getenv("REFEREE_DIR"), "sigma"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yml") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rule, err := sigma.Placeholders(nil).Parse(text)
		if err != nil {
			return err
		}
		for _, one := range Of(rule.Tags).Techniques {
			named++
			if one.State == Unknown || len(one.Tactics) == 0 {
				t.Errorf("%s: %+v", filepath.Base(path), one)
			}
		}
		return nil
	})
	if err != nil || named < 50 {
		t.Errorf("%d techniques, %v", named, err)
	}
}
