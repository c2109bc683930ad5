// Package detect finds the events that rules match. It knows rules as conditions of the
// filter language. It does not know where events and rules come from, nor who reads the
// findings: internal/service runs it on new events and on stored ones.
package detect

import (
	"slices"

	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Engine is a set of rules. It is immutable, and safe for concurrent use.
type Engine struct {
	rules []filter.Node
	index *index
}

// New returns the engine of some rules. Match names a rule by its index.
func New(rules []filter.Node) *Engine {
	e := &Engine{rules: make([]filter.Node, len(rules)), index: newIndex(rules)}
	for i, rule := range rules {
		e.rules[i] = cheapFirst(rule)
	}
	return e
}

// Session evaluates the events of one session, which the caller passes in the order of Seq.
// It is for one goroutine.
type Session struct {
	engine    *Engine
	processes *Processes
	hosts     hosts
	finder    *finder
	seen      []int64 // by rule: the number of the last event for which it was evaluated
	events    int64
	matched   []int
	data      jsonscan.Index // of the event that is evaluated
}

// NewSession returns the state before the first event of a session.
func (e *Engine) NewSession() *Session {
	return &Session{engine: e, processes: NewProcesses(), hosts: hosts{}, finder: newFinder(e.index), seen: make([]int64, len(e.rules))}
}

// Match returns the rules that match the next event, in their order. The slice is valid
// until the next call.
func (s *Session) Match(e *models.Event) []int {
	s.data.Reset(e.Data)
	e.Facts = s.processes.Next(e)
	e.Facts.DestinationHost = s.hosts.next(e)
	e.Facts.Member = s.data.Find
	s.events++
	s.matched = s.matched[:0]
	s.finder.candidates(e, func(rule int32) {
		if s.seen[rule] == s.events {
			return
		}
		s.seen[rule] = s.events
		if s.engine.rules[rule].Match(e) {
			s.matched = append(s.matched, int(rule))
		}
	})
	e.Facts.Member = nil // it is about the next event soon
	slices.Sort(s.matched)
	return s.matched
}

// Learn takes an event into account that is not evaluated. Only events that Telling selects
// matter.
func (s *Session) Learn(e *models.Event) {
	s.processes.Next(e)
	s.hosts.next(e)
}

// Bytes returns about how much memory the session takes.
func (s *Session) Bytes() int {
	return s.processes.Bytes() + s.hosts.bytes() + s.finder.Bytes() + 8*len(s.seen)
}
