package filter

import (
	"slices"
	"strconv"
	"strings"

	"ospulse/internal/models"
)

// The fields in this file are about what is known of a session besides its events: the
// routine rules that are in force and what the rules found. A test of such a field is false
// for every event until WithKnown has replaced it by conditions that every database and
// every form of an event can evaluate.

// The columns of what is known. They follow the columns of rules.
const (
	Routine   Column = DestinationHost + 1 + iota // the names of routine rules that match the event
	Finding                                       // the ids and titles of findings that point to the event
	Level                                         // their levels
	Technique                                     // their ATT&CK techniques
)

// maxKnown is the most tests of Routine, Finding, Level and Technique in a filter, and
// maxRoutine the most tests in all that the routine rules put in their place: PostgreSQL
// takes 65,535 values in a statement.
const (
	maxKnown   = 16
	maxRoutine = 8_000
)

// isKnown reports whether the column is one of what is known.
func (c Column) isKnown() bool { return c >= Routine }

// Known is what is known of a session.
type Known struct {
	Routine  []RoutineRule
	Findings []models.Finding
	UpTo     int64 // Findings has what is found in the events up to this Seq
}

// RoutineRule is a rule that matches what every program does.
type RoutineRule struct {
	Names []string // each names the rule
	Where Node     // InFilters has accepted it
}

// InFilters returns "" if a condition can be part of a filter, or else the test that can be
// evaluated in rules only, or is too slow for every list.
func InFilters(n Node) string {
	var field Field
	switch n := n.(type) {
	case And:
		return firstNotInFilters(n)
	case Or:
		return firstNotInFilters(n)
	case Not:
		return InFilters(n.Node)
	case Exists:
		field = n.Field
	case In:
		field = n.Field
	case Order:
		field = n.Field
	case Like:
		field = n.Field
	default:
		return n.String()
	}
	if field.Column > Data {
		return field.String()
	}
	return ""
}

func firstNotInFilters(nodes []Node) string {
	for _, n := range nodes {
		if found := InFilters(n); found != "" {
			return found
		}
	}
	return ""
}

// Seqs is true for the events with one of some seqs, in increasing order.
type Seqs []int64

// Match implements Node.
func (n Seqs) Match(e *models.Event) bool {
	_, found := slices.BinarySearch(n, e.Seq)
	return found
}

func (n Seqs) String() string {
	var b strings.Builder
	for i, seq := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.FormatInt(seq, 10))
	}
	return "seq in (" + b.String() + ")"
}

// NamesKnown reports whether the filter selects by routine rules or findings, so that it
// needs WithKnown.
func (f *Filter) NamesKnown() bool { return f != nil && f.namesKnown }

// WithKnown returns the filter that selects by what is known of a session. It returns invalid
// if the routine rules have too many tests.
func (f *Filter) WithKnown(known *Known) (*Filter, error) {
	if !f.NamesKnown() {
		return f, nil
	}
	tests := 0
	asked := f.asked
	if asked == nil {
		asked = f.root
	}
	root := rewrite(asked, func(n Node) Node {
		column, ok := knownColumn(n)
		switch {
		case !ok:
			return n
		case column == Routine:
			node := known.routine(n)
			tests += countTests(node)
			return node
		}
		return known.found(n, column)
	})
	if tests > maxRoutine {
		return nil, models.Errorf(models.CodeInvalid, "filter: the routine rules have %d tests where the filter names them; at most %d are taken", tests, maxRoutine)
	}
	return &Filter{root: root, asked: asked, namesKnown: true, needsData: needsData(root), upTo: known.UpTo}, nil
}

// routine returns the condition that a test of Routine stands for. An event that a finding
// points to is not routine.
func (k *Known) routine(test Node) Node {
	return orNone(test, k.ofRules(func(names []string) bool { return isNamed(test, names) }), k.ofRules(func([]string) bool { return true }))
}

// ofRules returns the condition that an event is routine by one of some rules.
func (k *Known) ofRules(selects func(names []string) bool) Node {
	var cheap, some Or
	for i := range k.Routine {
		switch where := k.Routine[i].Where; {
		case !selects(k.Routine[i].Names):
		case needsData(where):
			some = append(some, where)
		default:
			cheap = append(cheap, where)
		}
	}
	is := And{append(cheap, some...)}
	if found := k.seqs(func(*models.Finding) bool { return true }); len(found) > 0 {
		is = append(is, Not{found})
	}
	return is
}

// found returns the condition that a test of a column of findings stands for.
func (k *Known) found(test Node, column Column) Node {
	return orNone(test, k.seqs(func(f *models.Finding) bool {
		switch column {
		case Level:
			return ofLevel(test, f.Level)
		case Technique:
			return slices.ContainsFunc(f.Tags, func(tag string) bool { return ofTechnique(test, tag) })
		}
		return isNamed(test, []string{f.RuleID, f.Title})
	}), k.seqs(func(*models.Finding) bool { return true }))
}

