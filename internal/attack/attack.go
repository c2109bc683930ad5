// Package attack knows the tactics and techniques of MITRE ATT&CK for Enterprise, and what
// the tags of rules mean by them. It arranges the findings of a session as a matrix. It does
// not know where findings come from, nor who reads the matrix.
//
// The facts are in enterprise.json, which tools/attack makes. It has the version, the source,
// and the notice that MITRE's terms of use ask for.
package attack

import (
	_ "embed"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

//go:embed enterprise.json
var enterprise []byte

// Tactic is a reason for which adversaries act: a column of the matrix.
type Tactic struct {
	ID        string `json:"id"`         // such as TA0002
	ShortName string `json:"short_name"` // such as execution, as tags have it
	Name      string `json:"name"`
}

// entry is a technique, as enterprise.json has it.
type entry struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Tactics    []string `json:"tactics"`
	RevokedBy  string   `json:"revoked_by"`
	Deprecated bool     `json:"deprecated"`
}

type data struct {
	Version    string   `json:"version"`
	Tactics    []Tactic `json:"tactics"`
	Techniques []entry  `json:"techniques"`

	byID map[string]*entry
	ids  []string // sorted
}

var known = read(enterprise) //nolint:gochecknoglobals // a constant

func read(text []byte) *data {
	d := &data{byID: map[string]*entry{}}
	if err := json.Unmarshal(text, d); err != nil {
		panic(err) // it is part of the program
	}
	for i := range d.Techniques {
		d.byID[d.Techniques[i].ID] = &d.Techniques[i]
		d.ids = append(d.ids, d.Techniques[i].ID)
	}
	return d
}

// Version returns the version of ATT&CK, such as 19.2.
func Version() string { return known.Version }

// State is what the version of ATT&CK says about a technique.
type State string

// The states of techniques. A revoked technique has that of the one which replaced it.
const (
	Current    State = "current"
	Deprecated State = "deprecated" // out of use, and not replaced
	Unknown    State = "unknown"    // this version has no such technique
)

// Technique is how adversaries act, as a rule names it.
type Technique struct {
	ID         string
	Name       string // "" if it is unknown
	ParentID   string // of a sub-technique; otherwise ""
	ParentName string
	State      State
	TaggedAs   string // the ID in the rule, if another technique replaced that; otherwise ""
	// Tactics are short names, in the order of the matrix: those of the technique that the
	// rule names too. If it names none of them, all of the technique's; of an unknown
	// technique, those of the rule.
	Tactics []string
}

// Mapping is what the tags of a rule name.
type Mapping struct {
	Techniques []Technique // in the order of the tags
	Tactics    []string    // short names, in the order of the matrix: of the tags and the techniques
}

var techniqueTag = regexp.MustCompile(`^t\d{4}(\.\d{3})?$`)

// formerTactics are names that tactics had, and the tactics of today. Version 19 split
// Defense Evasion.
var formerTactics = map[string][]string{ //nolint:gochecknoglobals // a constant
	"defense-evasion": {"stealth", "defense-impairment"},
}

// Of returns the techniques and tactics that the tags of a rule name. Tags are as in Sigma,
// such as attack.t1059.004, attack.execution or attack.ta0002, in any case; "_" stands for
// "-". Others are ignored.
func Of(tags []string) Mapping {
	var m Mapping
	var names []string
	for _, tag := range tags {
		name, ok := strings.CutPrefix(strings.ToLower(tag), "attack.")
		if ok && techniqueTag.MatchString(name) {
			m.add(technique(strings.ToUpper(name)))
		} else if ok {
			names = append(names, strings.ReplaceAll(name, "_", "-"))
		}
	}
	for _, name := range names {
		m.Tactics = append(m.Tactics, m.tacticsOf(name)...)
	}
	named := m.Tactics
	for i := range m.Techniques {
		t := &m.Techniques[i]
		t.Tactics = narrowed(t.Tactics, named)
		if t.State == Unknown {
			t.Tactics = inOrder(named)
		}
		m.Tactics = append(m.Tactics, t.Tactics...)
	}
	m.Tactics = inOrder(m.Tactics)
	return m
}

// SameAs returns the IDs under which rules may name a technique or its sub-techniques: its ID,
// that of the technique which replaced it, and those that this one and its sub-techniques
// replaced. Sub-techniques of an ID in the list are not in it.
func SameAs(id string) []string {
	now := technique(id).ID
	ids := []string{now}
	for _, other := range append([]string{id}, known.ids...) {
		parent, _, _ := strings.Cut(other, ".")
		isNamed := slices.Contains(ids, other) || slices.Contains(ids, parent)
		if current := technique(other).ID; !isNamed && (current == now || strings.HasPrefix(current, now+".")) {
			ids = append(ids, other)
		}
	}
	return ids
}

// WithCurrent returns tags with those of the techniques that replaced revoked ones among them.
func WithCurrent(tags []string) []string {
	all := slices.Clip(tags)
	for _, t := range Of(tags).Techniques {
		if t.TaggedAs != "" {
			all = append(all, "attack."+strings.ToLower(t.ID))
		}
	}
	return all
}

// add adds a technique that is not there yet.
func (m *Mapping) add(t Technique) {
	if !slices.ContainsFunc(m.Techniques, func(other Technique) bool { return other.ID == t.ID }) {
		m.Techniques = append(m.Techniques, t)
	}
}

// tacticsOf returns the tactics of a name or ID in a tag, none if it is not one. A former
// tactic is those that the techniques have, or all that came of it.
func (m *Mapping) tacticsOf(name string) []string {
	for _, t := range known.Tactics {
		if t.ShortName == name || strings.EqualFold(t.ID, name) {
			return []string{t.ShortName}
		}
	}
	all := formerTactics[name]
	for _, t := range m.Techniques {
		if some := narrowed(all, t.Tactics); len(some) < len(all) {
			return some
		}
	}
	return all
}

// technique returns a technique with all of its tactics.
func technique(id string) Technique {
	e := known.byID[id]
	for range 10 { // revoked techniques replaced others; this many never follow each other
		if e == nil || e.RevokedBy == "" {
			break
		}
		e = known.byID[e.RevokedBy]
	}
	if e == nil {
		return Technique{ID: id, State: Unknown}
	}
	t := Technique{ID: e.ID, Name: e.Name, State: Current, Tactics: e.Tactics}
	if e.Deprecated {
		t.State = Deprecated
	}
	if id != e.ID {
		t.TaggedAs = id
	}
	if parent, _, isSub := strings.Cut(e.ID, "."); isSub && known.byID[parent] != nil {
		t.ParentID, t.ParentName = parent, known.byID[parent].Name
	}
	return t
}

// narrowed returns the names that are among others, or all of them if none is.
func narrowed(names, others []string) (some []string) {
	for _, name := range names {
		if slices.Contains(others, name) {
			some = append(some, name)
		}
	}
	if len(some) == 0 {
		return names
	}
	return some
}

// inOrder returns the tactics of some names in the order of the matrix, each once.
func inOrder(names []string) []string {
	all := []string{}
	for _, t := range known.Tactics {
		if slices.Contains(names, t.ShortName) {
			all = append(all, t.ShortName)
		}
	}
	return all
}
