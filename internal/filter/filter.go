// Package filter implements the filter language: Kibana's KQL with the comparisons of
// SQL. docs/filter.md describes it.
//
// A filter is parsed once. Match evaluates it on an event in memory; a repository
// compiles the same tree to SQL. Both must select the same events. Each node type
// documents its meaning, and a test compares Match with both databases. The package
// knows no SQL.
package filter

import (
	"fmt"
	"strings"

	"ospulse/internal/models"
)

// Limits of a filter. They keep its cost in proportion to its length, and its SQL
// within the limits of both databases.
const (
	MaxLength  = 8 << 10 // bytes of text
	MaxNesting = 100     // nested parentheses and NOTs
	MaxTests   = 500     // values to compare with
	MaxTexts   = 32      // texts to search for in all of data
	MaxUnders  = 32      // processes
	MaxSteps   = 32      // steps of a path into data
)

// Filter selects events; nil selects all. It is immutable, and safe for concurrent
// use.
type Filter struct {
	root       Node
	asked      Node // as it was written, if WithKnown has replaced some of root
	needsData  bool
	namesKnown bool
	upTo       int64 // the Seq up to which its processes and findings are known, if it names some
}

// Parse parses a filter. Blank text returns nil, which selects all events. The error is
// a *models.Error of code invalid around a *SyntaxError.
func Parse(text string) (*Filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > MaxLength {
		return nil, invalid(&SyntaxError{Column: 1, Text: fmt.Sprintf("the filter is %d bytes long; at most %d are taken", len(text), MaxLength)})
	}
	root, err := parse(text)
	if err != nil {
		return nil, invalid(err)
	}
	namesKnown := false
	rewrite(root, func(n Node) Node {
		_, isKnown := knownColumn(n)
		namesKnown = namesKnown || isKnown
		return n
	})
	return &Filter{root: root, needsData: needsData(root), namesKnown: namesKnown}, nil
}

// TargetContains returns the filter that selects events with a text in their target,
// regardless of the case of A to Z.
func TargetContains(text string) *Filter {
	return &Filter{root: Like{Field{Column: Target}, literalPattern(text).Anywhere()}}
}

// OfTypes returns the filter that selects the events of some types that where selects.
func OfTypes(where *Filter, types ...string) *Filter {
	is := In{Field: Field{Column: Type}}
	for _, name := range types {
		is.Values = append(is.Values, Value{Kind: String, Text: name})
	}
	return where.and(is)
}

// InSpan returns the filter that selects the events in a span that where selects.
func InSpan(where *Filter, span models.Span) *Filter {
	time := Field{Column: Time}
	return where.and(Order{time, AtLeast, Value{Kind: Instant, Time: span.From}}, Order{time, AtMost, Value{Kind: Instant, Time: span.To}})
}

// and returns the filter that selects the events that f and all nodes select.
func (f *Filter) and(nodes ...Node) *Filter {
	if f == nil {
		return &Filter{root: And(nodes)}
	}
	return &Filter{root: And(append(nodes, f.root)), needsData: f.needsData, upTo: f.upTo}
}

// ParseNode parses the result of a Node's String, which may be longer than the text
// that the Node was parsed from.
func ParseNode(text string) (Node, error) {
	root, err := parse(text)
	if err != nil {
		return nil, invalid(err)
	}
	return root, nil
}

func invalid(err *SyntaxError) error {
	return models.Wrap(err, models.CodeInvalid, "filter, column %d: %s", err.Column, err.Text)
}

// Match reports whether the filter selects an event.
func (f *Filter) Match(e *models.Event) bool { return f == nil || f.root.Match(e) }

// NeedsData reports whether Match reads the event's Data, and not only its hot fields.
func (f *Filter) NeedsData() bool { return f != nil && f.needsData }

// WithoutData returns a filter that needs no data and selects at least the events that f
// selects; nil if there is none but the one that selects all.
func (f *Filter) WithoutData() *Filter {
	if !f.NeedsData() {
		return f
	}
	if root := boundOf(f.root, true); root != nil {
		return &Filter{root: root}
	}
	return nil
}

// Certain returns a filter that needs no data and selects only events that f selects; nil
// if there is none but the one that selects none.
func (f *Filter) Certain() *Filter {
	if !f.NeedsData() {
		return f
	}
	if root := boundOf(f.root, false); root != nil {
		return &Filter{root: root}
	}
	return nil
}

// Among returns the filter that selects the events with the seqs sure, and those of the events
// with the seqs maybe that f selects. Both are in increasing order.
func (f *Filter) Among(sure, maybe []int64) *Filter {
	some := And{Seqs(maybe), f.root}
	switch {
	case len(maybe) == 0:
		return &Filter{root: Seqs(sure)}
	case len(sure) == 0:
		return &Filter{root: some, needsData: f.needsData}
	}
	return &Filter{root: Or{Seqs(sure), some}, needsData: f.needsData}
}

// boundOf returns a condition that needs no data. If isUpper, it is true if n is; nil stands
// for one that is always true. Otherwise n is true if it is; nil stands for one that is always
// false.
func boundOf(n Node, isUpper bool) Node {
	if !needsData(n) {
		return n
	}
	switch n := n.(type) {
	case And:
		// A part that is always true adds nothing; one that is always false decides.
		if nodes, isWhole := boundsOf(n, isUpper); len(nodes) > 0 && (isWhole || isUpper) {
			return And(nodes)
		}
	case Or:
		if nodes, isWhole := boundsOf(n, isUpper); len(nodes) > 0 && (isWhole || !isUpper) {
			return Or(nodes)
		}
	case Not:
		if node := boundOf(n.Node, !isUpper); node != nil {
			return Not{node}
		}
	}
	return nil
}

// boundsOf returns the bounds of some nodes that are not nil, and whether none was.
func boundsOf(nodes []Node, isUpper bool) (bounds []Node, isWhole bool) {
	for _, node := range nodes {
		if bound := boundOf(node, isUpper); bound != nil {
			bounds = append(bounds, bound)
		}
	}
	return bounds, len(bounds) == len(nodes)
}

// Span returns a span of time, both ends included, that contains all events that the
// filter selects. A zero end means no bound.
func (f *Filter) Span() models.Span {
	if f == nil {
		return models.Span{}
	}
	return spanOf(f.root)
}

func spanOf(n Node) (span models.Span) {
	switch n := n.(type) {
	case And:
		for _, node := range n {
			other := spanOf(node)
			if other.From.After(span.From) {
				span.From = other.From
			}
			if span.To.IsZero() || !other.To.IsZero() && other.To.Before(span.To) {
				span.To = other.To
			}
		}
	case Order:
		switch {
		case n.Field.Column != Time:
		case n.Op == Above || n.Op == AtLeast:
			span.From = n.Value.Time
		default:
			span.To = n.Value.Time
		}
	}
	return span
}

// String returns the canonical text of the filter. Parse reads it as the same filter,
// if it is within the limits.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	if f.asked != nil {
		return f.asked.String()
	}
	return f.root.String()
}

// Root returns the filter's condition, for a compiler.
func (f *Filter) Root() Node { return f.root }

func needsData(n Node) bool {
	switch n := n.(type) {
	case And:
		return anyNeedsData(n)
	case Or:
		return anyNeedsData(n)
	case Not:
		return needsData(n.Node)
	case DataNode:
		return n.NeedsData()
	}
	return false
}

func anyNeedsData(nodes []Node) bool {
	for _, n := range nodes {
		if needsData(n) {
			return true
		}
	}
	return false
}