// seqs returns the condition that an event is one of those that some findings point to.
func (k *Known) seqs(selects func(*models.Finding) bool) Seqs {
	all := Seqs{}
	for i := range k.Findings {
		if selects(&k.Findings[i]) {
			all = append(all, k.Findings[i].Seqs...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// orNone returns the condition is or, if the test has the value false, that or not any.
func orNone(test, is, anything Node) Node {
	if in, ok := test.(In); ok && slices.ContainsFunc(in.Values, func(v Value) bool { return v.Kind == Word && v.Text == "false" }) {
		return Or{is, Not{anything}}
	}
	return is
}

// isNamed reports whether a test is true for one of the names of something; the value true is
// true for everything.
func isNamed(test Node, names []string) bool {
	switch n := test.(type) {
	case Exists:
		return true
	case In:
		return slices.ContainsFunc(n.Values, func(v Value) bool {
			return v.Kind == Word && v.Text == "true" || v.Kind == String && slices.Contains(names, v.Text)
		})
	case Like:
		return slices.ContainsFunc(names, n.Pattern.Matches)
	}
	return false
}

// levels are the levels of findings, from the least to the most.
var levels = []string{"informational", "low", "medium", "high", "critical"} //nolint:gochecknoglobals // a constant

func ofLevel(test Node, level string) bool {
	if n, ok := test.(Order); ok {
		place := slices.Index(levels, level)
		return place >= 0 && n.Op.holds(place-slices.Index(levels, n.Value.Text))
	}
	return isNamed(test, []string{level})
}

// ofTechnique reports whether a test is true for a tag, such as attack.t1059.004. A technique
// equals its sub-techniques too.
func ofTechnique(test Node, tag string) bool {
	id, ok := strings.CutPrefix(strings.ToUpper(tag), "ATTACK.T")
	if !ok || !isTechnique("T"+id) {
		return false
	}
	technique, _, isSub := strings.Cut(id, ".")
	if _, isIn := test.(In); isIn && isSub {
		return isNamed(test, []string{"T" + id, "T" + technique})
	}
	return isNamed(test, []string{"T" + id})
}

// isTechnique reports whether a text is an id such as T1059 or T1059.004.
func isTechnique(id string) bool {
	technique, sub, isSub := strings.Cut(id, ".")
	digits := func(text string, n int) bool { return len(text) == n && strings.Trim(text, "0123456789") == "" }
	return strings.HasPrefix(technique, "T") && digits(technique[1:], 4) && (!isSub || digits(sub, 3))
}

// knownColumn returns the column of what is known that a node tests.
func knownColumn(n Node) (column Column, ok bool) {
	switch n := n.(type) {
	case Exists:
		column = n.Field.Column
	case In:
		column = n.Field.Column
	case Like:
		column = n.Field.Column
	case Order:
		column = n.Field.Column
	}
	return column, column.isKnown()
}

// known returns the value of a test of a column of what is known, or what is wrong with it.
func (t *test) known() (Value, *SyntaxError) {
	value := Value{Kind: String, Text: t.text}
	switch {
	case t.field.Column == Level && !slices.Contains(levels, lower(t.text)):
		return value, t.fault("expected one of %s, found %s", strings.Join(levels, ", "), shown(t.text))
	case t.field.Column == Level:
		value.Text = lower(t.text)
	case t.field.Column == Technique && !isTechnique(strings.ToUpper(t.text)):
		return value, t.fault("expected a technique such as T1059 or T1059.004, found %s", shown(t.text))
	case t.field.Column == Technique:
		value.Text = strings.ToUpper(t.text)
	case !t.quoted && (t.text == "true" || t.text == "false"):
		value.Kind = Word
	}
	return value, nil
}

// rewrite returns a copy of a condition in which replace replaced each test.
func rewrite(n Node, replace func(Node) Node) Node {
	all := func(nodes []Node) []Node {
		replaced := make([]Node, len(nodes))
		for i, node := range nodes {
			replaced[i] = rewrite(node, replace)
		}
		return replaced
	}
	switch n := n.(type) {
	case And:
		return And(all(n))
	case Or:
		return Or(all(n))
	case Not:
		return Not{rewrite(n.Node, replace)}
	}
	return replace(n)
}

// countTests returns how many values the tests of a condition have.
func countTests(n Node) (count int) {
	rewrite(n, func(n Node) Node {
		count++
		if in, ok := n.(In); ok {
			count += len(in.Values) - 1
		}
		return n
	})
	return count
}

// upToSeq returns a condition that is the same among the events up to a Seq, without what it
// says of others.
func upToSeq(n Node, upTo int64) Node {
	return rewrite(n, func(n Node) Node {
		if seqs, ok := n.(Seqs); ok {
			place, found := slices.BinarySearch(seqs, upTo)
			if found {
				place++
			}
			return seqs[:place]
		}
		return n
	})
}
