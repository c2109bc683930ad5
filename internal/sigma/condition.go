package sigma

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// detection is the part of a rule that says what it matches: searches, which have names, and
// the conditions over them, of which one must be true.
type detection struct {
	searches   map[string]search
	names      []string // of the searches, as written
	conditions []search
}

// search is a condition on an event: allOf, anyOf, noneOf, item or keywords.
type search any

type (
	allOf  []search
	anyOf  []search
	noneOf struct{ search search }
)

func parseDetection(n *yaml.Node) (*detection, *Error) {
	if n.Kind != yaml.MappingNode {
		return nil, fault(n, "detection is not a map with searches and a condition")
	}
	d := &detection{searches: map[string]search{}}
	var condition *yaml.Node
	for name, value := range members(n) {
		switch name.Value {
		case "condition":
			condition = value
			continue
		case "timeframe":
			return nil, fault(name, "timeframe belongs to aggregations, which are not supported")
		}
		found, err := parseSearch(value, name.Value)
		if err != nil {
			return nil, err
		}
		d.searches[name.Value] = found
		d.names = append(d.names, name.Value)
	}
	if condition == nil {
		return nil, fault(n, "the detection has no condition")
	}
	parts := []*yaml.Node{condition}
	if condition.Kind == yaml.SequenceNode {
		parts = condition.Content
	}
	for _, part := range parts {
		text, err := scalar(part, "condition")
		if err == nil && text == "" {
			err = fault(part, "the condition is empty")
		}
		if err != nil {
			return nil, err
		}
		p := conditionParser{detection: d, node: part, tokens: conditionTokens(text)}
		found, err := p.or(0)
		if err == nil && len(p.tokens) > 0 {
			err = p.unexpected("and, or, or the end")
		}
		if err != nil {
			return nil, err
		}
		d.conditions = append(d.conditions, found)
	}
	if len(d.conditions) == 0 {
		return nil, fault(condition, "the condition is empty")
	}
	return d, nil
}

// parseSearch reads a search: a map of items that must all match, a list of maps or words of
// which one must match, or a word.
func parseSearch(n *yaml.Node, name string) (search, *Error) {
	switch n.Kind {
	case yaml.MappingNode:
		var all allOf
		for key, value := range members(n) {
			found, err := parseItem(key, value)
			if err != nil {
				return nil, err
			}
			all = append(all, found)
		}
		if len(all) == 0 {
			return nil, fault(n, "the search %s is empty", name)
		}
		return all, nil
	case yaml.SequenceNode:
		var some anyOf
		var words []*yaml.Node
		for _, child := range n.Content {
			if child.Kind == yaml.ScalarNode {
				words = append(words, child)
				continue
			}
			found, err := parseSearch(child, name)
			if err != nil {
				return nil, err
			}
			some = append(some, found)
		}
		if len(words) > 0 {
			found, err := newItem(n, "", nil, words)
			if err != nil {
				return nil, err
			}
			some = append(some, found)
		}
		if len(some) == 0 {
			return nil, fault(n, "the search %s is empty", name)
		}
		return some, nil
	}
	if isNull(n) {
		return nil, fault(n, "the search %s is empty", name)
	}
	return newItem(n, "", nil, []*yaml.Node{n})
}

// conditionParser reads a condition:
//
//	or   = and { "or" and }
//	and  = not { "and" not }
//	not  = { "not" } test
//	test = "(" or ")" | ("all" | number) "of" ("them" | pattern) | name
type conditionParser struct {
	detection *detection
	node      *yaml.Node
	tokens    []string
}

// conditionTokens splits a condition at spaces and parentheses.
func conditionTokens(text string) []string {
	return strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ", "|", " | ").Replace(text))
}

func (p *conditionParser) unexpected(wanted string) *Error {
	if len(p.tokens) == 0 {
		return fault(p.node, "condition: expected %s, found the end", wanted)
	}
	switch token := p.tokens[0]; strings.ToLower(token) {
	case "|":
		return fault(p.node, "condition: aggregations (| count() …) are not supported")
	case "near":
		return fault(p.node, "condition: near is not supported")
	default:
		return fault(p.node, "condition: expected %s, found %q", wanted, shown(token))
	}
}

// take skips a word, if it is next, and reports whether it did.
func (p *conditionParser) take(word string) bool {
	if len(p.tokens) == 0 || !strings.EqualFold(p.tokens[0], word) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *conditionParser) or(depth int) (search, *Error) {
	var some anyOf
	for {
		found, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		if some = append(some, found); !p.take("or") {
			break
		}
	}
	if len(some) == 1 {
		return some[0], nil
	}
	return some, nil
}

func (p *conditionParser) and(depth int) (search, *Error) {
	var all allOf
	for {
		found, err := p.not(depth)
		if err != nil {
			return nil, err
		}
		if all = append(all, found); !p.take("and") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (p *conditionParser) not(depth int) (search, *Error) {
	if depth > maxDepth {
		return nil, fault(p.node, "condition: more than %d levels of parentheses and nots", maxDepth)
	}
	if p.take("not") {
		found, err := p.not(depth + 1)
		return noneOf{found}, err
	}
	return p.test(depth)
}

func (p *conditionParser) test(depth int) (search, *Error) {
	if p.take("(") {
		found, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = p.unexpected("and, or, or )")
		}
		return found, err
	}
	if len(p.tokens) == 0 {
		return nil, p.unexpected("the name of a search")
	}
	if len(p.tokens) > 2 && strings.EqualFold(p.tokens[1], "of") {
		return p.of()
	}
	name := p.tokens[0]
	found, ok := p.detection.searches[name]
	if !ok {
		if slices.Contains([]string{"and", "or", "not", "near", ")", "|"}, strings.ToLower(name)) {
			return nil, p.unexpected("the name of a search")
		}
		return nil, fault(p.node, "condition: there is no search %q", shown(name))
	}
	p.tokens = p.tokens[1:]
	return found, nil
}

// of reads "1 of them", "all of selection_*" and the like.
func (p *conditionParser) of() (search, *Error) {
	count, pattern := strings.ToLower(p.tokens[0]), p.tokens[2]
	var found []search
	for _, name := range p.detection.names {
		matches, err := path.Match(pattern, name)
		if err != nil {
			return nil, fault(p.node, "condition: %q is no pattern of names", shown(pattern))
		}
		if strings.EqualFold(pattern, "them") {
			matches = !strings.HasPrefix(name, "_")
		}
		if matches {
			found = append(found, p.detection.searches[name])
		}
	}
	if len(found) == 0 {
		return nil, fault(p.node, "condition: no search has a name like %q", shown(pattern))
	}
	p.tokens = p.tokens[3:]
	switch n, err := strconv.Atoi(count); {
	case count == "all":
		return allOf(found), nil
	case count == "any" || err == nil && n == 1:
		return anyOf(found), nil
	case err == nil && n > 1 && n <= len(found) && len(found) <= maxDepth:
		return atLeast(n, found), nil
	}
	return nil, fault(p.node, "condition: expected all of, or a number of searches up to %d, found %q", len(found), shown(count))
}

// atLeast returns the condition that n of some searches match.
func atLeast(n int, of []search) search {
	switch {
	case n == 1:
		return anyOf(of)
	case n == len(of):
		return allOf(of)
	}
	return anyOf{allOf{of[0], atLeast(n-1, of[1:])}, atLeast(n, of[1:])}
}
