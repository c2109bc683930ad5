//go:build linux

package sensor

import (
	"slices"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
)

const (
	// pauseHeld is from how many bytes on the kernel side pauses the processes that it
	// pauses while the ring is nearly full.
	pauseHeld = 4 << 20
	// itemBytes is the memory of an item besides its data.
	itemBytes = 512
)

// outbox holds the events behind the data that the parser still reads, so that the sinks get
// all events in their order. The reader of events never waits. While the budget of waiting data
// is exceeded, events do not wait either: those that the parser's answers bring come after them.
// Sensor.mu guards it.
type outbox struct {
	items  []*outgoing
	events int  // of items
	bytes  int  // of items
	isFull bool // processes may be paused until it is nearly empty
	limit  int  // of bytes, from which on it is full
}

// outgoing is one item of the outbox: an event, a question to the parser, or a ring
// position.
type outgoing struct {
	event    *event.Event
	sessions uint64
	position uint64 // 0: the item is no position
	waits    bool   // a question that waits for its last answer
	bytes    int
}

// send passes an event of a record of recordBytes to the sinks, after those in the outbox.
func (s *Sensor) send(e *event.Event, sessions uint64, recordBytes int) {
	if len(s.outbox.items) == 0 || !s.hasRoom() {
		s.pass(e, sessions)
		return
	}
	s.outbox.events++
	s.put(&outgoing{event: e, sessions: sessions, bytes: itemBytes + min(recordBytes, itemBytes+s.options.ContentBytes)})
}

// reached records that the sinks have had the events up to a ring position, once they have.
func (s *Sensor) reached(position uint64) {
	s.put(&outgoing{position: position})
	s.passOn()
}

// put adds an item.
func (s *Sensor) put(o *outgoing) {
	s.outbox.items = append(s.outbox.items, o)
	s.holds(o.bytes)
	if s.outbox.bytes > s.outbox.limit && !s.outbox.isFull {
		s.outbox.isFull = true
		s.pauseFrom(0)
	}
}

// holds counts bytes that the outbox holds; a negative number those that it holds no longer.
func (s *Sensor) holds(bytes int) {
	s.outbox.bytes += bytes
	s.options.Pending.Add(bytes)
}

// hasRoom reports whether more data may wait. To make room, it passes on the events in the
// outbox, and leaves the questions and positions.
func (s *Sensor) hasRoom() bool {
	if s.outbox.events > 0 && s.options.Pending.IsExceeded() {
		s.outbox.items = slices.DeleteFunc(s.outbox.items, func(o *outgoing) bool {
			if o.event != nil {
				s.holds(-o.bytes)
				s.pass(o.event, o.sessions)
			}
			return o.event != nil
		})
		s.outbox.events = 0
	}
	return !s.options.Pending.IsExceeded()
}

// passOn passes on the items before the first question that waits.
func (s *Sensor) passOn() {
	for len(s.outbox.items) > 0 && !s.outbox.items[0].waits {
		o := s.outbox.items[0]
		s.outbox.items[0] = nil
		s.outbox.items = s.outbox.items[1:]
		s.holds(-o.bytes)
		if o.event != nil {
			s.outbox.events--
			s.pass(o.event, o.sessions)
		}
		if o.position > 0 {
			s.given = o.position
			close(s.passed)
			s.passed = make(chan struct{})
		}
	}
	if s.outbox.isFull && s.outbox.bytes < s.outbox.limit/4 {
		s.outbox.isFull = false
		s.pauseFrom(s.ringBytes / 4 * 3)
		s.resume()
	}
}

// pass passes an event to the watches of its sessions.
func (s *Sensor) pass(e *event.Event, sessions uint64) {
	for slot, bits := 0, sessions; bits != 0; slot, bits = slot+1, bits>>1 {
		if w := s.watches[slot]; bits&1 != 0 && w != nil {
			w.pass(e)
		}
	}
}

// pass passes an event to the sink, unless the watch leaves it out. The kernel side has left out
// most of those events before.
func (w *Watch) pass(e *event.Event) {
	if w.filter != nil {
		w.filter.Pass(e)
		return
	}
	w.sink(e)
}

// ask implements decoder.ask.
func (s *Sensor) ask(q *parser.Question, sessions uint64, at time.Time, answered func(*parser.Answer, error, func(*event.Event))) bool {
	o := &outgoing{waits: true, bytes: itemBytes + len(q.Data)}
	err := parser.ErrFull
	if q.Kind.Frees() || s.hasRoom() {
		err = s.parser.Ask(q, func(a *parser.Answer, err error) { // o is the first item
			if err != nil {
				s.unparsed(sessions, at, err)
			}
			answered(a, err, func(e *event.Event) { s.pass(e, sessions) })
			o.waits = err == nil && !a.Last
			s.passOn()
		})
	}
	if err != nil {
		s.unparsed(sessions, at, err)
		answered(nil, err, func(e *event.Event) { s.send(e, sessions, len(q.Data)) })
		return false
	}
	s.put(o)
	return true
}

// unparsed counts data of sessions that was not parsed. reportLosses reports it.
func (s *Sensor) unparsed(sessions uint64, at time.Time, err error) {
	for slot, bits := 0, sessions; bits != 0; slot, bits = slot+1, bits>>1 {
		if w := s.watches[slot]; bits&1 != 0 && w != nil {
			w.unparsed.Add(at, err)
		}
	}
}

// parserEnded handles the end of a worker of the parser.
func (s *Sensor) parserEnded() {
	s.decoder.http.forget(func(sessions uint64, at time.Time) { s.unparsed(sessions, at, parser.ErrFailed) })
}
