// Package filter is the language in which people say which events they want:
// Kibana's KQL with the comparisons of SQL. docs/filter.md describes it.
//
// A filter is parsed once. Match evaluates it on an event in memory; a repository
// compiles the same tree to SQL. Both must select the same events: what a node
// means is written at its type, and a test holds Match and both databases against
// one another. The package knows no SQL.
package filter

import (
	"fmt"
	"strings"

	"ospulse/internal/models"
)

// Limits of a filter. They keep what it costs in proportion to what was typed, and
// the statement that it becomes within what both databases take.
const (
	MaxLength  = 8 << 10 // bytes of text
	MaxNesting = 100     // parentheses and NOTs in one another
	MaxTests   = 500     // values that are compared with
	MaxTexts   = 32      // texts that are searched for, each in all of data
	MaxSteps   = 32      // of a path into data
)

// Filter selects events; nil selects all. It is immutable, and safe for concurrent
// use.
type Filter struct {
	root      Node
	needsData bool
}

// Parse reads a filter; text that is blank is nil, which selects all events. The
// error is a *models.Error of code invalid around a *SyntaxError.
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
	return &Filter{root: root, needsData: needsData(root)}, nil
}

// TargetContains gives the filter that selects the events with a text in their
// target; the case of A to Z does not matter.
func TargetContains(text string) *Filter {
	return &Filter{root: Like{Field{Column: Target}, literalPattern(text).Anywhere()}}
}

// ParseNode reads what a Node's String has written, which may be longer than the
// text that it was parsed from.
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
func (f *Filter) Match(e *models.Event) bool { return f == nil || f.root.match(e) }

// NeedsData reports whether Match looks into the event's Data, not only at what is
// lifted from it.
func (f *Filter) NeedsData() bool { return f != nil && f.needsData }

// Span gives a span of time in which all events that the filter selects lie, its
// ends included; a zero end is no bound.
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

// String gives a text that is read as the same filter, by Parse if it is within the
// limits: with every field by its short name, every comparison written one way, and
// no parenthesis too many.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return f.root.String()
}

// Root gives the filter's condition, to be compiled.
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
