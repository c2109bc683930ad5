package judge

import (
	"fmt"
	"testing"
)

// log returns a final log of these names.
func log(names ...string) []Event {
	events := make([]Event, len(names))
	for i, name := range names {
		events[i] = Event{int64(i + 1), name}
	}
	return events
}

// stored returns an acknowledged append of the events first, first+1 …
func stored(call, end, first int64, names ...string) Append {
	return Append{Names: names, Call: call, Return: end, Outcome: Stored, First: first, Last: first + int64(len(names)) - 1}
}

// TestCheck checks for each rule that a history which breaks it is reported, and that
// permitted histories are not.
func TestCheck(t *testing.T) {
	spooled := func(call, end int64, names ...string) Append {
		return Append{Names: names, Call: call, Return: end, Outcome: Spooled}
	}
	unknown := func(call int64, names ...string) Append { return Append{Names: names, Call: call} }
	list := func(call, end int64, names ...string) Read {
		return Read{Kind: "list", Call: call, Return: end, Events: log(names...), Length: int64(len(names))}
	}
	for name, c := range map[string]struct {
		history History
		want    Rule // "" for no violation
	}{
		"a log": {History{Appends: []Append{stored(1, 2, 1, "a"), stored(3, 4, 2, "b", "c")}, Reads: []Read{list(3, 5, "a"), list(5, 6, "a", "b", "c")}, Final: log("a", "b", "c")}, ""},
		"an append without an answer that happened":     {History{Appends: []Append{unknown(1, "a"), stored(2, 3, 1, "b")}, Final: log("b", "a")}, ""},
		"an append without an answer that did not":      {History{Appends: []Append{unknown(1, "a"), stored(2, 3, 1, "b")}, Final: log("b")}, ""},
		"a spooled append that is stored later":         {History{Appends: []Append{spooled(1, 2, "a"), spooled(3, 4, "b")}, Reads: []Read{list(5, 6)}, Final: log("a", "b")}, ""},
		"an acknowledged append that is missing":        {History{Appends: []Append{stored(1, 2, 1, "a")}}, Lost},
		"a spooled append that is missing":              {History{Appends: []Append{spooled(1, 2, "a")}}, Lost},
		"an event that is stored twice":                 {History{Appends: []Append{stored(1, 2, 1, "a")}, Final: log("a", "a")}, Duplicated},
		"an unanswered append that is stored twice":     {History{Appends: []Append{unknown(1, "a")}, Final: log("a", "a")}, Duplicated},
		"an event of another session":                   {History{Final: log("a")}, Invented},
		"a refused append that is stored":               {History{Appends: []Append{{Names: []string{"a"}, Outcome: Refused}}, Final: log("a")}, Invented},
		"a faulty item that is stored":                  {History{Appends: []Append{{Names: []string{"a"}, Faulty: []string{"b"}}, {Names: []string{"b"}}}, Final: log("a", "b")}, Invented},
		"a seq that is skipped":                         {History{Appends: []Append{unknown(1, "a"), unknown(1, "b")}, Final: []Event{{1, "a"}, {3, "b"}}}, Gap},
		"half of an acknowledged batch":                 {History{Appends: []Append{stored(1, 2, 1, "a", "b")}, Final: log("a")}, Lost},
		"half of an unanswered batch":                   {History{Appends: []Append{unknown(1, "a", "b")}, Final: log("a")}, Torn},
		"a batch with another event in it":              {History{Appends: []Append{unknown(1, "a", "b"), unknown(1, "c")}, Final: log("a", "c", "b")}, Torn},
		"a batch in another order":                      {History{Appends: []Append{unknown(1, "a", "b")}, Final: log("b", "a")}, Torn},
		"an acknowledged seq that changed":              {History{Appends: []Append{stored(1, 2, 1, "a"), stored(1, 2, 2, "b")}, Final: log("b", "a")}, Renumbered},
		"a seq that had another event for a reader":     {History{Appends: []Append{unknown(1, "a"), unknown(1, "b")}, Reads: []Read{list(1, 2, "a")}, Final: log("b", "a")}, Renumbered},
		"a reader of 2 without 1":                       {History{Appends: []Append{unknown(1, "a", "b")}, Reads: []Read{{Kind: "list", Events: []Event{{2, "b"}}, Length: -1}}, Final: log("a", "b")}, Hole},
		"a stream that resumes one too far":             {History{Appends: []Append{unknown(1, "a", "b", "c")}, Reads: []Read{{Kind: "stream", After: 1, Events: []Event{{3, "c"}}, Length: -1}}, Final: log("a", "b", "c")}, Hole},
		"a stream that gives an event again":            {History{Appends: []Append{unknown(1, "a", "b")}, Reads: []Read{{Kind: "stream", After: 1, Events: []Event{{1, "a"}}, Length: -1}}, Final: log("a", "b")}, Hole},
		"a read that misses what was acknowledged":      {History{Appends: []Append{stored(1, 2, 1, "a")}, Reads: []Read{list(3, 4)}, Final: log("a")}, Stale},
		"a read that goes back in time":                 {History{Appends: []Append{unknown(1, "a")}, Reads: []Read{list(1, 2, "a"), list(3, 4)}, Final: log("a")}, Stale},
		"a read of what is not sent yet":                {History{Appends: []Append{unknown(5, "a")}, Reads: []Read{list(1, 2, "a")}, Final: log("a")}, Stale},
		"a count that lies":                             {History{Appends: []Append{stored(1, 2, 1, "a")}, Reads: []Read{{Kind: "count", Call: 3, Return: 4, Length: 0}}, Final: log("a")}, Stale},
		"a count of what was never stored":              {History{Appends: []Append{stored(1, 2, 1, "a")}, Reads: []Read{{Kind: "count", Call: 3, Return: 4, Length: 2}}, Final: log("a")}, Lost},
		"a spooled append that overtakes another":       {History{Appends: []Append{spooled(1, 2, "a"), spooled(3, 4, "b")}, Final: log("b", "a")}, Reordered},
		"an append that overtakes a spooled one":        {History{Appends: []Append{spooled(1, 2, "a"), stored(3, 4, 1, "b")}, Final: log("b", "a")}, Reordered},
		"a spooled append of another backend overtakes": {History{Appends: []Append{spooled(1, 2, "a"), {Names: []string{"b"}, Backend: 1, Call: 3, Return: 4, Outcome: Spooled}}, Final: log("b", "a")}, ""},
		"two polls that got the same":                   {History{Appends: []Append{stored(1, 2, 1, "a")}, Polls: []Poll{{10, true, log("a")}, {10, true, log("a")}}, Final: log("a")}, HandedTwice},
		"an event that no poll got":                     {History{Appends: []Append{stored(1, 2, 1, "a")}, Polls: []Poll{{10, true, nil}}, Final: log("a")}, NeverHanded},
		"an event that a lost answer had":               {History{Appends: []Append{stored(1, 2, 1, "a")}, Polls: []Poll{{10, false, nil}, {10, true, nil}}, Final: log("a")}, ""},
		"a loss that was announced":                     {History{Appends: []Append{stored(1, 2, 1, "a"), stored(3, 4, 2, "b")}, Final: log("a"), MayLose: true}, Announced},
	} {
		t.Run(name, func(t *testing.T) {
			c.history.Session = "s"
			found := Check(&c.history)
			if got := fmt.Sprint(found); c.want == "" && len(found) > 0 || c.want != "" && (len(found) == 0 || found[0].Rule != c.want) {
				t.Errorf("found %s, want %q", got, c.want)
			}
		})
	}
}
