//go:build linux

package delivery

import (
	"bytes"
	"strings"
	"time"

	"ospulse/agent/internal/event"
)

// Reasons of loss that are delivery's own, beside those of package event. What
// the backend said follows ReasonRefused and ReasonSetAside.
const (
	ReasonQueueFull = "queue_full"    // the disk did not take events as fast as they came
	ReasonRefused   = "refused"       // by the backend, for good
	ReasonDamaged   = "spool_damaged" // on the disk; ": …" when the count is not known
	ReasonSetAside  = "set_aside"     // by the agent, as the backend fails for it again and again; it is kept on disk
	ReasonStopped   = "agent_stopped" // they came after the end
)

// maxReasons is how many refusals are told apart in one session at a time.
const maxReasons = 8

// loss is events of one session that nobody will get.
type loss struct {
	reason   string
	count    uint64 // 0: not known
	from, to time.Time
}

// losses adds up losses until they are told of.
type losses []loss

// add adds a loss to those of the same reason.
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

// event gives the event that tells of the loss.
func (l loss) event() *event.Event {
	return &event.Event{Type: event.TypeLost, Time: l.to, Data: &event.Lost{Count: l.count, Reason: l.reason, From: l.from, To: l.to, CPU: -1}}
}

// shortReason leaves out what the backend said.
func shortReason(reason string) string {
	short, _, _ := strings.Cut(reason, ":")
	return short
}

// reasonOf adds to a reason what the backend said of events that it does not take.
func reasonOf(reason, text string) string {
	if text = strings.TrimSpace(strings.ToValidUTF8(text, "?")); text == "" {
		return reason
	}
	return reason + ": " + strings.ToValidUTF8(text[:min(len(text), 200)], "")
}

// isReport reports whether an event's text is an events_lost. To tell of the loss
// of these would never end.
func isReport(line []byte) bool {
	return bytes.HasPrefix(line, []byte(`{"event_type":"`+event.TypeLost+`"`))
}
