package models

// EventRange selects the events of a session for an export: those with a Seq in (After,
// UpTo], of one type if EventType is not empty.
type EventRange struct {
	After, UpTo int64
	EventType   string
}
