package sigma

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"

	"ospulse/internal/filter"
)

// item is a test of a field, or of the whole event if the field is "": one of the values
// matches, or all of them.
type item struct {
	field  string
	values []value
	needs  []string // placeholders of values that are unknown
	all    bool
	not    bool // the field has none of the values

	// Others than equality of text: at most one is set.
	compare   filter.Op    // with numbers
	exists    *bool        // whether the field exists
	isField   bool         // the values are names of fields
	place     filter.Place // of the other field's text
	clock     filter.Part  // of the time
	networks  []netip.Prefix
	isNetwork bool

	line, column int
}

func (it *item) fault(format string, args ...any) *Error {
	return &Error{it.line, it.column, fmt.Sprintf(format, args...)}
}

// value is a value to compare with: a text, a number, true or false, or null.
type value struct {
	kind   valueKind
	text   text
	number string // as YAML writes it
	cased  bool   // for a text
	regexp *regexp.Regexp
}

type valueKind uint8

const (
	isText valueKind = iota
	isNumber
	isBool // in number: true or false
	isNone // null
	isRegexp
)

// text is a text with wildcards.
type text []piece

// piece is a part of a text: a wildcard, or literal characters.
type piece struct {
	wildcard wildcard
	literal  string
}

type wildcard uint8

const (
	literal wildcard = iota
	anyText
	anyChar
	anyDash // - / – — ―
)

// dashes are the characters that windash treats as the same.
const dashes = "-/–—―"

// parseText reads wildcards and escapes. A backslash before a wildcard or a backslash makes
// that literal; any other backslash is literal itself.
func parseText(s string) text {
	var t text
	var b strings.Builder
	add := func(w wildcard) {
		if b.Len() > 0 {
			t = append(t, piece{literal: b.String()})
			b.Reset()
		}
		t = append(t, piece{wildcard: w})
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`\*?`, s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		case c == '*':
			add(anyText)
		case c == '?':
			add(anyChar)
		default:
			b.WriteByte(c)
		}
	}
	if b.Len() > 0 {
		t = append(t, piece{literal: b.String()})
	}
	return t
}

// plain returns the text if it has no wildcards.
func (t text) plain() (string, bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && t[0].wildcard == literal:
		return t[0].literal, true
	}
	return "", false
}

func textOf(s string) text { return text{{literal: s}} }

// within returns the text with any text before and after it, as place says.
func (t text) within(place filter.Place) text {
	star := piece{wildcard: anyText}
	if place != filter.AtStart && (len(t) == 0 || t[0] != star) {
		t = append(text{star}, t...)
	}
	if place != filter.AtEnd && (len(t) == 0 || t[len(t)-1] != star) {
		t = append(slices.Clip(t), star)
	}
	return t
}

// parseItem reads a field with its modifiers, and the values.
func parseItem(key, n *yaml.Node) (search, *Error) {
	name, rest, _ := strings.Cut(key.Value, "|")
	var modifiers []string
	if rest != "" {
		modifiers = strings.Split(strings.ToLower(rest), "|")
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return newItem(key, name, modifiers, []*yaml.Node{n})
	case yaml.SequenceNode:
		for _, child := range n.Content {
			if child.Kind != yaml.ScalarNode {
				return nil, fault(child, "a value of %s is not a text, number or null", shown(key.Value))
			}
		}
		return newItem(key, name, modifiers, n.Content)
	}
	return nil, fault(n, "the value of %s is a map", shown(key.Value))
}

// newItem applies modifiers to values, one after the other.
func newItem(n *yaml.Node, field string, modifiers []string, values []*yaml.Node) (search, *Error) {
	it := &item{field: field, line: n.Line, column: n.Column}
	if len(values) == 0 {
		return nil, fault(n, "%s has no values", shown(field))
	}
	isRe := slices.Contains(modifiers, "re")
	for _, v := range values {
		if v.Tag == unknownTag {
			it.needs = append(it.needs, "the values of "+v.Value)
			continue
		}
		it.values = append(it.values, valueOf(v, isRe))
	}
	if len(it.values) > maxTests {
		return nil, fault(n, "more than %d values", maxTests)
	}
	for i, name := range modifiers {
		if err := it.modify(n, name, modifiers[:i]); err != nil {
			return nil, err
		}
		if len(it.values) > maxTests {
			return nil, fault(n, "more than %d values after |%s", maxTests, name)
		}
	}
	for i := range it.values {
		if err := it.values[i].finish(n, modifiers); err != nil {
			return nil, err
		}
	}
	return it, nil
}

