package repository

import (
	"fmt"
	"strings"
	"sync"

	"ospulse/internal/database"
	"ospulse/internal/filter"
)

// sqliteTests has the program itself look into data: the very code that matches
// events in memory. SQLite's own JSON functions read numbers as floats, and take
// longer.
type sqliteTests struct{}

// sqliteTime is the time without its index. SQLite knows nothing of how many events
// there are in a span; it would take the index of times before any other, and sort
// all that it finds by seq, for a page of a hundred. Who asks by time knows between
// which numbers to look (service.Events).
const sqliteTime = "+timestamp"

// like is LIKE as it is: it ignores the case of the letters A to Z, and of no
// others.
func (sqliteTests) like(c *compiler, column string, pattern filter.Pattern) {
	c.write(column+` LIKE ? ESCAPE '\'`, likePattern(pattern, nil))
}

func (sqliteTests) data(c *compiler, test filter.DataNode) {
	c.write("data_matches(?, data)", test.String())
}

// A function must be there before a database is opened.
func init() {
	var parsed parsedTests
	database.SQLitePredicate("data_matches", func(text string, data []byte) (bool, error) {
		test, err := parsed.get(text)
		return err == nil && test.MatchData(data), err
	})
}

// parsedTests keeps the tests that were parsed last, as each is asked for again
// with every row.
type parsedTests struct {
	mu    sync.RWMutex
	tests map[string]filter.DataNode
}

// maxParsedTests is more than one statement has.
const maxParsedTests = 2 * filter.MaxTests

func (p *parsedTests) get(text string) (filter.DataNode, error) {
	p.mu.RLock()
	test := p.tests[text]
	p.mu.RUnlock()
	if test != nil {
		return test, nil
	}
	text = strings.Clone(text) // it is SQLite's memory
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
