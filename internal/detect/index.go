package detect

import (
	"slices"
	"strings"
	"sync"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// need is a text of which a rule needs one of several: an event matches only if one of the
// fields contains its text.
type need struct {
	field filter.Field
	text  string // lower-case
}

// leastNeed is the shortest text that is worth a search.
const leastNeed = 3

// needs returns texts of which every event that a condition is true for has one; nil if
// there are none.
func needs(n filter.Node) []need {
	switch n := n.(type) {
	case filter.Like:
		if n.Field.Column == filter.Type || n.Field.Column == filter.Operation { // valuesOf reads these
			return nil
		}
		best := ""
		for _, part := range n.Pattern.Parts {
			if part != filter.AnyText && part != filter.AnyChar && len(part) > len(best) {
				best = part
			}
		}
		if len(best) >= leastNeed {
			return []need{{n.Field, best}}
		}
	case filter.Regexp:
		if n.Field.Column == filter.Type || n.Field.Column == filter.Operation {
			return nil
		}
		var all []need
		for _, text := range textsOf(n.Re.String()) {
			all = append(all, need{n.Field, text})
		}
		return all
	case filter.And:
		var best []need
		for _, node := range n {
			if found := needs(node); found != nil && (best == nil || cost(found) < cost(best)) {
				best = found
			}
		}
		return best
	case filter.Or:
		var all []need
		for _, node := range n {
			found := needs(node)
			if found == nil {
				return nil
			}
			all = append(all, found...)
		}
		return all
	}
	return nil
}

// cost estimates how many events have one of some needed texts.
func cost(some []need) float64 {
	texts := make([]string, len(some))
	for i, n := range some {
		texts[i] = n.text
	}
	return common(texts)
}

// common estimates how many events have one of some texts: short ones are in many events.
func common(texts []string) (sum float64) {
	for _, text := range texts {
		sum += 1 / float64(len(text)*len(text))
	}
	return sum
}

// typesOf returns the event types that a condition may be true for, in lower case; nil for
// all.
func typesOf(n filter.Node) []string { return valuesOf(n, filter.Type) }

// operationsOf is typesOf for operations.
func operationsOf(n filter.Node) []string { return valuesOf(n, filter.Operation) }

func valuesOf(n filter.Node, column filter.Column) []string {
	switch n := n.(type) {
	case filter.In:
		if n.Field.Column == column {
			values := []string{}
			for _, v := range n.Values {
				values = append(values, strings.ToLower(v.Text))
			}
			return values
		}
	case filter.Like:
		if parts := n.Pattern.Parts; n.Field.Column == column && len(parts) == 1 && parts[0] != filter.AnyText && parts[0] != filter.AnyChar {
			return []string{strings.ToLower(parts[0])}
		}
	case filter.And:
		var all []string
		for _, node := range n {
			found := valuesOf(node, column)
			switch {
			case all == nil:
				all = found
			case found != nil:
				all = slices.DeleteFunc(slices.Clone(all), func(value string) bool { return !slices.Contains(found, value) })
			}
		}
		return all
	case filter.Or:
		all := []string{}
		for _, node := range n {
			found := valuesOf(node, column)
			if found == nil {
				return nil
			}
			all = append(all, found...)
		}
		return all
	}
	return nil
}

// searcher finds which of many texts are in a text, in one pass (A. Aho, M. Corasick,
// "Efficient string matching: an aid to bibliographic search", 1975). Bytes that are in no
// text share a class, so that the table stays small.
type searcher struct {
	classes [256]uint8
	width   int
	next    []int32   // by state × class
	found   [][]int32 // by state: the numbers of texts that end here
}

// longest is how many bytes of a text the searcher compares: its last ones.
const longest = 12

// newSearcher returns the searcher of lower-case texts; a text's number is its index.
func newSearcher(texts []string) *searcher {
	s := &searcher{width: 1}
	for _, text := range texts {
		for _, c := range []byte(tail(text)) {
			if s.classes[c] == 0 && s.width < 256 {
				s.classes[c] = uint8(s.width)
				s.width++
			}
		}
	}
	for c := 'A'; c <= 'Z'; c++ {
		s.classes[c] = s.classes[c+'a'-'A']
	}
	s.grow()
	for number, text := range texts {
		state := int32(0)
		for _, c := range []byte(tail(text)) {
			at := int(state)*s.width + int(s.classes[c])
			if s.next[at] == 0 {
				s.next[at] = s.grow()
			}
			state = s.next[at]
		}
		s.found[state] = append(s.found[state], int32(number))
	}
	s.link()
	return s
}

func tail(text string) string { return text[max(0, len(text)-longest):] }

// grow adds a state.
func (s *searcher) grow() int32 {
	s.next = append(s.next, make([]int32, s.width)...)
	s.found = append(s.found, nil)
	return int32(len(s.found) - 1)
}

// link completes the table: where a state has no next one, the next state is that of its
// longest proper suffix.
func (s *searcher) link() {
	suffix := make([]int32, len(s.found))
	var queue []int32
	for class := range s.width {
		if state := s.next[class]; state != 0 {
			queue = append(queue, state)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		s.found[state] = append(s.found[state], s.found[suffix[state]]...)
		for class := range s.width {
			at, of := int(state)*s.width+class, int(suffix[state])*s.width+class
			if child := s.next[at]; child != 0 {
				suffix[child] = s.next[of]
				queue = append(queue, child)
			} else {
				s.next[at] = s.next[of]
			}
		}
	}
}

// each calls fn with the number of each text that may be in text, perhaps several times.
func (s *searcher) each(text string, fn func(number int32)) {
	state := int32(0)
	for i := range len(text) {
		state = s.next[int(state)*s.width+int(s.classes[text[i]])]
		for _, number := range s.found[state] {
			fn(number)
		}
	}
}

// index finds the rules that may match an event. It is safe for concurrent use.
type index struct {
	needed        [][]need          // by rule
	operationsOf  [][]string        // by rule
	types         map[string]ofType // that rules name, in lower case, and ""
	hasOperations map[string]bool   // likewise

	mu    sync.Mutex
	parts map[kind]*part // that were asked for
}

// ofType has the rules that may match events of a type.
type ofType struct {
	rules []int32
	texts *texts
}

// kind is a type and an operation in lower case. "" stands for all types or operations that
// no rule names.
type kind struct{ eventType, operation string }

// part is the index for the events of a kind.
type part struct {
	always []int32        // rules that may match any event
	rules  map[int32]bool // the others
	fields []filter.Field // that rules need texts in
	texts  *texts         // of all rules for the type
}

// texts finds the rules that need a text. All parts of a type share one.
type texts struct {
	searcher *searcher
	rulesOf  [][]int32 // by number of the text
}

func newIndex(rules []filter.Node) *index {
	ix := &index{
		needed: make([][]need, len(rules)), operationsOf: make([][]string, len(rules)),
		types: map[string]ofType{"": {}}, hasOperations: map[string]bool{}, parts: map[kind]*part{},
	}
	typesOfRules := make([][]string, len(rules))
	for i, rule := range rules {
		typesOfRules[i], ix.operationsOf[i], ix.needed[i] = typesOf(rule), operationsOf(rule), needs(rule)
		for _, name := range typesOfRules[i] {
			ix.types[name] = ofType{}
		}
		for _, name := range ix.operationsOf[i] {
			ix.hasOperations[name] = true
		}
	}
	for eventType := range ix.types {
		var some []int32
		for i := range rules {
			if allows(typesOfRules[i], eventType) {
				some = append(some, int32(i))
			}
		}
		ix.types[eventType] = ofType{some, newTexts(some, ix.needed)}
	}
	return ix
}

func allows(names []string, name string) bool { return names == nil || slices.Contains(names, name) }

// newTexts returns what finds some rules. needed has the needs of all rules.
func newTexts(some []int32, needed [][]need) *texts {
	numbers := map[string]int{}
	var all []string
	t := &texts{}
	for _, rule := range some {
		for _, n := range needed[rule] {
			number, known := numbers[n.text]
			if !known {
				number = len(all)
				numbers[n.text] = number
				all, t.rulesOf = append(all, n.text), append(t.rulesOf, nil)
			}
			if !slices.Contains(t.rulesOf[number], rule) {
				t.rulesOf[number] = append(t.rulesOf[number], rule)
			}
		}
	}
	t.searcher = newSearcher(all)
	return t
}

// newPart returns the index for the events of a kind.
func (ix *index) newPart(k kind) *part {
	all := ix.types[k.eventType]
	p := &part{rules: map[int32]bool{}, texts: all.texts}
	known := map[string]bool{}
	for _, rule := range all.rules {
		if !allows(ix.operationsOf[rule], k.operation) {
			continue
		}
		if ix.needed[rule] == nil {
			p.always = append(p.always, rule)
			continue
		}
		p.rules[rule] = true
		for _, n := range ix.needed[rule] {
			if name := n.field.String(); !known[name] {
				known[name] = true
				p.fields = append(p.fields, n.field)
			}
		}
	}
	return p
}

// part returns the part for the events of a type and an operation.
func (ix *index) part(eventType, operation string) *part {
	k := kind{strings.ToLower(eventType), strings.ToLower(operation)}
	if _, named := ix.types[k.eventType]; !named {
		k.eventType = ""
	}
	if !ix.hasOperations[k.operation] {
		k.operation = ""
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	p := ix.parts[k]
	if p == nil {
		p = ix.newPart(k)
		ix.parts[k] = p
	}
	return p
}

// finder finds the rules that may match events of one session. Programs use the same paths
// and command lines again and again, so it remembers what it found in a text. It keeps copies
// of texts, because a text may be part of the data of many events.
type finder struct {
	index *index
	parts map[kind]*part // by type and operation, as events write them
	found map[place][]int32
	bytes int // of the texts in found
}

// place is a text in which a part looked for rules.
type place struct {
	part *part
	text string
}

// Limits of what a finder remembers. It then forgets everything.
const (
	maxKinds      = 1_000
	maxFound      = 10_000
	maxFoundBytes = 1 << 20
	foundEach     = 100 // bytes that a text takes besides itself
)

func newFinder(ix *index) *finder {
	return &finder{index: ix, parts: map[kind]*part{}, found: map[place][]int32{}}
}

// Bytes returns about how much memory is in use.
func (f *finder) Bytes() int { return f.bytes + foundEach*(len(f.found)+len(f.parts)) }

// candidates calls fn with each rule that may match an event, perhaps several times.
func (f *finder) candidates(e *models.Event, fn func(rule int32)) {
	p := f.part(e)
	for _, rule := range p.always {
		fn(rule)
	}
	for i := range p.fields {
		if text, ok := p.fields[i].Text(e); ok {
			for _, rule := range f.search(p, text) {
				fn(rule)
			}
		}
	}
}

// part returns the part of the index for an event.
func (f *finder) part(e *models.Event) *part {
	k := kind{eventType: e.EventType}
	if e.Operation != nil {
		k.operation = *e.Operation
	}
	p := f.parts[k]
	if p == nil {
		if len(f.parts) >= maxKinds {
			clear(f.parts)
		}
		p = f.index.part(k.eventType, k.operation)
		f.parts[kind{strings.Clone(k.eventType), strings.Clone(k.operation)}] = p
	}
	return p
}

// search returns the rules that a text may be the reason for.
func (f *finder) search(p *part, text string) []int32 {
	found, known := f.found[place{p, text}]
	if known {
		return found
	}
	p.texts.searcher.each(text, func(number int32) { found = append(found, p.texts.rulesOf[number]...) })
	slices.Sort(found)
	found = slices.DeleteFunc(slices.Compact(found), func(rule int32) bool { return !p.rules[rule] })
	if f.bytes += len(text) + 4*len(found); len(f.found) >= maxFound || f.bytes > maxFoundBytes {
		clear(f.found)
		f.bytes = 0
	}
	f.found[place{p, strings.Clone(text)}] = found
	return found
}
