// Package sigma reads detection rules in the language Sigma (specification 2.1,
// https://github.com/SigmaHQ/sigma-specification) and compiles them into conditions of the
// filter language. It knows rules, log sources and fields; it does not know where events come
// from or what becomes of a match.
//
// Correlations, aggregations and near are refused.
package sigma

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Limits of a rule. A rule of SigmaHQ has at most 60 KB, 1,500 values and 4 levels.
const (
	MaxBytes  = 256 << 10
	maxNodes  = 20_000 // of the YAML, aliases resolved
	maxDepth  = 16     // of lists and maps
	maxTests  = 5_000  // values, after modifiers
	maxRegexp = 4 << 10

	maxSentence = 300 // bytes
)

// Rule is a rule as it is written.
type Rule struct {
	ID, Title, Status, Description, Author, License, Date, Modified string

	Level          Level
	Tags           []string // such as "attack.t1059.004"
	References     []string
	FalsePositives []string
	Source         LogSource
	Kind           Kind
	Sentence       string // what a match tells, with values in braces, such as "{program} read {path}"; "" for none
	Expanded       string // the placeholders of the rule with their values, "" for none: with others it is another rule

	detection *detection
}

// Level says how much a match matters.
type Level string

// The levels, from the least to the most.
const (
	Informational Level = "informational"
	Low           Level = "low"
	Medium        Level = "medium"
	High          Level = "high"
	Critical      Level = "critical"
)

// Levels are all levels, from the least to the most.
var Levels = []Level{Informational, Low, Medium, High, Critical} //nolint:gochecknoglobals // a constant

// Kind says what a match means. Like Sentence, it is not part of Sigma.
type Kind string

// The kinds.
const (
	Detection Kind = ""        // something that an analyst should see
	Routine   Kind = "routine" // what every program does
)

// LogSource says which events a rule is about.
type LogSource struct{ Product, Category, Service string }

func (s LogSource) String() string {
	var parts []string
	for _, part := range []struct{ name, value string }{{"product", s.Product}, {"category", s.Category}, {"service", s.Service}} {
		if part.value != "" {
			parts = append(parts, part.name+" "+part.value)
		}
	}
	return strings.Join(parts, ", ")
}

// Error is a fault of a rule. Line and Column count from 1; they are 0 if the fault has none.
// Column counts characters.
type Error struct {
	Line, Column int
	Text         string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Text)
}

func fault(n *yaml.Node, format string, args ...any) *Error {
	e := &Error{Text: fmt.Sprintf(format, args...)}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	return e
}

// Parse reads one rule. The error is an *Error.
func (p Placeholders) Parse(text []byte) (*Rule, error) {
	if len(text) > MaxBytes {
		return nil, fault(nil, "the rule is %d bytes long; at most %d are taken", len(text), MaxBytes)
	}
	root, err := document(text)
	if err != nil {
		return nil, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, fault(root, "a rule is a map with title, logsource and detection")
	}
	r := &Rule{Level: Medium}
	var found *yaml.Node // the detection
	for name, value := range members(root) {
		var err *Error
		switch name.Value {
		case "id":
			r.ID, err = scalar(value, "id")
		case "title":
			r.Title, err = scalar(value, "title")
		case "status":
			r.Status, err = scalar(value, "status")
		case "description":
			r.Description, err = scalar(value, "description")
		case "author":
			r.Author, err = authors(value)
		case "license":
			r.License, err = scalar(value, "license")
		case "date":
			r.Date, err = scalar(value, "date")
		case "modified":
			r.Modified, err = scalar(value, "modified")
		case "sentence":
			r.Sentence, err = sentence(value)
		case "kind":
			r.Kind, err = oneOf(value, "kind", Routine)
		case "level":
			r.Level, err = oneOf(value, "level", Levels...)
		case "tags":
			r.Tags, err = texts(value, "tags")
		case "references":
			r.References, err = texts(value, "references")
		case "falsepositives":
			r.FalsePositives, err = texts(value, "falsepositives")
		case "logsource":
			r.Source, err = logSource(value)
		case "detection":
			found = value
		case "correlation":
			err = fault(name, "this is a correlation of rules, which is not supported")
		case "action":
			err = fault(name, "rule collections (action) are not supported: write each rule in a file of its own")
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case r.Title == "":
		return nil, fault(root, "the rule has no title")
	case r.Source == LogSource{}:
		return nil, fault(root, "the rule has no logsource with a product, category or service")
	case found == nil:
		return nil, fault(root, "the rule has no detection")
	}
	var bad *Error
	if r.Expanded, bad = p.expand(found); bad != nil {
		return nil, bad
	}
	if r.detection, bad = parseDetection(found); bad != nil {
		return nil, bad
	}
	return r, nil
}

// document returns the content of a YAML text that has one document.
func document(text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fault(nil, "the rule is empty")
		}
		return nil, yamlError(err)
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, fault(&more, "a second YAML document begins here: write each in a file of its own")
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	root := doc.Content[0]
	left := maxNodes
	if err := check(root, 0, &left); err != nil {
		return nil, err
	}
	return root, nil
}

