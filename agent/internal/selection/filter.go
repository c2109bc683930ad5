package selection

import (
	"maps"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/syscalls"
)

// ReportInterval is how often a session gets the counts of what it leaves out.
const ReportInterval = time.Minute

// Filter passes the events of a session on, and counts those that the session leaves out.
// Only one goroutine at a time may use it.
type Filter struct {
	ReportAt time.Time // when the next report is due

	selection Selection
	sink      func(*event.Event)
	counts    map[string]uint64 // by class, since from
	from      time.Time
	isNew     bool // counts has changed since the last report
}

// NewFilter returns a filter of a session that begins now.
func NewFilter(s Selection, sink func(*event.Event)) *Filter {
	now := time.Now()
	return &Filter{ReportAt: now.Add(ReportInterval), selection: s, sink: sink, counts: map[string]uint64{}, from: now}
}

// Pass passes an event on, unless it is left out.
func (f *Filter) Pass(e *event.Event) {
	if c := f.selection.class(e); c != syscalls.ClassNone {
		f.Add(c, 1)
		return
	}
	if f.selection.Leaves(syscalls.ClassContents) {
		e = f.withoutContent(e)
	}
	f.sink(e)
}

// withoutContent returns an event without the bytes that it transferred. It does not change e,
// which other sessions get too.
func (f *Filter) withoutContent(e *event.Event) *event.Event {
	made := *e
	switch d := e.Data.(type) {
	case *event.File:
		if !d.Transfer || !d.Content.Known {
			return e
		}
		file := *d
		file.Content, made.Data = event.Content{}, &file
		f.Add(syscalls.ClassContents, uint64(min(file.Bytes(), 1)))
	case *event.Network:
		if !d.Transfer || !d.Content.Known {
			return e
		}
		network := *d
		network.Content, made.Data = event.Content{}, &network
		f.Add(syscalls.ClassContents, uint64(min(max(network.Result.Return, 0), 1)))
	default:
		return e
	}
	return &made
}

// Add counts events that were left out before they reached the filter.
func (f *Filter) Add(c syscalls.Class, n uint64) {
	if n > 0 {
		f.counts[c.String()] += n
		f.isNew = true
	}
}

// Report sends the counts since the beginning, if they have changed since the last report.
func (f *Filter) Report(now time.Time) {
	f.ReportAt = now.Add(ReportInterval)
	if !f.isNew {
		return
	}
	f.isNew = false
	f.sink(&event.Event{Type: event.TypeLeftOut, Time: now, Data: &event.LeftOut{Counts: maps.Clone(f.counts), From: f.from, To: now}})
}
