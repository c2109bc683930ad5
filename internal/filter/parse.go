package filter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/internal/models"

	"ospulse/internal/jsonscan"
)

// SyntaxError is the place and the kind of an error in a filter. Column counts
// characters from 1. Length is the number of wrong characters, 0 at the end of the
// text.
type SyntaxError struct {
	Column, Length int
	Text           string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("syntax error at column %d, length %d", e.Column, e.Length)
}

// parser reads the text once, from left to right.
//
//	or    = and { ("or" | "||") and }
//	and   = not { ["and" | "&&"] not }
//	not   = { "not" | "!" } test
//	test  = "(" or ")" | "exists" field | ("under(" | "only(") process ")" | field comparison | text
type parser struct {
	text           string
	pos            int // in bytes
	nesting, tests int
	texts, unders  int
	known          int
}

func parse(text string) (Node, *SyntaxError) {
	p := &parser{text: text}
	if err := p.checkText(); err != nil {
		return nil, err
	}
	node, err := p.or(p.test, true)
	if err == nil && !p.atEnd() {
		err = p.unexpected("and, or, or the end")
	}
	if err != nil {
		return nil, err
	}
	return node, nil
}

// checkText returns an error for text that no event can have.
func (p *parser) checkText() *SyntaxError {
	for i, r := range p.text {
		if r == 0 {
			return p.fault(i, i+1, "a NUL character: no event has one in its texts, where U+FFFD stands for it")
		}
		if _, size := utf8.DecodeRuneInString(p.text[i:]); r == utf8.RuneError && size == 1 {
			return p.fault(i, i+1, "byte 0x%02x is not valid UTF-8", p.text[i])
		}
	}
	return nil
}

// fault returns an error about a byte range of the text.
func (p *parser) fault(from, to int, format string, args ...any) *SyntaxError {
	return &SyntaxError{
		Column: utf8.RuneCountInString(p.text[:from]) + 1,
		Length: utf8.RuneCountInString(p.text[from:to]),
		Text:   fmt.Sprintf(format, args...),
	}
}

// unexpected returns an error about the next token.
func (p *parser) unexpected(wanted string) *SyntaxError {
	p.space()
	if p.pos == len(p.text) {
		return p.fault(p.pos, p.pos, "expected %s, found the end", wanted)
	}
	end := p.pos + wordLen(p.text[p.pos:], "")
	if end == p.pos {
		_, size := utf8.DecodeRuneInString(p.text[p.pos:])
		end += size
	}
	return p.fault(p.pos, end, "expected %s, found %s", wanted, shown(p.text[p.pos:end]))
}

// shown returns the beginning of a text, for an error.
func shown(text string) string {
	const most = 40
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return strconv.Quote(text)
}

func (p *parser) space() {
	rest := strings.TrimLeft(p.text[p.pos:], " \t\r\n\u00a0")
	p.pos = len(p.text) - len(rest)
}

func (p *parser) atEnd() bool {
	p.space()
	return p.pos == len(p.text)
}

// take skips a symbol, if it is next, and reports whether it did.
func (p *parser) take(symbol string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.pos:], symbol) {
		return false
	}
	p.pos += len(symbol)
	return true
}

// keyword returns the next keyword in lower case, or "" if none is next.
func (p *parser) keyword() string {
	p.space()
	rest := p.text[p.pos:]
	n := 0
	for n < len(rest) && isLetter(rest[n]) {
		n++
	}
	if n == 0 || n < len(rest) && strings.IndexByte(" \t\r\n\u00a0()\"'", rest[n]) < 0 {
		return ""
	}
	word := lower(rest[:n])
	if slices.Contains(keywords, word) {
		return word
	}
	return ""
}

// keywords cannot be fields, or unquoted values.
var keywords = []string{"and", "or", "not", "exists", "in", "contains", "startswith", "endswith", "like"} //nolint:gochecknoglobals // a constant

// takeKeyword skips a keyword, if it is next, and reports whether it did.
func (p *parser) takeKeyword(word string) bool {
	if p.keyword() != word {
		return false
	}
	p.pos += len(word)
	return true
}

