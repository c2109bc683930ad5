package repository

import (
	"fmt"
	"strings"

	"ospulse/internal/filter"
)

// postgresTests reads jsonb. It uses no cast that could fail: it compares jsonb with
// jsonb, which compares numbers by value.
type postgresTests struct{}

// like uses ILIKE so that it ignores the case of A to Z only.
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

// postgresPath opens a parenthesis and writes two checks that #> does not make: an index
// needs an array, and a key that looks like a number needs an object.
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

// textArray returns a path as a literal of PostgreSQL's text[].
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

// postgresText looks for a pattern in all of data. First it searches the text of data, in
// which strings are escaped: that is fast and excludes most events. A match may be part
// of an escape; therefore it searches again with the escapes replaced by characters that
// no text contains. A pattern that could match an escape or the punctuation between
// values is compared with each value instead, which is slow: PostgreSQL does not run such
// a subquery in parallel.
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

// plainText returns the literal of a pattern if it contains neither JSON punctuation nor
// characters that JSON escapes; quotes and backslashes are allowed.
func plainText(p filter.Pattern) (string, bool) {
	if len(p.Parts) != 3 || p.Parts[1] == filter.AnyChar {
		return "", false
	}
	literal := p.Parts[1]
	between := strings.ContainsAny(literal, ",{}[]") || literal[0] == ' ' || literal[0] == ':'
	return literal, !between && strings.IndexFunc(literal, func(r rune) bool { return r < ' ' }) < 0
}

// jsonToken is a regular expression for the strings, numbers and words in the text of a
// jsonb.
const jsonToken = `("(?:[^"\\]|\\.)*"|[^][{}:, "]+)`

// jsonString returns a text as a JSON string.
func jsonString(text string) string { return `"` + jsonEscaped(text) + `"` }

// jsonEscaped returns the inside of a JSON string as PostgreSQL writes it.
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