// yamlError returns the error of the YAML parser, which begins with its place.
func yamlError(err error) *Error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, what, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			return &Error{Line: line, Text: what}
		}
	}
	return &Error{Text: text}
}

// check resolves aliases and refuses a tree that is too large, too deep, or has a key twice.
func check(n *yaml.Node, depth int, left *int) *Error {
	if *left--; *left < 0 {
		return fault(n, "there are more than %d values", maxNodes)
	}
	if depth > maxDepth {
		return fault(n, "lists and maps are nested more than %d deep", maxDepth)
	}
	seen := map[string]bool{}
	for i, child := range n.Content {
		if child.Kind == yaml.AliasNode {
			child = child.Alias
			n.Content[i] = child
		}
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if child.Kind != yaml.ScalarNode {
				return fault(child, "a key is not a text")
			}
			if seen[child.Value] {
				return fault(child, "%s is written twice", child.Value)
			}
			seen[child.Value] = true
		}
		if err := check(child, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}

// members yields the keys and values of a map.
func members(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func scalar(n *yaml.Node, name string) (string, *Error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", fault(n, "%s is not a text", name)
	case isNull(n):
		return "", nil
	case strings.ContainsRune(n.Value, 0): // PostgreSQL could not store a finding of the rule
		return "", fault(n, "%s has a NUL character", name)
	}
	return strings.TrimSpace(n.Value), nil
}

// sentenceValues are the values that a sentence can name.
var sentenceValues = []string{"program", "command", "path", "address", "name", "url", "other", "operation", "result", "bytes"} //nolint:gochecknoglobals // a constant

// inBraces matches the values that a sentence names.
var inBraces = regexp.MustCompile(`\{([^}]*)\}?`)

// sentence reads a sentence. Its words are shown as they are, so it must be plain text.
func sentence(n *yaml.Node) (string, *Error) {
	text, err := scalar(n, "sentence")
	if err != nil {
		return "", err
	}
	if len(text) > maxSentence || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fault(n, "sentence must be one line of plain text, of at most %d bytes", maxSentence)
	}
	for _, found := range inBraces.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(sentenceValues, found[1]) || !strings.HasSuffix(found[0], "}") {
			return "", fault(n, "sentence names %s: it can have {%s}", shown(found[0]), strings.Join(sentenceValues, "}, {"))
		}
	}
	return text, nil
}

func texts(n *yaml.Node, name string) (all []string, err *Error) {
	if n.Kind == yaml.ScalarNode {
		one, err := scalar(n, name)
		if one == "" {
			return nil, err
		}
		return []string{one}, err
	}
	if n.Kind != yaml.SequenceNode {
		return nil, fault(n, "%s is not a list of texts", name)
	}
	for _, item := range n.Content {
		text, err := scalar(item, name)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

func authors(n *yaml.Node) (string, *Error) {
	all, err := texts(n, "author")
	return strings.Join(all, ", "), err
}

func oneOf[T ~string](n *yaml.Node, name string, allowed ...T) (T, *Error) {
	text, err := scalar(n, name)
	if value := T(strings.ToLower(text)); err == nil && slices.Contains(allowed, value) {
		return value, nil
	}
	if err != nil {
		return "", err
	}
	words := make([]string, len(allowed))
	for i, word := range allowed {
		words[i] = string(word)
	}
	return "", fault(n, "%s is %q, not one of: %s", name, shown(text), strings.Join(words, ", "))
}

func logSource(n *yaml.Node) (s LogSource, err *Error) {
	if n.Kind != yaml.MappingNode {
		return s, fault(n, "logsource is not a map with product, category and service")
	}
	for name, value := range members(n) {
		var text string
		if name.Value != "product" && name.Value != "category" && name.Value != "service" {
			continue
		}
		if text, err = scalar(value, name.Value); err != nil {
			return s, err
		}
		switch text = strings.ToLower(text); name.Value {
		case "product":
			s.Product = text
		case "category":
			s.Category = text
		case "service":
			s.Service = text
		}
	}
	return s, nil
}

// shown returns the beginning of a text, for an error.
func shown(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