// nest adds a level of nesting; the caller removes it.
func (p *parser) nest(from int) *SyntaxError {
	if p.nesting++; p.nesting > MaxNesting {
		return p.fault(from, p.pos, "more than %d levels of parentheses and nots", MaxNesting)
	}
	return nil
}

// or parses conditions joined by or; test parses one of them. If sideBySide is set,
// adjacent conditions are joined by and.
func (p *parser) or(test func() (Node, *SyntaxError), sideBySide bool) (Node, *SyntaxError) {
	var nodes Or
	for {
		node, err := p.and(test, sideBySide)
		if err != nil {
			return nil, err
		}
		nodes = appendOr(nodes, node)
		if !p.takeKeyword("or") && !p.take("||") {
			break
		}
	}
	if len(nodes) == 1 {
		return nodes[0], nil
	}
	return nodes, nil
}

// appendOr adds a condition. It merges tests of the same field's values into one.
func appendOr(nodes Or, node Node) Or {
	if next, ok := node.(In); ok && len(nodes) > 0 {
		if last, ok := nodes[len(nodes)-1].(In); ok && last.Field.Column == next.Field.Column && slices.Equal(last.Field.Path, next.Field.Path) {
			last.Values = append(last.Values, next.Values...)
			nodes[len(nodes)-1] = last
			return nodes
		}
	}
	return append(nodes, node)
}

func (p *parser) and(test func() (Node, *SyntaxError), sideBySide bool) (Node, *SyntaxError) {
	var nodes And
	for {
		node, err := p.not(test)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
		if p.takeKeyword("and") || p.take("&&") {
			continue
		}
		if !sideBySide || p.atEnd() || p.text[p.pos] == ')' || p.text[p.pos] == ',' || p.keyword() == "or" || strings.HasPrefix(p.text[p.pos:], "||") {
			break
		}
	}
	if len(nodes) == 1 {
		return nodes[0], nil
	}
	return nodes, nil
}

func (p *parser) not(test func() (Node, *SyntaxError)) (Node, *SyntaxError) {
	p.space()
	from := p.pos
	if !p.takeKeyword("not") && !p.take("!") {
		return test()
	}
	if err := p.nest(from); err != nil {
		return nil, err
	}
	node, err := p.not(test)
	p.nesting--
	if err != nil {
		return nil, err
	}
	return Not{node}, nil
}

// parenthesised parses a condition in parentheses, after the opening one.
func (p *parser) parenthesised(test func() (Node, *SyntaxError), sideBySide bool) (Node, *SyntaxError) {
	from := p.pos - 1
	if err := p.nest(from); err != nil {
		return nil, err
	}
	node, err := p.or(test, sideBySide)
	p.nesting--
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		err := p.unexpected("and, or, or )")
		err.Text += fmt.Sprintf(" (the parenthesis of column %d is open)", utf8.RuneCountInString(p.text[:from])+1)
		return nil, err
	}
	return node, nil
}

// aTest describes a condition, for errors.
const aTest = `a condition such as type = "file_operation", or a text`

func (p *parser) test() (Node, *SyntaxError) {
	switch {
	case p.take("("):
		return p.parenthesised(p.test, true)
	case p.atEnd(), p.text[p.pos] == ')', p.text[p.pos] == ',':
		return nil, p.unexpected(aTest)
	case p.takeKeyword("exists"):
		return p.exists()
	case p.keyword() != "":
		err := p.unexpected(aTest)
		err.Text += "; a keyword is searched for in quotes"
		return nil, err
	case isQuote(p.text[p.pos]):
		return p.quotedText()
	}
	from := p.pos
	if name := fieldLen(p.text[from:]); name > 0 {
		p.pos = from + name
		if word := lower(p.text[from:p.pos]); (word == underName || word == aloneName) && strings.HasPrefix(p.text[p.pos:], "(") {
			p.pos++
			return p.under(from, word == aloneName)
		}
		if p.comparisonFollows(from) {
			return p.fieldTest(from)
		}
		p.pos = from
	}
	return p.bareText()
}

