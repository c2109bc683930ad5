package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Rule names a promise. A violation counts towards one column of the report.
type Rule string

const (
	// Lost is an acknowledged event that is not in the log.
	Lost Rule = "lost"
	// Announced is an acknowledged event that is not in the log, but whose possible
	// loss was announced. It is no violation.
	Announced Rule = "lost as announced"
	// Duplicated is an event that is in the log more than once.
	Duplicated Rule = "duplicated"
	// Invented is an event in the log of a session to which no client sent it, or an
	// event that was refused.
	Invented Rule = "misplaced"
	// Gap is a log whose seq is not 1, 2, 3 …
	Gap Rule = "gap"
	// Torn is a batch that is stored in part, or mixed with other events.
	Torn Rule = "torn batch"
	// Renumbered is an event whose seq differs from the acknowledged one, or from the
	// one that an earlier reader got.
	Renumbered Rule = "renumbered"
	// Hole is a read that skips or repeats an event.
	Hole Rule = "hole"
	// Reordered is an append that precedes another one in the log although the same
	// backend had already answered that one.
	Reordered Rule = "reordered"
	// Stale is a history that no sequential log explains: a read misses an append
	// that was acknowledged before it began, or shows one before it was sent.
	Stale Rule = "not linearizable"
	// HandedTwice is an event that two polls returned.
	HandedTwice Rule = "handed out twice"
	// NeverHanded is an event that no poll returned, although every poll was answered.
	NeverHanded Rule = "never handed out"
)

// Violation is one broken promise.
type Violation struct {
	Rule   Rule
	Events int // number of affected events
	Text   string
}

func (v Violation) String() string { return string(v.Rule) + ": " + v.Text }

// linearizeTimeout limits porcupine's search in one history. The positions of all
// appends are known from the final log, so a search takes milliseconds.
const linearizeTimeout = 30 * time.Second

// Check returns all violations of the rules in a history.
func Check(h *History) []Violation {
	c := checker{h: h, at: map[string]int64{}}
	c.log()
	c.appends()
	c.reads()
	c.order()
	c.polls()
	if len(c.found) == 0 { // else the positions have no meaning
		c.linearizable()
	}
	return c.found
}

type checker struct {
	h     *History
	at    map[string]int64 // seq in the final log, by name
	found []Violation
}

func (c *checker) report(rule Rule, events int, format string, args ...any) {
	c.found = append(c.found, Violation{rule, events, c.h.Session + ": " + fmt.Sprintf(format, args...)})
}

// log checks the final log alone.
func (c *checker) log() {
	sent := map[string]bool{}
	for i := range c.h.Appends {
		for _, name := range c.h.Appends[i].Names {
			sent[name] = true
		}
	}
	for i, e := range c.h.Final {
		if e.Seq != int64(i+1) {
			c.report(Gap, 1, "event %d of the log has seq %d", i+1, e.Seq)
		}
		switch first, twice := c.at[e.Name]; {
		case twice:
			c.report(Duplicated, 1, "%s has seq %d and %d", e.Name, first, e.Seq)
			continue
		case !sent[e.Name]:
			c.report(Invented, 1, "%s with seq %d was not sent to this session", e.Name, e.Seq)
		}
		c.at[e.Name] = e.Seq
	}
}

// position returns the seqs of an append in the final log. ok is false if the log does
// not have the whole append.
func (c *checker) position(a *Append) (first, last int64, ok bool) {
	if len(a.Names) == 0 {
		return 0, 0, false
	}
	first, ok = c.at[a.Names[0]]
	for i, name := range a.Names {
		ok = ok && c.at[name] == first+int64(i)
	}
	return first, first + int64(len(a.Names)) - 1, ok
}

