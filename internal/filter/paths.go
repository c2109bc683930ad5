package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// MaxPaths is the most paths of one request.
const MaxPaths = 24

// MaxFieldLen is the most bytes of JSON to return for the value at one path.
const MaxFieldLen = 1024

// Paths are places in events' data whose values lists show in addition; nil means none.
// They are immutable, and safe for concurrent use.
type Paths struct {
	names []string // as requested
	tree  *jsonscan.Tree
}

// ParsePaths parses paths into data in the syntax of filters, separated by commas.
// Blank text returns nil. The error is a *models.Error of code invalid around a
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

// path parses a path into data.
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

// place returns the field's node in the tree of searched paths.
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

// Append adds the values at the paths to the JSON of a listed event: "fields" has the
// original values by requested path, and "fields_cut" has the paths of values longer
// than MaxFieldLen. Of these, strings are cut and all others are left out. The event
// must have its whole data.
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

// cutText returns the beginning of a string literal longer than MaxFieldLen as a
// literal. It cuts no character, escape or surrogate pair in two. It returns nil for
// other values.
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

// unitLen returns the length of the first unit of a string literal that must not be
// divided.
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

// isSurrogate reports whether a text begins with an escape of half a surrogate pair.
// second has the possible second hexadecimal digits.
func isSurrogate(text []byte, second string) bool {
	return text[0] == '\\' && text[1] == 'u' && fold(text[2]) == 'd' && strings.IndexByte(second, fold(text[3])) >= 0
}