// comparisonFollows reports whether a comparison is next, so that the text from a place
// on is a field. After an unknown field, a colon with a slash belongs to a URL or a
// Windows path.
func (p *parser) comparisonFollows(from int) bool {
	name, end := p.text[from:p.pos], p.pos
	defer func() { p.pos = end }()
	if rest := p.text[end:]; strings.HasPrefix(rest, ":/") || strings.HasPrefix(rest, `:\`) {
		_, known := columnOf(firstName(name))
		return known
	}
	comparison, _ := p.comparison()
	return comparison != ""
}

// firstName returns the part of a field before its path.
func firstName(name string) string {
	if i := strings.IndexAny(name, ".["); i >= 0 {
		return name[:i]
	}
	return name
}

// comparison parses a comparison, and a not before a word. It returns "" if none is
// next.
func (p *parser) comparison() (comparison string, negated bool) {
	for _, symbol := range []string{"==", "=", ":", "!=", "<=", "<", ">=", ">"} {
		if p.take(symbol) {
			switch symbol {
			case "==", ":":
				return "=", false
			case "!=":
				return "=", true
			}
			return symbol, false
		}
	}
	start := p.pos
	negated = p.takeKeyword("not")
	switch word := p.keyword(); word {
	case "in", "contains", "startswith", "endswith", "like":
		p.pos += len(word)
		return word, negated
	}
	p.pos = start
	return "", false
}

func (p *parser) exists() (Node, *SyntaxError) {
	p.space()
	from := p.pos
	n := fieldLen(p.text[from:])
	if n == 0 {
		return nil, p.unexpected("a field after exists")
	}
	p.pos += n
	field, err := p.field(from)
	if err != nil {
		return nil, err
	}
	return p.counted(from, Exists{field})
}

// under parses the id of a process and the closing parenthesis.
func (p *parser) under(from int, alone bool) (Node, *SyntaxError) {
	const aProcess = `the id of a process as the process tree has it, such as "42"`
	p.space()
	at := p.pos
	var text string
	if at < len(p.text) && isQuote(p.text[at]) {
		var err *SyntaxError
		if text, err = p.quoted(); err != nil {
			return nil, err
		}
	} else {
		p.pos += wordLen(p.text[at:], "")
		text = p.text[at:p.pos]
	}
	if p.pos == at {
		return nil, p.unexpected(aProcess)
	}
	id, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return nil, p.fault(at, p.pos, "expected %s, found %s", aProcess, shown(text))
	}
	if !p.take(")") {
		return nil, p.unexpected(")")
	}
	return p.counted(from, Under{ID: id, Alone: alone})
}

// counted counts a test against MaxTests.
func (p *parser) counted(from int, node Node) (Node, *SyntaxError) {
	if p.tests++; p.tests > MaxTests {
		return nil, p.fault(from, p.pos, "more than %d conditions and values", MaxTests)
	}
	switch node.(type) {
	case Text:
		p.texts++
	case Under:
		p.unders++
	}
	if _, isKnown := knownColumn(node); isKnown {
		p.known++
	}
	if p.known > maxKnown {
		return nil, p.fault(from, p.pos, "more than %d conditions on routine, finding and technique", maxKnown)
	}
	if p.unders > MaxUnders {
		return nil, p.fault(from, p.pos, "more than %d processes", MaxUnders)
	}
	if p.texts > MaxTexts {
		return nil, p.fault(from, p.pos, "more than %d texts to search for in all of data; ask a field where you can", MaxTexts)
	}
	return node, nil
}

// quotedText parses a string to search for.
func (p *parser) quotedText() (Node, *SyntaxError) {
	from := p.pos
	text, err := p.quoted()
	switch {
	case err != nil:
		return nil, err
	case text == "":
		return nil, p.fault(from, p.pos, "an empty text is in every event; expected a text to search for")
	}
	end := p.pos
	if comparison, _ := p.comparison(); comparison != "" {
		return nil, p.fault(from, end, "a field is written without quotes, and a path as data.a.b or data[\"a b\"].c")
	}
	return p.counted(from, newText(literalPattern(text)))
}

// bareText parses a word to search for.
func (p *parser) bareText() (Node, *SyntaxError) {
	from := p.pos
	n := wordLen(p.text[from:], "")
	if n == 0 || strings.IndexByte(":=<>", p.text[from]) >= 0 {
		return nil, p.unexpected(aTest)
	}
	p.pos += n
	pattern, wild := parsePattern(p.text[from:p.pos])
	if wild && len(pattern.Parts) == 1 && pattern.Parts[0] == AnyText {
		return p.counted(from, And{})
	}
	return p.counted(from, newText(pattern))
}

// fieldTest parses a test of the field that begins at a place.
func (p *parser) fieldTest(from int) (Node, *SyntaxError) {
	field, err := p.field(from)
	if err != nil {
		return nil, err
	}
	p.space()
	at := p.pos
	comparison, negated := p.comparison()
	test := func() (Node, *SyntaxError) { return p.value(field, comparison, at) }
	var node Node
	switch {
	case comparison == "in":
		if !p.take("(") {
			return nil, p.unexpected("( after in")
		}
		node, err = p.list(field, at)
	case comparison == "=" && p.take("("):
		node, err = p.parenthesised(test, false)
	default:
		node, err = test()
	}
	if err == nil && negated {
		node = Not{node}
	}
	return node, err
}

// list parses the values of in and the closing parenthesis.
func (p *parser) list(field Field, at int) (Node, *SyntaxError) {
	var nodes Or
	for {
		node, err := p.value(field, "in", at)
		if err != nil {
			return nil, err
		}
		nodes = appendOr(nodes, node)
		if p.take(")") {
			break
		}
		if !p.take(",") {
			return nil, p.unexpected("a comma or )")
		}
	}
	if len(nodes) == 1 {
		return nodes[0], nil
	}
	return nodes, nil
}

// value parses one value and returns the test. at is the position of the comparison.
func (p *parser) value(field Field, comparison string, at int) (Node, *SyntaxError) {
	p.space()
	if comparison == "=" && p.take("(") { // parentheses in field: (a or (b and c))
		return p.parenthesised(func() (Node, *SyntaxError) { return p.value(field, comparison, at) }, false)
	}
	from := p.pos
	if word := p.keyword(); word != "" {
		return nil, p.fault(from, from+len(word), "expected a value, found the keyword %s; write %q for the text", word, word)
	}
	var text string
	isQuoted := from < len(p.text) && isQuote(p.text[from])
	if isQuoted {
		var err *SyntaxError
		if text, err = p.quoted(); err != nil {
			return nil, err
		}
	} else {
		stop := ""
		if comparison == "in" {
			stop = ","
		}
		n := wordLen(p.text[from:], stop)
		if n == 0 {
			return nil, p.unexpected("a value")
		}
		p.pos += n
		text = p.text[from:p.pos]
	}
	t := test{p: p, field: field, comparison: comparison, at: at, from: from, text: text, quoted: isQuoted}
	node, err := t.node()
	if err != nil {
		return nil, err
	}
	return p.counted(from, node)
}

// quoted parses a string. In double quotes, \" is a quote and \\ a backslash; any other
// backslash is literal. In single quotes, two quotes are one, and everything else is
// literal.
func (p *parser) quoted() (string, *SyntaxError) {
	from, quote := p.pos, p.text[p.pos]
	var b strings.Builder
	for i := from + 1; i < len(p.text); i++ {
		c := p.text[i]
		next := byte(0)
		if i+1 < len(p.text) {
			next = p.text[i+1]
		}
		switch {
		case quote == '"' && c == '\\' && (next == '"' || next == '\\'), quote == '\'' && c == '\'' && next == '\'':
			b.WriteByte(next)
			i++
		case c == quote:
			p.pos = i + 1
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	hint := ""
	if strings.HasSuffix(p.text, `\"`) {
		hint = `; \" is a quote in the string: a backslash before the closing quote is written twice`
	}
	return "", p.fault(from, len(p.text), "the string that begins here does not end: expected %c%s", quote, hint)
}

