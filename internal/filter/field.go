package filter

import (
	"strconv"
	"strings"
	"time"

	"ospulse/internal/models"
)

// Column is the part of an event that a Field reads: a column, or its data.
type Column uint8

// The columns of the filter language. Columns of text come first, because isText
// compares the values.
const (
	Type Column = iota + 1
	Operation
	Process
	Target
	Source
	PID
	Seq
	Time
	Data
)

// columnNames are the names of each column, the short name first.
var columnNames = [...][]string{ //nolint:gochecknoglobals // a constant
	Type: {"type", "event_type"}, Operation: {"operation", "op"}, Process: {"process", "process_name"},
	Target: {"target"}, Source: {"source"}, PID: {"pid"}, Seq: {"seq"}, Time: {"time", "timestamp"}, Data: {"data"},
	Routine: {"routine"}, Finding: {"finding"}, Level: {"finding.level"}, Technique: {"technique"},
}

// String returns the column's short name.
func (c Column) String() string {
	if name, ok := ruleColumns[c]; ok {
		return name
	}
	return columnNames[c][0]
}

// columnOf returns the column with a name, regardless of case.
func columnOf(name string) (Column, bool) {
	name = lower(name)
	for column, names := range columnNames {
		for _, n := range names {
			if n == name {
				return Column(column), true
			}
		}
	}
	return 0, false
}

// Field is what a test reads. Only Data has a Path, of at least one step.
type Field struct {
	Column Column
	Path   []Step
}

// Step leads from a JSON object to the value of a key, or from an array to an element.
type Step struct {
	Key   string
	Index int // counted from 0; -1 when the step is a key
}

// String returns the field in the syntax of the parser.
func (f Field) String() string {
	var b strings.Builder
	b.WriteString(f.Column.String())
	for _, step := range f.Path {
		switch {
		case step.Index >= 0:
			b.WriteString("[" + strconv.Itoa(step.Index) + "]")
		case step.Key != "" && keyLen(step.Key) == len(step.Key):
			b.WriteString("." + step.Key)
		default:
			b.WriteString("[" + Quote(step.Key) + "]")
		}
	}
	return b.String()
}

// text returns the value of a column of text.
func (f Field) text(e *models.Event) (string, bool) {
	switch f.Column {
	case Type:
		return e.EventType, true
	case Source:
		return e.Source, true
	case Operation:
		return deref(e.Operation)
	case Process:
		return deref(e.ProcessName)
	case Target:
		return deref(e.Target)
	}
	return f.fact(e)
}

// integer returns the value of a column of whole numbers.
func (f Field) integer(e *models.Event) (int64, bool) {
	if f.Column == PID {
		return deref(e.PID)
	}
	return e.Seq, true
}

func deref[T any](p *T) (value T, ok bool) {
	if p == nil {
		return value, false
	}
	return *p, true
}

// isText reports whether the field is a column of text.
func (f Field) isText() bool { return f.Column <= Source || f.Column > Data }

// isInteger reports whether the field is a column of whole numbers.
func (f Field) isInteger() bool { return f.Column == PID || f.Column == Seq }

// Value is a value to compare a field with. Kind says which other fields are set.
type Value struct {
	Kind    Kind
	Text    string // for String and Word; for Number, the JSON number as written
	Integer int64
	Time    time.Time
}

// Kind is the kind of a Value.
type Kind uint8

// The kinds. A column of text is compared with String, one of whole numbers with
// Integer, time with Instant; data with String, Number or Word.
const (
	String  Kind = iota // equal texts
	Number              // a JSON number of this value, or a JSON string of this text
	Word                // the JSON value true, false or null
	Integer             // a whole number
	Instant             // a point in time
)

// String returns the value in the syntax of the parser.
func (v Value) String() string {
	switch v.Kind {
	case Integer:
		return strconv.FormatInt(v.Integer, 10)
	case Instant:
		return v.Time.Format("2006-01-02T15:04:05.999999Z")
	case Number, Word:
		return v.Text
	default:
		return Quote(v.Text)
	}
}

// Quote returns text as a string in double quotes.
func Quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// OnlyField returns the field that all tests of a condition with several tests have.
func OnlyField(n Node) (field Field, ok bool) {
	switch n.(type) {
	case And, Or, Not:
	default:
		return Field{}, false
	}
	ok = true
	rewrite(n, func(n Node) Node {
		var tested Field
		switch n := n.(type) {
		case Exists:
			tested = n.Field
		case In:
			tested = n.Field
		case Like:
			tested = n.Field
		default:
			ok = false
		}
		ok = ok && len(tested.Path) == 0 && (field.Column == 0 || field.Column == tested.Column)
		field = tested
		return n
	})
	return field, ok && field.Column != 0
}
