package repository

import (
	"strconv"
	"strings"

	"gorm.io/gorm"

	"ospulse/internal/filter"
)

// filtered adds a filter's condition to a query of events.
func filtered(tx *gorm.DB, where *filter.Filter) *gorm.DB {
	if where == nil {
		return tx
	}
	text, args := condition(tx.Name(), where)
	return tx.Where(text, args...)
}

// condition translates a filter into a condition on the table events, with a ? for each
// argument, for the database that database.DB.Dialect names. The text contains nothing
// that the filter's author wrote. Both databases select the same events as filter.Match.
// The tests of columns are written so that indexes apply. No content of an event makes
// the statement fail.
func condition(dialect string, where *filter.Filter) (text string, args []any) {
	if where == nil {
		return "TRUE", nil
	}
	c := compiler{dialect: dialect, tests: sqliteTests{}, timeColumn: sqliteTime}
	if dialect == "postgres" {
		c = compiler{dialect: dialect, tests: postgresTests{}, timeColumn: "timestamp"}
	}
	c.node(where.Root())
	return c.text.String(), c.args
}

// compiler writes a condition. Where the filter is false, the condition may be NULL. That
// makes a difference only below NOT, where the compiler replaces NULL by false.
type compiler struct {
	dialect    string
	tests      dataTests
	timeColumn string
	text       strings.Builder
	args       []any
}

// dataTests are the tests that differ between the databases.
type dataTests interface {
	// like writes a test whether pattern matches the whole text of a column.
	like(c *compiler, column string, pattern filter.Pattern)
	// data writes the part of a test that looks into data.
	data(c *compiler, test filter.DataNode)
}

// eventColumn holds the names of the columns.
var eventColumn = map[filter.Column]string{ //nolint:gochecknoglobals // a constant
	filter.Type: "event_type", filter.Operation: "operation", filter.Process: "process_name",
	filter.Target: "target", filter.Source: "source", filter.PID: "pid", filter.Seq: "seq",
}

// column returns the column of a field.
func (c *compiler) column(field filter.Field) string {
	if field.Column == filter.Time {
		return c.timeColumn
	}
	return eventColumn[field.Column]
}

// write adds text, with an argument for each ? in it.
func (c *compiler) write(text string, args ...any) {
	c.text.WriteString(text)
	c.args = append(c.args, args...)
}

func (c *compiler) node(n filter.Node) {
	switch n := n.(type) {
	case filter.And:
		c.join(n, " AND ", "TRUE")
	case filter.Or:
		c.join(n, " OR ", "FALSE")
	case filter.Not:
		c.write("NOT COALESCE(")
		c.node(n.Node)
		c.write(", FALSE)")
	case filter.Text:
		c.write("(")
		c.tests.like(c, "target", n.Pattern.Anywhere())
		c.write(" OR ")
		c.tests.data(c, n)
		c.write(")")
	case filter.Under:
		c.under(n)
	case filter.Seqs:
		c.write(isOneOf(c.dialect), numberList(c.dialect, n))
	case filter.DataNode:
		if n.NeedsData() {
			c.tests.data(c, n)
		} else {
			c.columnTest(n)
		}
	}
}

// join joins the nodes as a balanced tree: SQLite allows 1000 levels of nesting.
func (c *compiler) join(nodes []filter.Node, word, none string) {
	switch half := len(nodes) / 2; len(nodes) {
	case 0:
		c.write(none)
	case 1:
		c.node(nodes[0])
	default:
		c.write("(")
		c.join(nodes[:half], word, none)
		c.write(word)
		c.join(nodes[half:], word, none)
		c.write(")")
	}
}

// under writes a test of processes. If a pid has processes in the set and others, the
// database finds the event's process as process.Family.Find does.
func (c *compiler) under(n filter.Under) {
	if n.Set == nil {
		c.write("FALSE")
		return
	}
	all, some := n.Set.PIDs()
	c.write("("+isListed(c.dialect, "pid"), numberList(c.dialect, all))
	if len(some) > 0 {
		c.write(" OR "+isListed(c.dialect, "pid")+" AND "+isListed(c.dialect, eventProcess), numberList(c.dialect, some), numberList(c.dialect, n.Set.IDs(some)))
	}
	c.write(")")
}

// eventProcess is the ID of an event's process: the last one that had started, or else the
// first one. Both are found by the index of processes.
const (
	eventProcess = "COALESCE((" + samePID + " AND p.started_at <= events.timestamp ORDER BY p.started_at DESC LIMIT 1), (" + samePID + " ORDER BY p.started_at LIMIT 1))"
	samePID      = "SELECT p.id FROM processes p WHERE p.session_id = events.session_id AND p.pid = events.pid " +
		"AND (p.start_known OR p.name = '' OR COALESCE(events.process_name, '') IN ('', p.name))"
)

// columnTest writes a test of a column. It is false for a field of what is known of a session,
// as in memory: a filter is completed before it is used.
func (c *compiler) columnTest(n filter.Node) {
	if filter.InFilters(n) != "" {
		c.write("FALSE")
		return
	}
	switch n := n.(type) {
	case filter.Exists:
		c.write(c.column(n.Field) + " IS NOT NULL")
	case filter.In:
		args := make([]any, len(n.Values))
		for i, v := range n.Values {
			args[i] = argument(v)
		}
		if len(args) == 1 {
			c.write(c.column(n.Field)+" = ?", args...)
		} else {
			c.write(c.column(n.Field)+" IN ("+placeholders(len(args))+")", args...)
		}
	case filter.Order:
		c.write(c.column(n.Field)+" "+string(n.Op)+" ?", argument(n.Value))
	case filter.Like:
		c.tests.like(c, c.column(n.Field), n.Pattern)
	}
}

// argument returns the value to compare a column with.
func argument(v filter.Value) any {
	switch v.Kind {
	case filter.Integer:
		return v.Integer
	case filter.Instant:
		return v.Time
	default:
		return v.Text
	}
}

// isListed returns the condition that a number is in the argument, a numberList. The text
// is the same for lists of any length, so that the statement stays prepared.
func isListed(dialect, number string) string {
	if dialect == "postgres" {
		return number + " = ANY(CAST(? AS bigint[]))"
	}
	return number + " IN (SELECT value FROM json_each(?))"
}

// isOneOf is isListed for seqs of many rows, which are read by other conditions: PostgreSQL
// looks each up in a hash table, and not one after the other; SQLite does not read the rows of
// the list one by one.
func isOneOf(dialect string) string {
	if dialect == "postgres" {
		return "seq IN (SELECT unnest(CAST(? AS bigint[])))"
	}
	return isListed(dialect, "+seq")
}

func numberList(dialect string, numbers []int64) string {
	list := []byte{'['}
	for i, n := range numbers {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendInt(list, n, 10)
	}
	list = append(list, ']')
	if dialect == "postgres" {
		list[0], list[len(list)-1] = '{', '}'
	}
	return string(list)
}

func placeholders(n int) string { return "?" + strings.Repeat(", ?", n-1) }

// likePattern returns a pattern for LIKE, with a backslash before characters that are no
// wildcards. If escaped is not nil, it is applied to the literal parts first; it may
// change their length.
func likePattern(p filter.Pattern, escaped func(string) string) string {
	var b strings.Builder
	for _, part := range p.Parts {
		switch {
		case part == filter.AnyText, part == filter.AnyChar && escaped != nil:
			b.WriteByte('%')
		case part == filter.AnyChar:
			b.WriteByte('_')
		default:
			if escaped != nil {
				part = escaped(part)
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(part))
		}
	}
	return b.String()
}