// test is a comparison with one value, as written.
type test struct {
	p          *parser
	field      Field
	comparison string
	at, from   int // positions of the comparison and of the value
	text       string
	quoted     bool
}

func (t *test) fault(format string, args ...any) *SyntaxError {
	return t.p.fault(t.from, t.p.pos, format, args...)
}

func (t *test) node() (Node, *SyntaxError) {
	texts := t.field.isText() || t.field.Column == Data
	switch t.comparison {
	case "=", "in":
		pattern, wild := Pattern{}, false
		if !t.quoted {
			pattern, wild = parsePattern(t.text)
		}
		switch {
		case wild && t.text == "*":
			return Exists{t.field}, nil
		case wild && !texts:
			return nil, t.fault("%s takes no wildcards; expected %s", t.field, t.expected())
		case wild:
			return Like{t.field, pattern}, nil
		}
		if literal, ok := pattern.literal(); ok && !t.quoted && len(literal) < len(t.text) { // it has [*] or [?]
			t.text, t.quoted = strings.NewReplacer("[*]", "*", "[?]", "?").Replace(t.text), true
		}
		value, err := t.value()
		return In{t.field, []Value{value}}, err
	case "<", "<=", ">", ">=":
		if t.field.isText() && t.field.Column != Level {
			return nil, t.p.fault(t.at, t.at+len(t.comparison), "%s is a text: expected =, !=, in, contains, startswith, endswith or like", t.field)
		}
		value, err := t.value()
		if err == nil && t.field.Column == Data && value.Kind != Number {
			err = t.fault("%s compares numbers in data; expected a number of up to 400 digits, found %s", t.comparison, shown(t.text))
		}
		return Order{t.field, Op(t.comparison), value}, err
	}
	if !texts {
		return nil, t.p.fault(t.at, t.at+len(t.comparison), "%s is for texts: %s takes =, !=, <, <=, >, >= and in", t.comparison, t.field)
	}
	pattern := literalPattern(t.text)
	switch t.comparison {
	case "contains":
		pattern = pattern.Anywhere()
	case "startswith":
		pattern.Parts = append(pattern.Parts, AnyText)
	case "endswith":
		pattern.Parts = append([]string{AnyText}, pattern.Parts...)
	default:
		pattern, _ = parsePattern(t.text)
	}
	return Like{t.field, pattern}, nil
}

