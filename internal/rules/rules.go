// Package rules holds the detection rules of this project, in the language Sigma. Each file
// has one rule. Its key tests, which is ours, has events that the rule must match and events
// that it must not match; docs/rules.md describes it. The rules in routine name what every
// program does.
package rules

import (
	"embed"
	"io/fs"
)

//go:embed linux routine windows
var files embed.FS

// Files returns the files of the rules.
func Files() fs.FS { return files }
