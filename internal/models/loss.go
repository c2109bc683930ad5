package models

import (
	"encoding/json"
	"time"
)

// SourceBackend is the source of the events that the backend itself reports.
const SourceBackend = "os-pulse-backend"

// The reasons for which the backend reports acknowledged events as lost. All of
// them are set aside in the spool, from where they can be stored again.
const (
	LossRefused = "refused_by_database"
	LossDamaged = "spool_damaged"
)

// Refused is an event that the database does not take for what is in it.
type Refused struct {
	Index  int      // among the events of its batch
	Event  Incoming // with the session that it was for
	Reason string   // for people
}

// Report gives the event that takes the refused one's place in its session.
func (r *Refused) Report(receivedAt time.Time) Incoming {
	at := r.Event.Timestamp.UTC().Format("2006-01-02T15:04:05.999999Z07:00")
	report := LossReport(receivedAt, LossRefused, map[string]any{
		"count": 1, "detail": r.Reason, "from": at, "to": at, "event_type": r.Event.EventType,
	})
	report.RequestHint = r.Event.SessionID
	return report
}

// LossReport gives an event of TypeEventsLost that the backend reports at a time.
// The members of data, which JSON can hold, are told beside the reason.
func LossReport(at time.Time, reason string, data map[string]any) Incoming {
	data["reason"] = reason
	text, _ := json.Marshal(data) // texts and numbers only
	return Incoming{Event: Event{
		EventType: TypeEventsLost, Source: SourceBackend, Data: text,
		Timestamp: at.UTC().Truncate(time.Microsecond), TimestampSource: TimestampFromReceipt,
	}}
}
