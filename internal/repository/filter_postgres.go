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
// strings are escaped, decides fast that it is not there. Where it seems to be, it
// may be a part of an escape: so the escapes are replaced by characters that no
// text has. A pattern that could match the marks between values, or an escape, is
// compared with one value after the other; that is for the few, as PostgreSQL runs
// no such subquery in parallel.
func postgresText(c *compiler, pattern filter.Pattern) {
	c.write(`(data::text COLLATE "C" ILIKE ? AND `, likePattern(pattern, jsonEscaped))
	if literal, ok := plainText(pattern); ok {
		marked := strings.NewReplacer(`\`, "\x01", `"`, "\x02").Replace(literal)
		c.write(`regexp_replace(replace(replace(data::text, ?, chr(1)), ?, chr(2)), ?, chr(3), 'g') COLLATE "C" ILIKE ?)`,
			`\\`, `\"`, `\\(u[0-9a-f]{4}|[bfnrt])`, likePattern(filter.Pattern{Parts: []string{filter.AnyText, marked, filter.AnyText}}, nil))
		return
	}
	c.write(`EXISTS (SELECT 1 FROM regexp_matches(data::text, ?, 'g') AS found(token) `+
		`WHERE COALESCE(token[1]::jsonb #>> '{}', 'null') COLLATE "C" ILIKE ?))`, jsonToken, likePattern(pattern, nil))
}

// plainText gives the literal of a pattern that has nothing which JSON writes
// between values or must escape, but for quotes and backslashes.
func plainText(p filter.Pattern) (string, bool) {
	if len(p.Parts) != 3 || p.Parts[1] == filter.AnyChar {
		return "", false
	}
	literal := p.Parts[1]
	between := strings.ContainsAny(literal, ",{}[]") || literal[0] == ' ' || literal[0] == ':'
	return literal, !between && strings.IndexFunc(literal, func(r rune) bool { return r < ' ' }) < 0
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
