package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// MaxPaths is how many paths can be asked for at once.
const MaxPaths = 24

// MaxFieldLen is how many bytes of JSON are given of the value at one path.
const MaxFieldLen = 1024

// Paths are places in events' data whose values are given beside what lists show;
// nil are none. They are immutable, and safe for concurrent use.
type Paths struct {
	names []string // as they were asked for
	tree  *jsonscan.Tree
}

// ParsePaths reads paths into data as filters write them, with commas between; text
// that is blank is nil. The error is a *models.Error of code invalid around a
// *SyntaxError.
func ParsePaths(text string) (*Paths, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	paths, err := parsePaths(text)
	if err != nil {
		return nil, models.Wrap(err, models.CodeInvalid, "fields, column %d: %s", err.Column, err.Text)
	}
	return paths, nil
}

func parsePaths(text string) (*Paths, *SyntaxError) {
	p := &parser{text: text}
	if len(text) > MaxLength {
		return nil, &SyntaxError{Column: 1, Text: fmt.Sprintf("the paths are %d bytes long; at most %d are taken", len(text), MaxLength)}
	}
	if err := p.checkText(); err != nil {
		return nil, err
	}
	paths := &Paths{tree: new(jsonscan.Tree)}
	known := map[string]bool{}
	for {
		from, field, err := p.path()
		if err != nil {
			return nil, err
		}
		if name := text[from:p.pos]; !known[name] {
			if len(paths.names) == MaxPaths {
				return nil, p.fault(from, p.pos, "more than %d paths", MaxPaths)
			}
			known[name] = true
			field.place(paths.tree).Want(len(paths.names))
			paths.names = append(paths.names, name)
		}
		if p.atEnd() {
			return paths, nil
		}
		if !p.take(",") {
			return nil, p.unexpected("a comma or the end")
		}
	}
}

// path reads a path into data.
func (p *parser) path() (from int, field Field, err *SyntaxError) {
	const aPath = "a path into data such as data.a.b"
	p.space()
	from = p.pos
	n := fieldLen(p.text[from:])
	if n == 0 {
		return from, field, p.unexpected(aPath)
	}
	p.pos += n
	name := firstName(p.text[from:p.pos])
	switch column, known := columnOf(name); {
	case known && column != Data:
		return from, field, p.fault(from, p.pos, "%s is in every event that is listed; expected %s", name, aPath)
	case !known, len(name) == n:
		return from, field, p.fault(from, p.pos, "expected %s, found %s", aPath, shown(p.text[from:p.pos]))
	}
	field, err = p.field(from)
	return from, field, err
}

// place gives the field's place in a tree of what is looked for in data.
func (f Field) place(tree *jsonscan.Tree) *jsonscan.Tree {
	for _, step := range f.Path {
		if step.Index < 0 {
			tree = tree.Key(step.Key)
		} else {
			tree = tree.Element(step.Index)
		}
	}
	return tree
}

// Append adds to an event that is listed, in JSON, what its data has at the paths:
// "fields", with the values as they were sent, by the path as it was asked for, and
// "fields_cut", with the paths of those that are longer than MaxFieldLen. Of these
// texts are cut, and all else is left out. The event has its whole data.
func (p *Paths) Append(listed []byte, e *models.Event) []byte {
	if p == nil {
		return listed
	}
	var values [MaxPaths][]byte
	p.tree.Pick(e.Payload(), values[:])
	out := listed[:len(listed)-1]
	out = append(out, `,"fields":{`...)
	var cut []string
	first := true
	for i, name := range p.names {
		value := values[i]
		if len(value) > MaxFieldLen {
			cut = append(cut, name)
			value = cutText(value)
		}
		if value == nil {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(jsonscan.AppendText(out, name), ':')
		out = jsonscan.AppendOneLine(out, value)
	}
	out = append(out, '}')
	for i, name := range cut {
		out = append(out, [...]string{`,"fields_cut":[`, ","}[min(i, 1)]...)
		out = jsonscan.AppendText(out, name)
	}
	if cut != nil {
		out = append(out, ']')
	}
	return append(out, '}')
}

// cutText gives the beginning of a string literal that is longer than MaxFieldLen,
// as a literal: no character, no escape and no pair of surrogates is cut in two. Of
// anything else it is nil.
func cutText(value []byte) []byte {
	if jsonscan.Kind(value) != '"' {
		return nil
	}
	end := 1
	for end < len(value) {
		size := unitLen(value[end:])
		if end+size > MaxFieldLen-1 {
			break
		}
		end += size
	}
	return append(value[:end:end], '"')
}

// unitLen gives the length of what the inside of a string literal begins with and
// must stay together.
func unitLen(text []byte) int {
	switch {
	case text[0] != '\\':
		_, size := utf8.DecodeRune(text)
		return size
	case len(text) < 6 || text[1] != 'u':
		return 2
	case len(text) >= 12 && isSurrogate(text, "89ab") && isSurrogate(text[6:], "cdef"):
		return 12
	}
	return 6
}

// isSurrogate reports whether a text begins with an escape of half a pair, whose
// second hexadecimal digit is one of some.
func isSurrogate(text []byte, second string) bool {
	return text[0] == '\\' && text[1] == 'u' && fold(text[2]) == 'd' && strings.IndexByte(second, fold(text[3])) >= 0
}
