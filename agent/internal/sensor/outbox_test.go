//go:build linux

package sensor

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
)

// TestBudget: while the budget of waiting data is exceeded, events do not wait behind the data
// that the parser reads, and the parser gets no more, except what frees memory.
func TestBudget(t *testing.T) {
	budget := pending.New(3 * itemBytes)
	s := &Sensor{
		options: Options{Pending: budget}, outbox: outbox{limit: 1 << 30}, passed: make(chan struct{}),
		parser: parser.New(slog.New(slog.DiscardHandler), &sync.Mutex{}, func() {}),
	}
	s.parser.Close() // all that it gets fails
	var got []string
	s.watches[0] = &Watch{sink: func(e *event.Event) { got = append(got, e.Type) }}
	expect := func(what string, waiting int, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) || budget.Bytes() != int64(waiting*itemBytes) {
			t.Errorf("%s: %q were passed on, and %d bytes wait; want %q and %d", what, got, budget.Bytes(), want, waiting*itemBytes)
		}
		got = nil
	}
	send := func(name string) { s.send(&event.Event{Type: name}, 1, 0) }
	refused := func(kind parser.Kind) (isFull bool) {
		s.ask(&parser.Question{Kind: kind}, 1, time.Now(), func(_ *parser.Answer, err error, _ func(*event.Event)) {
			isFull = errors.Is(err, parser.ErrFull)
		})
		return isFull
	}

	question := &outgoing{waits: true, bytes: itemBytes}
	s.put(question)
	for _, name := range []string{"a", "b", "c"} {
		send(name)
	}
	expect("as much as may wait, and one event more", 4)
	send("d")
	expect("one more event", 2, "a", "b", "c")
	if refused(parser.Piece) {
		t.Error("a question is refused while there is room")
	}
	budget.Add(3 * itemBytes) // by another part of the agent
	send("e")
	expect("no room", 4, "d", "e")
	if !refused(parser.Piece) || refused(parser.Dropped) {
		t.Error("no room: a question is taken, or one that frees memory is refused")
	}
	budget.Add(-3 * itemBytes)
	question.waits = false
	s.passOn()
	send("g")
	expect("nothing waits", 0, "g")
}

// TestBudgetOfParts: parts of long arguments count, until their exec comes, they are too many, or
// too much else waits.
func TestBudgetOfParts(t *testing.T) {
	const size = 100
	budget := pending.New(5 * size)
	d := newDecoder(nil, 0, nil, nil, budget)
	part := func(pid uint32) {
		d.part(&record{pid: pid, time: 1, argv: section{body: make([]byte, size), set: true}})
	}
	part(1)
	part(2)
	d.forget(1)
	if budget.Bytes() != size || len(d.parts) != 1 {
		t.Errorf("%d bytes of %d execs wait", budget.Bytes(), len(d.parts))
	}
	budget.Add(4 * size)
	part(3)
	if budget.Bytes() != 4*size || len(d.parts) != 0 {
		t.Errorf("too much waits: %d bytes of %d execs do", budget.Bytes()-4*size, len(d.parts))
	}
}
