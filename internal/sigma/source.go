package sigma

import (
	_ "embed"
	"strings"

	"ospulse/internal/filter"
)

// source is a log source: which events it has, and where they have its fields.
type source struct {
	LogSource
	when     filter.Node
	fields   map[string][]place
	values   map[string]map[string]filter.Node // fields whose values stand for conditions
	known    map[string][]string               // fields that can have these values only
	keywords []place                           // what keywords search; nil for the whole event
}

// place is where events have a field. when limits it to some events; nil means all.
type place struct {
	field filter.Field
	when  filter.Node
}

// places returns where the source's events have a field. Fields of the filter language have
// the same names in all sources.
func (s *source) places(name string) []place {
	if found, ok := s.fields[name]; ok {
		return found
	}
	if s.values[name] != nil {
		return nil
	}
	field, err := filter.FieldOf(name)
	if err != nil {
		return nil
	}
	return []place{{field: field}}
}

// sourceOf returns the source of a rule, nil if there is none. A source without a product
// is for all products.
func sourceOf(wanted LogSource) *source {
	for i := range sources {
		s := &sources[i]
		if s.Category == wanted.Category && s.Service == wanted.Service && (s.Product == "" || s.Product == wanted.Product) {
			if product, ok := products[wanted.Product]; ok {
				limited := *s
				if product != nil && s.Product == "" {
					limited.when = filter.And{s.when, product}
				}
				return &limited
			}
		}
	}
	return nil
}

// products tell the events of an operating system from those of others; a nil node is for
// all. Paths of Windows have a backslash, which paths of Linux hardly ever have.
var products = map[string]filter.Node{ //nolint:gochecknoglobals // a constant
	"": nil, "ospulse": nil,
	"linux":   must(onLinux),
	"windows": must(`not source = os-pulse-agent and not target startswith "/"`),
}

// table is a source as it is written below. A field has its places, separated by " | "; each
// is a field of the filter language, and after " if " the filter that limits it.
type table struct {
	source   LogSource
	when     string
	fields   map[string]string
	values   map[string]map[string]string
	known    map[string][]string
	keywords string
}

// calls are the system calls that our agent reports. A test of its sensor keeps the file
// complete. Other agents report none.
//
//go:embed calls.txt
var calls string

var sources = readTables() //nolint:gochecknoglobals // a constant

func readTables() []source {
	all := make([]source, len(tables))
	for i, t := range tables {
		s := source{LogSource: t.source, when: must(t.when), fields: map[string][]place{}, values: map[string]map[string]filter.Node{}, known: t.known}
		for name, text := range t.fields {
			s.fields[name] = placesOf(text)
		}
		for name, words := range t.values {
			s.values[name] = map[string]filter.Node{}
			for word, when := range words {
				s.values[name][word] = must(when)
			}
		}
		if t.keywords != "" {
			s.keywords = placesOf(t.keywords)
		}
		all[i] = s
	}
	return all
}

func placesOf(text string) (all []place) {
	for part := range strings.SplitSeq(text, " | ") {
		name, when, isLimited := strings.Cut(part, " if ")
		field, err := filter.FieldOf(name)
		if err != nil {
			panic(err)
		}
		p := place{field: field}
		if isLimited {
			p.when = must(when)
		}
		all = append(all, p)
	}
	return all
}

func must(text string) filter.Node {
	node, err := filter.ParseNode(text)
	if err != nil {
		panic(err)
	}
	return node
}