// expected describes the values that the field accepts.
func (t *test) expected() string {
	switch {
	case t.field.isInteger():
		return "a whole number"
	case t.field.Column == Time:
		return "a time such as 2026-11-22T18:57:39Z"
	default:
		return "a value"
	}
}

func (t *test) value() (Value, *SyntaxError) {
	switch {
	case t.field.Column.isKnown():
		return t.known()
	case t.field.isInteger():
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			return Value{}, t.fault("%s is compared with %s, found %s", t.field, t.expected(), shown(t.text))
		}
		return Value{Kind: Integer, Integer: n}, nil
	case t.field.Column == Time:
		at, ok := parseTime(t.text)
		if !ok {
			return Value{}, t.fault("%s is compared with %s, found %s", t.field, t.expected(), shown(t.text))
		}
		return Value{Kind: Instant, Time: at}, nil
	case t.field.Column == Data && !t.quoted:
		return Value{Kind: wordKind(t.text), Text: t.text}, nil
	}
	return Value{Kind: String, Text: t.text}, nil
}

// parseTime parses a time; a day means its beginning.
func parseTime(text string) (time.Time, bool) {
	if len(text) == len("2006-01-02") {
		text += "T00:00"
	}
	return models.ParseTime(text)
}

// wordKind returns the kind of an unquoted value. A number that jsonb cannot hold is
// stored as a string, so it is compared as one.
func wordKind(text string) Kind {
	switch kept, err := jsonscan.Check([]byte(text)); {
	case text == "true" || text == "false" || text == "null":
		return Word
	case err == nil && kept && isNumber([]byte(text)):
		return Number
	}
	return String
}

// field parses the field between a place and the present one.
func (p *parser) field(from int) (Field, *SyntaxError) {
	name := firstName(p.text[from:p.pos])
	column, known := columnOf(name)
	nameEnd := from + len(name)
	switch {
	case !known:
		return Field{}, p.fault(from, p.pos, "unknown field %s%s (fields: %s, data.…; a text with such characters is searched for in quotes)",
			shown(p.text[from:p.pos]), nearest(name), fieldNames())
	case column == Data && nameEnd == p.pos:
		return Field{}, p.fault(from, p.pos, "data is compared by a path: expected data.a.b, data[\"a b\"] or data.list[0]")
	case column == Finding && lower(p.text[from:p.pos]) == Level.String():
		return Field{Column: Level}, nil
	case column != Data && nameEnd < p.pos:
		return Field{}, p.fault(nameEnd, p.pos, "%s has nothing inside; paths are into data: data.a.b", name)
	}
	f := Field{Column: column}
	end := p.pos
	for p.pos = nameEnd; p.pos < end; {
		start := p.pos
		step, err := p.step()
		if err != nil {
			return Field{}, err
		}
		if f.Path = append(f.Path, step); len(f.Path) > MaxSteps {
			return Field{}, p.fault(start, end, "a path of more than %d steps", MaxSteps)
		}
	}
	return f, nil
}

