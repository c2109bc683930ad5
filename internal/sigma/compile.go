package sigma

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ospulse/internal/filter"
)

// Compiled is a rule as a condition on events.
type Compiled struct {
	// Where is true for the events that the rule matches; nil if the rule cannot run.
	Where filter.Node
	// Needs says what the rule needs and no event has. If Where is nil, the rule cannot run
	// without it. Otherwise the rule runs without the part that needs it.
	Needs []string
}

// CanRun reports whether the rule can match events.
func (c *Compiled) CanRun() bool { return c.Where != nil }

// Compile translates the rule into a condition. The error is an *Error: a value that its
// field cannot have, or a condition that is too large.
//
// A test of a field that no event has is neither true nor false. An "and" with such a test
// cannot be true; an "or" leaves it out; a "not" of it is true. So a rule runs if it can
// match without the test.
func (r *Rule) Compile() (*Compiled, error) {
	source := sourceOf(r.Source)
	if source == nil {
		return &Compiled{Needs: []string{"events of " + r.Source.String()}}, nil
	}
	c := compiler{source: source, left: maxTests}
	var where filter.Or
	for _, condition := range r.detection.conditions {
		node, err := c.search(condition)
		if err != nil {
			return nil, err
		}
		if node != nil {
			where = append(where, node)
		}
	}
	slices.Sort(c.needs)
	compiled := &Compiled{Needs: slices.Compact(c.needs)}
	if len(where) > 0 {
		compiled.Where = append(filter.And{source.when}, where[0])
		if len(where) > 1 {
			compiled.Where = filter.And{source.when, where}
		}
	}
	return compiled, nil
}

// compiler translates searches. A nil node is a test that is neither true nor false.
type compiler struct {
	source *source
	left   int // tests
	needs  []string
}

func (c *compiler) search(s search) (filter.Node, *Error) {
	switch s := s.(type) {
	case allOf:
		all := make(filter.And, 0, len(s))
		isKnown := true
		for _, one := range s { // all of them, so that needs is complete
			node, err := c.search(one)
			if err != nil {
				return nil, err
			}
			isKnown = isKnown && node != nil
			all = append(all, node)
		}
		if !isKnown {
			return nil, nil
		}
		return only(all), nil
	case anyOf:
		var some filter.Or
		for _, one := range s {
			node, err := c.search(one)
			if err != nil {
				return nil, err
			}
			if node != nil {
				some = append(some, node)
			}
		}
		return either(some), nil
	case noneOf:
		node, err := c.search(s.search)
		if err != nil || node == nil {
			return filter.And{}, err
		}
		return filter.Not{Node: node}, nil
	case *item:
		return c.item(s)
	}
	return nil, fault(nil, "unknown search %T", s)
}

