package repository

import (
	"fmt"
	"strings"

	"ospulse/internal/filter"
)

// postgresTests reads jsonb. Nothing in it is cast that could fail: values are
// compared as jsonb with jsonb, which compares numbers by their value.
type postgresTests struct{}

// like is ILIKE that ignores the case of the letters A to Z, and of no others.
func (postgresTests) like(c *compiler, column string, pattern filter.Pattern) {
	c.write(column+` COLLATE "C" ILIKE ?`, likePattern(pattern, nil))
}

func (postgresTests) data(c *compiler, test filter.DataNode) {
	switch n := test.(type) {
	case filter.Text:
		postgresText(c, n.Pattern.Anywhere())
	case filter.Exists:
		postgresPath(c, n.Field.Path)
		c.write("data #> ?::text[] IS NOT NULL)", textArray(n.Field.Path))
	case filter.In:
		var args []any
		for _, v := range n.Values {
			if v.Kind != filter.String {
				args = append(args, v.Text)
			}
			if v.Kind != filter.Word {
				args = append(args, jsonString(v.Text))
			}
		}
		postgresPath(c, n.Field.Path)
		c.write("data #> ?::text[] IN (?::jsonb"+strings.Repeat(", ?::jsonb", len(args)-1)+"))", append([]any{textArray(n.Field.Path)}, args...)...)
	case filter.Order:
		path := textArray(n.Field.Path)
		postgresPath(c, n.Field.Path)
		c.write("jsonb_typeof(data #> ?::text[]) = 'number' AND data #> ?::text[] "+string(n.Op)+" ?::jsonb)", path, path, n.Value.Text)
	case filter.Like:
		path := textArray(n.Field.Path)
		postgresPath(c, n.Field.Path)
		c.write(`jsonb_typeof(data #> ?::text[]) IN ('string', 'number') AND (data #>> ?::text[]) COLLATE "C" ILIKE ?)`, path, path, likePattern(n.Pattern, nil))
	}
}

// postgresPath opens a parenthesis and asks what #> does not: that what it takes a
// number from is an array, and that what it takes a key from which looks like a
// number is not.
func postgresPath(c *compiler, path []filter.Step) {
	c.write("(")
	for i, step := range path {
		switch {
		case step.Index >= 0:
			c.write("jsonb_typeof(data #> ?::text[]) = 'array' AND ", textArray(path[:i]))
		case strings.Trim(step.Key, "0123456789+- \t\n\v\f\r") == "":
			c.write("jsonb_typeof(data #> ?::text[]) = 'object' AND ", textArray(path[:i]))
		}
	}
}

// textArray writes a path as a literal of PostgreSQL's text[].
func textArray(path []filter.Step) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, step := range path {
		if i > 0 {
			b.WriteByte(',')
		}
		key := step.Key
		if step.Index >= 0 {
			key = fmt.Sprint(step.Index)
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`)
	}
	b.WriteByte('}')
	return b.String()
}

// postgresText looks for a pattern in all of data. The text of the whole, in which
// strings are escaped, decides fast that it is not there; where it seems to be, its
// tokens are looked at one by one, as it may be an escape or the marks between
// values that the text shares with the pattern.
func postgresText(c *compiler, pattern filter.Pattern) {
	c.write(`(data::text COLLATE "C" ILIKE ? AND EXISTS (SELECT 1 FROM regexp_matches(data::text, ?, 'g') AS found(token) `+
		`WHERE COALESCE(token[1]::jsonb #>> '{}', 'null') COLLATE "C" ILIKE ?))`,
		likePattern(pattern, jsonEscaped), jsonToken, likePattern(pattern, nil))
}

// jsonToken is a regular expression for the strings, numbers and words in the text
// of a jsonb.
const jsonToken = `("(?:[^"\\]|\\.)*"|[^][{}:, "]+)`

// jsonString writes a text as a JSON string.
func jsonString(text string) string { return `"` + jsonEscaped(text) + `"` }

// jsonEscaped writes the inside of a JSON string as PostgreSQL does.
func jsonEscaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch r {
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			if r < ' ' {
				fmt.Fprintf(&b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}
