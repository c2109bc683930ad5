package filter

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// The columns and tests in this file exist in rules only: Parse does not read them, and no
// repository translates them.

// The columns that need the events before an event; see models.Facts.
const (
	Image Column = Data + 1 + iota
	Command
	ParentImage
	ParentCommand
	DestinationHost
)

// fact returns the value of a column that needs earlier events.
func (f Field) fact(e *models.Event) (string, bool) {
	if e.Facts == nil {
		return "", false
	}
	switch f.Column {
	case Image:
		return deref(e.Facts.Image)
	case Command:
		return deref(e.Facts.Command)
	case ParentImage:
		return deref(e.Facts.ParentImage)
	case ParentCommand:
		return deref(e.Facts.ParentCommand)
	case DestinationHost:
		return deref(e.Facts.DestinationHost)
	}
	return "", false
}

// Text returns the value of a field of any kind as a text: of data, a string, a number, or
// true or false.
func (f Field) Text(e *models.Event) (string, bool) {
	switch {
	case f.isText():
		return f.text(e)
	case f.isInteger():
		n, ok := f.integer(e)
		return strconv.FormatInt(n, 10), ok
	case f.Column == Time:
		return e.Timestamp.Format("2006-01-02T15:04:05.999999Z"), true
	}
	found := f.value(e)
	switch jsonscan.Kind(found) {
	case 0, '{', '[', 'n':
		return "", false
	}
	return string(plain(nil, found)), true
}

// Regexp is true if a regular expression matches anywhere in the field.
type Regexp struct {
	Field Field
	Re    *regexp.Regexp
}

// Match implements Node.
func (n Regexp) Match(e *models.Event) bool {
	text, ok := n.Field.Text(e)
	return ok && n.Re.MatchString(text)
}

func (n Regexp) String() string { return n.Field.String() + " matches " + Quote(n.Re.String()) }

// Within is true if the field is an IP address in one of the networks. An address that IPv6
// maps from IPv4 counts as that of IPv4.
type Within struct {
	Field    Field
	Networks []netip.Prefix
}

// Match implements Node.
func (n Within) Match(e *models.Event) bool {
	text, ok := n.Field.Text(e)
	if !ok {
		return false
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	address = address.Unmap().WithZone("")
	for _, network := range n.Networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

func (n Within) String() string {
	networks := make([]string, len(n.Networks))
	for i, network := range n.Networks {
		networks[i] = network.String()
	}
	return n.Field.String() + " within (" + strings.Join(networks, ", ") + ")"
}

// Same is true if the text of the field equals that of another field, or contains it, begins
// with it or ends with it, ignoring the case of A to Z.
type Same struct {
	Field, Other Field
	How          Place
}

// Place is where a text is in another one.
type Place string

// The places.
const (
	Whole    Place = "="
	Anywhere Place = "contains"
	AtStart  Place = "startswith"
	AtEnd    Place = "endswith"
)

// Match implements Node.
func (n Same) Match(e *models.Event) bool {
	text, ok := n.Field.Text(e)
	other, otherOK := n.Other.Text(e)
	if !ok || !otherOK {
		return false
	}
	text, other = lower(text), lower(other)
	switch n.How {
	case Anywhere:
		return strings.Contains(text, other)
	case AtStart:
		return strings.HasPrefix(text, other)
	case AtEnd:
		return strings.HasSuffix(text, other)
	}
	return text == other
}

func (n Same) String() string {
	return n.Field.String() + " " + string(n.How) + " " + n.Other.String()
}

// Clock is true if a part of the event's time, in UTC, compares to a number as Op says, or
// equals it if Op is "=".
type Clock struct {
	Part  Part
	Op    Op
	Value int
}

// Part is a part of a time.
type Part string

// The parts of a time. Week is that of ISO 8601.
const (
	Minute Part = "minute"
	Hour   Part = "hour"
	Day    Part = "day"
	Week   Part = "week"
	Month  Part = "month"
	Year   Part = "year"
)

// Match implements Node.
func (n Clock) Match(e *models.Event) bool {
	at := e.Timestamp.UTC()
	got := at.Year()
	switch n.Part {
	case Minute:
		got = at.Minute()
	case Hour:
		got = at.Hour()
	case Day:
		got = at.Day()
	case Week:
		_, got = at.ISOWeek()
	case Month:
		got = int(at.Month())
	}
	if n.Op == "=" {
		return got == n.Value
	}
	return n.Op.holds(got - n.Value)
}

func (n Clock) String() string {
	return "time." + string(n.Part) + " " + string(n.Op) + " " + strconv.Itoa(n.Value)
}

// NewText returns the test whether a pattern matches anywhere in an event.
func NewText(p Pattern) Text { return newText(p) }

// Literal returns the pattern of a text without wildcards.
func Literal(text string) Pattern { return literalPattern(text) }

// FieldOf returns the field with a name, as a filter writes it, or a column of rules.
func FieldOf(name string) (Field, error) {
	for column, names := range ruleColumns {
		if name == names {
			return Field{Column: column}, nil
		}
	}
	node, err := ParseNode("exists " + name)
	if err != nil {
		return Field{}, err
	}
	field := node.(Exists).Field
	if field.Column.isKnown() {
		return Field{}, models.Errorf(models.CodeInvalid, "a rule has no field %s", name)
	}
	return field, nil
}

// ruleColumns are the names of the columns that only rules have.
var ruleColumns = map[Column]string{ //nolint:gochecknoglobals // a constant
	Image: "image", Command: "command", ParentImage: "parent_image", ParentCommand: "parent_command",
	DestinationHost: "destination_host",
}
