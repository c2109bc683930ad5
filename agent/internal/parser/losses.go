//go:build linux

package parser

import (
	"errors"
	"time"

	"ospulse/agent/internal/event"
)

// Losses counts data that was not parsed, until it is reported. The zero value is empty.
type Losses struct{ failed, full event.Lost }

// Add counts data of a time that was not parsed because of an error of a Parser.
func (l *Losses) Add(at time.Time, err error) {
	lost := &l.failed
	if errors.Is(err, ErrFull) {
		lost = &l.full
	}
	if lost.Count == 0 {
		lost.From, lost.To = at, at
	}
	lost.Count++
	if at.Before(lost.From) {
		lost.From = at
	}
	if at.After(lost.To) {
		lost.To = at
	}
}

// Report emits the losses since the last call.
func (l *Losses) Report(emit func(*event.Event)) {
	l.failed.Reason, l.full.Reason = event.ReasonParserFailed, event.ReasonParserFull
	for _, lost := range []*event.Lost{&l.failed, &l.full} {
		if lost.Count > 0 {
			data := *lost
			data.CPU = -1
			emit(&event.Event{Type: event.TypeLost, Time: data.To, Data: &data})
			lost.Count = 0
		}
	}
}
