//go:build linux

package delivery

import (
	"bytes"
	"strings"
	"time"

	"ospulse/agent/internal/event"
)

// Reasons of loss besides those of package event. The backend's message follows
// ReasonRefused and ReasonSetAside.
const (
	ReasonQueueFull = "queue_full"    // the disk was slower than the events
	ReasonRefused   = "refused"       // by the backend, permanently
	ReasonDamaged   = "spool_damaged" // on disk; ": …" follows if the count is unknown
	ReasonSetAside  = "set_aside"     // by the agent, because the backend fails for the event repeatedly; it stays on disk
	ReasonStopped   = "agent_stopped" // added after Run ended
)

// maxReasons is the number of different reasons in one session at a time. Beyond it, the
// backend's messages are left out.
const maxReasons = 8

// loss is a number of events of one session that will never be delivered.
type loss struct {
	reason   string
	count    uint64 // 0: unknown
	from, to time.Time
}

// losses adds up losses until they are reported.
type losses []loss

// add merges a loss into the one with the same reason.
func (l *losses) add(more loss) {
	if len(*l) >= maxReasons {
		more.reason = shortReason(more.reason)
	}
	for i := range *l {
		known := &(*l)[i]
		if known.reason != more.reason {
			continue
		}
		known.count += more.count
		if more.from.Before(known.from) {
			known.from = more.from
		}
		if more.to.After(known.to) {
			known.to = more.to
		}
		return
	}
	*l = append(*l, more)
}

// event returns the events_lost event that reports the loss.
func (l loss) event() *event.Event {
	return &event.Event{Type: event.TypeLost, Time: l.to, Data: &event.Lost{Count: l.count, Reason: l.reason, From: l.from, To: l.to, CPU: -1}}
}

// shortReason removes the backend's message from a reason.
func shortReason(reason string) string {
	short, _, _ := strings.Cut(reason, ":")
	return short
}

// reasonOf appends the backend's message to a reason, up to 200 bytes.
func reasonOf(reason, text string) string {
	if text = strings.TrimSpace(strings.ToValidUTF8(text, "?")); text == "" {
		return reason
	}
	return reason + ": " + strings.ToValidUTF8(text[:min(len(text), 200)], "")
}

// isReport reports whether an event's text is an events_lost. The loss of a report is not
// reported, because reports of reports would never end.
func isReport(line []byte) bool {
	return bytes.HasPrefix(line, []byte(`{"event_type":"`+event.TypeLost+`"`))
}