// valueOf reads a value. A value that is a regular expression has no wildcards.
func valueOf(n *yaml.Node, isRe bool) value {
	switch n.Tag {
	case "!!null":
		return value{kind: isNone}
	case "!!int", "!!float":
		return value{kind: isNumber, number: n.Value, text: textOf(n.Value)}
	case "!!bool":
		return value{kind: isBool, number: strings.ToLower(n.Value), text: textOf(strings.ToLower(n.Value))}
	}
	if isRe {
		return value{text: textOf(n.Value)}
	}
	return value{text: parseText(n.Value)}
}

// modify applies a modifier. before are the modifiers that were applied already.
func (it *item) modify(n *yaml.Node, name string, before []string) *Error {
	isRe := slices.Contains(before, "re")
	switch name {
	case "contains", "startswith", "endswith":
		it.place = filter.Place(name)
		if it.isField || isRe {
			break
		}
		return it.eachText(n, name, func(t text) ([]text, *Error) { return []text{t.within(filter.Place(name))}, nil })
	case "all":
		it.all = true
	case "neq":
		it.not = true
	case "cased":
		for i := range it.values {
			it.values[i].cased = true
		}
	case "exists":
		if len(it.values) != 1 || it.values[0].kind != isBool {
			return fault(n, "|exists takes true or false")
		}
		it.exists = new(it.values[0].number == "true")
	case "fieldref":
		it.isField = true
		for _, v := range it.values {
			if plain, ok := v.text.plain(); v.kind != isText || !ok || plain == "" {
				return fault(n, "|fieldref takes the name of a field")
			}
		}
	case "lt", "lte", "gt", "gte":
		it.compare = map[string]filter.Op{"lt": filter.Below, "lte": filter.AtMost, "gt": filter.Above, "gte": filter.AtLeast}[name]
		for _, v := range it.values {
			if _, err := strconv.ParseFloat(v.number, 64); v.kind != isNumber || err != nil {
				return fault(n, "|%s takes numbers", name)
			}
		}
	case "minute", "hour", "day", "week", "month", "year":
		it.clock = filter.Part(name)
		for _, v := range it.values {
			if _, err := strconv.Atoi(v.number); err != nil {
				return fault(n, "|%s takes whole numbers", name)
			}
		}
	case "cidr":
		it.isNetwork = true
		for _, v := range it.values {
			plain, _ := v.text.plain()
			network, err := netip.ParsePrefix(strings.TrimSpace(plain))
			if err != nil {
				return fault(n, "|cidr takes networks such as 10.0.0.0/8, not %q", shown(plain))
			}
			it.networks = append(it.networks, network.Masked())
		}
	case "re":
		for i := range it.values {
			if it.values[i].kind == isNone {
				return fault(n, "|re takes regular expressions")
			}
			it.values[i].kind = isRegexp
		}
	case "i", "m", "s":
		if !isRe {
			return fault(n, "|%s belongs to |re", name)
		}
	case "base64":
		return it.eachText(n, name, encoded(func(s string) []string { return []string{base64.StdEncoding.EncodeToString([]byte(s))} }))
	case "base64offset":
		return it.eachText(n, name, encoded(offsets))
	case "wide", "utf16le":
		return it.eachText(n, name, encoded(func(s string) []string { return []string{utf16Text(s, false)} }))
	case "utf16be":
		return it.eachText(n, name, encoded(func(s string) []string { return []string{utf16Text(s, true)} }))
	case "utf16":
		return it.eachText(n, name, encoded(func(s string) []string { return []string{"\xff\xfe" + utf16Text(s, false)} }))
	case "windash":
		return it.eachText(n, name, func(t text) ([]text, *Error) { return []text{t.withDashes()}, nil })
	case "expand": // Placeholders.expand has done it
	default:
		return fault(n, "unknown modifier |%s", shown(name))
	}
	return nil
}

// eachText replaces each text by those that change returns. Numbers count as texts.
func (it *item) eachText(n *yaml.Node, name string, change func(text) ([]text, *Error)) *Error {
	var changed []value
	for _, v := range it.values {
		if v.kind == isNone || v.kind == isRegexp {
			return fault(n, "|%s takes texts", name)
		}
		texts, err := change(v.text)
		if err != nil {
			return err
		}
		for _, t := range texts {
			changed = append(changed, value{text: t, cased: v.cased})
		}
	}
	it.values = changed
	return nil
}

