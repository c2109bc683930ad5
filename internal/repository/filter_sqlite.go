package repository

import (
	"fmt"
	"strings"
	"sync"

	"ospulse/internal/database"
	"ospulse/internal/filter"
)

// sqliteTests calls back into this program, which looks into data with the same code that
// matches events in memory. SQLite's own JSON functions read numbers as floats, and are
// slower.
type sqliteTests struct{}

// sqliteTime is the time column without its index. SQLite cannot estimate how many events
// a span contains: it would prefer the index of times to any other, and sort all events
// in the span by seq for a page of a hundred. service.Events narrows the seq range by the
// segments' times instead.
const sqliteTime = "+timestamp"

// like uses SQLite's LIKE, which ignores the case of A to Z only.
func (sqliteTests) like(c *compiler, column string, pattern filter.Pattern) {
	c.write(column+` LIKE ? ESCAPE '\'`, likePattern(pattern, nil))
}

func (sqliteTests) data(c *compiler, test filter.DataNode) {
	c.write("data_matches(?, data)", test.String())
}

// Functions must be registered before a database is opened.
func init() {
	var parsed parsedTests
	database.SQLitePredicate("data_matches", func(text string, data []byte) (bool, error) {
		test, err := parsed.get(text)
		return err == nil && test.MatchData(data), err
	})
}

// parsedTests caches parsed tests: SQLite asks for the same one with every row.
type parsedTests struct {
	mu    sync.RWMutex
	tests map[string]filter.DataNode
}

// maxParsedTests exceeds the number of tests in one statement.
const maxParsedTests = 2 * filter.MaxTests

func (p *parsedTests) get(text string) (filter.DataNode, error) {
	p.mu.RLock()
	test := p.tests[text]
	p.mu.RUnlock()
	if test != nil {
		return test, nil
	}
	text = strings.Clone(text) // the original is SQLite's memory
	node, err := filter.ParseNode(text)
	if err != nil {
		return nil, err
	}
	test, ok := node.(filter.DataNode)
	if !ok {
		return nil, fmt.Errorf("data_matches takes one test of data, not %T", node)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tests == nil || len(p.tests) >= maxParsedTests {
		p.tests = map[string]filter.DataNode{}
	}
	p.tests[text] = test
	return test, nil
}