func only(all filter.And) filter.Node {
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// either returns the condition that one of some nodes is true, nil for no nodes.
func either(some filter.Or) filter.Node {
	switch len(some) {
	case 0:
		return nil
	case 1:
		return some[0]
	}
	return some
}

func (c *compiler) need(format string, args ...any) (filter.Node, *Error) {
	c.needs = append(c.needs, fmt.Sprintf(format, args...))
	return nil, nil
}

// item translates the test of a field, or of a whole event.
func (c *compiler) item(it *item) (filter.Node, *Error) {
	var fields []place
	if it.field == "" {
		fields = c.source.keywords
	} else if fields = c.source.places(it.field); len(fields) == 0 && c.source.values[it.field] == nil {
		return c.need("%s", shown(it.field))
	}
	c.needs = append(c.needs, it.needs...)
	all := make(filter.And, 0, len(it.values))
	var some filter.Or
	for i := range it.values {
		if c.left--; c.left < 0 {
			return nil, it.fault("the rule has more than %d tests", maxTests)
		}
		node, err := c.value(it, fields, &it.values[i])
		if err != nil {
			return nil, err
		}
		if node != nil {
			some = append(some, node)
		}
		all = append(all, node)
	}
	var node filter.Node
	switch {
	case it.all && len(some) < len(all)+len(it.needs):
		return nil, nil
	case it.all:
		node = only(all)
	default:
		node = either(some)
	}
	if it.not && node != nil {
		node = filter.Not{Node: node}
	}
	return node, nil
}

// value translates the test with one value: one of the places has it.
func (c *compiler) value(it *item, fields []place, v *value) (filter.Node, *Error) {
	if words := c.source.values[it.field]; words != nil && it.exists == nil {
		return c.word(it, words, fields, v)
	}
	if words := c.source.known[it.field]; words != nil && it.exists == nil && !it.isField && v.kind != isNone && !slices.ContainsFunc(words, v.matches) {
		return c.need("%s=%s", it.field, v.shown())
	}
	if it.field == "" {
		if len(fields) == 0 {
			return c.anywhere(it, v)
		}
		if v.kind != isRegexp {
			v = &value{text: v.text.within(filter.Anywhere)}
		}
	}
	some, err := c.tests(it, fields, v)
	if err != nil {
		return nil, err
	}
	if it.exists != nil && !*it.exists || v.kind == isNone { // no place has it
		all := make(filter.And, len(some))
		copy(all, some)
		return only(all), nil
	}
	return either(some), nil
}

// tests translates the tests of the places that a field has.
func (c *compiler) tests(it *item, places []place, v *value) (some filter.Or, err *Error) {
	for _, p := range places {
		node, err := c.test(it, p.field, v)
		if err != nil {
			return nil, err
		}
		if node == nil {
			continue
		}
		if p.when != nil {
			node = filter.And{p.when, node}
		}
		some = append(some, node)
	}
	return some, nil
}

// word translates a test of a field whose values stand for conditions. In some places, events may
// also have the field itself.
func (c *compiler) word(it *item, words map[string]filter.Node, places []place, v *value) (filter.Node, *Error) {
	var some filter.Or
	if v.kind != isNone {
		var err *Error
		if some, err = c.tests(it, places, v); err != nil {
			return nil, err
		}
	}
	for word, node := range words {
		if v.matches(word) {
			some = append(some, node)
		}
	}
	if len(some) == 0 {
		return c.need("%s=%s", it.field, v.shown())
	}
	return either(some), nil
}

// matches reports whether a text is one that the value stands for.
func (v *value) matches(text string) bool {
	if v.kind == isRegexp {
		return v.regexp.MatchString(text)
	}
	return v.text.pattern().Matches(text)
}

// shown returns the value as a reader may see it: wildcards are * and ?.
func (v *value) shown() string {
	if plain, ok := v.text.plain(); ok {
		return shown(plain)
	}
	return shown(strings.NewReplacer(filter.AnyText, "*", filter.AnyChar, "?").Replace(strings.Join(v.text.pattern().Parts, "")))
}

// anywhere translates a test of the whole event.
func (c *compiler) anywhere(it *item, v *value) (filter.Node, *Error) {
	switch v.kind {
	case isNone:
		return nil, it.fault("null is no keyword")
	case isRegexp:
		return nil, it.fault("a keyword is a text or a number here, not a regular expression")
	}
	return filter.NewText(v.text.pattern()), nil
}

// test translates the test of one field of the filter language.
func (c *compiler) test(it *item, field filter.Field, v *value) (filter.Node, *Error) {
	switch {
	case it.exists != nil:
		if *it.exists {
			return filter.Exists{Field: field}, nil
		}
		return filter.Not{Node: filter.Exists{Field: field}}, nil
	case it.isField:
		return c.same(it, field, v)
	case it.isNetwork:
		return filter.Within{Field: field, Networks: it.networks}, nil
	case it.clock != "":
		if field.Column != filter.Time {
			return c.need("%s as a time", it.field)
		}
		return clock(it, v), nil
	case it.compare != "":
		return order(it, field, v)
	}
	switch v.kind {
	case isRegexp:
		return filter.Regexp{Field: field, Re: v.regexp}, nil
	case isNone:
		if field.Column == filter.Data {
			return filter.Not{Node: filter.And{filter.Exists{Field: field}, filter.Not{Node: in(field, filter.Word, "null")}}}, nil
		}
		return filter.Not{Node: filter.Exists{Field: field}}, nil
	case isBool:
		if field.Column == filter.Data {
			return filter.Or{in(field, filter.Word, v.number), filter.Like{Field: field, Pattern: filter.Literal(v.number)}}, nil
		}
	case isNumber:
		if field.Column == filter.Data && isJSONNumber(v.number) {
			return in(field, filter.Number, v.number), nil
		}
	}
	pattern := v.text.pattern()
	if len(pattern.Parts) == 1 && pattern.Parts[0] == filter.AnyText {
		return filter.Exists{Field: field}, nil
	}
	if field.Column == filter.PID || field.Column == filter.Seq || field.Column == filter.Time {
		return integer(it, field, v)
	}
	return filter.Like{Field: field, Pattern: pattern}, nil
}

func in(field filter.Field, kind filter.Kind, text string) filter.In {
	return filter.In{Field: field, Values: []filter.Value{{Kind: kind, Text: text}}}
}

func isJSONNumber(text string) bool {
	var n json.Number
	return json.Unmarshal([]byte(text), &n) == nil && !strings.HasPrefix(text, `"`)
}

// integer translates the test of a column of numbers.
func integer(it *item, field filter.Field, v *value) (filter.Node, *Error) {
	plain, _ := v.text.plain()
	node, err := filter.ParseNode(field.String() + " = " + filter.Quote(plain))
	if err != nil {
		return nil, it.fault("%s is a number, not %q", it.field, shown(plain))
	}
	return node, nil
}

// order translates a comparison with a number.
func order(it *item, field filter.Field, v *value) (filter.Node, *Error) {
	node, err := filter.ParseNode(fmt.Sprintf("%s %s %s", field, it.compare, v.number))
	if err != nil {
		return nil, it.fault("%s cannot be compared with %s", it.field, shown(v.number))
	}
	return node, nil
}

func clock(it *item, v *value) filter.Node {
	op := it.compare
	if op == "" {
		op = "="
	}
	n := 0
	_, _ = fmt.Sscan(v.number, &n) // modify has checked it
	return filter.Clock{Part: it.clock, Op: op, Value: n}
}

// same translates the comparison with another field.
func (c *compiler) same(it *item, field filter.Field, v *value) (filter.Node, *Error) {
	name, _ := v.text.plain()
	others := c.source.places(name)
	if len(others) == 0 {
		return c.need("%s", shown(name))
	}
	how := it.place
	if how == "" {
		how = filter.Whole
	}
	var some filter.Or
	for _, other := range others {
		node := filter.Node(filter.Same{Field: field, Other: other.field, How: how})
		if other.when != nil {
			node = filter.And{other.when, node}
		}
		some = append(some, node)
	}
	return either(some), nil
}
