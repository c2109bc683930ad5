// Command attack makes internal/attack/enterprise.json from a STIX bundle of MITRE ATT&CK,
// such as enterprise-attack-19.2.json of https://github.com/mitre-attack/attack-stix-data:
//
//	go run tools/attack/main.go enterprise-attack-19.2.json > internal/attack/enterprise.json
//
// It keeps IDs, names and tactics, and what replaced a technique. It uses no network and
// imports only the standard library.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: attack BUNDLE")
	}
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := convert(bufio.NewReader(file))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	_, err = out.Write(data)
	return err
}

// object has what is needed of the objects of STIX (https://docs.oasis-open.org/cti/stix/v2.1),
// with the members that ATT&CK adds.
type object struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Name       string `json:"name"`
	Revoked    bool   `json:"revoked"`
	Deprecated bool   `json:"x_mitre_deprecated"`
	Version    string `json:"x_mitre_version"`
	ShortName  string `json:"x_mitre_shortname"`
	References []struct {
		Source string `json:"source_name"`
		ID     string `json:"external_id"`
	} `json:"external_references"`
	Phases []struct {
		Chain string `json:"kill_chain_name"`
		Name  string `json:"phase_name"`
	} `json:"kill_chain_phases"`
	Definition struct {
		Statement string `json:"statement"`
	} `json:"definition"`
	Relation string   `json:"relationship_type"`
	Source   string   `json:"source_ref"`
	Target   string   `json:"target_ref"`
	Tactics  []string `json:"tactic_refs"`
}

// attackID returns the ID that ATT&CK gives an object, such as T1059, "" if it gives none.
func (o *object) attackID() string {
	for _, r := range o.References {
		if r.Source == "mitre-attack" {
			return r.ID
		}
	}
	return ""
}

// The terms of use of ATT&CK (https://attack.mitre.org/resources/legal-and-branding/terms-of-use)
// ask for this text in each copy, beside the copyright, which the bundle states.
const license = "The MITRE Corporation (MITRE) hereby grants you a non-exclusive, royalty-free license to use ATT&CK® for research, development, and commercial purposes. " +
	"Any copy you make for such purposes is authorized provided that you reproduce MITRE's copyright designation and this license in any such copy. " +
	"This work is reproduced and distributed with the permission of The MITRE Corporation."

const source = "MITRE ATT&CK Enterprise, https://github.com/mitre-attack/attack-stix-data"

type tactic struct {
	ID        string `json:"id"`
	ShortName string `json:"short_name"`
	Name      string `json:"name"`
}

type technique struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Tactics    []string `json:"tactics"`
	RevokedBy  string   `json:"revoked_by,omitempty"`
	Deprecated bool     `json:"deprecated,omitempty"`
}

// convert returns the text of enterprise.json for a bundle.
func convert(bundle io.Reader) ([]byte, error) {
	var in struct {
		Type    string   `json:"type"`
		Objects []object `json:"objects"`
	}
	if err := json.NewDecoder(bundle).Decode(&in); err != nil {
		return nil, err
	}
	if in.Type != "bundle" {
		return nil, fmt.Errorf("it is no STIX bundle")
	}
	b := reader{byID: map[string]*object{}, revokedBy: map[string]string{}, parents: map[string]string{}}
	for i := range in.Objects {
		b.add(&in.Objects[i])
	}
	tactics, err := b.tactics()
	if err != nil {
		return nil, err
	}
	techniques, err := b.techniques(tactics)
	if err != nil {
		return nil, err
	}
	if b.version == "" || b.copyright == "" {
		return nil, fmt.Errorf("it states no version (x-mitre-collection) or no copyright (marking-definition)")
	}
	return render(b.version, b.copyright, tactics, techniques), nil
}

// reader are the objects of a bundle that matter.
type reader struct {
	version, copyright string
	matrices           []*object
	patterns           []*object
	byID               map[string]*object
	revokedBy, parents map[string]string // by the IDs of STIX
}

