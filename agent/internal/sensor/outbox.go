//go:build linux

package sensor

import (
	"errors"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
)

// maxHeld is the most bytes of records whose events wait for the parser.
const maxHeld = 8 << 20

// outbox holds the events behind the data that the parser still reads, so that the sinks get
// all events in their order. The reader of events never waits. Sensor.mu guards it.
type outbox struct {
	items []*outgoing
	bytes int // of items
}

// outgoing is one item of the outbox: an event, a question to the parser, or a ring
// position.
type outgoing struct {
	event    *event.Event
	sessions uint64
	position uint64 // 0: the item is no position
	fail     func() // gives up a question that waits for its answer; else nil
	bytes    int
}

// errHeld means that too many events wait for the parser.
var errHeld = errors.New("too many events wait for the parser")

// send passes an event of a record of some bytes to the sinks, after those in the outbox.
func (s *Sensor) send(e *event.Event, sessions uint64, bytes int) {
	if len(s.outbox.items) == 0 {
		s.pass(e, sessions)
		return
	}
	s.put(&outgoing{event: e, sessions: sessions, bytes: bytes})
}

// reached records that the sinks have had the events up to a ring position, once they have.
func (s *Sensor) reached(position uint64) {
	s.put(&outgoing{position: position})
	s.passOn()
}

// put adds an item. If there are too many, it gives up all questions.
func (s *Sensor) put(o *outgoing) {
	s.outbox.items = append(s.outbox.items, o)
	if s.outbox.bytes += o.bytes; s.outbox.bytes <= maxHeld {
		return
	}
	s.log.Error("the parser does not keep up and is started again; sessions report what it did not parse")
	s.parser.Restart()
	for len(s.outbox.items) > 0 {
		if first := s.outbox.items[0]; first.fail != nil {
			first.fail()
		}
		s.passOn()
	}
}

// passOn passes on the items before the first question that waits.
func (s *Sensor) passOn() {
	for len(s.outbox.items) > 0 && s.outbox.items[0].fail == nil {
		o := s.outbox.items[0]
		s.outbox.items[0] = nil
		s.outbox.items = s.outbox.items[1:]
		s.outbox.bytes -= o.bytes
		if o.event != nil {
			s.pass(o.event, o.sessions)
		}
		if o.position > 0 {
			s.given = o.position
			close(s.passed)
			s.passed = make(chan struct{})
		}
	}
}

// pass passes an event to the watches of its sessions.
func (s *Sensor) pass(e *event.Event, sessions uint64) {
	for slot, bits := 0, sessions; bits != 0; slot, bits = slot+1, bits>>1 {
		if w := s.watches[slot]; bits&1 != 0 && w != nil {
			w.sink(e)
		}
	}
}

// ask implements decoder.ask.
func (s *Sensor) ask(q *parser.Question, sessions uint64, at time.Time, answered func(*parser.Answer, error, func(*event.Event))) bool {
	o := &outgoing{bytes: len(q.Data)}
	emit := func(e *event.Event) { s.pass(e, sessions) } // when o is the first item
	fail := func(err error) {
		o.fail = nil
		s.unparsed(sessions, at, err)
		answered(nil, err, emit)
	}
	o.fail = func() { fail(errHeld) }
	err := s.parser.Ask(q, func(a *parser.Answer, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case o.fail == nil: // it was given up
		case err != nil:
			fail(err)
		default:
			if answered(a, nil, emit); a.Last {
				o.fail = nil
			}
		}
		s.passOn()
	})
	if err != nil {
		s.unparsed(sessions, at, err)
		answered(nil, err, func(e *event.Event) { s.send(e, sessions, len(q.Data)) })
		return false
	}
	s.put(o)
	return true
}

// unparsed counts data of sessions that was not parsed, for reportUnparsed.
func (s *Sensor) unparsed(sessions uint64, at time.Time, err error) {
	reason := event.ReasonParserFailed
	if errors.Is(err, parser.ErrFull) || errors.Is(err, errHeld) {
		reason = event.ReasonParserFull
	}
	for slot, bits := 0, sessions; bits != 0; slot, bits = slot+1, bits>>1 {
		w := s.watches[slot]
		if bits&1 == 0 || w == nil {
			continue
		}
		lost := w.unparsed[reason]
		if lost == nil {
			lost = &event.Lost{Reason: reason, From: at, To: at, CPU: -1}
			w.unparsed[reason] = lost
		}
		lost.Count++
		if at.Before(lost.From) {
			lost.From = at
		}
		if at.After(lost.To) {
			lost.To = at
		}
	}
}

// reportUnparsed reports the data that was not parsed.
func (s *Sensor) reportUnparsed() {
	for _, w := range &s.watches {
		if w == nil {
			continue
		}
		for reason, lost := range w.unparsed {
			w.sink(&event.Event{Type: event.TypeLost, Time: lost.To, Data: lost})
			delete(w.unparsed, reason)
		}
	}
}

// parserEnded handles the end of a worker of the parser.
func (s *Sensor) parserEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decoder.http.forget(func(sessions uint64, at time.Time) { s.unparsed(sessions, at, parser.ErrFailed) })
}
