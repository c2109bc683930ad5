package models

import (
	"encoding/json"
	"time"
)

// SourceBackend is the source of events that the backend itself reports.
const SourceBackend = "os-pulse-backend"

// The reasons for which the backend reports acknowledged events as lost. The spool
// keeps all of them set aside.
const (
	LossRefused = "refused_by_database"
	LossDamaged = "spool_damaged"
)

// Refused is an event that the database refuses for its content.
type Refused struct {
	Index  int      // in the events of its batch
	Event  Incoming // with its session
	Reason string   // for users
}

// Report returns the event that takes the place of the refused one in its session.
func (r *Refused) Report(receivedAt time.Time) Incoming {
	at := r.Event.Timestamp.UTC().Format("2006-01-02T15:04:05.999999Z07:00")
	report := LossReport(receivedAt, LossRefused, map[string]any{
		"count": 1, "detail": r.Reason, "from": at, "to": at, "event_type": r.Event.EventType,
	})
	report.RequestHint = r.Event.SessionID
	return report
}

// LossReport returns an event of TypeEventsLost that the backend reports at a time. It
// adds the reason to data, which must hold values that JSON can encode.
func LossReport(at time.Time, reason string, data map[string]any) Incoming {
	data["reason"] = reason
	text, _ := json.Marshal(data) // strings and numbers do not fail
	return Incoming{Event: Event{
		EventType: TypeEventsLost, Source: SourceBackend, Data: text,
		Timestamp: at.UTC().Truncate(time.Microsecond), TimestampSource: TimestampFromReceipt,
	}}
}