// encoded returns a change of texts without wildcards, for eachText.
func encoded(encode func(string) []string) func(text) ([]text, *Error) {
	return func(t text) (all []text, _ *Error) {
		plain, ok := t.plain()
		if !ok {
			return nil, fault(nil, "a text with wildcards cannot be encoded")
		}
		for _, s := range encode(plain) {
			all = append(all, textOf(s))
		}
		return all, nil
	}
}

// offsets returns the three texts of which one is in the Base64 of every text that contains
// s. A Base64 character has 6 bits, so the characters that also have bits of what comes
// before or after s are left out.
func offsets(s string) []string {
	var all []string
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", before) + s))
		from := []int{0, 2, 3}[before]
		to := len(encoded) - []int{0, 3, 2}[(before+len(s))%3]
		if from < to {
			all = append(all, encoded[from:to])
		}
	}
	return all
}

// utf16Text returns the bytes of a text in UTF-16.
func utf16Text(s string, bigEndian bool) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		if bigEndian {
			b = append(b, byte(unit>>8), byte(unit))
		} else {
			b = append(b, byte(unit), byte(unit>>8))
		}
	}
	return string(b)
}

// flag matches a dash or a slash before a word, with no word before it.
var flag = regexp.MustCompile(`\B[-/]\b`)

// withDashes replaces the dashes and slashes of flags by the wildcard for both.
func (t text) withDashes() (changed text) {
	for _, p := range t {
		if p.wildcard != literal {
			changed = append(changed, p)
			continue
		}
		from := 0
		for _, at := range flag.FindAllStringIndex(p.literal, -1) {
			if at[0] > from {
				changed = append(changed, piece{literal: p.literal[from:at[0]]})
			}
			changed = append(changed, piece{wildcard: anyDash})
			from = at[1]
		}
		if from < len(p.literal) {
			changed = append(changed, piece{literal: p.literal[from:]})
		}
	}
	return changed
}

// finish compiles a regular expression, and a text that a pattern of the filter language
// cannot express.
func (v *value) finish(n *yaml.Node, modifiers []string) *Error {
	var source string
	switch v.kind {
	case isRegexp:
		source, _ = v.text.plain()
		flags := ""
		for _, name := range []string{"i", "m", "s"} {
			if slices.Contains(modifiers, name) {
				flags += name
			}
		}
		if flags != "" {
			source = "(?" + flags + ")" + source
		}
	case isText:
		if !v.cased && !slices.Contains(v.text, piece{wildcard: anyDash}) {
			return nil
		}
		source = v.text.regexp(v.cased)
	default:
		return nil
	}
	if len(source) > maxRegexp {
		return fault(n, "a regular expression has %d bytes; at most %d are taken", len(source), maxRegexp)
	}
	var err error
	if v.regexp, err = regexp.Compile(source); err != nil {
		hint := ""
		if strings.Contains(source, "(?") || strings.Contains(source, `\1`) {
			hint = "; look-around and back-references are not supported"
		}
		return fault(n, "%s%s", err, hint)
	}
	v.kind = isRegexp
	return nil
}

// regexp returns the text as a regular expression for the whole field.
func (t text) regexp(cased bool) string {
	var b strings.Builder
	b.WriteString("(?s")
	if !cased {
		b.WriteString("i")
	}
	b.WriteString(")^")
	for _, p := range t {
		switch p.wildcard {
		case anyText:
			b.WriteString(".*")
		case anyChar:
			b.WriteString(".")
		case anyDash:
			b.WriteString("[" + dashes + "]")
		default:
			b.WriteString(regexp.QuoteMeta(p.literal))
		}
	}
	b.WriteString("$")
	return b.String()
}

// pattern returns the text as a pattern of the filter language. Where an event has a NUL,
// its text has U+FFFD.
func (t text) pattern() filter.Pattern {
	var p filter.Pattern
	for _, piece := range t {
		switch piece.wildcard {
		case anyText:
			if n := len(p.Parts); n == 0 || p.Parts[n-1] != filter.AnyText {
				p.Parts = append(p.Parts, filter.AnyText)
			}
		case anyChar:
			p.Parts = append(p.Parts, filter.AnyChar)
		default:
			p.Parts = append(p.Parts, filter.Literal(strings.ReplaceAll(piece.literal, "\x00", "\uFFFD")).Parts...)
		}
	}
	return p
}
