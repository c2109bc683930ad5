package filter

import (
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Node is a condition on an event: And, Or, Not, or one of the tests Exists, In, Order,
// Like, Text and Under. Each is true or false for every event. A test of a field that the
// event lacks is false, so its Not is true.
type Node interface {
	// String returns the condition in the syntax of the parser.
	String() string
	// Match reports whether the condition is true for an event.
	Match(e *models.Event) bool
}

// DataNode is a test that may need an event's data.
type DataNode interface {
	Node
	// NeedsData reports whether the test needs data.
	NeedsData() bool
	// MatchData evaluates the part of the test that reads data. That is the whole test,
	// except for a Text, which reads the target too.
	MatchData(data []byte) bool
}

// And is true if all its nodes are true; the empty And is true.
type And []Node

// Or is true if one of its nodes is true.
type Or []Node

// Not is true if its node is false.
type Not struct{ Node Node }

// Exists is true if the event has the field; null in data is a value.
type Exists struct{ Field Field }

// In is true if the field equals one of the values.
type In struct {
	Field  Field
	Values []Value
}

// Order is true if the field compares to a value as Op says. In data, it compares only
// numbers, with a Number.
type Order struct {
	Field Field
	Op    Op
	Value Value
}

// Op is a comparison operator.
type Op string

// The comparison operators.
const (
	Below   Op = "<"
	AtMost  Op = "<="
	Above   Op = ">"
	AtLeast Op = ">="
)

// Like is true if the pattern matches the whole text of the field. In data, that is a
// string or a number, as jsonscan.AppendNumber writes it.
type Like struct {
	Field   Field
	Pattern Pattern
}

// Text is true if the pattern matches anywhere in the target, or in a key, a string, a
// number (as jsonscan.AppendNumber writes it) or one of the words true, false and null
// of the data.
type Text struct {
	Pattern  Pattern
	literal  string // for a pattern without wildcards
	anywhere Pattern
	finder   *finder
}

func newText(p Pattern) Text {
	literal, _ := p.literal()
	return Text{Pattern: p, literal: literal, anywhere: p.Anywhere(), finder: newFinder(p)}
}

// within reports whether the pattern matches anywhere in a text.
func (n *Text) within(text string) bool {
	if n.literal != "" {
		return indexFold(text, n.literal) >= 0
	}
	return n.anywhere.Matches(text)
}

// Match implements Node.
func (n And) Match(e *models.Event) bool {
	for _, node := range n {
		if !node.Match(e) {
			return false
		}
	}
	return true
}

// Match implements Node.
func (n Or) Match(e *models.Event) bool {
	for _, node := range n {
		if node.Match(e) {
			return true
		}
	}
	return false
}

// Match implements Node.
func (n Not) Match(e *models.Event) bool { return !n.Node.Match(e) }

// Match implements Node.
func (n Exists) Match(e *models.Event) bool {
	ok := true
	switch {
	case n.Field.Column == Data:
		ok = n.Field.value(e) != nil
	case n.Field.isText():
		_, ok = n.Field.text(e)
	case n.Field.isInteger():
		_, ok = n.Field.integer(e)
	}
	return ok
}

// NeedsData implements DataNode.
func (n Exists) NeedsData() bool { return n.Field.Column == Data }

// MatchData implements DataNode.
func (n Exists) MatchData(data []byte) bool { return n.Field.Find(data) != nil }

// Match implements Node.
func (n In) Match(e *models.Event) bool {
	switch {
	case n.Field.isText():
		if text, ok := n.Field.text(e); ok {
			for i := range n.Values {
				if n.Values[i].Text == text {
					return true
				}
			}
		}
	case n.Field.isInteger():
		if number, ok := n.Field.integer(e); ok {
			for i := range n.Values {
				if n.Values[i].Integer == number {
					return true
				}
			}
		}
	case n.Field.Column == Time:
		for i := range n.Values {
			if n.Values[i].Time.Equal(e.Timestamp) {
				return true
			}
		}
	default:
		return n.matchValue(n.Field.value(e))
	}
	return false
}

// NeedsData implements DataNode.
func (n In) NeedsData() bool { return n.Field.Column == Data }

// MatchData implements DataNode.
func (n In) MatchData(data []byte) bool { return n.matchValue(n.Field.Find(data)) }

func (n In) matchValue(found []byte) bool {
	if found == nil {
		return false
	}
	switch kind := jsonscan.Kind(found); kind {
	case '"':
		var scratch [256]byte
		text := unquoted(scratch[:0], found)
		for i := range n.Values {
			if n.Values[i].Kind != Word && n.Values[i].Text == string(text) {
				return true
			}
		}
	case '{', '[':
	case 't', 'f', 'n':
		for i := range n.Values {
			if n.Values[i].Kind == Word && n.Values[i].Text == string(found) {
				return true
			}
		}
	default:
		for i := range n.Values {
			if n.Values[i].Kind == Number && jsonscan.CompareNumbers(found, []byte(n.Values[i].Text)) == 0 {
				return true
			}
		}
	}
	return false
}

// Match implements Node.
func (n Order) Match(e *models.Event) bool {
	switch n.Field.Column {
	case Data:
		return n.matchValue(n.Field.value(e))
	case Time:
		return n.Op.holds(e.Timestamp.Compare(n.Value.Time))
	}
	number, ok := n.Field.integer(e)
	if !ok || !n.Field.isInteger() {
		return false
	}
	switch {
	case number < n.Value.Integer:
		return n.Op.holds(-1)
	case number > n.Value.Integer:
		return n.Op.holds(1)
	}
	return n.Op.holds(0)
}

// holds reports whether a result of cmp.Compare satisfies the operator.
func (op Op) holds(outcome int) bool {
	switch op {
	case Below:
		return outcome < 0
	case AtMost:
		return outcome <= 0
	case Above:
		return outcome > 0
	default:
		return outcome >= 0
	}
}

// NeedsData implements DataNode.
func (n Order) NeedsData() bool { return n.Field.Column == Data }

// MatchData implements DataNode.
func (n Order) MatchData(data []byte) bool { return n.matchValue(n.Field.Find(data)) }

func (n Order) matchValue(found []byte) bool {
	return isNumber(found) && n.Op.holds(jsonscan.CompareNumbers(found, []byte(n.Value.Text)))
}

// Match implements Node.
func (n Like) Match(e *models.Event) bool {
	if n.Field.Column == Data {
		return n.matchValue(n.Field.value(e))
	}
	text, ok := n.Field.text(e)
	return ok && n.Pattern.Matches(text)
}

// NeedsData implements DataNode.
func (n Like) NeedsData() bool { return n.Field.Column == Data }

// MatchData implements DataNode.
func (n Like) MatchData(data []byte) bool { return n.matchValue(n.Field.Find(data)) }

func (n Like) matchValue(found []byte) bool {
	if jsonscan.Kind(found) != '"' && !isNumber(found) {
		return false
	}
	var scratch [512]byte
	return n.Pattern.Matches(viewOf(plain(scratch[:0], found)))
}

// Match implements Node.
func (n Text) Match(e *models.Event) bool { return n.MatchTarget(e) || n.MatchData(e.Data) }

// MatchTarget evaluates the part of the test that reads the event's target.
func (n Text) MatchTarget(e *models.Event) bool { return e.Target != nil && n.within(*e.Target) }

// NeedsData implements DataNode.
func (n Text) NeedsData() bool { return true }

// MatchData implements DataNode.
func (n Text) MatchData(data []byte) bool {
	if len(data) == 0 {
		data = []byte("null") // as it is stored
	}
	return n.finder.maybe(data) && n.MatchTokens(data)
}

// MayMatch is MatchData for several JSON texts one after the other, and faster. False is
// certain.
func (n Text) MayMatch(data []byte) bool { return n.finder.maybe(data) }

// MayMatchOf reports whether the pattern may match a text that consists of some
// characters, upper-case letters excluded. False is certain.
func (n Text) MayMatchOf(characters string) bool {
	for _, part := range n.Pattern.Parts {
		if part != AnyText && part != AnyChar && strings.Trim(part, characters) != "" {
			return false
		}
	}
	return true
}

// MatchTokens reports whether the pattern matches within a key, string, number or word of
// a text. The text may be a part of a JSON text.
func (n Text) MatchTokens(data []byte) bool {
	var scratch [512]byte
	for token, rest := jsonscan.NextToken(data); token != nil; token, rest = jsonscan.NextToken(rest) {
		if n.within(viewOf(plain(scratch[:0], token))) {
			return true
		}
	}
	return false
}

// Find returns the value at the path in data, nil if there is none. An event without data has
// null, which contains nothing.
func (f Field) Find(data []byte) []byte { return findIn(data, f.Path) }

// value returns the value at the path in the event's data, nil if there is none.
func (f Field) value(e *models.Event) []byte {
	if e.Facts != nil && e.Facts.Member != nil && f.Path[0].Index < 0 {
		return findIn(e.Facts.Member(f.Path[0].Key), f.Path[1:])
	}
	return f.Find(e.Data)
}

func findIn(data []byte, path []Step) []byte {
	for i := range path {
		if step := &path[i]; step.Index < 0 {
			data = jsonscan.Find(data, step.Key)
		} else {
			data = jsonscan.Element(data, step.Index)
		}
		if data == nil {
			return nil
		}
	}
	return data
}

func isNumber(value []byte) bool {
	kind := jsonscan.Kind(value)
	return kind == '-' || '0' <= kind && kind <= '9'
}

// AppendToken appends the text of a string, number or word, which tests compare.
func AppendToken(out, token []byte) []byte {
	if token[0] == '"' {
		return append(out, unquoted(nil, token)...)
	}
	return append(out, plain(nil, token)...)
}

// plain returns the text of a string, number or word, in the bytes of the token or of
// scratch.
func plain(scratch, token []byte) []byte {
	switch {
	case token[0] == '"':
		return unquoted(scratch, token)
	case isNumber(token):
		return jsonscan.AppendNumber(scratch, token)
	}
	return token
}

func (n And) String() string {
	if len(n) == 0 {
		return "*"
	}
	var b strings.Builder
	for i, node := range n {
		if i > 0 {
			b.WriteString(" and ")
		}
		b.WriteString(inner(node, true))
	}
	return b.String()
}

func (n Or) String() string {
	var b strings.Builder
	for i, node := range n {
		if i > 0 {
			b.WriteString(" or ")
		}
		b.WriteString(inner(node, false))
	}
	return b.String()
}

func (n Not) String() string { return "not " + inner(n.Node, true) }

// inner returns the text of a condition inside another one, in parentheses if required.
func inner(n Node, inAnd bool) string {
	switch n := n.(type) {
	case Or:
		return "(" + n.String() + ")"
	case And:
		if len(n) > 0 && inAnd {
			return "(" + n.String() + ")"
		}
	}
	return n.String()
}

func (n Exists) String() string { return "exists " + n.Field.String() }

func (n In) String() string {
	if len(n.Values) == 1 {
		return n.Field.String() + " = " + n.Values[0].String()
	}
	var b strings.Builder
	b.WriteString(n.Field.String() + " in (")
	for i, v := range n.Values {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(v.String())
	}
	b.WriteString(")")
	return b.String()
}

func (n Order) String() string { return n.Field.String() + " " + string(n.Op) + " " + n.Value.String() }

func (n Like) String() string { return n.Field.String() + " like " + Quote(n.Pattern.String()) }

func (n Text) String() string {
	if text, ok := n.Pattern.literal(); ok {
		return Quote(text)
	}
	return n.Pattern.String()
}
