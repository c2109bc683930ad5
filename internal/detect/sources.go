package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"ospulse/internal/sigma"
)

// Source is a folder of rules.
type Source struct {
	Name  string // for users
	Files fs.FS
	Rules func() ([]Rule, error) // reads them if they never change; nil for a folder that may
}

func (s *Source) load() ([]Rule, sigma.Placeholders, error) {
	if s.Rules == nil {
		return Load(s.Files)
	}
	rules, err := s.Rules()
	return slices.Clone(rules), nil, err
}

// Sources reads rules from several sources, and again once a file has changed. It is for
// one goroutine.
type Sources struct {
	sources      []Source
	state        string             // of the files, as they were read last
	placeholders sigma.Placeholders // of all sources
}

// NewSources returns the reader of some sources.
func NewSources(sources ...Source) *Sources { return &Sources{sources: sources} }

// Load returns the rules of all sources, without keys, unless no file has changed since it
// last did. The error is that of a folder that cannot be read; the next Load tries again.
func (s *Sources) Load() (rules []Rule, changed bool, err error) {
	state, err := s.stateNow()
	if err != nil || state == s.state {
		return nil, false, err
	}
	all := sigma.Placeholders{}
	for _, source := range s.sources {
		found, placeholders, err := source.load()
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", source.Name, err)
		}
		for i := range found {
			found[i].Origin = source.Name
		}
		rules = append(rules, found...)
		maps.Copy(all, placeholders)
	}
	s.state, s.placeholders = state, all
	return rules, true, nil
}

// Placeholders returns the values of placeholders in all sources, as Load read them last. The
// caller must not change them.
func (s *Sources) Placeholders() sigma.Placeholders { return s.placeholders }

// Text returns the text of a rule's file as it is now. It is safe for concurrent use.
func (s *Sources) Text(r *Rule) ([]byte, error) {
	for _, source := range s.sources {
		if source.Name == r.Origin {
			return fs.ReadFile(source.Files, r.Path)
		}
	}
	return nil, fs.ErrNotExist
}

// stateNow returns a text that differs once a file has changed.
func (s *Sources) stateNow() (string, error) {
	all := sha256.New()
	for _, source := range s.sources {
		err := eachFile(source.Files, func(name string, entry fs.DirEntry) error {
			info, err := entry.Info()
			if err == nil {
				_, err = fmt.Fprintf(all, "%q %d %d\n", name, info.Size(), info.ModTime().UnixNano())
			}
			return err
		})
		if err != nil {
			return "", fmt.Errorf("%s: %w", source.Name, err)
		}
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// eachFile calls fn with each file whose name ends in .yml or .yaml, in the order of their
// paths, and leaves out folders whose names begin with a dot.
func eachFile(files fs.FS, fn func(name string, entry fs.DirEntry) error) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && name != ".":
			return fs.SkipDir // such as .git
		case entry.IsDir(), path.Ext(name) != ".yml" && path.Ext(name) != ".yaml":
			return nil
		}
		return fn(name, entry)
	})
}

// SetKeys sets the keys of rules that have none: the rule's ID or, if it has none or another
// rule has the same key, its source and path. Of rules with the same ID, the first gets it.
func SetKeys(rules []Rule) {
	known := map[string]bool{}
	for i := range rules {
		known[rules[i].Key] = true
	}
	for i := range rules {
		r := &rules[i]
		if r.Key != "" {
			continue
		}
		r.Key = r.Origin + ":" + r.Path
		if r.Err == nil && r.ID != "" && !known[r.ID] {
			r.Key = r.ID
		}
		if len(r.Key) > MaxKey {
			r.Key = hashOf([]byte(r.Key))
		}
		known[r.Key] = true
	}
}

// MaxKey is the most bytes of a key. Longer ones are hashed.
const MaxKey = 200