// appends checks each append against the final log.
func (c *checker) appends() {
	for i := range c.h.Appends {
		a := &c.h.Appends[i]
		there := 0
		for _, name := range a.Names {
			if c.at[name] > 0 {
				there++
			}
		}
		first, last, whole := c.position(a)
		switch missing := len(a.Names) - there; {
		case a.Outcome == Refused && there > 0:
			c.report(Invented, there, "%s was refused and is stored", a.Names[0])
		case (a.Outcome == Stored || a.Outcome == Spooled) && missing > 0:
			rule := Lost
			if c.h.MayLose {
				rule = Announced
			}
			c.report(rule, missing, "%d of the %d events from %s, which was answered %s, are not stored", missing, len(a.Names), a.Names[0], a.Outcome)
		case there > 0 && !whole:
			c.report(Torn, there, "of the batch %s the log has %s", strings.Join(a.Names, " "), c.places(a.Names))
		case a.Outcome == Stored && !c.h.MayLose && (a.First != first || a.Last != last):
			c.report(Renumbered, len(a.Names), "%s was acknowledged as %d to %d and has %d to %d", a.Names[0], a.First, a.Last, first, last)
		}
		for _, name := range a.Faulty {
			if c.at[name] > 0 {
				c.report(Invented, 1, "%s is no valid event and is stored", name)
			}
		}
	}
}

func (o Outcome) String() string {
	return [...]string{"not at all", "200", "202", "4xx"}[o]
}

func (c *checker) places(names []string) string {
	places := make([]string, len(names))
	for i, name := range names {
		places[i] = fmt.Sprint(c.at[name])
	}
	return strings.Join(places, " ")
}

// reads checks that each read is a contiguous part of the final log.
func (c *checker) reads() {
	if c.h.MayLose { // reads of the lost server may have more
		return
	}
	for i := range c.h.Reads {
		r := &c.h.Reads[i]
		for j, e := range r.Events {
			if e.Seq != r.After+int64(j)+1 {
				c.report(Hole, 1, "a %s of backend %d after %d has seq %d in place %d", r.Kind, r.Backend, r.After, e.Seq, j+1)
				break
			}
			if now := c.final(e.Seq); now != e.Name {
				c.report(Renumbered, 1, "a %s of backend %d saw %s with seq %d, which is %s", r.Kind, r.Backend, e.Name, e.Seq, now)
				break
			}
		}
		if r.Length > int64(len(c.h.Final)) {
			c.report(Lost, int(r.Length)-len(c.h.Final), "a %s of backend %d saw %d events, the log has %d", r.Kind, r.Backend, r.Length, len(c.h.Final))
		}
	}
}

// final returns the name of an event of the final log.
func (c *checker) final(seq int64) string {
	if seq < 1 || seq > int64(len(c.h.Final)) {
		return "missing"
	}
	return c.h.Final[seq-1].Name
}

// order checks that each backend stores a session's appends in the order in which it
// received them, including spooled ones.
func (c *checker) order() {
	byBackend := map[int][]*Append{}
	for i := range c.h.Appends {
		a := &c.h.Appends[i]
		if _, _, ok := c.position(a); ok && a.Backend >= 0 {
			byBackend[a.Backend] = append(byBackend[a.Backend], a)
		}
	}
	for _, calls := range byBackend {
		returns := slices.DeleteFunc(slices.Clone(calls), func(a *Append) bool { return a.Outcome == Unknown })
		slices.SortFunc(calls, func(a, b *Append) int { return cmp.Compare(a.Call, b.Call) })
		slices.SortFunc(returns, func(a, b *Append) int { return cmp.Compare(a.Return, b.Return) })
		var newest *Append // of the appends answered before the call, the last one in the log
		newestSeq := int64(0)
		for _, a := range calls {
			for len(returns) > 0 && returns[0].Return < a.Call {
				if seq := c.at[returns[0].Names[0]]; seq > newestSeq {
					newest, newestSeq = returns[0], seq
				}
				returns = returns[1:]
			}
			if seq := c.at[a.Names[0]]; seq < newestSeq {
				c.report(Reordered, len(a.Names), "backend %d answered %s with %s before it got %s, and stored it later: %d, %d",
					a.Backend, newest.Names[0], newest.Outcome, a.Names[0], newestSeq, seq)
			}
		}
	}
}

