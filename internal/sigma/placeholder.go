package sigma

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Placeholders are the values of the placeholders that rules have with the modifier expand,
// by name: %admins% has those of "admins". nil is ready to use, and has none.
type Placeholders map[string][]*yaml.Node

// placeholder matches a placeholder.
var placeholder = regexp.MustCompile(`%[A-Za-z0-9_]+%`)

// unknownTag is the tag of a value of a rule whose placeholder has no values. The node has the
// placeholder.
const unknownTag = "!unknown"

// maxExpanded is the most bytes of all values of a rule after |expand.
const maxExpanded = 1 << 20

// ReadPlaceholders reads a YAML map of names, each with one value or a list of values. The
// error is an *Error.
func ReadPlaceholders(text []byte) (Placeholders, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	root, err := document(text)
	if err != nil {
		return nil, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, fault(root, "placeholders are a map of names, each with a list of values")
	}
	p := Placeholders{}
	for name, value := range members(root) {
		if !placeholder.MatchString("%" + name.Value + "%") {
			return nil, fault(name, "%s is no name of a placeholder: it must have letters, digits and _", shown(name.Value))
		}
		values := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			values = value.Content
		}
		for _, v := range values {
			if v.Kind != yaml.ScalarNode || isNull(v) || placeholder.MatchString(v.Value) {
				return nil, fault(v, "a value of %s is not a text or a number, or has a placeholder", shown(name.Value))
			}
		}
		p[name.Value] = values
	}
	return p, nil
}

// expand replaces the values of a detection that have placeholders, where a field has the
// modifier expand. It does so before any modifier is applied, so that a placeholder can stand
// for a network or a part of an expression. It returns the placeholders with their values.
func (p Placeholders) expand(detection *yaml.Node) (used string, _ *Error) {
	e := expansion{placeholders: p, left: maxExpanded, used: map[string]bool{}}
	if err := e.walk(detection); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.used)) {
		fmt.Fprintf(&b, "%s:", name)
		for _, v := range p[name] {
			fmt.Fprintf(&b, " %s %q", v.Tag, v.Value)
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

// expansion is one call of expand.
type expansion struct {
	placeholders Placeholders
	left         int // bytes
	used         map[string]bool
}

func (e *expansion) walk(n *yaml.Node) *Error {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && slices.Contains(strings.Split(strings.ToLower(n.Content[i-1].Value), "|")[1:], "expand") {
			values := []*yaml.Node{child}
			if child.Kind == yaml.SequenceNode {
				values = child.Content
			}
			list := &yaml.Node{Kind: yaml.SequenceNode, Line: child.Line, Column: child.Column}
			for _, v := range values {
				if err := e.value(list, v); err != nil {
					return err
				}
			}
			n.Content[i] = list
		} else if err := e.walk(child); err != nil {
			return err
		}
	}
	return nil
}

// value adds what a value stands for to a list. The value is one of the rule's, in which
// placeholders may have been replaced.
func (e *expansion) value(list, v *yaml.Node) *Error {
	if e.left -= 1 + len(v.Value); e.left < 0 {
		return fault(list, "the values after |expand are longer than %d bytes", maxExpanded)
	}
	found := placeholder.FindString(v.Value)
	if v.Kind != yaml.ScalarNode || found == "" {
		list.Content = append(list.Content, v)
		return nil
	}
	name := strings.Trim(found, "%")
	e.used[name] = true
	if len(e.placeholders[name]) == 0 {
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: unknownTag, Value: found, Line: v.Line, Column: v.Column})
		return nil
	}
	for _, replacement := range e.placeholders[name] {
		next := *replacement
		next.Line, next.Column = v.Line, v.Column
		if v.Value != found {
			next.Tag, next.Value = "!!str", strings.Replace(v.Value, found, replacement.Value, 1)
		}
		if err := e.value(list, &next); err != nil {
			return err
		}
	}
	return nil
}
