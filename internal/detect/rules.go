package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ospulse/internal/filter"
	"ospulse/internal/sigma"
)

// Rule is a rule of a file, or of a user.
type Rule struct {
	Path   string // of the file, with slashes; "" for a user's rule
	Hash   string // of the rule's text
	Origin string // the name of its Source, or UserOrigin
	Key    string // see SetKeys
	IsOff  bool   // a user turned it off
	*sigma.Rule
	*sigma.Compiled
	Err error // why the file has no rule; Rule and Compiled are then nil
}

// UserOrigin is the Origin of rules that users wrote.
const UserOrigin = "user"

// PlaceholderFile is the name of the file that has the values of the placeholders in a
// folder's rules.
const PlaceholderFile = "placeholders.yml"

// Load reads the rules in all files of a file system whose names end in .yml or .yaml, in
// the order of their paths, and the values of placeholders. A broken rule does not affect
// others. If PlaceholderFile is broken, it is listed as a broken rule, and nothing has values.
// The error is that of a folder that cannot be read.
func Load(files fs.FS) (rules []Rule, placeholders sigma.Placeholders, err error) {
	placeholders, broken := loadPlaceholders(files)
	err = eachFile(files, func(name string, _ fs.DirEntry) error {
		switch {
		case name != PlaceholderFile:
			rules = append(rules, loadFile(files, name, placeholders))
		case broken != nil:
			rules = append(rules, Rule{Path: name, Err: broken})
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the rules: %w", err)
	}
	return rules, placeholders, nil
}

func loadPlaceholders(files fs.FS) (sigma.Placeholders, error) {
	text, err := readFile(files, PlaceholderFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	return sigma.ReadPlaceholders(text)
}

// readFile reads a file that may be as long as a rule.
func readFile(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > sigma.MaxBytes {
		return nil, fmt.Errorf("the file is %d bytes long; at most %d are taken", info.Size(), sigma.MaxBytes)
	}
	return fs.ReadFile(files, name)
}

// Version returns a text that differs for other rules, or another engine.
func Version(rules []Rule) string {
	all := sha256.New()
	_, _ = all.Write([]byte("4")) // raise it if the same rules find something else, or sessions count it otherwise
	for i := range rules {
		_, _ = fmt.Fprintf(all, " %q %s", rules[i].Key, rules[i].State())
	}
	return hex.EncodeToString(all.Sum(nil)[:16])
}

// LoadFile reads the rule in a file, with the values of placeholders in its folder.
func LoadFile(files fs.FS, name string) Rule {
	placeholders, _ := loadPlaceholders(files) // without values, the rule says what it needs
	return loadFile(files, name, placeholders)
}

func loadFile(files fs.FS, name string, placeholders sigma.Placeholders) Rule {
	text, err := readFile(files, name)
	if err != nil {
		return Rule{Path: name, Hash: hashOf(text), Err: err}
	}
	r := Read(text, placeholders)
	r.Path = name
	return r
}

// Read reads the rule in a text. If it has none, the rule's Err is a *sigma.Error.
func Read(text []byte, placeholders sigma.Placeholders) Rule {
	r := Rule{Hash: hashOf(text)}
	var err error
	if r.Rule, err = placeholders.Parse(text); err == nil {
		r.Compiled, err = r.Compile()
	}
	if err != nil {
		return Rule{Hash: r.Hash, Err: err}
	}
	if r.Kind == sigma.Routine && r.CanRun() {
		if test := filter.InFilters(r.Where); test != "" {
			r.Compiled = &sigma.Compiled{Needs: append(slices.Clone(r.Needs), "a filter, which cannot test "+test)}
		}
	}
	return r
}

// State returns a text that differs if the rule, which must not be broken, finds something
// else.
func (r *Rule) State() string { return r.Hash + r.Expanded }

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Running returns the rules that can run and are not off, and their conditions for New.
func Running(rules []Rule) (running []Rule, conditions []filter.Node) {
	for _, r := range rules {
		if r.Err == nil && !r.IsOff && r.CanRun() {
			running, conditions = append(running, r), append(conditions, r.Where)
		}
	}
	return running, conditions
}

// Routine returns the routine rules among some rules that can run and are not off. The names
// of one are its key, its title and, if it is in a file, the file's name without the ending.
func Routine(rules []Rule) (routine []filter.RoutineRule) {
	for i := range rules {
		r := &rules[i]
		if r.Err != nil || r.IsOff || !r.CanRun() || r.Kind != sigma.Routine {
			continue
		}
		names := []string{r.Key, r.Title}
		if r.Path != "" {
			file := path.Base(r.Path)
			names = append(names, strings.TrimSuffix(file, path.Ext(file)))
		}
		routine = append(routine, filter.RoutineRule{Names: names, Where: r.Where})
	}
	return routine
}