// polls checks that each event was returned to exactly one poller.
func (c *checker) polls() {
	if c.h.MayLose { // claims may be lost, too
		return
	}
	handed := map[string]int{}
	unanswered := 0
	for i := range c.h.Polls {
		p := &c.h.Polls[i]
		if !p.Answered {
			unanswered += p.Limit
			continue
		}
		for _, e := range p.Events {
			if handed[e.Name]++; handed[e.Name] == 2 {
				c.report(HandedTwice, 1, "two polls got %s", e.Name)
			}
			if now := c.final(e.Seq); now != e.Name {
				c.report(Renumbered, 1, "a poll saw %s with seq %d, which is %s", e.Name, e.Seq, now)
			}
		}
	}
	if len(c.h.Polls) == 0 {
		return
	}
	missing := 0
	for _, e := range c.h.Final {
		if handed[e.Name] == 0 {
			missing++
		}
	}
	if missing > unanswered { // a lost answer may have had this many
		c.report(NeverHanded, missing, "no poll got %d events, and unanswered polls explain %d", missing, unanswered)
	}
}

// logCall is an operation on the model, which represents the log by its length.
type logCall struct {
	appends int64 // events that follow the seq before
	before  int64
	exact   bool // a read of the whole log, which ended at before
}

// logModel is a session in the clients' view: a log that grows by whole batches. The
// state is its length. The final log determines the content, so a step is possible in
// one state only.
func logModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(0) },
		Step: func(state, input, _ any) (bool, any) {
			length, call := state.(int64), input.(logCall)
			switch {
			case call.appends > 0:
				return length == call.before, length + call.appends
			case call.exact:
				return length == call.before, length
			}
			return length >= call.before, length
		},
	}
}

// linearizable checks that the calls have an order in which each takes effect between
// its request and its answer, and sees the log of that moment.
func (c *checker) linearizable() {
	if c.h.MayLose {
		return
	}
	var calls []porcupine.Operation
	for i := range c.h.Appends {
		a := &c.h.Appends[i]
		first, _, ok := c.position(a)
		if !ok { // it never happened
			continue
		}
		end := a.Return
		if a.Outcome != Stored { // it takes effect when it is drained
			end = math.MaxInt64
		}
		calls = append(calls, porcupine.Operation{ClientId: i, Input: logCall{appends: int64(len(a.Names)), before: first - 1}, Call: a.Call, Return: end})
	}
	for i := range c.h.Reads {
		r := &c.h.Reads[i]
		in := logCall{before: r.After + int64(len(r.Events))}
		if r.Length >= 0 {
			in = logCall{before: r.Length, exact: true}
		}
		calls = append(calls, porcupine.Operation{ClientId: len(c.h.Appends) + i, Input: in, Call: r.Call, Return: r.Return})
	}
	switch porcupine.CheckOperationsTimeout(logModel(), calls, linearizeTimeout) {
	case porcupine.Illegal:
		c.report(Stale, 1, "%s", c.explain())
	case porcupine.Unknown:
		c.report(Stale, 1, "porcupine found no order of %d calls within %s", len(calls), linearizeTimeout)
	case porcupine.Ok:
	}
}

// explain looks for the most common reasons why a history is not linearizable.
func (c *checker) explain() string {
	for i := range c.h.Reads {
		r := &c.h.Reads[i]
		saw := max(r.Length, r.After+int64(len(r.Events)))
		for j := range c.h.Appends {
			a := &c.h.Appends[j]
			first, last, ok := c.position(a)
			switch {
			case !ok:
			case a.Outcome == Stored && a.Return < r.Call && r.Length >= 0 && r.Length < last:
				return fmt.Sprintf("backend %d acknowledged %s as %d, and then a %s of backend %d saw %d events", a.Backend, a.Names[0], last, r.Kind, r.Backend, r.Length)
			case r.Return < a.Call && saw >= first:
				return fmt.Sprintf("a %s of backend %d saw %d events before %s was sent", r.Kind, r.Backend, saw, a.Names[0])
			}
		}
		for j := range c.h.Reads {
			before := &c.h.Reads[j]
			if saw := max(before.Length, before.After+int64(len(before.Events))); before.Return < r.Call && r.Length >= 0 && r.Length < saw {
				return fmt.Sprintf("a %s of backend %d saw %d events, and a later %s of backend %d saw %d", before.Kind, before.Backend, saw, r.Kind, r.Backend, r.Length)
			}
		}
	}
	return "no order of the calls explains what they saw"
}