// step parses one step of a path that fieldLen has checked.
func (p *parser) step() (Step, *SyntaxError) {
	bracket := p.text[p.pos] == '['
	p.pos++
	var step Step
	switch rest := p.text[p.pos:]; {
	case rest != "" && isQuote(rest[0]):
		key, err := p.quoted()
		if err != nil {
			return Step{}, err
		}
		step = Step{Key: key, Index: -1}
	case bracket:
		n := strings.IndexByte(rest, ']')
		index, err := strconv.ParseUint(rest[:max(n, 0)], 10, 30)
		if err != nil {
			return Step{}, p.fault(p.pos, p.pos+max(n, 0), "expected a number of an element, from 0, or a key in quotes, found %s", shown(rest[:max(n, 0)]))
		}
		p.pos += n
		step.Index = int(index)
	default:
		n := keyLen(rest)
		p.pos += n
		step = Step{Key: rest[:n], Index: -1}
	}
	if bracket && !p.take("]") {
		return Step{}, p.unexpected("]")
	}
	return step, nil
}

// fieldLen returns the length of the field, known or not, at the beginning of a text,
// or 0 if there is none.
func fieldLen(text string) int {
	if text == "" || !isLetter(text[0]) && text[0] != '_' {
		return 0
	}
	n := keyLen(text)
	for n < len(text) {
		rest, step := text[n+1:], 0
		switch {
		case text[n] == '.' && keyLen(rest) > 0:
			step = keyLen(rest)
		case text[n] == '.' && rest != "" && isQuote(rest[0]):
			step = quotedLen(rest)
		case text[n] == '[' && rest != "" && isQuote(rest[0]):
			if step = quotedLen(rest); step > 0 && strings.HasPrefix(rest[step:], "]") {
				step++
			} else {
				step = 0
			}
		case text[n] == '[':
			step = strings.IndexByte(rest, ']') + 1
		}
		if step == 0 {
			break
		}
		n += 1 + step
	}
	return n
}

// quotedLen returns the length of the string at the beginning of a text, or 0 if it
// does not end.
func quotedLen(text string) int {
	p := parser{text: text}
	if _, err := p.quoted(); err != nil {
		return 0
	}
	return p.pos
}

// keyLen returns the length of the key at the beginning of a text: letters, digits, _
// and -.
func keyLen(text string) int {
	for i, r := range text {
		if r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return i
		}
	}
	return len(text)
}

func isLetter(c byte) bool { return 'a' <= fold(c) && fold(c) <= 'z' }

func isQuote(c byte) bool { return c == '"' || c == '\'' }

// wordLen returns the length of the unquoted value at the beginning of a text. White
// space, a parenthesis, a double quote, && or ||, or a character in stop ends it.
func wordLen(text, stop string) int {
	for i, r := range text {
		switch r {
		case ' ', '\t', '\r', '\n', '\u00a0', '(', ')', '"':
			return i
		case '&', '|':
			if strings.HasPrefix(text[i+1:], string(r)) {
				return i
			}
		default:
			if stop != "" && strings.ContainsRune(stop, r) {
				return i
			}
		}
	}
	return len(text)
}

// fieldNames lists the columns, for an error.
func fieldNames() string {
	var names []string
	for column := Type; column < Data; column++ {
		names = append(names, column.String())
	}
	for column := Routine; column <= Technique; column++ {
		names = append(names, column.String())
	}
	return strings.Join(names, ", ")
}

// nearest returns the field that is most similar to a name, for an error.
func nearest(name string) string {
	best, bestDistance := "", 3
	for _, names := range columnNames {
		for _, n := range names {
			if d := distance(lower(name), n); d < bestDistance && d < len(n) {
				best, bestDistance = n, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance returns the Levenshtein distance of short words.
func distance(a, b string) int {
	if len(a) > 2*len(b)+2 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