func (b *reader) add(o *object) {
	b.byID[o.ID] = o
	switch {
	case o.Type == "x-mitre-collection":
		b.version = o.Version
	case o.Type == "marking-definition" && o.Definition.Statement != "":
		b.copyright = o.Definition.Statement
	case o.Type == "x-mitre-matrix" && !o.Revoked && !o.Deprecated:
		b.matrices = append(b.matrices, o)
	case o.Type == "attack-pattern":
		b.patterns = append(b.patterns, o)
	case o.Type == "relationship" && o.Revoked, o.Type == "relationship" && o.Deprecated:
	case o.Type == "relationship" && o.Relation == "revoked-by":
		b.revokedBy[o.Source] = o.Target
	case o.Type == "relationship" && o.Relation == "subtechnique-of":
		b.parents[o.Source] = o.Target
	}
}

// tactics returns the tactics in the order of the matrix.
func (b *reader) tactics() (all []tactic, err error) {
	if len(b.matrices) != 1 {
		return nil, fmt.Errorf("it has %d matrices in use, not one", len(b.matrices))
	}
	for _, ref := range b.matrices[0].Tactics {
		o := b.byID[ref]
		if o == nil || o.attackID() == "" || o.ShortName == "" {
			return nil, fmt.Errorf("the tactic %s of the matrix is missing or incomplete", ref)
		}
		all = append(all, tactic{o.attackID(), o.ShortName, o.Name})
	}
	return all, nil
}

// techniques returns all techniques by ID, those that are out of use too.
func (b *reader) techniques(tactics []tactic) (all []technique, err error) {
	order := func(name string) int {
		return slices.IndexFunc(tactics, func(t tactic) bool { return t.ShortName == name })
	}
	for _, o := range b.patterns {
		t := technique{ID: o.attackID(), Name: o.Name, Tactics: []string{}, Deprecated: o.Deprecated}
		if t.ID == "" {
			return nil, fmt.Errorf("%s %q has no ID of ATT&CK", o.ID, o.Name)
		}
		for _, phase := range o.Phases {
			if phase.Chain == "mitre-attack" && !slices.Contains(t.Tactics, phase.Name) {
				t.Tactics = append(t.Tactics, phase.Name)
			}
		}
		slices.SortFunc(t.Tactics, func(x, y string) int { return cmp.Compare(order(x), order(y)) })
		if isInUse := !o.Revoked && !o.Deprecated; isInUse && (len(t.Tactics) == 0 || order(t.Tactics[0]) < 0) {
			return nil, fmt.Errorf("%s has no tactic of the matrix: %q", t.ID, t.Tactics)
		}
		if o.Revoked {
			by := b.byID[b.revokedBy[o.ID]]
			if by == nil || by.attackID() == "" {
				return nil, fmt.Errorf("%s is revoked, and nothing says by what", t.ID)
			}
			t.RevokedBy = by.attackID()
		}
		// Readers know the parent of a sub-technique by its ID.
		parent, _, isSub := strings.Cut(t.ID, ".")
		if stated := b.byID[b.parents[o.ID]]; isSub && !o.Revoked && (stated == nil || stated.attackID() != parent) {
			return nil, fmt.Errorf("%s is not stated to be a sub-technique of %s", t.ID, parent)
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(x, y technique) int { return strings.Compare(x.ID, y.ID) })
	for i := 1; i < len(all); i++ {
		if all[i].ID == all[i-1].ID {
			return nil, fmt.Errorf("it has %s twice", all[i].ID)
		}
	}
	return all, nil
}

// render writes one tactic or technique a line, so that a new version is a short diff.
func render(version, copyright string, tactics []tactic, techniques []technique) []byte {
	return fmt.Appendf(nil, "{\n\"source\": %s,\n\"version\": %s,\n\"copyright\": %s,\n\"license\": %s,\n\"tactics\": [\n%s\n],\n\"techniques\": [\n%s\n]\n}\n",
		line(source), line(version), line(copyright), line(license), lines(tactics), lines(techniques))
}

func lines[T any](all []T) string {
	texts := make([]string, len(all))
	for i := range all {
		texts[i] = line(all[i])
	}
	return strings.Join(texts, ",\n")
}

// line returns a value of texts as JSON.
func line(value any) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // such values cannot fail
	return strings.TrimSuffix(out.String(), "\n")
}
